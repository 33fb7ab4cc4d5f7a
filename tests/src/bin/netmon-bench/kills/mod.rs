//! `kill -9` at any moment, with waiters attached and a link that breaks at random: nobody is released wrongly, and the
//! next agent comes up on what the last one left, and nothing is left in the kernel.

mod leftovers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use netmon_agent::history::Reader;
use netmon_agent::time::{Boot, Mono};
use netmon_client::{Client, Condition, Error, WaitOptions};
use netmon_tests::agent::Start;
use netmon_tests::lab::{Switch, World};
use netmon_tests::promise;
use netmon_tests::truth::{Bounds, Release, Truth};
use nix::sys::signal::Signal;

use self::leftovers::{Before, Leftovers, held_by, namespaces};

/// Probes that are quick to find the network up again; nothing is damped.
const CONFIG: &str = "[defaults]\ninterval = \"250ms\"\n\
    [health]\nrecovery_interval = \"100ms\"\nflap_half_life = \"1s\"\nflap_suppress = 1000000\n";
/// What `down` may take to be seen: the kernel tells at once, the rest is a loaded machine's.
const DOWN: Duration = Duration::from_millis(500);
/// And `up`: three replies of each target, and the kernel's own time to find its neighbours again.
const UP: Duration = Duration::from_secs(5);
/// The history's file, beside the socket.
const HISTORY: &str = "history.db";
/// What an answer to a new agent's first question may take.
const START: Duration = Duration::from_secs(10);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How often an agent is killed.
    #[arg(long, default_value_t = 1000)]
    runs: usize,
    /// Worlds side by side.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=16))]
    worlds: u8,
}

/// What came of it all.
#[derive(Debug, Default)]
struct Tally {
    /// Waits by how they ended.
    ended: BTreeMap<&'static str, usize>,
    /// Of all those released, by what they waited for.
    released: BTreeMap<String, usize>,
    wrong: Vec<String>,
    /// Agents that did not come up again.
    failed: Vec<String>,
    /// Kills before the socket was served, while the link was cut, and in all.
    early: usize,
    cut: usize,
    runs: usize,
    /// Kills after which there was a history, which is whole.
    whole: usize,
    /// What was found in the kernel after kills.
    left: Leftovers,
}

/// One world: its link, and who waits in it.
struct Scene<'a> {
    socket: PathBuf,
    truth: Mutex<Truth>,
    is_cut: AtomicBool,
    stop: AtomicBool,
    tally: &'a Mutex<Tally>,
}

/// Kills, and tells what came of it.
///
/// # Errors
/// When a waiter was released wrongly, an agent did not come up again, or what it left is not sound.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let (tally, next) = (Mutex::default(), AtomicUsize::new(0));
    let start = Mono::now();
    thread::scope(|scope| {
        let one = || one_world(arguments.runs, &next, &tally);
        let worlds: Vec<_> = (0..arguments.worlds).map(|_| scope.spawn(one)).collect();
        worlds.into_iter().try_for_each(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    })?;
    let mut tally = tally.into_inner().unwrap_or_else(|e| e.into_inner());
    tally.left.namespaces = namespaces();
    tally.tell(Mono::now().since(start));
    let Tally { wrong, failed, released, .. } = &tally;
    ensure!(wrong.is_empty(), "{} released wrongly: {}", wrong.len(), wrong.join("\n"));
    ensure!(failed.is_empty(), "{} agents did not come up again: {}", failed.len(), failed.join("\n"));
    ensure!(!released.is_empty(), "nobody was released at all: nothing is proven");
    ensure!(tally.left.held > 0 && tally.left.open > 0, "no agent held anything: nothing is proven");
    ensure!(!tally.left.any(), "left in the kernel: {:?}", tally.left);
    Ok(())
}

impl Tally {
    fn tell(&self, took: Duration) {
        let of = |counts: &BTreeMap<_, usize>| counts.values().sum::<usize>();
        println!(
            "kills: {} kill -9 in {:.0} s, {} of them before the agent served, {} while the link was cut",
            self.runs,
            took.as_secs_f64(),
            self.early,
            self.cut
        );
        let list: Vec<_> = self.ended.iter().map(|(how, n)| format!("{n} {how}")).collect();
        println!("  {} waits: {}", of(&self.ended), list.join(", "));
        for (what, n) in &self.released {
            println!("  {n:>6} released on {what}");
        }
        println!("  {} histories looked through after a kill, none damaged", self.whole);
        println!("  {} wrong releases, {} restarts that failed", self.wrong.len(), self.failed.len());
        let Leftovers { held, open, objects, pins, sockets, processes, namespaces } = self.left;
        let released: usize = self.released.values().sum();
        promise(
            "wrong-releases",
            format_args!("{} kills, {released} released, {} of them wrongly", self.runs, self.wrong.len()),
        );
        promise(
            "corrupt-ledgers",
            format_args!("{} histories looked through after {} kills, 0 damaged", self.whole, self.runs),
        );
        promise(
            "kernel-leftovers",
            format_args!(
                "{} kills of agents that held {held} programs, maps and links and {open} sockets: {objects} and {sockets} left; \
                 {pins} pinned files, {processes} processes, {namespaces} namespaces left",
                self.runs
            ),
        );
    }
}

