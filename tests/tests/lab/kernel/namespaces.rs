//! Other network namespaces, when asked for.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::await_until;
use netmon_tests::lab::{Counters, ECHO, SERVER_V4, World, growth, run};
use nix::sched::{CloneFlags, unshare};

use super::{CLOSED, PATIENCE, Reading, connect, finish, ip_bytes, refused, start};

const OPENS: &str = "netmon_netns_tcp_opens_total";
const FAILED: &str = "netmon_netns_tcp_failed_connects_total";

pub fn others() -> Result<()> {
    let world = World::new()?;
    // As hostile as the kernel lets a name be.
    ip_bytes(&world.gateways[0], &[b"link", b"set", b"wan0", b"name", b"w\xff\"\\{n"])?;
    let device = "w\\xff\"\\x5c{n";
    let agent = start(&world, "namespaces = \"all\"")?;
    let before = Reading::take(&agent)?;
    let gateway = Counters::read(&world.gateways[0])?;
    let internet = Counters::read(&world.internet)?;
    for _ in 0..15 {
        finish(connect(&world.gateways[0], (SERVER_V4, ECHO).into())?)?;
    }
    refused(&world.gateways[0], (SERVER_V4, CLOSED).into(), 7)?;
    for _ in 0..5 {
        finish(connect(&world.node, (SERVER_V4, ECHO).into())?)?;
    }
    let gateway_name = world.gateways[0].name();
    let of_gateway = [("netns", gateway_name), ("device", device), ("direction", "active")];
    let of_internet = [("netns", world.internet.name()), ("device", "isp0"), ("direction", "passive")];
    let counted = await_until(PATIENCE, || {
        let now = Reading::take(&agent)?;
        let seen = [now.grown(&before, OPENS, &of_gateway), now.grown(&before, OPENS, &of_internet)];
        Ok((seen == [22, 20]).then_some(()))
    })?;
    let now = Reading::take(&agent)?;
    let shown = now.agent.all(OPENS, &[("netns", gateway_name)]);
    ensure!(counted.is_some(), "{shown:?} {:?}", now.agent.all(OPENS, &of_internet));
    let truth = [
        growth(&gateway, &Counters::read(&world.gateways[0])?, "TcpActiveOpens"),
        growth(&internet, &Counters::read(&world.internet)?, "TcpPassiveOpens"),
    ];
    ensure!(truth == [22, 20], "the kernel counted {truth:?}");
    let failed = now.grown(&before, FAILED, &of_gateway[..2]);
    ensure!(
        failed == growth(&gateway, &Counters::read(&world.gateways[0])?, "TcpAttemptFails"),
        "{failed} failed"
    );
    // The agent's own families have its own namespace alone.
    let own = now.grown(&before, "netmon_tcp_opens_total", &[]);
    ensure!(own == 5 && now.truth(&before, "TcpActiveOpens") == 5, "{own} opens of its own");
    ensure!(
        now.agent.all(OPENS, &[("netns", world.node.name())]).is_empty(),
        "its own namespace is an other"
    );
    Ok(())
}

/// More namespaces at once than get a name of their own.
pub fn many() -> Result<()> {
    const MANY: usize = 300;
    let world = World::new()?;
    let agent = start(&world, "namespaces = \"all\"")?;
    let before = Reading::take(&agent)?;
    let (refused, counted) = (Barrier::new(MANY + 1), Barrier::new(MANY + 1));
    let text = thread::scope(|scope| -> Result<String> {
        let one = || {
            let result = one_refused();
            // Namespaces that are gone give their numbers to others, so all stay until the agent was read.
            refused.wait();
            counted.wait();
            result
        };
        let threads: Vec<_> = (0..MANY)
            .map(|_| thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, one))
            .collect::<Result<_, _>>()?;
        refused.wait();
        let seen = await_until(PATIENCE, || {
            let now = Reading::take(&agent)?;
            Ok((now.grown(&before, FAILED, &[]) >= MANY as u64).then_some(now.agent.text))
        });
        counted.wait();
        for thread in threads {
            thread.join().ok().context("a namespace panicked")??;
        }
        seen?.context("not every namespace was counted")
    })?;
    let metrics = netmon_tests::agent::Metrics::parse(&text)?;
    let names: BTreeSet<_> = metrics.all(FAILED, &[]).iter().map(|s| s.labels["netns"].clone()).collect();
    ensure!(names.len() <= 257, "{} names", names.len());
    ensure!(names.contains("other") && names.len() == 257, "{MANY} of them are {} names", names.len());
    let other = metrics.all(FAILED, &[("netns", "other")]);
    ensure!(other.len() == 1 && other[0].value >= (MANY - 256) as f64, "{other:?}");
    Ok(())
}

/// One refused connect in a new namespace, which lives as long as this thread.
fn one_refused() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    run(Command::new("ip").args(["link", "set", "lo", "up"]), "")?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, CLOSED));
    ensure!(
        TcpStream::connect(to).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused),
        "{to} is open"
    );
    Ok(())
}
