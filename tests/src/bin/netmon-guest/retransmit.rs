//! Retransmitted segments: under loss by nftables and by netem, with and without segmentation offload; in handshakes;
//! and where an attempt fails before it leaves the host.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use netmon_tests::lab::{
    Bulk, ECHO, Family, Netns, Options, Place, SERVER_V4, SERVER_V6, Way, What, World, run,
};

use crate::compare::{Expectation, Figure, Known, Subject};
use crate::connections::listen;
use crate::release;

const LOSSES: [f64; 3] = [1.0, 5.0, 20.0];
const UPLOAD: Duration = Duration::from_secs(3);
/// Fewer would not show an error of some percent.
const LEAST: u64 = 20;

/// All cases.
pub fn suite() -> Result<()> {
    for offload in [true, false] {
        let world = World::with(Options { offload, ..Options::default() })?;
        let mut subject = Subject::new(&world.node)?;
        let gso = if offload { "on" } else { "off" };
        for loss in LOSSES {
            let expected = |tool| expect(format!("{loss:>2} % by {tool}, GSO {gso}"), LEAST);
            subject.case(&expected("nft"), || {
                let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(loss))?;
                upload(&world)?;
                fault.mend()
            })?;
            subject.case(&expected("netem"), || {
                netem(&world, &["add", "dev", "wan0", "root", "netem", "loss", &format!("{loss}%")])?;
                upload(&world)?;
                netem(&world, &["del", "dev", "wan0", "root"])
            })?;
        }
        // Each is lost at the node itself, which is told so: some attempts fail.
        subject.case(&expect(format!("refused by the own firewall, GSO {gso}"), 1), || refused(&world))?;
    }
    let world = World::new()?;
    let mut subject = Subject::new(&world.node)?;
    subject
        .case(&expect("SYN lost".to_owned(), 1), || handshake(&world, &world.node, SERVER_V4.into(), ECHO))?;
    subject.case(&expect("SYN-ACK lost".to_owned(), 1), || {
        let (listener, to) = listen(&world.node, world.node_address(0, Family::V4))?;
        handshake(&world, &world.internet, to.ip(), to.port())?;
        drop(listener);
        Ok(())
    })
}

fn expect(case: String, least: u64) -> Expectation {
    Expectation {
        suite: "retransmit",
        case,
        figure: Figure::Segments,
        least,
        known: failed_attempts(),
        devices: vec!["eth0".to_owned()],
    }
}

/// Attempts that failed before they left the host are among the kernel's retransmits, and up to 6.16 no program sees
/// them.
pub fn failed_attempts() -> Known {
    if release::before(6, 17) {
        Known::Counter("TcpExtTCPRetransFail", "failed attempts, not traced before 6.17")
    } else {
        Known::None
    }
}

fn upload(world: &World) -> Result<()> {
    let bulk = Bulk::start(world, &[SERVER_V4.into(), SERVER_V6.into(), SERVER_V4.into()])?;
    thread::sleep(UPLOAD);
    bulk.stop();
    Ok(())
}

/// An upload that loses all it has on the way, and what the node sends again is dropped by its own rules for a while.
fn refused(world: &World) -> Result<()> {
    let bulk = Bulk::start(world, &[SERVER_V4.into(), SERVER_V4.into()])?;
    thread::sleep(UPLOAD / 6);
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Tcp)?;
    // Less than the first retransmission time-out, and longer than nft takes.
    world.node.nft(
        "table inet own {\nchain c {\ntype filter hook output priority 0\nmeta l4proto tcp drop\n}\n}\n",
    )?;
    thread::sleep(UPLOAD / 2);
    world.node.nft("delete table inet own\n")?;
    fault.mend()?;
    bulk.stop();
    Ok(())
}

/// A connect that gets nowhere, as nothing of TCP leaves the node.
fn handshake(world: &World, from: &Netns, to: IpAddr, port: u16) -> Result<()> {
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Tcp)?;
    let connected = from.run(|| TcpStream::connect_timeout(&SocketAddr::new(to, port), UPLOAD))?;
    fault.mend()?;
    ensure!(connected.is_err(), "a handshake came through");
    Ok(())
}

/// On the far side of the gateway: a drop at the node's own egress would be no loss but congestion.
fn netem(world: &World, arguments: &[&str]) -> Result<()> {
    let mut tc = Command::new("tc");
    tc.arg("qdisc").args(arguments);
    world.gateways[0].run(|| run(&mut tc, "").map(drop))?
}
