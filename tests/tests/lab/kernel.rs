//! The kernel side: what it counts is what the kernel counts, on every rung, and each to its own device and namespace.

mod devices;
mod drops;
mod ladder;
mod namespaces;
mod sent;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Metrics, Start, await_until};
use netmon_tests::lab::{
    Code, Counters, ECHO, Family, Netns, Place, SERVER_V4, SERVER_V6, Way, What, World, growth, run,
};

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("kernel::opens_and_failed_connects_equal_the_kernels", opens),
    ("kernel::a_handshakes_round_trip_is_the_one_ss_tells", round_trips),
    ("kernel::segments_sent_equal_the_kernels_and_history_does_not_count", sent::segments),
    ("kernel::a_connection_to_an_own_address_counts_once", sent::own_address),
    ("kernel::drops_equal_the_firewalls_own_counters", drops::by_reason),
    ("kernel::an_unknown_drop_reason_takes_one_capability", drops::unknown_reason),
    ("kernel::other_namespaces_have_families_of_their_own", namespaces::others),
    ("kernel::namespaces_without_end_are_bounded", namespaces::many),
    ("kernel::without_types_the_classic_tracepoints_serve", ladder::classic),
    ("kernel::without_privilege_there_are_the_totals", ladder::totals),
    ("kernel::each_device_counts_its_own", devices::each_its_own),
    ("kernel::a_reused_index_begins_at_nothing", devices::reused_index),
    ("kernel::rows_of_devices_that_are_gone_serve_others", devices::rows_again),
    ("kernel::what_an_unwatched_device_counted_stays", devices::unwatched_gone),
    ("kernel::time_outs_are_told_of_every_prefix", devices::time_outs),
];

const PATIENCE: Duration = Duration::from_secs(20);
/// The agent looks at open connections every ten seconds.
const SETTLED: Duration = Duration::from_secs(40);
/// A port where nobody listens.
const CLOSED: u16 = 4;

/// An agent that opens no connection of its own: one echo target, and nothing thought of by itself.
fn quiet(kernel: &str) -> String {
    format!(
        "[defaults]\nauto_targets = false\n[kernel]\n{kernel}\n[[target]]\nhost = \"{SERVER_V4}\"\nprobe = \"icmp\"\n"
    )
}

fn start<'a>(world: &'a World, kernel: &str) -> Result<Agent<'a>> {
    let agent = Start::new(world)?.config(&quiet(kernel)).start()?;
    is_up(&agent)?;
    Ok(agent)
}

fn is_up(agent: &Agent<'_>) -> Result<()> {
    let code = agent.cli_code(&["wait", "--state", "up", "--timeout", "20s"])?;
    ensure!(code == 0, "not up: {}", agent.status()?);
    Ok(())
}

/// What the agent says and what the kernel does, read one after the other.
struct Reading {
    agent: Metrics,
    kernel: Counters,
}

impl Reading {
    fn take(agent: &Agent<'_>) -> Result<Self> {
        Ok(Self { agent: agent.metrics()?, kernel: agent.world.counters()? })
    }

    /// Growth of a family since, over all series with these labels.
    fn grown(&self, since: &Self, family: &str, labels: &[(&str, &str)]) -> u64 {
        (self.agent.sum(family, labels) - since.agent.sum(family, labels)).round() as u64
    }

    /// Growth of the kernel's counter.
    fn truth(&self, since: &Self, name: &str) -> u64 {
        growth(&since.kernel, &self.kernel, name)
    }
}

/// Waits until what `both` finds (the agent's figures and the kernel's) is equal; else says what they are.
fn agree<T: PartialEq + std::fmt::Debug>(
    agent: &Agent<'_>,
    within: Duration,
    both: impl Fn(&Reading) -> (T, T),
) -> Result<T> {
    let mut last = None;
    let equal = await_until(within, || {
        let (seen, truth) = both(&Reading::take(agent)?);
        thread::sleep(Duration::from_millis(300));
        let equal = seen == truth;
        last = Some((seen, truth));
        Ok(equal.then_some(()))
    })?;
    let (seen, truth) = last.context("no reading")?;
    ensure!(equal.is_some(), "netmon counted {seen:?}, the kernel {truth:?}");
    Ok(seen)
}

