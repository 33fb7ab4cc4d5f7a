//! What is found out before the first probe, so that it can be said why it would fail.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::geteuid,
};
use socket2::{Domain, Socket, Type};

use super::super::text::say;
use crate::{
    observation::{Method, PathOptions},
    source::probe::{Access, Capabilities},
};

/// Tried in ICMP's place where no ICMP socket can be had.
pub(super) const FALLBACK_PORTS: [u16; 2] = [53, 443];
/// Probes a second, of all hosts together, at most: what a network takes without being asked.
const FASTEST: u128 = 10_000;
/// RFC 863; nothing is sent there.
const DISCARD: u16 = 9;
/// As fast as ping lets ordinary users go.
const USERS_INTERVAL: Duration = Duration::from_millis(2);

/// Refuses what would be a flood.
///
/// # Errors
/// Too many probes a second, with the interval that would do.
pub(super) fn check_rate(hosts: usize, interval: Duration) -> anyhow::Result<()> {
    check_rate_as(hosts, interval, geteuid().is_root())
}

fn check_rate_as(hosts: usize, interval: Duration, root: bool) -> anyhow::Result<()> {
    if !root && interval < USERS_INTERVAL {
        bail!("intervals below {} are for root only", humantime::format_duration(USERS_INTERVAL));
    }
    let rate = hosts as u128 * 1_000_000_000 / interval.as_nanos().max(1);
    if rate > FASTEST {
        let least = Duration::from_millis((hosts as u128 * 1_000).div_ceil(FASTEST) as u64);
        bail!(
            "{hosts} hosts every {} would be {rate} probes a second, and {FASTEST} is the most; \
             -i {} would do",
            humantime::format_duration(interval),
            least.as_secs_f64()
        );
    }
    Ok(())
}

/// Tries the path's options on a socket that sends nothing.
///
/// # Errors
/// No such device or address, no privilege for the mark.
pub(super) fn check_path(path: &PathOptions) -> anyhow::Result<()> {
    socket(path, path.source.is_some_and(|source| source.is_ipv6())).map(drop)
}

/// Why nothing can be sent to an address, if so: a UDP socket is connected to it, which sends nothing either.
///
/// # Errors
/// No route, as a rule.
pub(super) fn check_route(path: &PathOptions, address: SocketAddr) -> anyhow::Result<()> {
    let to = SocketAddr::new(address.ip(), DISCARD);
    let to = match (address, to) {
        (SocketAddr::V6(given), SocketAddr::V6(mut to)) => {
            to.set_scope_id(given.scope_id());
            SocketAddr::V6(to)
        }
        (_, to) => to,
    };
    let connected = socket(path, address.is_ipv6())?.connect(&to.into());
    let hint = match address.ip() {
        IpAddr::V6(a) if a.is_unicast_link_local() => "; name its device, as %eth0 or by -I",
        _ => "",
    };
    connected.with_context(|| format!("cannot send to {}{hint}", address.ip()))
}

fn socket(path: &PathOptions, v6: bool) -> anyhow::Result<Socket> {
    let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let source = path.source.unwrap_or(any);
    let socket = Socket::new(Domain::for_address((source, 0).into()), Type::DGRAM, None)?;
    if let Some(device) = &path.device {
        let bound = socket.bind_device(Some(device.as_bytes()));
        bound.with_context(|| format!("cannot send by device {device}"))?;
    }
    if path.mark != 0 {
        socket.set_mark(path.mark).context("cannot set the mark; it needs CAP_NET_ADMIN")?;
    }
    let bound = socket.bind(&SocketAddr::from((source, 0)).into());
    bound.with_context(|| format!("cannot send from {source}"))?;
    Ok(socket)
}

/// How echo requests to an address can be sent.
fn access<'a>(capabilities: &'a Capabilities, address: &IpAddr) -> &'a Access {
    if address.is_ipv4() { &capabilities.icmp4 } else { &capabilities.icmp6 }
}

