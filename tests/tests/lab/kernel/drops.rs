//! Drop reasons, beside the counters of the firewall that drops.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Start, await_until};
use netmon_tests::lab::{Family, Netns, Options, World, run};

use super::{PATIENCE, is_up, quiet, start};

const PORT: u16 = 9999;

pub fn by_reason() -> Result<()> {
    let world = World::with(Options { uplinks: 2, ..Options::default() })?;
    let agent = start(&world, "drop_reasons = [\"NETFILTER_DROP\", \"NO_SOCKET\"]")?;
    world.node.nft(&format!(
        "table inet drops {{
         chain in {{
         type filter hook input priority 0
         iifname \"eth0\" udp dport {PORT} counter drop comment \"in0\"
         iifname \"eth1\" udp dport {PORT} counter drop comment \"in1\"
         }}
         chain out {{
         type filter hook output priority 0
         oifname \"eth0\" udp dport {PORT} counter drop comment \"out0\"
         oifname \"eth1\" udp dport {PORT} counter drop comment \"out1\"
         }}
         }}\n"
    ))?;
    let (v4, v6) = (Family::V4, Family::V6);
    send(&world.internet, world.node_address(0, v4), 50)?;
    send(&world.internet, world.node_address(0, v6), 5)?;
    send(&world.internet, world.node_address(1, v4), 20)?;
    send(&world.node, world.gateway_address(0, v4), 30)?;
    send(&world.node, world.gateway_address(1, v6), 10)?;
    // Another namespace's drops are none of ours.
    world.gateways[0].nft(
        "table inet drops {\nchain in {\ntype filter hook input priority 0\nudp dport 9999 drop\n}\n}\n",
    )?;
    send(&world.internet, "10.77.101.1".parse()?, 40)?;
    let nft = world.node.run(|| run(Command::new("nft").args(["list", "table", "inet", "drops"]), ""))??;
    let counted = |comment: &str| -> Result<u64> {
        let line = nft.lines().find(|l| l.contains(&format!("\"{comment}\""))).context("no such rule")?;
        let packets = line.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        packets.with_context(|| line.to_owned())
    };
    let truth = [counted("in0")? + counted("out0")?, counted("in1")? + counted("out1")?];
    ensure!(truth == [85, 30], "nft counted {truth:?}");
    let mut seen = [0; 2];
    let equal = await_until(PATIENCE, || {
        let metrics = agent.metrics()?;
        let of = |device| {
            metrics.sum("netmon_skb_drops_total", &[("device", device), ("reason", "NETFILTER_DROP")]) as u64
        };
        seen = [of("eth0"), of("eth1")];
        Ok((seen == truth).then_some(()))
    })?;
    eprintln!("dropped on eth0 and eth1: netmon {seen:?}, nft {truth:?}");
    ensure!(equal.is_some(), "netmon counted {seen:?}, nft {truth:?}");
    let all = agent.metrics()?.sum("netmon_skb_drops_total", &[("reason", "NETFILTER_DROP")]);
    ensure!(all == 115.0, "{all} drops over all devices: somebody else's are among them");
    Ok(())
}

/// Datagrams to the port that is dropped. On the way out the firewall's verdict comes back as an error.
fn send(netns: &Netns, to: IpAddr, count: usize) -> Result<()> {
    netns.run(|| -> Result<()> {
        let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind((any, 0))?;
        for _ in 0..count {
            let sent = socket.send_to(b"x", SocketAddr::new(to, PORT));
            ensure!(
                sent.as_ref().map_or_else(|e| e.kind() == std::io::ErrorKind::PermissionDenied, |n| *n == 1),
                "{to}: {sent:?}"
            );
        }
        Ok(())
    })?
}

pub fn unknown_reason() -> Result<()> {
    let world = World::new()?;
    let config = quiet("drop_reasons = [\"NETFILTER_DROP\", \"NO_SUCH_REASON\"]");
    let agent = Start::new(&world)?.config(&config).start()?;
    is_up(&agent)?;
    let capabilities = agent.status()?["agent"]["capabilities"].clone();
    let missing = &capabilities["drop_reasons"];
    ensure!(missing["ok"] == false, "{capabilities}");
    ensure!(missing["detail"].as_str().is_some_and(|d| d.contains("NO_SUCH_REASON")), "{missing}");
    ensure!(missing["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{missing}");
    ensure!(capabilities["kfree_skb"]["ok"] == true, "the other reason is lost with it: {capabilities}");
    Ok(())
}
