//! Transfers that an outage cuts: a plain loop beside `netmon retry` and the `Retryer`.

mod contender;
mod upload;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use netmon_agent::time::{Boot, Mono};
use netmon_tests::agent::Start;
use netmon_tests::lab::World;
use netmon_tests::promise;

use self::contender::{Contender, Outcome};
pub use self::contender::{InProcess, in_process};
pub use self::upload::{Upload, once};
use crate::flaps::UNDAMPED;
use crate::{await_up, quantile};

/// Pieces of one transfer: ten seconds without an outage.
const PIECES: usize = 100;
/// The first attempt begins at a moment from so long before the outage …
const BEFORE: Duration = Duration::from_secs(8);
/// … to so long after its begin.
const AFTER: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Outages, each of which cuts a transfer of every contender.
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Worlds side by side.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// How long each outage lasts, seconds.
    #[arg(long, default_value_t = 30)]
    outage: u64,
    /// Attempts of each contender.
    #[arg(long, default_value_t = 5)]
    attempts: u32,
}

/// What all runs of one contender came to.
#[derive(Default)]
struct Sum {
    successes: usize,
    attempts: u32,
    wasted: u32,
    resumed: Vec<Duration>,
    /// Of failed runs: from the outage's begin to giving up.
    gave_up: Vec<Duration>,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.attempts += outcome.attempts;
        self.wasted += outcome.wasted;
        if outcome.success {
            self.successes += 1;
            self.resumed.extend(outcome.resumed);
        } else {
            self.gave_up.extend(outcome.gave_up);
        }
    }
}

/// Runs them all and prints what came of it.
///
/// # Errors
/// No world can be made, or a contender does not end.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let outage = Duration::from_secs(arguments.outage);
    let (runs, jobs, attempts) = (arguments.runs, arguments.jobs, arguments.attempts);
    println!(
        "retry: {runs} outages of {outage:?} in {jobs} worlds, {attempts} attempts, delays from 1 s × 2; a transfer of \
         {} s, begun from {BEFORE:?} before the outage to {AFTER:?} after its begin",
        PIECES / 10
    );
    let sums = Mutex::new(Contender::ALL.map(|_| Sum::default()));
    let next = AtomicUsize::new(0);
    let start = Mono::now();
    let one = || -> Result<()> {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= runs {
                return Ok(());
            }
            let outcomes = contest(arguments, outage, moment(run))?;
            let mut sums = sums.lock().unwrap_or_else(|e| e.into_inner());
            sums.iter_mut().zip(&outcomes).for_each(|(sum, outcome)| sum.add(outcome));
            let words: Vec<_> =
                Contender::ALL.iter().zip(&outcomes).map(|(c, o)| format!("{} {o}", c.name())).collect();
            eprintln!("  {:>4.0} s  run {run}: {}", Mono::now().since(start).as_secs_f64(), words.join("; "));
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    })?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("  load at the end {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
    println!(
        "  {:<38} {:>9} {:>9} {:>8} {:>12} {:>8} {:>8}",
        "", "succeeded", "attempts", "wasted", "resumed p50", "p99", "max"
    );
    let mut figures = Vec::new();
    for (contender, sum) in Contender::ALL.iter().zip(sums.into_inner().unwrap_or_else(|e| e.into_inner())) {
        figures.push(format!("{} {} of {runs}", contender.name(), sum.successes));
        tell(*contender, sum, runs);
    }
    promise("retries", format_args!("transfers that came through: {}", figures.join(", ")));
    Ok(())
}

fn tell(contender: Contender, mut sum: Sum, runs: usize) {
    let seconds = |d: Duration| format!("{:.2} s", d.as_secs_f64());
    let [p50, p99, max] = match sum.resumed.is_empty() {
        true => ["–"; 3].map(str::to_owned),
        false => [0.5, 0.99, 1.0].map(|q| seconds(quantile(&mut sum.resumed, q))),
    };
    let succeeded = format!("{}/{runs}", sum.successes);
    println!(
        "  {:<38} {succeeded:>9} {:>9} {:>8} {p50:>12} {p99:>8} {max:>8}",
        contender.name(),
        sum.attempts,
        sum.wasted
    );
    if !sum.gave_up.is_empty() {
        let [least, most] = [0.0, 1.0].map(|q| seconds(quantile(&mut sum.gave_up, q)));
        println!("  {:<38} gave up {least} to {most} after the outage began", "");
    }
}

/// One outage, with every contender in it.
fn contest(arguments: &Arguments, outage: Duration, moment: Duration) -> Result<Vec<Outcome>> {
    let world = World::new()?;
    let agent = Start::new(&world)?.config(UNDAMPED).start()?;
    await_up(&agent)?;
    // What `--stable` asks for before the first attempt.
    thread::sleep(Duration::from_secs(6));
    let cut = Boot::now() + BEFORE;
    let begin = Boot::now() + moment;
    let back = cut + outage;
    thread::scope(|scope| {
        let jobs: Vec<_> = Contender::ALL
            .into_iter()
            .map(|contender| {
                let (agent, attempts) = (&agent, arguments.attempts);
                scope.spawn(move || -> Result<_> {
                    thread::sleep(begin.since(Boot::now()));
                    contender.run(agent, attempts, PIECES)
                })
            })
            .collect();
        thread::sleep(cut.since(Boot::now()));
        world.carrier_down(0)?;
        let cut = Boot::now();
        thread::sleep(back.since(Boot::now()));
        world.carrier_up(0)?;
        let back = Boot::now();
        let mut outcomes = Vec::new();
        for job in jobs {
            let record = job.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?;
            outcomes.push(record.outcome(cut, back));
        }
        ensure!(outcomes.iter().any(|o| o.attempts > 0), "nobody tried anything");
        Ok(outcomes)
    })
}

/// When the first attempt of each run begins, from when the contest does: spread evenly over the time around the outage's
/// begin, by the golden ratio.
fn moment(run: usize) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    (BEFORE + AFTER).mul_f64((run as f64 * GOLDEN).fract())
}
