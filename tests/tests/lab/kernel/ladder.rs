//! The ladder: what is left without the kernel's types, and what without privilege.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start};
use netmon_tests::lab::{
    Bulk, ECHO, Family, Place, SERVER_V4, SERVER_V6, Way, What, World, abort_connections, growth,
};
use serde_json::Value;

use super::{CLOSED, PATIENCE, Reading, agree, connect, finish, is_up, quiet, refused};

/// `ip netns exec` gives its program a /sys of its own, without the tracefs that a host has there.
const WITH_TRACEFS: [&str; 3] =
    ["sh", "-c", "mount -t tracefs tracefs /sys/kernel/tracing && exec \"$0\" \"$@\""];
const NOBODY: [&str; 6] =
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
const EVENTS: [&str; 5] = [
    "tcp_retransmit_skb",
    "tcp_retransmit_synack",
    "tcp_send_reset",
    "tcp_receive_reset",
    "inet_sock_set_state",
];

pub fn classic() -> Result<()> {
    let world = World::new()?;
    let closed_at = own_addresses(&world)?;
    let agent = Start::new(&world)?
        .config(&quiet(""))
        .behind(&WITH_TRACEFS)
        .arguments(&["--btf", "/dev/null"])
        .start()?;
    is_up(&agent)?;
    let capabilities = agent.status()?["agent"]["capabilities"].clone();
    for event in EVENTS {
        let capability = &capabilities[event];
        ensure!(
            capability["ok"] == true && says(capability, "detail", "classic tracepoint"),
            "{event}: {capability}"
        );
        ensure!(says(capability, "remedy", "--btf"), "{event}: {capability}");
    }
    let before = Reading::take(&agent)?;
    for event in EVENTS {
        let rung = before.agent.value("netmon_bpf_program_info", &[("program", event), ("rung", "classic")]);
        ensure!(rung == Some(1.0), "{event} is on another rung");
    }
    abort_connections(&world, 40)?;
    refused(&world.internet, closed_at, 20)?;
    for host in [SERVER_V4.into(), SERVER_V6.into()] {
        for _ in 0..10 {
            finish(connect(&world.node, SocketAddr::new(host, ECHO))?)?;
        }
        refused(&world.node, SocketAddr::new(host, CLOSED), 5)?;
    }
    let on_eth0 = |direction| [("device", "eth0"), ("direction", direction)];
    let counted = agree(&agent, PATIENCE, |now| {
        let seen = [
            now.grown(&before, "netmon_tcp_resets_total", &on_eth0("sent")),
            now.grown(&before, "netmon_tcp_opens_total", &on_eth0("active")),
            now.grown(&before, "netmon_tcp_failed_connects_total", &[("device", "eth0")]),
        ];
        (seen, ["TcpOutRsts", "TcpActiveOpens", "TcpAttemptFails"].map(|name| now.truth(&before, name)))
    })?;
    eprintln!("by classic tracepoints, resets, opens, failed: {counted:?}");
    ensure!(counted[0] >= 60 && counted[1..] == [70, 10], "{counted:?} is not what was done");
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(5.0))?;
    let bulk = Bulk::start(&world, &[SERVER_V4.into(), SERVER_V6.into()])?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    bulk.stop();
    fault.mend()?;
    let now = Reading::take(&agent)?;
    let again = now.grown(&before, "netmon_tcp_retransmits_total", &[("device", "eth0")]);
    ensure!(again > 10 && again <= now.truth(&before, "TcpRetransSegs"), "{again} retransmissions");
    // No segments by classic tracepoints: a part that looks like the whole is not shown.
    ensure!(now.agent.value("netmon_tcp_retransmit_ratio", &[]).is_none(), "a ratio of what is not counted");
    let mut doctor = agent.world.node.command("sh");
    doctor.args(&WITH_TRACEFS[1..]).arg(netmon_tests::agent::binary()?);
    let said = doctor.args(["doctor", "--btf", "/dev/null", "--socket"]).arg(&agent.socket).output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(said.contains("classic tracepoint") && said.contains("--btf FILE"), "{said}");
    Ok(())
}

