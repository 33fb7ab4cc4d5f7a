//! The lab itself: a fault that does not bite would make every other trial worthless.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::await_until;
use netmon_tests::lab::{
    Answer, Bulk, Code, Family, Options, Place, SERVER_V4, SERVER_V6, Switch, Way, What, World,
    abort_connections, growth, refused_connections, run,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("world::every_public_address_answers_by_both_families", every_public_address_answers),
    ("world::the_second_uplink_takes_over", the_second_uplink_takes_over),
    ("world::a_lost_host_leaves_the_others", a_lost_host_leaves_the_others),
    ("world::a_blackhole_behind_the_gateway_leaves_the_gateway", a_blackhole_behind_leaves_the_gateway),
    ("world::lost_echo_leaves_tcp", lost_echo_leaves_tcp),
    ("world::loss_is_near_its_percentage", loss_is_near_its_percentage),
    ("world::long_packets_neighbours_ports_and_the_wire_behind_can_be_lost", lesser_faults),
    ("world::a_refusal_says_its_code", a_refusal_says_its_code),
    ("world::carrier_admin_address_route_and_device_come_and_go", links_come_and_go),
    ("world::a_switch_takes_the_carrier_of_the_other_end", a_switch_takes_the_carrier),
    ("world::the_resolver_answers_refuses_and_keeps_silent", the_resolver_has_moods),
    ("world::bulk_and_resets_grow_the_kernels_counters", traffic_grows_counters),
    ("world::closed_ping_sockets_are_closed", closed_ping_sockets),
    ("world::without_ipv6_there_is_none", without_ipv6),
    ("world::nothing_is_left_behind", nothing_is_left_behind),
];

const PUBLIC: [&str; 8] = [
    "8.8.8.8",
    "1.1.1.1",
    "8.8.4.4",
    "203.0.113.10",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2001:4860:4860::8844",
    "2001:db8:113::10",
];

fn every_public_address_answers() -> Result<()> {
    let world = World::new()?;
    for host in PUBLIC {
        ensure!(answers(&world, host)?, "{host} is silent");
        connect(&world, host, 443)?;
        connect(&world, host, 53)?;
    }
    let linked = World::with(Options { link_local_gateway: true, ..Options::default() })?;
    ensure!(answers(&linked, "2001:4860:4860::8888")?, "no way through a link-local gateway");
    Ok(())
}

fn the_second_uplink_takes_over() -> Result<()> {
    let world = World::with(Options { uplinks: 2, ..Options::default() })?;
    ensure!(answers(&world, "8.8.8.8")?, "silent with both");
    world.delete_device(0)?;
    ensure!(
        answers(&world, "8.8.8.8")? && answers(&world, "2606:4700:4700::1111")?,
        "silent over the second"
    );
    world.carrier_down(1)?;
    ensure!(silent(&world, "8.8.8.8")?, "an answer over no uplink");
    Ok(())
}

fn a_lost_host_leaves_the_others() -> Result<()> {
    let world = World::new()?;
    let fault = world.lose(Place::Wan(0), Way::FromNode, What::Host("1.1.1.1".parse()?))?;
    ensure!(silent(&world, "1.1.1.1")? && answers(&world, "8.8.8.8")?, "not that host alone");
    fault.mend()?;
    ensure!(answers(&world, "1.1.1.1")?, "not mended");
    Ok(())
}

fn a_blackhole_behind_leaves_the_gateway() -> Result<()> {
    let world = World::new()?;
    let gateway = world.gateway_address(0, Family::V4).to_string();
    let fault = world.blackhole_behind()?;
    ensure!(silent(&world, "8.8.8.8")? && answers(&world, &gateway)?, "not behind the gateway alone");
    fault.mend()?;
    let fault = world.blackhole()?;
    ensure!(silent(&world, &gateway)?, "the gateway answers through a blackhole");
    fault.mend()?;
    ensure!(answers(&world, "8.8.8.8")?, "not mended");
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Packets)?;
    ensure!(silent(&world, &gateway)?, "the gateway got a packet");
    fault.mend()
}

fn lost_echo_leaves_tcp() -> Result<()> {
    let world = World::new()?;
    let fault = world.lose(Place::Wan(0), Way::Both, What::Echo)?;
    for host in ["8.8.8.8", "2001:4860:4860::8888"] {
        ensure!(silent(&world, host)?, "{host} answers an echo");
        connect(&world, host, 443)?;
    }
    fault.mend()?;
    let _fault = world.lose(Place::Wan(0), Way::Both, What::Ipv6)?;
    ensure!(answers(&world, "8.8.8.8")? && silent(&world, "2001:4860:4860::8888")?, "not IPv6 alone");
    Ok(())
}

