//! Each device has its own counters, and an index its own life.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::source::bpf::{Kernel, Options as KernelOptions};
use netmon_tests::agent::await_until;
use netmon_tests::lab::{Bulk, ECHO, Family, Options, SERVER_V4, SERVER_V6, World, run};

use super::{PATIENCE, Reading, agree, connect, finish, start};

const OPENS: &str = "netmon_tcp_opens_total";

pub fn each_its_own() -> Result<()> {
    let world = World::with(Options { uplinks: 2, ..Options::default() })?;
    let agent = start(&world, "")?;
    world.node.ip(&format!("route add 1.1.1.1/32 via {} dev eth1", world.gateway_address(1, Family::V4)))?;
    let before = Reading::take(&agent)?;
    for (host, count) in [("203.0.113.10", 20), ("1.1.1.1", 30)] {
        for _ in 0..count {
            finish(connect(&world.node, SocketAddr::new(host.parse()?, ECHO))?)?;
        }
    }
    let listener = world.node.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
    for _ in 0..10 {
        let near = connect(&world.node, listener.local_addr()?)?;
        drop(listener.accept()?);
        drop(near);
    }
    let of =
        |now: &Reading, device| now.grown(&before, OPENS, &[("device", device), ("direction", "active")]);
    agree(&agent, PATIENCE, |now| {
        // Loopback is not watched: it is in what no watched device has.
        ([of(now, "eth0"), of(now, "eth1"), of(now, "n/a")], [20, 30, 10])
    })?;
    let now = Reading::take(&agent)?;
    ensure!(now.truth(&before, "TcpActiveOpens") == 60, "the kernel counted otherwise");
    ensure!(
        now.grown(&before, OPENS, &[("device", "n/a"), ("direction", "passive")]) == 10,
        "not loopback's"
    );
    Ok(())
}

pub fn reused_index() -> Result<()> {
    let world = World::with(Options { uplinks: 2, ..Options::default() })?;
    let agent = start(&world, "drop_reasons = [\"NETFILTER_DROP\"]")?;
    world.node.ip(&format!("route add 1.1.1.1/32 via {} dev eth1", world.gateway_address(1, Family::V4)))?;
    let index = run(world.node.command("cat").arg("/sys/class/net/eth1/ifindex"), "")?;
    let index: u32 = index.trim().parse().with_context(|| index.clone())?;
    let mut open = Vec::new();
    for n in 0..40 {
        let stream = connect(&world.node, "1.1.1.1:7".parse()?)?;
        if n < 20 { finish(stream)? } else { open.push(stream) }
    }
    let on_eth1 = [("device", "eth1"), ("direction", "active")];
    let opened = |device| -> Result<f64> {
        Ok(agent.metrics()?.sum(OPENS, &[("device", device), ("direction", "active")]))
    };
    let counted = await_until(PATIENCE, || Ok((opened("eth1")? == 40.0).then_some(())))?;
    ensure!(counted.is_some(), "{} opens on eth1, not 40", opened("eth1")?);
    let totals = agent.metrics()?.sum("netmon_tcp_unattributed", &[]);
    world.delete_device(1)?;
    world
        .node
        .ip(&format!("link add name fresh0 index {index} type veth peer name fresh1\nlink set fresh0 up"))?;
    let seen = await_until(PATIENCE, || {
        let status = agent.status()?;
        let devices = status["devices"].as_array().cloned().unwrap_or_default();
        Ok(devices.iter().any(|d| d["name"] == "fresh0").then_some(()))
    })?;
    ensure!(seen.is_some(), "fresh0 is not watched: {}", agent.status()?);
    let metrics = agent.metrics()?;
    for family in
        [OPENS, "netmon_tcp_segments_sent_total", "netmon_tcp_rtt_seconds_count", "netmon_tcp_resets_total"]
    {
        let fresh = metrics.sum(family, &[("device", "fresh0")]);
        ensure!(fresh == 0.0, "{family}: the new device with index {index} begins at {fresh}");
    }
    ensure!(metrics.all(OPENS, &on_eth1).is_empty(), "a device that is gone has series");
    // What it had counted is still the kernel's, and no surprise to the ledger.
    ensure!(
        metrics.sum("netmon_tcp_unattributed", &[]) == totals,
        "{:?}",
        metrics.all("netmon_tcp_unattributed", &[])
    );
    // Connections of the lost device end: they are not the new one's.
    drop(open);
    thread::sleep(Duration::from_secs(1));
    let sent = agent.metrics()?.sum("netmon_tcp_segments_sent_total", &[("device", "fresh0")]);
    eprintln!("segments on the new device with index {index} after the old one's connections ended: {sent}");
    Ok(())
}

