//! Resets sent, of a connection's own end and in reply, and resets received.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::lab::{Family, SERVER_V4, World, run};

use crate::compare::{Expectation, Figure, Known, Subject};
use crate::connections::{
    Connection, abort, abort_and_await, connect, ended, establish, listen, refused, refused_at,
};
use crate::release;

/// Connections of a case.
const COUNT: u64 = 10;
/// For segments on their way to arrive.
const MOMENT: Duration = Duration::from_millis(200);
const DEVICE: &str = "eth0";

/// All cases.
pub fn suite() -> Result<()> {
    let world = World::new()?;
    let mut subject = Subject::new(&world.node)?;
    sent(&world, &mut subject)?;
    replied(&world, &mut subject)?;
    received(&world, &mut subject)
}

/// Resets that answer a segment without a full socket: closed ports and TIME_WAIT.
pub fn without_socket(count: u64) -> Known {
    if release::before(6, 12) {
        Known::Count(count, "no full socket: not traced before 6.12")
    } else {
        Known::None
    }
}

/// The node ends its own connections.
fn sent(world: &World, subject: &mut Subject<'_>) -> Result<()> {
    let (node, peer) = (&world.node, &world.internet);
    let expected = |case| expect(case, Figure::ResetsSent, DEVICE, Known::None);
    let established = || establish(peer, node, SERVER_V4.into(), COUNT);
    subject.case(&expected("close with unread data"), || {
        for Connection { mut accepted, mut connected } in established()? {
            accepted.write_all(b"unread")?;
            connected.read_exact(&mut [0; 1])?;
            drop(connected);
            ended(&accepted)?;
        }
        Ok(())
    })?;
    subject.case(&expected("SO_LINGER 0"), || {
        established()?.into_iter().try_for_each(|c| abort_and_await(c.connected, &c.accepted))
    })?;
    subject.case(&expected("aborted by ss -K"), || {
        let connections = established()?;
        let port = connections.first().context("no connection")?.connected.peer_addr()?.port();
        let mut ss = Command::new("ss");
        ss.args(["-K", "-t", "dport", "=", &format!(":{port}")]);
        node.run(|| run(&mut ss, ""))??;
        connections.iter().try_for_each(|c| ended(&c.accepted))
    })?;
    subject.case(&expected("listener closed, its queue not empty"), || {
        let (listener, to) = listen(node, world.node_address(0, Family::V4))?;
        let waiting: Vec<_> = (0..COUNT).map(|_| connect(peer, to)).collect::<Result<_>>()?;
        // The last ACK of a handshake may still be on its way.
        thread::sleep(MOMENT);
        drop(listener);
        waiting.iter().try_for_each(ended)
    })
}

/// The node answers what fits no connection.
fn replied(world: &World, subject: &mut Subject<'_>) -> Result<()> {
    let (node, peer) = (&world.node, &world.internet);
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        let expected =
            expect(&format!("closed port, {name}"), Figure::ResetsSent, DEVICE, without_socket(COUNT));
        subject.case(&expected, || refused(node, peer, world.node_address(0, family), COUNT))?;
    }
    let local: IpAddr = Ipv4Addr::LOCALHOST.into();
    let expected = expect("closed port, loopback", Figure::ResetsSent, "lo", without_socket(COUNT));
    subject.case(&expected, || refused(node, node, local, COUNT))?;

    let expected =
        expect("data for a socket in TIME_WAIT", Figure::ResetsSent, DEVICE, without_socket(COUNT));
    subject.case(&expected, || {
        for Connection { accepted, mut connected } in
            establish(node, peer, world.node_address(0, Family::V4), COUNT)?
        {
            // Closed on one side only, it waits for the other's FIN as a TIME_WAIT socket: data is too late.
            drop(accepted);
            ended(&connected)?;
            thread::sleep(MOMENT / 4);
            connected.write_all(b"late")?;
            thread::sleep(MOMENT / 4);
        }
        Ok(())
    })?;

    let (listener, to) = listen(node, world.node_address(0, Family::V4))?;
    drop(listener);
    let rule = format!("tcp dport {} reject with tcp reset", to.port());
    node.nft(&format!(
        "table inet refusal {{\nchain c {{\ntype filter hook input priority 0\n{rule}\n}}\n}}\n"
    ))?;
    // The kernel does not count nftables' own resets, and neither do we.
    let expected = Expectation {
        least: 0,
        ..expect("nft reject with tcp reset", Figure::ResetsSent, DEVICE, Known::None)
    };
    subject.case(&expected, || refused_at(peer, to, COUNT))?;
    node.nft("delete table inet refusal\n")
}

/// The peer ends the node's connections.
fn received(world: &World, subject: &mut Subject<'_>) -> Result<()> {
    let (node, peer) = (&world.node, &world.internet);
    let established = || establish(peer, node, SERVER_V4.into(), COUNT);
    subject.case(&expect("connect refused", Figure::Refused, DEVICE, Known::None), || {
        refused(peer, node, SERVER_V4.into(), COUNT)
    })?;
    subject.case(&expect("peer resets, established", Figure::ResetsReceived, DEVICE, Known::None), || {
        for Connection { accepted, connected } in established()? {
            abort(accepted)?;
            ended(&connected)?;
        }
        Ok(())
    })?;
    subject.case(&expect("peer resets, half closed", Figure::ResetsReceived, DEVICE, Known::None), || {
        for Connection { accepted, connected } in established()? {
            accepted.shutdown(Shutdown::Write)?;
            ended(&connected)?;
            abort(accepted)?;
            thread::sleep(MOMENT / 4);
            let error = connected.take_error()?;
            ensure!(error.is_some(), "a reset in CLOSE_WAIT is an error of the socket's");
        }
        Ok(())
    })
}

fn expect(case: &str, figure: Figure, device: &str, known: Known) -> Expectation {
    Expectation {
        suite: "reset",
        case: case.to_owned(),
        figure,
        least: COUNT,
        known,
        devices: vec![device.to_owned()],
    }
}
