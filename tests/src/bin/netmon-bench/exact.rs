//! The agent's counters beside the kernel's own.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_tests::agent::{Agent, Metrics};
use netmon_tests::lab::{
    Bulk, Counters, Options, Place, SERVER_V4, SERVER_V6, Way, What, World, abort_connections, growth,
    refused_connections,
};
use netmon_tests::promise;

use crate::await_up;
use crate::events::{Events, Statistics, interrupting_init};

const PROGRAM: [(&str, &str); 1] = [("program", "tcp_retransmit_skb")];
/// On some machines the first process watches over the guest, and the softirqs that interrupt these threads of it run
/// no BPF program at all.
const DEAF: &str = "tokio-rt-worker";

/// `runs` uploads of `time` each, at 1, 5 and 20 % loss, with and without segmentation offload by turns, each with
/// resets after it.
pub fn measure(time: Duration, runs: usize) -> Result<()> {
    let _statistics = Statistics::on()?;
    println!(
        "exact: growth over all devices of the node; kernel: TcpRetransSegs, TcpOutRsts of its namespace\n\
         missed: events the kernel kept from the program, as it does while that already runs on the processor; \
         recovered: those its twin counted\n\
         events: tcp_retransmit_skb in a tracefs instance, of all namespaces; not run: those for which the kernel \
         neither ran the program nor counted a miss; in init: those that interrupted a {DEAF} of process 1, where this \
         machine runs no program"
    );
    println!(
        "  loss  offload   retransmitted segments             missed  recov- |   events  not run  in init |  resets sent\n\
         \x20                  netmon     kernel        off            ered   |                            |  netmon   kernel"
    );
    let kinds = [true, false].into_iter().flat_map(|offload| [1.0, 5.0, 20.0].map(|loss| (offload, loss)));
    let (mut worst, mut sums) = (0.0_f64, Run::default());
    for (offload, loss) in kinds.cycle().take(runs) {
        let run = one(time, offload, loss).with_context(|| format!("{loss} % loss, offload {offload}"))?;
        let off = (run.netmon - run.kernel) / run.kernel;
        if off.abs() > worst.abs() {
            worst = off;
        }
        sums.netmon += run.netmon;
        sums.kernel += run.kernel;
        sums.not_run += run.not_run;
        sums.deaf += run.deaf;
    }
    println!(
        "  worst of {runs} runs: {:.4} %; all together: netmon {}, kernel {}: {:.4} %",
        worst * 100.0,
        sums.netmon,
        sums.kernel,
        (sums.netmon - sums.kernel) / sums.kernel * 100.0
    );
    promise(
        "exact-retransmits",
        format_args!(
            "{runs} runs with up to 20 % lost: netmon {}, the kernel {}, which ran no program for {} of the events, {} of them \
             within this machine's process 1; the worst run is off by {:.4} %",
            sums.netmon,
            sums.kernel,
            sums.not_run,
            sums.deaf,
            worst * 100.0
        ),
    );
    Ok(())
}

/// What an upload gave.
#[derive(Default)]
struct Run {
    /// Segments sent again, as netmon has them.
    netmon: f64,
    /// The same as the kernel has them.
    kernel: f64,
    /// Events for which the kernel neither ran the program nor counted a miss.
    not_run: f64,
    /// Those of them that interrupted what this machine runs no program in.
    deaf: f64,
}

/// One upload.
fn one(time: Duration, offload: bool, loss: f64) -> Result<Run> {
    let world = World::with(Options { offload, ..Options::default() })?;
    let agent = Agent::start(&world)?;
    await_up(&agent)?;
    let all = Events::record("all", None)?;
    let deaf = interrupting_init(DEAF).map(|filter| Events::record("init", Some(&filter))).transpose()?;
    let before = Reading::take(&agent, &all, deaf.as_ref())?;
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(loss))?;
    let bulk = Bulk::start(&world, &[SERVER_V4.into(), SERVER_V6.into(), SERVER_V4.into()])?;
    thread::sleep(time);
    bulk.stop();
    fault.mend()?;
    abort_connections(&world, 100)?;
    refused_connections(&world, 50)?;
    // The last retransmission of a closed connection, and the agent's next look at its maps.
    thread::sleep(Duration::from_secs(3));
    let after = Reading::take(&agent, &all, deaf.as_ref())?;
    let grown = |of: fn(&Reading) -> f64| of(&after) - of(&before);
    let kernel = |name| growth(&before.kernel, &after.kernel, name) as f64;
    let (segments, resets) = (grown(|r| r.segments), grown(|r| r.resets));
    let (true_segments, true_resets) = (kernel("TcpRetransSegs"), kernel("TcpOutRsts"));
    let not_run = grown(|r| r.events) - grown(|r| r.runs) - grown(|r| r.missed);
    println!(
        "  {loss:>3} %  {:<7} {segments:>10} {true_segments:>10} {:>9.4} %  {:>6}  {:>6} | {:>8} {not_run:>8} {:>8} | {resets:>7} {true_resets:>8}",
        if offload { "on" } else { "off" },
        (segments - true_segments) / true_segments * 100.0,
        grown(|r| r.missed),
        grown(|r| r.recovered),
        grown(|r| r.events),
        grown(|r| r.deaf),
    );
    Ok(Run { netmon: segments, kernel: true_segments, not_run, deaf: grown(|r| r.deaf) })
}

/// All that counts, read one after the other.
struct Reading {
    segments: f64,
    resets: f64,
    missed: f64,
    recovered: f64,
    runs: f64,
    events: f64,
    deaf: f64,
    kernel: Counters,
}

impl Reading {
    fn take(agent: &Agent<'_>, all: &Events, deaf: Option<&Events>) -> Result<Self> {
        // The agent reads its maps once a second at most.
        thread::sleep(Duration::from_millis(1100));
        let metrics = agent.metrics()?;
        Ok(Self {
            segments: counted(&metrics),
            resets: metrics.sum("netmon_tcp_resets_total", &[("direction", "sent")]),
            missed: metrics.sum("netmon_bpf_recursion_misses_total", &PROGRAM),
            recovered: metrics.sum("netmon_bpf_recovered_total", &[]),
            runs: metrics.sum("netmon_bpf_runs_total", &PROGRAM),
            events: all.count()? as f64,
            deaf: deaf.map(Events::count).transpose()?.unwrap_or(0) as f64,
            kernel: agent.world.counters()?,
        })
    }
}

/// Over all devices, without what is unattributed: that is taken from the kernel's total, and would make every sum right.
fn counted(metrics: &Metrics) -> f64 {
    let all = metrics.all("netmon_tcp_retransmitted_segments_total", &[]);
    all.iter().filter(|s| s.labels["kind"] != "unattributed").map(|s| s.value).sum()
}
