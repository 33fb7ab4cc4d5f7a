//! Measurements in the lab, printed plainly. Each is one subcommand; none given means all but `capacity`, `kills`, `probes`,
//! `targets`, `reload`, `verdict`, `retry`, `waits` and `s3`, which take long.

mod capacity;
mod churn;
mod events;
mod exact;
mod flaps;
mod idle;
mod kernel;
mod kills;
mod probes;
mod read;
mod reload;
mod retry;
mod s3;
mod targets;
mod verdict;
mod waits;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use netmon_tests::agent::{Agent, logs_of_this_thread};
use netmon_tests::lab;

/// Measures the agent in network namespaces. Needs root.
#[derive(Parser)]
#[command(name = "netmon-bench")]
struct Arguments {
    #[command(subcommand)]
    which: Option<Which>,
}

#[derive(Subcommand)]
enum Which {
    /// Kernel link event → state published → waiter woken.
    Flaps {
        /// How many times the carrier is taken and given back.
        #[arg(long, default_value_t = 200)]
        flaps: usize,
    },
    /// CPU, context switches and memory at rest, with the default targets.
    Idle {
        /// For how many seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Nanoseconds a read of the state in a process that embeds the client, and proof that it makes no system call.
    Read,
    /// Retransmitted segments and resets, the agent's count beside the kernel's.
    Exact {
        /// For how many seconds each upload runs.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// How many uploads: 1, 5 and 20 % loss, with offload and without, by turns.
        #[arg(long, default_value_t = 6)]
        runs: usize,
    },
    /// What the kernel programs cost, beside classic tracepoints and bpftrace; their start, size and memory.
    Kernel {
        /// For how many seconds the upload runs.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// How often the programs are loaded.
        #[arg(long, default_value_t = 20)]
        loads: usize,
    },
    /// Network namespaces that come and go by the thousand while every one is counted.
    Churn {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        namespaces: usize,
        /// How many at once, while the agent stands still.
        #[arg(long, default_value_t = 4_500)]
        at_once: usize,
    },
    /// What a target, a device and a probe take: series, bytes, CPU, memory.
    Capacity(capacity::Arguments),
    /// What many targets cost the whole agent.
    Targets(targets::Arguments),
    /// One target of many becomes another: how soon, at what cost, and nothing of the others is lost.
    Reload(reload::Arguments),
    /// How soon the agent says `down` and `up`, and that a starved machine makes it say neither.
    Verdict(verdict::Arguments),
    /// How soon who waits goes on when the network is back, beside systemd-networkd-wait-online.
    Waits(waits::Arguments),
    /// Transfers that an outage cuts: a plain loop beside `netmon retry` and the Retryer.
    Retry(retry::Arguments),
    /// The transfer of `retry`.
    #[command(hide = true)]
    RetryUpload(retry::Upload),
    /// The Retryer's half of `retry`.
    #[command(hide = true)]
    RetryInProcess(retry::InProcess),
    /// Uploads to S3 that an outage cuts: the example of the client beside object_store's own retries.
    S3(s3::Arguments),
    /// Agents killed at any moment, with waiters attached and a link that breaks at random: nobody is released wrongly.
    Kills(kills::Arguments),
    /// What a probe costs and how true its round trip is, beside fping, ping and blackbox_exporter.
    Probes(probes::Arguments),
    /// The engine that `probes` measures.
    #[command(hide = true)]
    ProbesEngine(probes::Job),
    /// The traced half of `read`.
    #[command(hide = true)]
    ReadLoop { socket: std::path::PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.which {
        Some(Which::ReadLoop { socket }) => read::traced_loop(&socket),
        Some(Which::ProbesEngine(job)) => probes::engine(&job),
        Some(Which::RetryUpload(upload)) => retry::once(&upload),
        Some(Which::RetryInProcess(arguments)) => retry::in_process(&arguments),
        which => measure(which.as_ref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("netmon-bench: {e:#}\n{}", logs_of_this_thread());
            ExitCode::FAILURE
        }
    }
}

fn measure(which: Option<&Which>) -> Result<()> {
    lab::clean_up_on_signals()?;
    if let Some(why) = lab::obstacle() {
        anyhow::bail!("{why}");
    }
    match which {
        Some(Which::Flaps { flaps }) => flaps::measure(*flaps),
        Some(Which::Idle { seconds }) => idle::measure(Duration::from_secs(*seconds)),
        Some(Which::Exact { seconds, runs }) => exact::measure(Duration::from_secs(*seconds), *runs),
        Some(Which::Kernel { seconds, loads }) => kernel::measure(Duration::from_secs(*seconds), *loads),
        Some(Which::Churn { namespaces, at_once }) => churn::measure(*namespaces, *at_once),
        Some(Which::Capacity(arguments)) => capacity::measure(arguments),
        Some(Which::Probes(arguments)) => probes::measure(arguments),
        Some(Which::Kills(arguments)) => kills::measure(arguments),
        Some(Which::Verdict(arguments)) => verdict::measure(arguments),
        Some(Which::Waits(arguments)) => waits::measure(arguments),
        Some(Which::Targets(arguments)) => targets::measure(arguments),
        Some(Which::Reload(arguments)) => reload::measure(arguments),
        Some(Which::Retry(arguments)) => retry::measure(arguments),
        Some(Which::S3(arguments)) => s3::measure(arguments),
        Some(Which::Read | Which::ReadLoop { .. } | Which::ProbesEngine(_)) => read::measure(),
        // They are no measurements, and never come here.
        Some(Which::RetryUpload(_) | Which::RetryInProcess(_)) => Ok(()),
        None => {
            idle::measure(Duration::from_secs(60))?;
            read::measure()?;
            exact::measure(Duration::from_secs(5), 6)?;
            kernel::measure(Duration::from_secs(10), 20)?;
            churn::measure(10_000, 4_500)?;
            flaps::measure(200)
        }
    }
}

/// Waits until the network is up.
fn await_up(agent: &Agent<'_>) -> Result<()> {
    let code = agent.cli_code(&["wait", "--state", "up", "--timeout", "20s"])?;
    ensure!(code == 0, "the network is not up: {}", agent.status()?);
    Ok(())
}

/// The value below which the share `q` of the samples lies; they are sorted in place.
fn quantile(samples: &mut [Duration], q: f64) -> Duration {
    samples.sort_unstable();
    let rank = (samples.len() as f64 * q).ceil() as usize;
    samples.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_sample_by_nearest_rank() {
        let mut samples: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&mut samples, 0.5), Duration::from_millis(100));
        assert_eq!(quantile(&mut samples, 0.99), Duration::from_millis(198));
        assert_eq!(quantile(&mut samples, 1.0), Duration::from_millis(200));
    }
}
