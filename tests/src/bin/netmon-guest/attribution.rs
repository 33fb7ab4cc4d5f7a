//! Which device: the same traffic over every kind of link, with the node as the side that is connected to.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use netmon_agent::time::Mono;
use netmon_tests::lab::Netns;

use crate::compare::{Expectation, Figure, Known, Subject};
use crate::connections::{Connection, abort_and_await, connect, establish, listen, refused};
use crate::pair::{Pair, TOPOLOGIES, Topology};
use crate::{reset, retransmit};

/// Connections of a case of resets.
const COUNT: u64 = 5;
/// Percent of segments lost, and how long the node sends under it.
const LOSS: u32 = 10;
const DOWNLOAD: Duration = Duration::from_millis(1200);
/// Segments that have to be sent again in that time.
const LEAST: u64 = 5;

/// All cases.
pub fn suite() -> Result<()> {
    for topology in &TOPOLOGIES {
        let pair = Pair::new()?;
        let mut subject = Subject::new(&pair.node)?;
        if topology.name == REUSED {
            used_before(&pair, &mut subject)?;
        }
        pair.lay(topology)?;
        over(&pair, topology, &mut subject)?;
    }
    loopback()
}

const REUSED: &str = "reused index";

/// Counts at a link with the index that another one will have, and loses it.
fn used_before(pair: &Pair, subject: &mut Subject<'_>) -> Result<()> {
    let first = &TOPOLOGIES[TOPOLOGIES.len() - 1];
    pair.lay(first)?;
    let expected = case(first.name, "segments, first link", Figure::Segments, LEAST, "va");
    subject.case(&expected, || download(&pair.node, &pair.peer, first.to()))?;
    let index = pair.index("va")?;
    pair.node.ip("link del va")?;
    subject.meter.forget(index)?;
    // As `lay` finds it: it takes this one away and makes another of the same index.
    pair.node.ip(&format!("link add name va type veth peer name vb netns {}", pair.peer.name()))
}

fn over(pair: &Pair, topology: &Topology, subject: &mut Subject<'_>) -> Result<()> {
    let (node, peer, to) = (&pair.node, &pair.peer, topology.to());
    let (sends, receives) = (topology.sends, topology.receives);
    let expected = case(topology.name, "segments", Figure::Segments, LEAST, sends);
    subject.case(&expected, || download(node, peer, to))?;
    let expected = case(topology.name, "reset, own end", Figure::ResetsSent, COUNT, sends);
    subject.case(&expected, || {
        let all = establish(node, peer, to, COUNT)?;
        all.into_iter().try_for_each(|c| abort_and_await(c.accepted, &c.connected))
    })?;
    let expected = case(topology.name, "reset, in reply", Figure::ResetsSent, COUNT, receives);
    let expected = Expectation { known: reset::without_socket(COUNT), ..expected };
    subject.case(&expected, || refused(node, peer, to, COUNT))?;
    let expected = case(topology.name, "reset received", Figure::ResetsReceived, COUNT, receives);
    subject.case(&expected, || {
        for Connection { accepted, connected } in establish(node, peer, to, COUNT)? {
            abort_and_await(connected, &accepted)?;
        }
        Ok(())
    })
}

/// A host that talks to itself: all of it is loopback's.
fn loopback() -> Result<()> {
    let pair = Pair::new()?;
    let mut subject = Subject::new(&pair.node)?;
    let local: IpAddr = Ipv4Addr::LOCALHOST.into();
    let expected = case("loopback", "segments", Figure::Segments, LEAST, "lo");
    subject.case(&expected, || download(&pair.node, &pair.node, local))?;
    let expected = case("loopback", "reset, own end", Figure::ResetsSent, COUNT, "lo");
    subject.case(&expected, || {
        let all = establish(&pair.node, &pair.node, local, COUNT)?;
        all.into_iter().try_for_each(|c| abort_and_await(c.accepted, &c.connected))
    })
}

/// The node sends as much as it can while some of it is lost at the peer's doorstep.
fn download(node: &Netns, peer: &Netns, to: IpAddr) -> Result<()> {
    let (listener, to) = listen(node, to)?;
    let mut connected = connect(peer, to)?;
    let (accepted, _) = listener.accept()?;
    let rule = format!("tcp sport {} numgen random mod 100 < {LOSS} drop", to.port());
    peer.nft(&format!(
        "table inet loss {{\nchain c {{\ntype filter hook input priority 0\n{rule}\n}}\n}}\n"
    ))?;
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while connected.read(&mut buffer).is_ok_and(|n| n > 0) {}
    });
    let sent = send(&accepted);
    peer.nft("delete table inet loss\n")?;
    drop(accepted);
    let _ = reader.join();
    sent
}

fn send(mut stream: &TcpStream) -> Result<()> {
    stream.set_write_timeout(Some(DOWNLOAD))?;
    let block = vec![0; 64 * 1024];
    let start = Mono::now();
    while Mono::now().since(start) < DOWNLOAD {
        // A full buffer is no error: the time is what ends it.
        if stream.write(&block).is_err() {
            break;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

fn case(link: &str, what: &str, figure: Figure, least: u64, device: &str) -> Expectation {
    Expectation {
        suite: "attribution",
        case: format!("{link}: {what}"),
        figure,
        least,
        known: if figure == Figure::Segments { retransmit::failed_attempts() } else { Known::None },
        devices: vec![device.to_owned()],
    }
}
