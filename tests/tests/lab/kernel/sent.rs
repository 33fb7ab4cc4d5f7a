//! Segments sent: by sockets that closed, by those that live, and none from before the agent's time.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, await_until};
use netmon_tests::lab::{
    Bulk, ECHO, Family, Place, SERVER_V4, SERVER_V6, Way, What, World, abort_connections, refused_connections,
};

use super::{Reading, SETTLED, agree, connect, echo, finish, start};

const SENT: &str = "netmon_tcp_segments_sent_total";

pub fn segments() -> Result<()> {
    let world = World::new()?;
    // What it sends before the agent's time is its history.
    let mut old = connect(&world.node, (SERVER_V4, ECHO).into())?;
    echo(&mut old, 500)?;
    let agent = start(&world, "")?;
    let begun = await_until(SETTLED, || Ok(lives(&agent)?.then_some(())))?;
    ensure!(begun.is_some(), "the agent never looked at open connections");
    let before = Reading::take(&agent)?;
    ensure!(before.agent.sum(SENT, &[]) < 500.0, "history counts: {}", before.agent.sum(SENT, &[]));
    echo(&mut old, 50)?;
    let mut long = connect(&world.node, (SERVER_V6, ECHO).into())?;
    echo(&mut long, 300)?;
    for host in [IpAddr::from(SERVER_V4), SERVER_V6.into()] {
        for _ in 0..20 {
            let mut stream = connect(&world.node, SocketAddr::new(host, ECHO))?;
            echo(&mut stream, 5)?;
            finish(stream)?;
        }
    }
    // On no socket's account: SYN-ACKs, and resets of sockets that are closed already or never were.
    let listener = world.node.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    for _ in 0..10 {
        let to = SocketAddr::new(world.node_address(0, Family::V4), listener.local_addr()?.port());
        let near = connect(&world.internet, to)?;
        let (mut far, _) = listener.accept()?;
        let other = std::thread::spawn(move || far.read(&mut [0]).map(drop));
        finish(near)?;
        other.join().ok().context("the far end panicked")??;
    }
    abort_connections(&world, 10)?;
    refused_connections(&world, 10)?;
    let compare = |now: &Reading| {
        let truth = now.truth(&before, "TcpOutSegs") + now.truth(&before, "TcpRetransSegs");
        (now.grown(&before, SENT, &[("device", "eth0")]), truth)
    };
    let open = agree(&agent, SETTLED, compare)?;
    // The old one closes with all its history, of which only what was sent since is new.
    echo(&mut old, 10)?;
    finish(old)?;
    finish(long)?;
    let closed = agree(&agent, SETTLED, compare)?;
    eprintln!("segments sent: netmon and the kernel {open} while two live, {closed} once they are closed");
    ensure!(open >= 350 + 40 * 5 && closed > open, "{open} and {closed} are not what was done");
    // Under loss: what is sent again counts too.
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(5.0))?;
    let bulk = Bulk::start(&world, &[SERVER_V4.into(), SERVER_V6.into()])?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    let ratio = await_until(SETTLED, || {
        Ok(agent.metrics()?.value("netmon_tcp_retransmit_ratio", &[("device", "eth0")]).filter(|r| *r > 0.0))
    })?;
    fault.mend()?;
    bulk.stop();
    eprintln!("netmon_tcp_retransmit_ratio at 5 % loss: {ratio:?}");
    let ratio = ratio.unwrap_or_default();
    ensure!(ratio > 0.005 && ratio < 0.5, "a ratio of {ratio} at 5 % loss");
    Ok(())
}

/// Whether a look at open connections has been published: a device that closed nothing has a figure only by it.
fn lives(agent: &Agent<'_>) -> Result<bool> {
    let capabilities = &agent.status()?["agent"]["capabilities"];
    ensure!(capabilities["sock_diag"]["ok"] == true, "{capabilities}");
    Ok(!agent.metrics()?.all(SENT, &[("device", "eth0")]).is_empty())
}

/// From the node to itself, by the address of its uplink: it leaves by no wire, and whoever counts it while it lives
/// must not count it once more when it closes.
pub fn own_address() -> Result<()> {
    let world = World::new()?;
    let agent = start(&world, "")?;
    let listener = world.node.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    let port = listener.local_addr()?.port();
    let before = Reading::take(&agent)?;
    let hosts =
        [world.node_address(0, Family::V4), Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 9).into()];
    let mut pairs = Vec::new();
    for host in hosts {
        let mut near = connect(&world.node, SocketAddr::new(host, port))?;
        let (mut far, _) = listener.accept()?;
        for _ in 0..100 {
            near.write_all(b"x")?;
            far.read_exact(&mut [0])?;
        }
        pairs.push((near, far));
    }
    let truth = |now: &Reading| now.truth(&before, "TcpOutSegs") + now.truth(&before, "TcpRetransSegs");
    let compare = |now: &Reading| (now.grown(&before, SENT, &[]), truth(now));
    let open = agree(&agent, SETTLED, compare)?;
    for (near, mut far) in pairs {
        // Its end of file is what `finish` waits for.
        let other = std::thread::spawn(move || far.read(&mut [0]).map(drop));
        finish(near)?;
        other.join().ok().context("the far end panicked")??;
    }
    let closed = agree(&agent, SETTLED, compare)?;
    // Long enough for three looks: what was counted twice would stay by then.
    std::thread::sleep(SETTLED);
    let (late, kernel) = compare(&Reading::take(&agent)?);
    eprintln!("to own addresses: {open} while open, {closed} closed, {late} in the end; the kernel {kernel}");
    ensure!(late == kernel, "netmon counted {late}, the kernel {kernel}");
    let now = Reading::take(&agent)?;
    let wire = now.grown(&before, SENT, &[("device", "eth0")]);
    ensure!(wire == 0, "{wire} segments that left by no wire are on eth0");
    Ok(())
}
