//! What the agent costs at rest.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use netmon_agent::time::Mono;
use netmon_tests::agent::Agent;
use netmon_tests::lab::World;
use netmon_tests::promise;

use crate::await_up;

/// Lets the agent watch a quiet network with its default targets for `time`.
pub fn measure(time: Duration) -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    await_up(&agent)?;
    let (before, threads_before, start) = (agent.usage()?, agent.thread_usage()?, Mono::now());
    thread::sleep(time);
    let (after, threads_after, took) = (agent.usage()?, agent.thread_usage()?, Mono::now().since(start));
    let targets = agent.status()?["targets"].as_array().map_or(0, Vec::len);
    // A thread that came to its end took what it cost with it.
    let cpu = Duration::from_nanos(after.cpu_ns.saturating_sub(before.cpu_ns));
    println!("idle: {:.0} s, {targets} default targets, {} threads", took.as_secs_f64(), after.threads);
    println!(
        "  CPU                {:.3} % of a core ({cpu:.1?})",
        cpu.as_secs_f64() / took.as_secs_f64() * 100.0
    );
    promise(
        "idle-cost",
        format_args!(
            "{:.3} % of a core, {:.1} MB resident",
            cpu.as_secs_f64() / took.as_secs_f64() * 100.0,
            after.resident_kib as f64 / 1024.0
        ),
    );
    println!("    (with the forwarding of the world itself: a veth delivers within its sender's time)");
    for is in &threads_after {
        let was = threads_before.iter().find(|was| was.id == is.id);
        let (cpu_ns, switches) = was.map_or((0, 0), |was| (was.cpu_ns, was.switches));
        let (cpu, switches) = (Duration::from_nanos(is.cpu_ns - cpu_ns), is.switches - switches);
        println!("    {:<16} {cpu:>8.1?}, {switches} context switches", is.name);
    }
    println!(
        "  context switches   {:.1} a second",
        after.switches.saturating_sub(before.switches) as f64 / took.as_secs_f64()
    );
    println!(
        "  resident           {:.1} MB, of which {:.1} MB anonymous",
        after.resident_kib as f64 / 1024.0,
        after.anonymous_kib as f64 / 1024.0
    );
    Ok(())
}
