//! Retransmitted segments under loss: by nftables and by netem, with and without segmentation offload.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use netmon_tests::lab::{Bulk, Options, Place, SERVER_V4, SERVER_V6, Way, What, World, run};

use crate::compare::{Expectation, Figure, Known, Subject};
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
        for loss in LOSSES {
            let expected = |tool| Expectation {
                suite: "retransmit",
                case: format!("{loss:>2} % by {tool}, GSO {}", if offload { "on" } else { "off" }),
                figure: Figure::Segments,
                least: LEAST,
                known: failed_attempts(),
                devices: vec![world.device(0)],
            };
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
    }
    Ok(())
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

/// On the far side of the gateway: a drop at the node's own egress would be no loss but congestion.
fn netem(world: &World, arguments: &[&str]) -> Result<()> {
    let mut tc = Command::new("tc");
    tc.arg("qdisc").args(arguments);
    world.gateways[0].run(|| run(&mut tc, "").map(drop))?
}
