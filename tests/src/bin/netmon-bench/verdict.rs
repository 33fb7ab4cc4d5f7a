//! How soon the real agent says `down` and `up`, and that a starved machine makes it say neither.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use netmon_agent::time::{Boot, Mono};
use netmon_tests::agent::{Agent, Metrics, Start};
use netmon_tests::lab::{Switch, World};
use netmon_tests::promise;

use crate::flaps::{UNDAMPED, Waiter};
use crate::{await_up, quantile};

/// The interval of probing, over which the moments of the faults are spread.
const INTERVAL: Duration = Duration::from_secs(2);

/// How often a long watch says that it is alive.
const WORD: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Faults of each kind; 0 leaves them out.
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Worlds side by side for the black holes, which take eight seconds each.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    worlds: u8,
    /// Threads that do nothing but take the CPU while nothing is wrong with the network.
    #[arg(long, default_value_t = 8)]
    hogs: usize,
    /// For how many minutes; 0 leaves them out.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// Times of one kind, and the most that the rules promise.
struct Times {
    what: &'static str,
    bound: Duration,
    all: Vec<Duration>,
}

/// Faults first, then the hogs.
///
/// # Errors
/// When a verdict does not come in half a minute, or a false one does.
pub fn measure(arguments: &Arguments) -> Result<()> {
    if arguments.runs > 0 {
        println!(
            "verdict: default settings but for the damping of flaps; milliseconds from the command to the verdict"
        );
        println!("  {:<42} {:>4} {:>8} {:>8} {:>8} {:>8}", "", "n", "p50", "p99", "max", "bound");
        link(arguments.runs)?.into_iter().for_each(Times::tell);
        blackholes(arguments.runs, arguments.worlds)?.into_iter().for_each(Times::tell);
    }
    if arguments.minutes > 0 {
        starve(arguments.hogs, Duration::from_secs(60 * arguments.minutes))?;
    }
    Ok(())
}

impl Times {
    fn new(what: &'static str, bound: Duration) -> Self {
        Self { what, bound, all: Vec::new() }
    }

    fn tell(mut self) {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| quantile(&mut self.all, q).as_secs_f64() * 1e3);
        let (n, bound) = (self.all.len(), self.bound.as_millis());
        println!("  {:<42} {n:>4} {p50:>8.1} {p99:>8.1} {max:>8.1} {bound:>8}", self.what);
    }
}

/// The carrier is lost at the far end, and comes back.
fn link(runs: usize) -> Result<[Times; 2]> {
    let world = World::new()?;
    let agent = Start::new(&world)?.config(UNDAMPED).start()?;
    await_up(&agent)?;
    let switch = Switch::new(&world.gateways[0], "lan0")?;
    let mut lost = Times::new("carrier lost → down (R2)", Duration::from_millis(100));
    let mut back = Times::new("carrier back → up (R8)", Duration::from_secs(3));
    for run in 0..runs {
        thread::sleep(phase(run));
        let waiter = Waiter::start(&agent, "down")?;
        let before = Boot::now();
        switch.set(false)?;
        waiter.end()?;
        lost.all.push(changed_at(&agent)?.since(before));

        let waiter = Waiter::start(&agent, "up")?;
        let before = Boot::now();
        world.carrier_up(0)?;
        waiter.end()?;
        back.all.push(changed_at(&agent)?.since(before));
    }
    Ok([lost, back])
}

