//! The agent's counters beside the kernel's own.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use netmon_tests::agent::Agent;
use netmon_tests::lab::{
    Bulk, Counters, Options, Place, SERVER_V4, SERVER_V6, Way, What, World, abort_connections, growth,
    refused_connections,
};

use crate::await_up;

/// Uploads for `time` at 1, 5 and 20 % loss, with and without segmentation offload, then resets.
pub fn measure(time: Duration) -> Result<()> {
    println!(
        "exact: growth over all devices of the node; kernel: TcpRetransSegs, TcpOutRsts of its namespace"
    );
    println!(
        "missed: events the kernel kept from the programs, as it does while one already runs on that processor"
    );
    println!("  loss  offload   retransmitted segments                        resets sent");
    println!("                   netmon     kernel       off     missed      netmon     kernel");
    for offload in [true, false] {
        for loss in [1.0, 5.0, 20.0] {
            let world = World::with(Options { offload, ..Options::default() })?;
            let agent = Agent::start(&world)?;
            await_up(&agent)?;
            let before = read(&agent)?;
            let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(loss))?;
            let bulk = Bulk::start(&world, &[SERVER_V4.into(), SERVER_V6.into(), SERVER_V4.into()])?;
            thread::sleep(time);
            bulk.stop();
            fault.mend()?;
            abort_connections(&world, 100)?;
            refused_connections(&world, 50)?;
            // The last retransmission of a closed connection, and the agent's next look at its maps.
            thread::sleep(Duration::from_secs(4));
            let after = read(&agent)?;
            let (segments, resets) = (after.0 - before.0, after.1 - before.1);
            let kernel = |name| growth(&before.2, &after.2, name) as f64;
            let (true_segments, true_resets) = (kernel("TcpRetransSegs"), kernel("TcpOutRsts"));
            let off = (segments - true_segments) / true_segments * 100.0;
            let missed = after.3 - before.3;
            let word = if offload { "on" } else { "off" };
            println!(
                "  {loss:>3} %  {word:<7} {segments:>10} {true_segments:>10} {off:>8.3} %  {missed:>7}  {resets:>10} {true_resets:>10}"
            );
        }
    }
    Ok(())
}

fn read(agent: &Agent<'_>) -> Result<(f64, f64, Counters, f64)> {
    let metrics = agent.metrics()?;
    let segments = metrics.sum("netmon_tcp_retransmitted_segments_total", &[]);
    let resets = metrics.sum("netmon_tcp_resets_total", &[("direction", "sent")]);
    let missed = metrics.sum("netmon_bpf_recursion_misses_total", &[]);
    Ok((segments, resets, agent.world.counters()?, missed))
}