fn one_world(runs: usize, next: &AtomicUsize, tally: &Mutex<Tally>) -> Result<()> {
    let world = World::new()?;
    let first = Start::new(&world)?;
    let scene = Scene {
        socket: first.socket().to_owned(),
        truth: Mutex::new(Truth::new(Boot::now())),
        is_cut: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        tally,
    };
    let releases = thread::scope(|scope| {
        let breaker = scope.spawn(|| scene.break_at_random(&world));
        let wait = |question: WaitOptions| {
            let scene = &scene;
            scope.spawn(move || scene.keep_waiting(&question))
        };
        let waiters: Vec<_> = questions().map(wait).collect();
        let killed = scene.kill_at_random(&world, runs, next);
        // Before anything else: a scope ends with its threads.
        scene.stop.store(true, Ordering::Relaxed);
        let broken = breaker.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        let releases: Vec<Release> = waiters
            .into_iter()
            .flat_map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
            .collect();
        killed.and(broken).map(|()| releases)
    })?;
    let truth = lock(&scene.truth);
    let mut tally = lock(tally);
    for release in releases {
        let WaitOptions { condition, device, target, stable, .. } = &release.waited_for;
        let of = device.as_deref().or(target.as_deref()).unwrap_or("the network");
        let what = format!("{condition} of {of}, stable {stable:?}");
        if let Some(fault) = truth.fault(&release, Bounds { down: DOWN, up: UP }) {
            tally.wrong.push(format!("{what}: {fault}; {release:?}"));
        }
        *tally.released.entry(what).or_default() += 1;
    }
    Ok(())
}

/// What is waited for, each by one waiter after the other.
fn questions() -> impl Iterator<Item = WaitOptions> {
    use Condition::{Degraded, Down, Up, Usable};
    let one = |condition, device: &str, target: &str, stable| {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let (device, target, stable) = (named(device), named(target), Duration::from_millis(stable));
        WaitOptions { condition, device, target, stable, ..WaitOptions::default() }
    };
    [
        one(Up, "", "", 0),
        one(Usable, "", "", 0),
        one(Down, "", "", 0),
        one(Degraded, "", "", 0),
        one(Up, "eth0", "", 0),
        one(Down, "eth0", "", 0),
        one(Up, "", "8.8.8.8", 0),
        one(Down, "", "8.8.8.8", 0),
        one(Up, "", "", 300),
        one(Usable, "eth0", "8.8.8.8", 600),
        one(Down, "", "", 200),
    ]
    .into_iter()
}