fn loss_is_near_its_percentage() -> Result<()> {
    let world = World::new()?;
    let _fault = world.lose(Place::Uplink(0), Way::ToNode, What::Loss(20.0))?;
    let text = ping_output(&world, &["-c", "1000", "-i", "0.002", "-W", "1", "-q", "8.8.8.8"])?;
    let lost: f64 = text
        .split("% packet loss")
        .next()
        .and_then(|before| before.rsplit(' ').next()?.parse().ok())
        .with_context(|| format!("no loss in {text:?}"))?;
    // Six standard deviations of a binomial of 1000 at 0.2: 7.6 points.
    ensure!((12.4..27.6).contains(&lost), "{lost} % lost, 20 % asked for");
    Ok(())
}

fn lesser_faults() -> Result<()> {
    let world = World::new()?;
    let fault = world.lose(Place::Wan(0), Way::Both, What::LongerThan(1200))?;
    // 20 bytes of IP and 8 of ICMP are beside the payload.
    let of = |payload: &str| ping_output(&world, &["-c", "1", "-W", "1", "-s", payload, "8.8.8.8"]);
    ensure!(of("1172")?.contains(" 0% packet loss"), "1200 bytes are lost");
    ensure!(of("1173")?.contains(" 100% packet loss"), "1201 bytes pass");
    fault.mend()?;
    let fault = world.close_port(443)?;
    ensure!(connect(&world, "8.8.8.8", 443).is_err(), "the port is open");
    connect(&world, "8.8.8.8", 53)?;
    fault.mend()?;
    world.wan_carrier_down(0)?;
    let gateway = world.gateway_address(0, Family::V4).to_string();
    ensure!(silent(&world, "8.8.8.8")? && answers(&world, &gateway)?, "not the wire behind alone");
    world.wan_carrier_up(0)?;
    ensure!(answers(&world, "8.8.8.8")? && answers(&world, "2001:4860:4860::8888")?, "not mended");
    let fault = world.lose(Place::Uplink(0), Way::Both, What::Neighbours)?;
    world.forget_neighbours(0)?;
    ensure!(silent(&world, &gateway)?, "the gateway is found without ARP");
    fault.mend()?;
    ensure!(answers(&world, &gateway)?, "not mended");
    world.flap(0, 10.0, Duration::from_millis(500))?;
    ensure!(answers(&world, "8.8.8.8")? && answers(&world, "2001:4860:4860::8888")?, "not there after flaps");
    Ok(())
}

fn a_refusal_says_its_code() -> Result<()> {
    let world = World::new()?;
    for (code, words) in [
        (Code::NetUnreachable, "Net Unreachable"),
        (Code::HostUnreachable, "Host Unreachable"),
        (Code::AdminProhibited, "Packet filtered"),
        (Code::PortUnreachable, "Port Unreachable"),
    ] {
        let fault = world.refuse(0, code, Some("8.8.8.8".parse()?))?;
        let text = ping_output(&world, &["-c", "1", "-W", "1", "8.8.8.8"])?;
        ensure!(text.contains(words), "{code:?}: {text}");
        ensure!(answers(&world, "8.8.4.4")?, "{code:?}: another host is refused too");
        fault.mend()?;
    }
    let _fault = world.refuse(0, Code::AdminProhibited, None)?;
    let text = ping_output(&world, &["-c", "1", "-W", "1", "2001:4860:4860::8888"])?;
    ensure!(text.contains("prohibited"), "{text}");
    Ok(())
}

fn links_come_and_go() -> Result<()> {
    let world = World::new()?;
    let both = |expected: bool, what: &str| -> Result<()> {
        for host in ["8.8.8.8", "2606:4700:4700::1111"] {
            let as_expected = if expected { answers(&world, host)? } else { silent(&world, host)? };
            ensure!(as_expected, "{host} after {what}");
        }
        Ok(())
    };
    world.carrier_down(0)?;
    both(false, "carrier loss")?;
    world.carrier_up(0)?;
    both(true, "carrier back")?;
    world.admin_down(0)?;
    both(false, "admin down")?;
    world.admin_up(0)?;
    both(true, "admin up")?;
    for family in [Family::V4, Family::V6] {
        world.remove_route(0, family)?;
    }
    both(false, "routes removed")?;
    world.configure_uplink(0)?;
    world.remove_address(0, Family::V4)?;
    ensure!(silent(&world, "8.8.8.8")? && answers(&world, "2606:4700:4700::1111")?, "IPv4 address removed");
    world.configure_uplink(0)?;
    both(true, "address back")?;
    world.rename_device("eth0", "uplink0")?;
    both(true, "rename")?;
    world.rename_device("uplink0", "eth0")?;
    world.delete_device(0)?;
    both(false, "device gone")?;
    world.create_device(0)?;
    both(true, "device back")?;
    world.storm(5000)?;
    both(true, "a storm")
}

