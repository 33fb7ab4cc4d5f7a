//! What a probe costs and how true its round trip is, beside other programs that do the same, in one run.
//!
//! Targets are addresses of a loopback device or of a namespace behind a wire of this program's own; nothing leaves
//! them. On loopback the answering kernel's work is billed to whoever asks, so each figure holds both halves.

mod blackbox;
mod capture;
mod cost;
mod engine;
mod exporter;
mod floor;
mod loss;
mod smokeping;
mod subject;
mod truth;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

pub use engine::Job;

/// What to measure, and how long.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Parts; none given means all.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How often each is measured; medians are printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// For how many seconds each measurement lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Numbers of targets for `cost`, `tcp` and `memory`.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    targets: Vec<u32>,
    /// Numbers of processes' worth of load for `truth`.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 2, 8])]
    hogs: Vec<usize>,
    /// Take only the engine and the floor, not the programs they are held against.
    #[arg(long)]
    alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU per ICMP probe, paced and flooding, beside the floor, fping and ping.
    Cost,
    /// CPU per TCP probe.
    Tcp,
    /// CPU per probe beside blackbox_exporter, ICMP and TCP.
    Blackbox,
    /// CPU per probe and memory beside smokeping_prober.
    Smokeping,
    /// Lost probes as they are told, held against what was dropped.
    Loss,
    /// Bytes a target.
    Memory,
    /// From the start to the first complete round.
    Start,
    /// Round trips held against a capture on the device.
    Truth,
}

/// Measures what was asked for.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if wanted(Part::Cost) {
        cost::icmp(arguments)?;
    }
    if wanted(Part::Tcp) {
        cost::tcp(arguments)?;
    }
    if wanted(Part::Blackbox) {
        blackbox::measure(arguments)?;
    }
    if wanted(Part::Smokeping) {
        smokeping::measure(arguments)?;
    }
    if wanted(Part::Loss) {
        loss::measure(arguments)?;
    }
    if wanted(Part::Memory) {
        cost::memory(arguments)?;
    }
    if wanted(Part::Start) {
        cost::start(arguments)?;
    }
    if wanted(Part::Truth) {
        truth::measure(arguments)?;
    }
    Ok(())
}

/// The other half of this program: an engine in a process of its own, so that its cost is all that is counted.
pub fn engine(job: &Job) -> Result<()> {
    engine::run(job)
}

impl Arguments {
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// The median; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn own_program() -> Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_the_middle_in_order() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