/// Says once a family what stands in for ICMP; refuses where the user wants nothing else.
///
/// # Errors
/// When there is no ICMP socket, and nothing else is wanted.
pub(super) fn check_icmp(
    capabilities: &Capabilities,
    addresses: &[IpAddr],
    nothing_else: bool,
) -> anyhow::Result<()> {
    for v6 in [false, true] {
        let Some(address) = addresses.iter().find(|a| a.is_ipv6() == v6) else { continue };
        if let Access::None { remedy } = access(capabilities, address) {
            let family = if v6 { "ICMPv6" } else { "ICMP" };
            if nothing_else {
                bail!("{family}: {remedy}");
            }
            let [a, b] = FALLBACK_PORTS;
            say(format_args!("netmon probe: {family}: {remedy}; trying TCP ports {a} and {b} instead"));
        }
    }
    Ok(())
}

/// How a host is probed, in a person's words.
pub(super) fn how(method: &Method, address: &IpAddr, capabilities: &Capabilities) -> String {
    match method {
        Method::Icmp => match access(capabilities, address) {
            Access::Datagram => "icmp".to_owned(),
            Access::Raw => "icmp, raw socket".to_owned(),
            Access::None { .. } => "tcp in place of icmp".to_owned(),
        },
        Method::Tcp { port } => format!("tcp port {port}"),
        Method::Udp { port, .. } => format!("udp port {port}"),
        Method::Dns(query) if query.tcp => "dns over tcp".to_owned(),
        Method::Http(request) if request.tls => "https".to_owned(),
        other => other.as_str().to_owned(),
    }
}

/// Probes other than ICMP's have a socket each, and the soft limit of descriptors is made for programs that use
/// `select(2)`. Where it stays as it is, probes beyond it can't be sent, and say so.
pub(super) fn raise_descriptor_limit() {
    let _ = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from).and_then(|(soft, hard)| {
        if soft < hard { Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?) } else { Ok(()) }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_refused_with_what_would_do() {
        let check = |hosts, ms, root| check_rate_as(hosts, Duration::from_millis(ms), root);
        assert!(check(10_000, 1000, false).is_ok());
        assert!(check(10, 1, true).is_ok());
        let said = check(10_001, 1000, true).unwrap_err().to_string();
        assert!(said.contains("10001 hosts every 1s") && said.ends_with("-i 1.001 would do"), "{said}");
        assert!(check(30_000, 3000, false).is_ok());
        assert!(check(1, 1, false).unwrap_err().to_string().contains("root"));
        assert!(check(1, 2, false).is_ok());
    }

    #[test]
    fn icmp_alone_is_refused_where_it_is_closed() {
        let closed = Access::None { remedy: "mend it".to_owned() };
        let capabilities = Capabilities { icmp4: Access::Datagram, icmp6: closed };
        let host = |a: &str| [a.parse::<IpAddr>().unwrap()];
        let said = check_icmp(&capabilities, &host("::1"), true).unwrap_err().to_string();
        assert!(said.contains("mend it"), "{said}");
        assert!(check_icmp(&capabilities, &host("::1"), false).is_ok());
        assert!(check_icmp(&capabilities, &host("127.0.0.1"), true).is_ok());
    }

    #[test]
    fn a_way_that_does_not_exist_is_named() {
        let refused = |path: PathOptions| check_path(&path).unwrap_err().to_string();
        let device = Some("none-such0".to_owned());
        assert!(refused(PathOptions { device, ..PathOptions::default() }).contains("none-such0"));
        let source = Some([192, 0, 2, 77].into());
        assert!(refused(PathOptions { source, ..PathOptions::default() }).contains("192.0.2.77"));
        let source = Some(Ipv4Addr::LOCALHOST.into());
        assert!(check_path(&PathOptions { source, ..PathOptions::default() }).is_ok());
    }

    #[test]
    fn what_cannot_be_reached_is_known_beforehand() {
        let path = PathOptions::default();
        assert!(check_route(&path, "127.0.0.1:0".parse().unwrap()).is_ok());
        let said = check_route(&path, "[fe80::1]:0".parse().unwrap()).unwrap_err().to_string();
        assert!(said.starts_with("cannot send to fe80::1; name its device"), "{said}");
    }
}
