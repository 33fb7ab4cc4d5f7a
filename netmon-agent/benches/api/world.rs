//! A server, and a board that is published on by hand.

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::{Result, bail};
use netmon_agent::{
    health::{Reason, ReasonCode, State, Verdict},
    output::api::{self, Options, Server},
    state::{Board, DeviceView, Snapshot},
    time::{Boot, Moment, Mono},
};

/// Threads, as many as the agent gives its API.
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at whether a release is over.
pub(crate) const LOOK: Duration = Duration::from_micros(200);

pub(crate) struct World {
    pub(crate) server: Server,
    board: Board,
    verdict: Verdict,
    seq: u64,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let board =
            Board::new(Snapshot { at: Moment::now(), ..Snapshot::default() }, Duration::from_secs(600));
        let options = Options {
            socket: folder.path().join("netmon.sock"),
            reserved_descriptors: 64,
            ..Options::default()
        };
        let inside = runtime.enter();
        let server = api::start(board.clone(), options)?;
        drop(inside);
        let mut world =
            Self { server, board, verdict: Verdict::default(), seq: 1, folder, _runtime: runtime };
        world.publish(State::Down);
        Ok(world)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("netmon.sock")
    }

    /// Publishes a state; returns when that was, just before.
    pub(crate) fn publish(&mut self, state: State) -> Boot {
        let now = Moment::now();
        let reasons = match state {
            State::Up => vec![],
            _ => vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier")],
        };
        self.seq += u64::from(self.verdict.update(now, state, reasons));
        let verdict = self.verdict.clone();
        let device = DeviceView { name: "eth0".into(), verdict: verdict.clone(), ..DeviceView::default() };
        let snapshot = Snapshot {
            seq: self.seq,
            at: now,
            started: now,
            verdict,
            devices: vec![Arc::new(device)],
            ..Snapshot::default()
        };
        self.board.publish(snapshot, None);
        now.boot
    }

    /// Notes that the core looked at its evidence, as it does every second.
    pub(crate) fn evaluated(&self) {
        self.board.evaluated(Boot::now());
    }

    /// Returns when so many wait.
    pub(crate) fn until_waiting(&self, count: usize) -> Result<()> {
        let deadline = Mono::now() + PATIENCE;
        while self.server.own().wait_clients.get() != count as i64 {
            if Mono::now() > deadline {
                bail!("{} wait, not {count}", self.server.own().wait_clients.get());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Returns when so many were released in all, with the time.
    pub(crate) fn until_woken(&self, count: u64) -> Result<Boot> {
        let deadline = Mono::now() + PATIENCE;
        loop {
            let (woken, at) = (self.server.own().woken().0, Boot::now());
            if woken >= count {
                return Ok(at);
            }
            if Mono::now() > deadline {
                bail!("{woken} were released, not {count}");
            }
            thread::sleep(LOOK);
        }
    }
}
