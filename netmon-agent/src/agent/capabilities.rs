//! What works here, in the words of [`Capability`].

use std::path::Path;

use super::{discover, watch};
use crate::{
    capability::Capability,
    config::{Config, HISTORY_PATH, Limits},
    history,
    source::{bpf, discovery, netlink, probe, sockdiag},
};

/// Tries everything as this user in this namespace, and lets go of it again.
pub fn examine(btf: Option<&Path>) -> Vec<Capability> {
    let options = bpf::Options { btf: btf.map(Path::to_owned), ..bpf::Options::default() };
    let kernel = bpf::Kernel::load(&options);
    let mut found = kernel.capabilities().to_vec();
    found.extend(of_sockets(probe::Sockets::open().capabilities()));
    found.push(of_sock_diag(
        &sockdiag::Reader::open().and_then(|mut reader| reader.collect(|| (), |(), _| {})),
    ));
    found.push(match netlink::read(&netlink::Options::default()) {
        Ok(network) => Capability::works(
            "netlink",
            format!("{} links, {} routes read", network.links.len(), network.routes.len()),
        ),
        Err(e) => Capability::missing("netlink", e.to_string(), NETLINK_REMEDY),
    });
    let config = Config::load(None).ok();
    found.extend(config.as_ref().and_then(|config| discover::capability(&discovery::examine(config))));
    found.extend(watch::blind(config.as_ref().map_or_else(Limits::default, |config| config.limits)));
    found.extend(of_history(config));
    found
}

/// Whether outages can be written down where the system's configuration says, or usually are where it can't be read; none
/// where they are not to be.
fn of_history(config: Option<Config>) -> Option<Capability> {
    let path = match config {
        Some(config) => config.history?.path,
        None => HISTORY_PATH.into(),
    };
    Some(history::examine(&path))
}

/// Whether TCP sockets can be looked at.
pub(super) fn of_sock_diag<T>(opened: &Result<T, sockdiag::DumpError>) -> Capability {
    match opened {
        Ok(_) => Capability::works("sock_diag", "open TCP connections can be looked at"),
        Err(error) => Capability::missing("sock_diag", error.to_string(), error.remedy().unwrap_or_default()),
    }
}

/// What mends netlink.
pub(super) const NETLINK_REMEDY: &str = "allow AF_NETLINK sockets (RestrictAddressFamilies=, seccomp)";

/// The probe engine's sockets.
pub(super) fn of_sockets(sockets: &probe::Capabilities) -> [Capability; 2] {
    let one = |name: &str, access: &probe::Access| match access {
        probe::Access::Datagram => Capability::works(name, "unprivileged ping socket"),
        probe::Access::Raw => {
            Capability::works(name, "raw socket (CAP_NET_RAW; net.ipv4.ping_group_range is closed)")
        }
        probe::Access::None { remedy } => {
            Capability::missing(name, "no ICMP socket; TCP connects are tried in its place", remedy)
        }
    };
    [one("icmp_v4", &sockets.icmp4), one("icmp_v6", &sockets.icmp6)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_is_off_is_not_looked_for() {
        let of = |text: &str| of_history(Some(Config::parse(text, Path::new("netmon.toml")).unwrap()));
        assert!(of("[history]\nenabled = false").is_none());
        let found = of("[history]\npath = \"/nowhere/h.db\"").unwrap();
        assert!(!found.ok && found.detail.contains("/nowhere"), "{found:?}");
    }
}
