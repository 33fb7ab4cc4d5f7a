//! The rules' figures, by simulation: the real health core in virtual time, beside what others would have said of the
//! same probes. One file a topic.

mod bursts;
mod degraded;
mod detection;
mod flaps;
mod latency;
mod loss;
mod plan;
mod starvation;

use std::{num::NonZeroUsize, process::ExitCode, thread::available_parallelism};

use clap::{Parser, ValueEnum};
use netmon_agent::time::Mono;
use nix::sys::resource::{UsageWho, getrusage};

use plan::{Bounds, Plan};

/// Simulates the health core and prints its figures beside their bounds. Needs no root and no network; ends with 1 when
/// a bound is missed.
#[derive(Parser)]
#[command(name = "netmon-simulate")]
struct Arguments {
    /// What to simulate; all of it when nothing is named.
    #[arg(value_enum)]
    what: Vec<What>,
    /// Days of each ratio of independent loss; the other topics take proportionally as long.
    #[arg(long, conflicts_with = "years")]
    days: Option<f64>,
    /// The same in years of 365 days. 2.5 when neither is given: ten years of four ratios together.
    #[arg(long)]
    years: Option<f64>,
    /// For other draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; as many as there are processors when none is given.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// False downs at independent loss.
    Loss,
    /// Loss in bursts.
    Bursts,
    /// Degraded by loss.
    Degraded,
    /// From a blackhole to down, and back.
    Detection,
    /// False alarms of latency, and how soon a true one comes.
    Latency,
    /// A link that comes and goes.
    Flaps,
    /// An agent without a processor, stopped or suspended.
    Starvation,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let days = arguments.days.or(arguments.years.map(|y| y * 365.0)).unwrap_or(plan::DAYS);
    if !(days > 0.0 && days <= 365.0 * 100.0) {
        eprintln!("netmon-simulate: more than nothing and at most a hundred years can be simulated");
        return ExitCode::from(2);
    }
    let threads = arguments.threads.or(available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let plan = Plan { days, seed: arguments.seed, threads };
    let mut bounds = Bounds::default();
    let start = Mono::now();
    for what in What::value_variants() {
        if arguments.what.is_empty() || arguments.what.contains(what) {
            let begun = Mono::now();
            match what {
                What::Loss => loss::run(&plan, &mut bounds),
                What::Bursts => bursts::run(&plan, &mut bounds),
                What::Degraded => degraded::run(&plan, &mut bounds),
                What::Detection => detection::run(&plan, &mut bounds),
                What::Latency => latency::run(&plan, &mut bounds),
                What::Flaps => flaps::run(&plan, &mut bounds),
                What::Starvation => starvation::run(&plan, &mut bounds),
            }
            println!("  took {:.1} s\n", Mono::now().since(begun).as_secs_f64());
        }
    }
    let took = Mono::now().since(start).as_secs_f64();
    println!(
        "{took:.0} s in all, {:.0} s of processor time on {threads} threads, seed {}",
        processor_time(),
        plan.seed
    );
    match bounds.missed() {
        [] => ExitCode::SUCCESS,
        missed => {
            missed.iter().for_each(|what| println!("MISSED: {what}"));
            ExitCode::FAILURE
        }
    }
}

/// Seconds that this process has had a processor: what the figures cost on a machine that does nothing else. NaN where
/// the kernel does not tell.
fn processor_time() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(f64::NAN, |usage| {
        let time = usage.user_time() + usage.system_time();
        time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same on few days: every bound holds.
    fn kept(topic: fn(&Plan, &mut Bounds)) {
        let mut bounds = Bounds::default();
        topic(&Plan { days: 2.0, seed: 7, threads: 2 }, &mut bounds);
        assert_eq!(bounds.missed(), <[String; 0]>::default());
    }

    #[test]
    fn false_downs_are_as_rare_as_promised() {
        kept(loss::run);
    }

    #[test]
    fn outages_are_found_and_blips_are_not() {
        kept(bursts::run);
    }

    #[test]
    fn light_loss_is_let_be_and_heavy_loss_is_told() {
        kept(degraded::run);
    }

    #[test]
    fn a_blackhole_is_found_in_time_and_its_end_too() {
        kept(detection::run);
    }

    #[test]
    fn usual_latency_raises_no_alarm() {
        kept(latency::run);
    }

    #[test]
    fn flaps_are_damped_and_down_is_never_hidden() {
        kept(flaps::run);
    }

    #[test]
    fn ones_own_lateness_is_no_outage() {
        kept(starvation::run);
    }
}
