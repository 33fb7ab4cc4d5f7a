//! One name, once: for whoever wants to connect to it now.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Options,
    answer::{Failure, combine, of_hosts},
    conf::Conf,
    dns::Dns,
    files::{self, Watched},
};

/// The addresses of a name, IPv4 first: its own where it is one, those of the hosts file, or else the resolvers'. Takes
/// [`Options::limit`] at most, and must be called in a tokio runtime.
///
/// # Errors
/// There are none to be had.
pub async fn look_up(name: &str, options: &Options) -> Result<Vec<IpAddr>, Failure> {
    if let Ok(address) = name.parse() {
        return of_hosts(vec![address]);
    }
    let plain = files::plain(name);
    let mut hosts = files::hosts(&Watched::new(&options.hosts).read(), |n| n == plain);
    if let Some(addresses) = hosts.remove(&plain) {
        return of_hosts(addresses);
    }
    // RFC 6761, 6.3: such a name never leaves the machine.
    if plain == "localhost" || plain.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let conf = Conf::parse(&Watched::new(&options.resolv_conf).read(), options.port);
    let (v4, v6) = Dns::new(conf, options.limit).look_up(name).await;
    combine(v4, v6, &[]).map(|resolved| resolved.addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_resolver_asks_none() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "192.0.2.7 web.example Web\n0.0.0.0 blocked.example\n").unwrap();
        let options =
            Options { hosts, resolv_conf: folder.path().join("none"), port: 1, ..Options::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let of = |name: &str| {
            runtime
                .block_on(look_up(name, &options))
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(of("2001:db8::1").unwrap(), ["2001:db8::1"]);
        assert_eq!(of("WEB.example.").unwrap(), ["192.0.2.7"]);
        assert_eq!(of("a.localhost").unwrap(), ["127.0.0.1", "::1"]);
        assert!(matches!(of("blocked.example"), Err(Failure::NoHost(_))));
        assert!(matches!(of("0.0.0.0"), Err(Failure::NoHost(_))));
        assert_eq!(of("other.example"), Err(Failure::NoResolver));
    }
}
