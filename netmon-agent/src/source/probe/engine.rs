//! The engine as other rooms see it.

use std::{
    fmt, io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::{Builder, JoinHandle},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{
    schedule::{Key, TargetSpec},
    sockets::{Capabilities, Sockets},
    stats::{Counters, Stats},
    worker::Worker,
};
use crate::{
    observation::{Observation, TargetId},
    time::Mono,
};

/// How the engine works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Each interval is multiplied by a random 1 ± this, 0 to 0.5. At 0 intervals are exact, and targets that start
    /// together stay together.
    pub jitter: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { jitter: 0.1 }
    }
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No eventfd, no epoll instance: out of descriptors, as a rule.
    #[error("probe engine: cannot make its event queue: {0}")]
    Events(#[source] io::Error),
    /// No thread.
    #[error("probe engine: cannot start its thread: {0}")]
    Thread(#[source] io::Error),
}

/// The probe engine.
#[derive(Debug)]
pub struct Engine;

pub(super) enum Command {
    Targets(Vec<TargetSpec>),
    Probe(Key),
    TimeoutScale(f64),
    MaxRate(f64),
    Stretch(f64),
    RetryUnsent,
    Stop,
}

impl Engine {
    /// Starts the engine's thread, named `probe`, without targets. `emit` is called on that thread with what one turn
    /// of it saw, in order; it must not block.
    ///
    /// # Errors
    /// When there is no thread or no event queue to be had.
    pub fn start(
        sockets: Sockets,
        options: Options,
        emit: impl FnMut(Vec<Observation>) + Send + 'static,
    ) -> Result<EngineHandle, EngineError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags).map_err(|e| EngineError::Events(e.into()))?);
        let counters = Arc::new(Counters::default());
        let capabilities = sockets.capabilities().clone();
        let (commands, receiver) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let thread = Builder::new()
            .name("probe".to_owned())
            .spawn({
                let (wake, counters) = (wake.clone(), counters.clone());
                move || match Worker::new(sockets, &options, counters, receiver, wake, emit) {
                    Ok(worker) => {
                        let _ = ready.send(Ok(()));
                        worker.run();
                    }
                    Err(e) => {
                        let _ = ready.send(Err(e));
                    }
                }
            })
            .map_err(EngineError::Thread)?;
        match started.recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(EngineError::Events(e)),
            Err(_) => return Err(EngineError::Thread(io::ErrorKind::BrokenPipe.into())),
        }
        Ok(EngineHandle { commands, wake, counters, capabilities, thread: Some(thread) })
    }
}

/// Whether the engine's thread turns.
#[derive(Clone, Debug)]
pub struct Pulse {
    wake: Arc<EventFd>,
    counters: Arc<Counters>,
}

impl Pulse {
    /// Has the thread turn once, though it may have nothing to do.
    pub fn knock(&self) {
        let _ = self.wake.write(1);
    }

    /// When it last began a turn.
    pub fn last_turn(&self) -> Mono {
        Mono::from_nanos(self.counters.turned.load(Ordering::Relaxed))
    }
}

/// A running engine. Dropping it stops the engine.
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    wake: Arc<EventFd>,
    counters: Arc<Counters>,
    capabilities: Capabilities,
    thread: Option<JoinHandle<()>>,
}

impl EngineHandle {
    /// Makes these the targets. Addresses of a target that is unchanged keep their schedule and their numbers; new ones
    /// are probed at once, or, when they are more than 256, spread over their interval. Nothing more is heard of those
    /// that are gone.
    pub fn set_targets(&self, targets: Vec<TargetSpec>) {
        self.command(Command::Targets(targets));
    }

    /// Probes an address of a target now, beside its schedule. Does nothing where there is no such target or address.
    pub fn probe_now(&self, target: TargetId, address: IpAddr) {
        self.command(Command::Probe((target, address)));
    }

    /// Stretches the time-outs of probes sent from now on, 1 to 8 times (rule R13).
    pub fn set_timeout_scale(&self, scale: f64) {
        let scale = if scale.is_finite() { scale.clamp(1.0, 8.0) } else { 1.0 };
        self.command(Command::TimeoutScale(scale));
    }

    /// At most this many probes a second from now on, scheduled and extra; anything but a positive number lifts the
    /// cap, and there is none at first. What is beyond it waits its turn, and where that has passed counts as
    /// [`super::SkipReason::RateCap`]. In any time `t` no more than `rate` × (`t` + 50 ms) leave.
    pub fn set_max_rate(&self, rate: f64) {
        self.command(Command::MaxRate(rate));
    }

    /// Makes every interval so many times as long as it was given, from now on: 1 to 64. Extra probes are as before.
    pub fn stretch(&self, factor: f64) {
        let factor = if factor.is_finite() { factor.clamp(1.0, 64.0) } else { 1.0 };
        self.command(Command::Stretch(factor));
    }

    /// Routes, links or addresses are others now. Where probes could not be sent from here (no route, no source, no
    /// socket), each interval has been twice the one before, up to five minutes: those are tried at once.
    pub fn retry_unsent(&self) {
        self.command(Command::RetryUnsent);
    }

    /// What sockets could be had when they were opened.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What tells from elsewhere whether the engine's thread turns.
    pub fn pulse(&self) -> Pulse {
        Pulse { wake: Arc::clone(&self.wake), counters: Arc::clone(&self.counters) }
    }

    /// The engine's counters.
    pub fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// Whether the engine's thread still runs. It ends by itself only if `emit` panics.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Stops the engine and waits for its thread. Probes under way are given up without a word.
    pub fn stop(mut self) {
        self.end();
    }

    fn command(&self, command: Command) {
        // Where the thread is gone there is nobody to command; `is_running` tells.
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.command(Command::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHandle")
            .field("capabilities", &self.capabilities)
            .field("running", &self.is_running())
            .finish_non_exhaustive()
    }
}