fn a_switch_takes_the_carrier() -> Result<()> {
    let world = World::new()?;
    let switch = Switch::new(&world.gateways[0], "lan0")?;
    for up in [false, true, false] {
        switch.set(up)?;
        let links = run(world.node.command("ip").args(["link", "show", "eth0"]), "")?;
        ensure!(links.contains("NO-CARRIER") != up, "far end up: {up}: {links}");
    }
    ensure!(Switch::new(&world.node, "eth9").is_err(), "a switch of no device");
    Ok(())
}

fn the_resolver_has_moods() -> Result<()> {
    let world = World::new()?;
    let ask = || -> Result<Option<(u8, u8)>> {
        world.node.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            socket.connect((world.gateway_address(0, Family::V4), 53))?;
            socket.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x1c\x00\x01")?;
            let mut reply = [0; 512];
            Ok(socket.recv(&mut reply).ok().map(|_| (reply[3] & 15, reply[7])))
        })?
    };
    ensure!(ask()? == Some((0, 1)), "NOERROR and one address");
    world.resolver.answer(Answer::Servfail);
    ensure!(ask()? == Some((2, 0)), "SERVFAIL");
    world.resolver.answer(Answer::Nxdomain);
    ensure!(ask()? == Some((3, 0)), "NXDOMAIN");
    world.resolver.answer(Answer::Silence);
    ensure!(ask()?.is_none(), "silence");
    ensure!(world.resolver.queries() == 4, "{} queries counted", world.resolver.queries());
    let text = run(world.node.command("cat").arg("/etc/resolv.conf"), "")?;
    ensure!(text.trim() == format!("nameserver {}", world.gateway_address(0, Family::V4)), "{text}");
    Ok(())
}

fn traffic_grows_counters() -> Result<()> {
    let world = World::new()?;
    let before = world.counters()?;
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(5.0))?;
    let bulk = Bulk::start(&world, &[SERVER_V4.into(), SERVER_V6.into()])?;
    std::thread::sleep(Duration::from_secs(2));
    bulk.stop();
    fault.mend()?;
    let after = world.counters()?;
    ensure!(
        growth(&before, &after, "TcpRetransSegs") > 10,
        "{} segments",
        growth(&before, &after, "TcpRetransSegs")
    );
    ensure!(world.server.received() > 100_000, "{} bytes received", world.server.received());
    abort_connections(&world, 20)?;
    refused_connections(&world, 20)?;
    let resets = growth(&after, &world.counters()?, "TcpOutRsts");
    ensure!(resets >= 40, "{resets} resets sent, 40 provoked");
    Ok(())
}

fn closed_ping_sockets() -> Result<()> {
    for ping_sockets in [false, true] {
        let world = World::with(Options { ping_sockets, ..Options::default() })?;
        let opened = world.node.run(|| {
            socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), SockProtocol::Icmp).is_ok()
        })?;
        ensure!(opened == ping_sockets, "ping sockets asked for: {ping_sockets}, opened: {opened}");
    }
    Ok(())
}

fn without_ipv6() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    ensure!(answers(&world, "8.8.8.8")?, "no IPv4 either");
    let addresses = run(world.node.command("ip").args(["-6", "addr"]), "")?;
    ensure!(addresses.trim().is_empty(), "{addresses}");
    Ok(())
}

fn nothing_is_left_behind() -> Result<()> {
    let world = World::new()?;
    let names: Vec<_> =
        world.gateways.iter().chain([&world.node, &world.internet]).map(|n| n.name().to_owned()).collect();
    let mut sleeper = world.node.command("sleep").arg("1000").spawn()?;
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let entered = await_until(Duration::from_secs(10), || {
        Ok((namespace(sleeper.id()) != namespace(std::process::id())).then_some(()))
    })?;
    ensure!(entered.is_some(), "nothing ever ran in the namespace");
    drop(world);
    let ended = await_until(Duration::from_secs(10), || Ok(sleeper.try_wait()?))?;
    ensure!(ended.is_some_and(|s| !s.success()), "the process in the namespace outlived it");
    for name in names {
        for folder in ["/run/netns", "/etc/netns"] {
            let path = std::path::Path::new(folder).join(&name);
            ensure!(!path.exists(), "{} is left", path.display());
        }
    }
    Ok(())
}

/// A few tries: a neighbour whose resolution just failed is asked again only after three seconds.
fn answers(world: &World, host: &str) -> Result<bool> {
    for _ in 0..4 {
        if !silent(world, host)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn silent(world: &World, host: &str) -> Result<bool> {
    let mut ping = world.node.command("ping");
    Ok(!ping.args(["-n", "-q", "-c", "2", "-i", "0.1", "-W", "1", host]).output()?.status.success())
}

fn ping_output(world: &World, arguments: &[&str]) -> Result<String> {
    let output = world.node.command("ping").arg("-n").args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn connect(world: &World, host: &str, port: u16) -> Result<()> {
    let to = SocketAddr::new(host.parse::<IpAddr>()?, port);
    world
        .node
        .run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)).map(drop))?
        .with_context(|| format!("{to}"))
}