/// A container's device goes every minute: the counters of what nobody watches must not go back.
/// More devices come and go than the tables have rows, each with a connect of its own: rows serve one after the other.
pub fn rows_again() -> Result<()> {
    const PAIRS: usize = 140;
    const ROUNDS: usize = 5;
    let world = World::new()?;
    let agent = start(&world, "")?;
    let before = Reading::take(&agent)?;
    for round in 0..ROUNDS {
        let mut up = String::new();
        for i in 0..PAIRS {
            // Writing to a String can't fail.
            let _ = writeln!(up, "link add name churn{i} group 77 type veth peer name churn{i}b");
            for end in [format!("churn{i}"), format!("churn{i}b")] {
                let _ = writeln!(up, "link set {end} up");
            }
            for (end, low) in [("", 2 * i), ("b", 2 * i + 1)] {
                let to = format!("198.19.{}.{}", low >> 8, low & 255);
                let _ = writeln!(up, "route add {to}/32 dev churn{i}{end} src 10.77.1.2");
            }
        }
        world.node.ip(&up)?;
        // Nobody answers, and it is given up at once.
        world.node.run(|| {
            for i in 0..2 * PAIRS {
                let to = ([198, 19, (i >> 8) as u8, (i & 255) as u8], 9);
                let _ = TcpStream::connect_timeout(&to.into(), Duration::from_millis(1));
            }
        })?;
        // Together, for each alone takes the kernel a quarter of a second.
        world.node.ip("link del group 77")?;
        let is_gone = || {
            let told = agent.status()?["devices"].to_string();
            Ok((!told.contains("churn")).then_some(()))
        };
        ensure!(
            await_until(PATIENCE, is_gone)?.is_some(),
            "round {round}: devices that are gone are told of"
        );
        // What was retired is given back with the next reading, a second later at most.
        thread::sleep(Duration::from_secs(2));
    }
    let opens = 2 * PAIRS * ROUNDS;
    agree(&agent, PATIENCE, |now| {
        let dropped = agent.metrics().map_or(f64::NAN, |m| m.sum("netmon_bpf_dropped_total", &[]));
        let unattributed = now.grown(&before, "netmon_tcp_unattributed", &[("counter", "active_opens")]);
        let truth = now.truth(&before, "TcpActiveOpens");
        ([dropped as u64, unattributed, truth], [0, 0, opens as u64])
    })?;
    println!("{} devices one after the other where there are 1024 rows: {opens} opens, none dropped", opens);
    Ok(())
}

pub fn unwatched_gone() -> Result<()> {
    const FAMILIES: [&str; 3] = [OPENS, "netmon_tcp_segments_sent_total", "netmon_tcp_rtt_seconds_count"];
    let world = World::with(Options { uplinks: 2, ..Options::default() })?;
    let agent = start(&world, "[devices]\nexclude = [\"lo\", \"eth1\"]")?;
    world.node.ip(&format!("route add 1.1.1.1/32 via {} dev eth1", world.gateway_address(1, Family::V4)))?;
    for _ in 0..20 {
        finish(connect(&world.node, "1.1.1.1:7".parse()?)?)?;
    }
    let nowhere = || -> Result<[f64; 3]> {
        let metrics = agent.metrics()?;
        Ok(FAMILIES.map(|family| metrics.sum(family, &[("device", "n/a")])))
    };
    let counted =
        await_until(PATIENCE, || Ok(Some(nowhere()?).filter(|all| all.iter().all(|n| *n >= 20.0))))?;
    let before = counted.with_context(|| format!("{:?} of 20 connections", nowhere()))?;
    world.delete_device(1)?;
    for _ in 0..20 {
        let now = nowhere()?;
        ensure!(now.iter().zip(before).all(|(now, before)| *now >= before), "{before:?} became {now:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// What rule R5 rests on: a time-out of every prefix that does not answer is told, by SYNs and by data.
pub fn time_outs() -> Result<()> {
    let world = World::new()?;
    let hosts: [IpAddr; 4] = [SERVER_V4.into(), SERVER_V6.into(), "8.8.8.8".parse()?, "1.1.1.1".parse()?];
    let prefixes: BTreeSet<u32> = hosts.iter().map(|host| netmon_ebpf::prefix_hash(&mapped(*host))).collect();
    let index = run(world.node.command("cat").arg("/sys/class/net/eth0/ifindex"), "")?;
    let index: u32 = index.trim().parse()?;
    let bulk = Bulk::start(&world, &hosts)?;
    thread::sleep(Duration::from_millis(500));
    let told = world.node.run(|| -> Result<BTreeSet<u32>> {
        let mut kernel = Kernel::load(&KernelOptions::default());
        ensure!(kernel.timeouts().is_some(), "{:?}", kernel.capabilities());
        ensure!(kernel.next_timeout().is_none(), "a time-out before anything was lost");
        let _fault = world.blackhole_behind()?;
        let mut told = BTreeSet::new();
        let mut count = 0;
        let all = await_until(PATIENCE, || {
            while let Some(timeout) = kernel.next_timeout() {
                ensure!(timeout.device.0 == index, "a time-out of device {}", timeout.device.0);
                told.insert(timeout.prefix);
                count += 1;
            }
            Ok(told.is_superset(&prefixes).then_some(()))
        })?;
        ensure!(all.is_some(), "told of {told:?}, not of {prefixes:?}");
        eprintln!("{count} time-outs told of {} prefixes", told.len());
        Ok(told)
    })??;
    bulk.stop();
    ensure!(told == prefixes, "{told:?} is not {prefixes:?}");
    Ok(())
}

/// The form in which the kernel side has an address.
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