/// Everything is lost in silence on the way to the gateway, and passes again; in several worlds at once.
fn blackholes(runs: usize, worlds: u8) -> Result<[Times; 2]> {
    let times = Mutex::new([
        Times::new("black hole → down (R4)", Duration::from_millis(5200)),
        Times::new("the hole closed → up (R8)", Duration::from_secs(3)),
    ]);
    let next = AtomicUsize::new(0);
    let one = || -> Result<()> {
        let world = World::new()?;
        let agent = Start::new(&world)?.config(UNDAMPED).start()?;
        await_up(&agent)?;
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= runs {
                return Ok(());
            }
            thread::sleep(phase(run));
            let waiter = Waiter::start(&agent, "down")?;
            let before = Boot::now();
            let hole = world.blackhole()?;
            waiter.end()?;
            let down = changed_at(&agent)?.since(before);

            let waiter = Waiter::start(&agent, "up")?;
            let before = Boot::now();
            hole.mend()?;
            waiter.end()?;
            let up = changed_at(&agent)?.since(before);
            let mut times = times.lock().unwrap_or_else(|e| e.into_inner());
            times[0].all.push(down);
            times[1].all.push(up);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..worlds).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    })?;
    Ok(times.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// Nothing is wrong with the network, only with the machine: nothing may be `down`.
fn starve(hogs: usize, time: Duration) -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    await_up(&agent)?;
    let cores = thread::available_parallelism()?;
    println!(
        "verdict: {hogs} CPU hogs on {cores} cores for {:.0} min, default settings",
        time.as_secs_f64() / 60.0
    );
    let (before, start) = (agent.metrics()?, Mono::now());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..hogs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let watched = watch(&agent, start, time);
        // Before anything else: a scope ends with its threads.
        stop.store(true, Ordering::Relaxed);
        watched
    })?;
    let after = agent.metrics()?;
    let down = tell(&before, &after);
    promise(
        "starved-machine",
        format_args!(
            "{hogs} hogs on {cores} cores for {:.0} min: {down} false downs",
            time.as_secs_f64() / 60.0
        ),
    );
    ensure!(down == 0.0, "{down} false downs; now {}", agent.status()?);
    Ok(())
}

/// Waits for so long, with a word now and then.
fn watch(agent: &Agent<'_>, start: Mono, time: Duration) -> Result<()> {
    loop {
        let gone = Mono::now().since(start);
        let Some(left) = time.checked_sub(gone).filter(|left| !left.is_zero()) else { return Ok(()) };
        thread::sleep(left.min(WORD));
        let state = agent.status()?["state"].as_str().context("no state")?.to_owned();
        eprintln!("  {:.0} s: {state}", Mono::now().since(start).as_secs_f64());
    }
}

/// Prints what grew meanwhile, and gives the changes to `down`.
fn tell(before: &Metrics, after: &Metrics) -> f64 {
    let grown = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let (whole, targets) = ("netmon_state_transitions_total", "netmon_target_state_transitions_total");
    for state in ["down", "degraded", "unknown"] {
        let (of_all, of_targets) = (grown(whole, &[("state", state)]), grown(targets, &[("state", state)]));
        println!("  changes to {state:<9} {of_all:>6} of the whole, {of_targets} of targets");
    }
    println!(
        "  probes {}, lost {}, late {}",
        grown("netmon_probes_total", &[]),
        grown("netmon_probe_failures_total", &[]),
        grown("netmon_probe_late_total", &[]),
    );
    let lag = "netmon_scheduler_lag_seconds";
    let (sum, count) = (grown(&format!("{lag}_sum"), &[]), grown(&format!("{lag}_count"), &[]));
    let on_time = grown(&format!("{lag}_bucket"), &[("le", "0.1")]);
    println!(
        "  the probe thread was late by {:.2} ms on average, by more than 0.1 s {} times",
        sum / count.max(1.0) * 1e3,
        count - on_time
    );
    grown(whole, &[("state", "down")]) + grown(targets, &[("state", "down")])
}

/// When the verdict over all last changed.
fn changed_at(agent: &Agent<'_>) -> Result<Boot> {
    let since = agent.status()?["since_boottime_ns"].as_u64().context("no since_boottime_ns")?;
    Ok(Boot::from_nanos(since))
}

/// A moment of the interval for each run: all of them together are spread over it evenly, however many they are, by the
/// golden ratio. Half a second goes before, in which the last fault fades.
fn phase(run: usize) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    Duration::from_millis(500) + INTERVAL.mul_f64((run as f64 * GOLDEN).fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spread_over_the_interval() {
        for runs in [5, 50] {
            let mut all: Vec<f64> = (0..runs).map(|run| phase(run).as_secs_f64() - 0.5).collect();
            all.push(INTERVAL.as_secs_f64());
            all.sort_unstable_by(f64::total_cmp);
            let widest = all.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
            assert!(widest < 3.0 * INTERVAL.as_secs_f64() / runs as f64, "{runs}: {widest}");
        }
    }
}
