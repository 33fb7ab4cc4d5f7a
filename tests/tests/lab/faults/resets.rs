//! A storm of resets, as a service that is gone draws upon itself.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Start, Witness, await_until};
use netmon_tests::lab::{Family, Options, SERVER_V4, World, growth};
use netmon_tests::promise;
use socket2::{Domain, Socket, Type};

use super::SOON;

/// Each second so many, in portions, for so long.
const A_SECOND: usize = 10_000;
const PORTION: usize = 50;
const SECONDS: usize = 5;
/// A port where nobody listens.
const CLOSED: u16 = 4;

pub fn storm() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    // No connection of the agent's own is among them.
    let config =
        format!("[defaults]\nauto_targets = false\n[[target]]\nhost = \"{SERVER_V4}\"\nprobe = \"icmp\"\n");
    let agent = Start::new(&world)?.config(&config).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let pause = || {
        thread::sleep(Duration::from_secs(3));
        Ok(())
    };
    let calm = cpu_of(|| Ok(agent.usage()?.cpu_ns), pause)?;
    let before = (agent.metrics()?, world.counters()?);
    let to = SocketAddr::new(world.node_address(0, Family::V4), CLOSED);
    let mut sent = (0, Duration::ZERO);
    let busy = cpu_of(
        || Ok(agent.usage()?.cpu_ns),
        || {
            sent = world.internet.run(|| resets(to, A_SECOND * SECONDS))??;
            Ok(())
        },
    )?;
    let rate = sent.0 as f64 / sent.1.as_secs_f64();
    // As many as the kernel counts, and as many as were drawn.
    let mut last = (0.0, 0.0);
    let exact = await_until(SOON, || {
        thread::sleep(Duration::from_millis(300));
        let (now, kernel) = (agent.metrics()?, world.counters()?);
        let grown = now.sum("netmon_tcp_resets_total", &[("direction", "sent")])
            - before.0.sum("netmon_tcp_resets_total", &[("direction", "sent")]);
        let rest = now.sum("netmon_tcp_unattributed", &[("counter", "resets_sent")])
            - before.0.sum("netmon_tcp_unattributed", &[("counter", "resets_sent")]);
        last = (grown + rest, growth(&before.1, &kernel, "TcpOutRsts") as f64);
        Ok((last.0 == last.1).then_some((grown, rest)))
    })?;
    let (counted, rest) =
        exact.ok_or_else(|| anyhow::anyhow!("netmon counted {}, the kernel {}", last.0, last.1))?;
    ensure!(last.1 >= sent.0 as f64, "{} were drawn, the kernel sent {}", sent.0, last.1);

    // A link is lost in the midst of another such storm.
    let took = thread::scope(|scope| -> Result<Duration> {
        let storm = scope.spawn(|| world.internet.run(|| resets(to, A_SECOND * SECONDS)));
        thread::sleep(Duration::from_secs(1));
        let took = witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0));
        storm.join().unwrap_or_else(|p| std::panic::resume_unwind(p))??;
        took
    })?;
    promise(
        "reset-storm",
        format_args!(
            "{} resets at {rate:.0} a second: {counted:.0} counted and {rest:.0} told as laid to no device, the kernel's {}; the \
             agent's CPU {:.1} % of a core ({:.1} % before), a link's loss told after {:.0} ms",
            sent.0,
            last.1,
            busy * 100.0,
            calm * 100.0,
            took.as_secs_f64() * 1e3
        ),
    );
    Ok(())
}

/// Connects to where nobody listens, each answered by a reset: so many, at the pace, without waiting for any. How many were
/// answered, and what it took.
fn resets(to: SocketAddr, count: usize) -> Result<(usize, Duration)> {
    let began = Mono::now();
    let mut under_way: Vec<OwnedFd> = Vec::with_capacity(PORTION);
    let mut done = 0;
    while done < count {
        for _ in 0..PORTION {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            // Over a veth the answer is there before the call returns, or a moment later.
            let _ = socket.connect(&to.into());
            under_way.push(socket.into());
        }
        done += PORTION;
        let due = began + Duration::from_secs_f64(done as f64 / A_SECOND as f64);
        thread::sleep(due.since(Mono::now()));
        under_way.clear();
    }
    Ok((done, Mono::now().since(began)))
}

/// The share of a core that is taken while `work` goes on.
fn cpu_of(usage: impl Fn() -> Result<u64>, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let (before, began) = (usage()?, Mono::now());
    work()?;
    Ok((usage()? - before) as f64 / Mono::now().since(began).as_nanos() as f64)
}