impl Scene<'_> {
    /// Takes the carrier and gives it back: often for a moment, now and then for long.
    fn break_at_random(&self, world: &World) -> Result<()> {
        let switch = Switch::new(&world.gateways[0], "lan0")?;
        while !self.stopped_after(some_time(5)) {
            let begun = Boot::now();
            switch.set(false)?;
            lock(&self.truth).cut(begun, Boot::now());
            self.is_cut.store(true, Ordering::Relaxed);
            self.stopped_after(some_time(2));
            let before = Boot::now();
            world.carrier_up(0)?;
            lock(&self.truth).mended(before, Boot::now());
            self.is_cut.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits again and again, over all the agents there will be; returns the releases.
    fn keep_waiting(&self, question: &WaitOptions) -> Vec<Release> {
        let client = Client::new(&self.socket);
        let mut releases = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let sent = Boot::now();
            let (how, pause) = match client.wait(question) {
                Ok(waited) if waited.satisfied => {
                    let earliest = sent + Duration::from_secs_f64(waited.waited_seconds);
                    let (waited_for, latest) = (question.clone(), Boot::now());
                    releases.push(Release { waited_for, earliest, latest });
                    ("released", Duration::from_millis(rand::random_range(1..100)))
                }
                Ok(_) => ("not in time", Duration::ZERO),
                Err(Error::NoAgent { .. }) => ("without an agent", Duration::from_millis(20)),
                Err(Error::Disconnected | Error::Io(_)) => ("cut", Duration::ZERO),
                Err(Error::NotFound(_)) => ("without such a device or target", Duration::from_millis(20)),
                Err(_) => ("ended otherwise", Duration::from_millis(20)),
            };
            *lock(self.tally).ended.entry(how).or_default() += 1;
            thread::sleep(pause);
        }
        releases
    }

    /// Starts one agent after the other on the same socket, and kills each.
    fn kill_at_random(&self, world: &World, runs: usize, next: &AtomicUsize) -> Result<()> {
        let folder = self.socket.parent().context("a folder")?;
        let config = format!("{CONFIG}[history]\npath = \"{}\"\n", folder.join(HISTORY).display());
        let start = || -> Result<Start<'_>> { Ok(Start::new(world)?.config(&config).at(&self.socket)) };
        let before = Before::look(world)?;
        while next.fetch_add(1, Ordering::Relaxed) < runs {
            let mut agent = start()?.spawn()?;
            // Some die while they start; most are let up first, and some live long enough to see the network up.
            let late = rand::random_bool(0.75);
            let answered = if late { self.await_answer(|| agent.runs()) } else { Ok(false) };
            thread::sleep(Duration::from_millis(rand::random_range(if late { 0..2_500 } else { 0..400 })));
            let said = match (answered, agent.runs()?) {
                (Err(e), _) => Some(format!("{e:#}")),
                (Ok(_), false) => Some("it ended by itself".to_owned()),
                (Ok(_), true) => None,
            };
            let (held, open) = (held_by(agent.pid()), before.open(world)?);
            if agent.runs()? {
                agent.signal(Signal::SIGKILL)?;
            }
            let is_cut = self.is_cut.load(Ordering::Relaxed);
            agent.await_end(START)?;
            let whole = check_folder(folder)?;
            let left = before.after(world, &held, open)?;
            let mut tally = lock(self.tally);
            tally.failed.extend(said.map(|said| format!("{said}: {}", agent.log.lines().join("\n"))));
            tally.runs += 1;
            tally.early += usize::from(!late);
            tally.cut += usize::from(is_cut);
            tally.whole += usize::from(whole);
            tally.left.add(left);
            if tally.runs.is_multiple_of(100) {
                eprintln!("  {} killed", tally.runs);
            }
        }
        // What the last one left is taken over as well, and goes with a clean end.
        let mut agent = start()?.start()?;
        ensure!(agent.stop()?.success(), "the last agent did not end well");
        ensure!(!self.socket.exists(), "{} is left by a clean end", self.socket.display());
        Ok(())
    }

    /// Whether an agent answers on the socket in time.
    fn await_answer(&self, mut runs: impl FnMut() -> Result<bool>) -> Result<bool> {
        let deadline = Mono::now() + START;
        while Client::new(&self.socket).status().is_err() {
            if !runs()? {
                return Ok(false);
            }
            if Mono::now() > deadline {
                bail!("no answer within {START:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    /// Lets time go by; whether all is over.
    fn stopped_after(&self, time: Duration) -> bool {
        let end = Mono::now() + time;
        while Mono::now() < end && !self.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a killed agent may leave beside its configuration: a dead socket and its lock, and a history that is whole. Called
/// after each kill, when nothing writes there. Whether there is a history yet.
///
/// # Errors
/// When there is something else, such as a history that was moved aside, or SQLite finds it damaged.
fn check_folder(folder: &Path) -> Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let known = ["netmon.sock", "netmon.sock.lock", "netmon.toml"];
        let is_history = name.to_str().and_then(|name| name.strip_prefix(HISTORY));
        let known = known.iter().any(|k| name == *k)
            || is_history.is_some_and(|rest| ["", "-wal", "-shm", ".lock"].contains(&rest));
        ensure!(known, "{} is left in {}", name.display(), folder.display());
    }
    let history = folder.join(HISTORY);
    // One that was killed before it had written the first page left an empty file, which the next one takes.
    if !fs::metadata(&history).is_ok_and(|found| found.len() > 0) {
        return Ok(false);
    }
    Reader::new(&history).check().with_context(|| format!("{}", history.display()))?;
    Ok(true)
}

/// A moment mostly, and once in ten times up to so many seconds, or more.
fn some_time(seconds: u64) -> Duration {
    let most = if rand::random_bool(0.1) { 2_000 * seconds } else { 300 * seconds };
    Duration::from_millis(rand::random_range(10..most))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