/// Connects from inside `netns`.
fn connect(netns: &Netns, to: SocketAddr) -> Result<TcpStream> {
    netns.run(|| TcpStream::connect_timeout(&to, PATIENCE))?.with_context(|| format!("connecting to {to}"))
}

/// Sends one byte and reads it back, `rounds` times.
fn echo(stream: &mut TcpStream, rounds: usize) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    for round in 0..rounds {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0]).with_context(|| format!("echo {round} of {rounds} from {stream:?}"))?;
    }
    Ok(())
}

/// Closes in the way that leaves nothing to a socket in TIME-WAIT, which sends on nobody's account.
fn finish(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.shutdown(Shutdown::Write)?;
    ensure!(stream.read(&mut [0])? == 0, "the server sent something at the end");
    Ok(())
}

/// Connects that a peer's RST refuses.
fn refused(netns: &Netns, to: SocketAddr, count: usize) -> Result<()> {
    for _ in 0..count {
        match netns.run(|| TcpStream::connect_timeout(&to, PATIENCE))? {
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {}
            other => bail!("connecting to {to}, which is closed: {other:?}"),
        }
    }
    Ok(())
}

/// Connections from `from` to a listener of `netns` at `address`, both ends closed at the end.
fn accept(netns: &Netns, from: &Netns, address: IpAddr, count: usize) -> Result<()> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let listener = netns.run(|| TcpListener::bind((any, 0)))??;
    let to = SocketAddr::new(address, listener.local_addr()?.port());
    for _ in 0..count {
        let near = connect(from, to)?;
        drop(listener.accept()?);
        drop(near);
    }
    Ok(())
}

fn opens() -> Result<()> {
    let world = World::new()?;
    let agent = start(&world, "")?;
    let before = Reading::take(&agent)?;
    for host in [IpAddr::from(SERVER_V4), SERVER_V6.into()] {
        for _ in 0..20 {
            connect(&world.node, SocketAddr::new(host, ECHO))?;
        }
        refused(&world.node, SocketAddr::new(host, CLOSED), 10)?;
    }
    for (family, count) in [(Family::V4, 30), (Family::V6, 15)] {
        accept(&world.node, &world.internet, world.node_address(0, family), count)?;
    }
    // A gateway that refuses by ICMP: a connect fails at once, or at its second SYN when the first answer came too soon.
    let (v4, v6) = ("8.8.8.8".parse()?, "2001:4860:4860::8888".parse()?);
    for host in [v4, v6] {
        let fault = world.refuse(0, Code::HostUnreachable, Some(host))?;
        for _ in 0..2 {
            let to = SocketAddr::new(host, ECHO);
            let refused = world.node.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
            let error = refused.err().context("connected to an unreachable host")?;
            ensure!(error.kind() == std::io::ErrorKind::HostUnreachable, "{host}: {error}");
        }
        fault.mend()?;
    }
    // Given up while under way: opened, as the kernel has it, and not failed.
    let fault = world.lose(Place::Wan(0), Way::FromNode, What::Host("8.8.4.4".parse()?))?;
    for _ in 0..5 {
        let to = "8.8.4.4:7".parse()?;
        let given_up = world.node.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(50)))?;
        ensure!(given_up.is_err_and(|e| e.kind() == std::io::ErrorKind::TimedOut), "8.8.4.4 answers");
    }
    fault.mend()?;
    let opens = "netmon_tcp_opens_total";
    let counted = agree(&agent, PATIENCE, |now| {
        let seen = [
            now.grown(&before, opens, &[("direction", "active")]),
            now.grown(&before, opens, &[("direction", "passive")]),
            now.grown(&before, "netmon_tcp_failed_connects_total", &[]),
        ];
        (seen, ["TcpActiveOpens", "TcpPassiveOpens", "TcpAttemptFails"].map(|n| now.truth(&before, n)))
    })?;
    eprintln!("active, passive, failed: netmon and the kernel {counted:?}");
    // An ICMP error that comes while the connect still holds the socket ends it without the kernel's calling it failed.
    ensure!(counted[..2] == [40 + 20 + 4 + 5, 45], "{counted:?} is not what was done");
    ensure!((20 + 2..=20 + 4).contains(&counted[2]), "{counted:?} is not what was done");
    let now = Reading::take(&agent)?;
    ensure!(now.grown(&before, opens, &[("device", "eth0")]) == counted[0] + counted[1], "not all on eth0");
    let rest = now.agent.all("netmon_tcp_unattributed", &[]);
    ensure!(rest.len() == 5 && rest.iter().all(|s| s.value == 0.0), "{rest:?}");
    Ok(())
}