/// Gives the node addresses that no other world has in place of its own: classic tracepoints know addresses alone, and those
/// of all worlds are the same. Returns where nobody listens there.
fn own_addresses(world: &World) -> Result<SocketAddr> {
    let number = std::process::id();
    let v4 = Ipv4Addr::new(10, 77, 1, 20 + (number % 200) as u8);
    let v6 = format!("fd77:1::{:x}:{:x}", number >> 16 | 0x100, number & 0xffff);
    world.node.ip(&format!(
        "addr del {}/24 dev eth0
         addr del {}/64 dev eth0
         addr add {v4}/24 dev eth0
         addr add {v6}/64 dev eth0 nodad
         route replace 0.0.0.0/0 via {} dev eth0 metric 100 src {v4}
         route replace ::/0 via {} dev eth0 metric 100 src {v6}",
        world.node_address(0, Family::V4),
        world.node_address(0, Family::V6),
        world.gateway_address(0, Family::V4),
        world.gateway_address(0, Family::V6),
    ))?;
    Ok((v4, CLOSED).into())
}

pub fn totals() -> Result<()> {
    let world = World::new()?;
    let without_bpf = ["capsh", "--drop=cap_bpf,cap_sys_admin,cap_perfmon", "--", "-c", "exec \"$0\" \"$@\""];
    for (before_agent, is_root) in [(&NOBODY[..], false), (&without_bpf[..], true)] {
        let start =
            Start::new(&world)?.config(&quiet("namespaces = \"all\"\ndrop_reasons = [\"NETFILTER_DROP\"]"));
        if !is_root {
            nix::unistd::chown(start.folder(), Some(65534.into()), Some(65534.into()))?;
        }
        let agent = start.behind(before_agent).start()?;
        is_up(&agent)?;
        only_totals(&world, &agent).with_context(|| format!("behind {before_agent:?}"))?;
    }
    Ok(())
}

fn only_totals(world: &World, agent: &Agent<'_>) -> Result<()> {
    let capabilities = agent.status()?["agent"]["capabilities"].clone();
    ensure!(says(&capabilities["bpf"], "remedy", "CAP_BPF"), "{capabilities}");
    let before = Reading::take(agent)?;
    for event in EVENTS {
        ensure!(capabilities[event]["ok"] == false, "{event}: {capabilities}");
        let rung = before.agent.value("netmon_bpf_program_info", &[("program", event), ("rung", "totals")]);
        ensure!(rung == Some(1.0), "{event} is on another rung");
    }
    for _ in 0..10 {
        finish(connect(&world.node, (SERVER_V4, ECHO).into())?)?;
    }
    abort_connections(world, 10)?;
    refused(&world.node, (SERVER_V4, CLOSED).into(), 5)?;
    let counted = agree(agent, PATIENCE, |now| {
        let rest = |counter| now.grown(&before, "netmon_tcp_unattributed", &[("counter", counter)]);
        let kernel = |name| growth(&before.kernel, &now.kernel, name);
        (
            [rest("active_opens"), rest("failed_connects"), rest("resets_sent")],
            [kernel("TcpActiveOpens"), kernel("TcpAttemptFails"), kernel("TcpOutRsts")],
        )
    })?;
    // An aborted connection that is sent something more is reset once more.
    ensure!(counted[..2] == [25, 5] && counted[2] >= 10, "{counted:?} is not what was done");
    let now = Reading::take(agent)?;
    ensure!(now.grown(&before, "netmon_tcp_opens_total", &[]) == 0, "opens of a device without a program");
    Ok(())
}

fn says(capability: &Value, part: &str, words: &str) -> bool {
    capability[part].as_str().is_some_and(|text| text.contains(words))
}