fn round_trips() -> Result<()> {
    let world = World::new()?;
    let agent = start(&world, "")?;
    let count = |r: &Reading, phase| r.agent.sum("netmon_tcp_rtt_seconds_count", &[("phase", phase)]);
    let sum = |r: &Reading| r.agent.sum("netmon_tcp_rtt_seconds_sum", &[("phase", "handshake")]);
    // One connection that sends nothing: what `ss` tells of it is its handshake alone.
    for host in [IpAddr::from(SERVER_V4), SERVER_V6.into()] {
        let before = Reading::take(&agent)?;
        let began = Mono::now();
        let stream = connect(&world.node, SocketAddr::new(host, ECHO))?;
        let took = Mono::now().since(began);
        // The agent reads its maps once a second at most.
        let after = await_until(PATIENCE, || {
            let now = Reading::take(&agent)?;
            Ok((count(&now, "handshake") > count(&before, "handshake")).then_some(now))
        })?;
        let after = after.context("no handshake was seen")?;
        let destination = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
        let ss = run(world.node.command("ss").args(["-tinH", "dst", &destination]), "")?;
        let told = ss.split_whitespace().find_map(|word| word.strip_prefix("rtt:"));
        let told: f64 = told.and_then(|t| t.split('/').next()?.parse().ok()).with_context(|| ss.clone())?;
        let (seen, ended) = (sum(&after) - sum(&before), count(&after, "handshake"));
        eprintln!("{host}: netmon {:.3} ms, ss {told} ms, the connect took {took:?}", seen * 1e3);
        ensure!(ended - count(&before, "handshake") == 1.0, "not one handshake");
        ensure!((seen * 1e3 - told).abs() < 0.001, "netmon has {} ms, ss {told} ms", seen * 1e3);
        ensure!(seen > 0.0 && seen < took.as_secs_f64(), "{seen} s of a connect of {took:?}");
        drop(stream);
    }
    // Both have closed, and been seen to.
    let before = await_until(PATIENCE, || {
        let now = Reading::take(&agent)?;
        Ok((count(&now, "close") == 2.0).then_some(now))
    })?;
    let before = before.context("two closed")?;
    let mut least = Duration::ZERO;
    for _ in 0..50 {
        let began = Mono::now();
        let mut stream = connect(&world.node, (SERVER_V4, ECHO).into())?;
        least += Mono::now().since(began);
        echo(&mut stream, 1)?;
        finish(stream)?;
    }
    accept(&world.node, &world.internet, world.node_address(0, Family::V4), 25)?;
    let closed = await_until(PATIENCE, || {
        let now = Reading::take(&agent)?;
        Ok((count(&now, "close") - count(&before, "close") >= 75.0).then_some(now))
    })?;
    let now = closed.context("not every close has a round-trip time")?;
    ensure!(count(&now, "handshake") - count(&before, "handshake") == 75.0, "not 75 handshakes");
    ensure!(count(&now, "close") - count(&before, "close") == 75.0, "more than 75 closes");
    let largest = now.agent.value(
        "netmon_tcp_rtt_seconds_bucket",
        &[("phase", "handshake"), ("device", "eth0"), ("le", "+Inf")],
    );
    ensure!(largest == Some(count(&now, "handshake")), "{largest:?} in the last bucket");
    eprintln!("75 handshakes: {:.3} s, connects {least:?}", sum(&now) - sum(&before));
    Ok(())
}

/// `ip` with bytes for a name.
fn ip_bytes(netns: &Netns, arguments: &[&[u8]]) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut command = Command::new("ip");
    command.args(["-n", netns.name()]).args(arguments.iter().map(|a| std::ffi::OsStr::from_bytes(a)));
    run(&mut command, "").map(drop)
}
