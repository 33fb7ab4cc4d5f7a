//! Which addresses a webhook may go to. Pure.
//!
//! Whoever can make the agent send a request to an address of their choice – by the configuration, or by what a name
//! resolves to – must not reach what only this machine or its network can: services on loopback, neighbours, the cloud's
//! metadata. So an address has to be one of the public Internet, unless it is allowed. It is looked at when it is connected
//! to, and that very address is connected to: what the name resolves to a moment later is of no interest.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

/// What is allowed beside the public Internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Private networks (RFC 1918, RFC 4193), shared ones (RFC 6598) and this machine's loopback.
    pub private: bool,
    /// These, whatever they are.
    pub networks: Vec<IpNet>,
}

/// An address that is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}, and is not connected to{}", hint(*kind))]
pub struct Refused {
    /// Which.
    pub address: IpAddr,
    /// Of what kind.
    pub kind: Kind,
}

/// What an address is, where it is not one of the public Internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// This machine's own.
    Loopback,
    /// Of a private network.
    Private,
    /// Of a carrier's network behind its NAT.
    Shared,
    /// On the link.
    LinkLocal,
    /// A cloud's metadata service, which gives credentials to whoever asks.
    Metadata,
    /// Nobody's: for documentation, tests, tunnels, the future; unspecified, multicast or broadcast.
    Special,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::Private => "an address of a private network",
            Self::Shared => "an address of a carrier's network (RFC 6598)",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata service",
            Self::Special => "no address of a host on the Internet",
        })
    }
}

fn hint(kind: Kind) -> &'static str {
    match kind {
        Kind::Loopback | Kind::Private | Kind::Shared => {
            "; say allow_private = true, or name its network in `allow`"
        }
        Kind::LinkLocal | Kind::Metadata | Kind::Special => "; name its network in `allow`",
    }
}

impl Allowed {
    /// Looks at an address.
    ///
    /// # Errors
    /// It is neither public nor allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let Some(kind) = kind(address) else { return Ok(()) };
        // One that is written as an IPv6 address is the IPv4 address that packets go to.
        let plain = address.to_canonical();
        let named = self.networks.iter().any(|n| n.contains(&plain) || n.contains(&address));
        let private = matches!(kind, Kind::Loopback | Kind::Private | Kind::Shared);
        if named || self.private && private { Ok(()) } else { Err(Refused { address, kind }) }
    }
}

/// A network of `allow`: an address with or without the length of its prefix.
///
/// # Errors
/// It is none.
pub fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    IpNet::from_str(text).or_else(|_| alone()).map_err(|_| {
        format!(
            "\"{}\" is no network; write \"10.1.0.0/16\", \"2001:db8::/32\" or one address",
            text.escape_default()
        )
    })
}

/// What an address is; none for one of the public Internet (IANA's special-purpose address registries).
pub fn kind(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(a) => kind4(a),
        IpAddr::V6(a) => kind6(a),
    }
}

/// Azure's, which is a public address; Oracle's is in 192.0.0.0/24, Alibaba's among the shared ones.
const METADATA4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(100, 100, 100, 200)];

fn kind4(a: Ipv4Addr) -> Option<Kind> {
    if METADATA4.contains(&a) {
        return Some(Kind::Metadata);
    }
    let [first, second, third, _] = a.octets();
    Some(match (first, second, third) {
        (127, ..) => Kind::Loopback,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Kind::Private,
        (100, 64..=127, _) => Kind::Shared,
        // With what most clouds have at 169.254.169.254.
        (169, 254, 169) => Kind::Metadata,
        (169, 254, _) => Kind::LinkLocal,
        // This network; IETF protocols; documentation; 6to4 relays; benchmarks; multicast and the future.
        (0, ..)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113)
        | (224.., ..) => Kind::Special,
        _ => return None,
    })
}

/// Amazon's and Google's, in the private range.
const METADATA6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

fn kind6(a: Ipv6Addr) -> Option<Kind> {
    let s = a.segments();
    let low = Ipv4Addr::from((u32::from(s[6]) << 16) | u32::from(s[7]));
    if METADATA6.contains(&a) {
        return Some(Kind::Metadata);
    }
    match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Kind::Loopback),
        // IPv4 in IPv6 (RFC 4291, 2.5.5.2) and its translation (RFC 6052): what it stands for.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => kind4(low),
        // 6to4 (RFC 3056): the relay unpacks it.
        [0x2002, high, low, ..] => {
            Some(kind4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))).unwrap_or(Kind::Special))
        }
        [0xfe80..=0xfebf, ..] => Some(Kind::LinkLocal),
        [0xfc00..=0xfdff, ..] => Some(Kind::Private),
        // Site-local once (RFC 3879).
        [0xfec0..=0xfeff, ..] => Some(Kind::Private),
        // IETF protocols, Teredo, ORCHID and benchmarks among them; documentation, twice.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(Kind::Special),
        // Nothing else is handed out for global unicast (RFC 4291, 2.4).
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Kind::Special),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Option<Kind> {
        kind(text.parse().unwrap())
    }

    #[test]
    fn every_range_that_is_not_public_is_told_to_its_edges() {
        use Kind::{LinkLocal, Loopback, Metadata, Private, Shared, Special};
        for (first, last, kind) in [
            ("0.0.0.0", "0.255.255.255", Special),
            ("10.0.0.0", "10.255.255.255", Private),
            ("100.64.0.0", "100.127.255.255", Shared),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("169.254.0.0", "169.254.168.255", LinkLocal),
            ("169.254.169.0", "169.254.169.255", Metadata),
            ("169.254.170.0", "169.254.255.255", LinkLocal),
            ("172.16.0.0", "172.31.255.255", Private),
            ("192.0.0.0", "192.0.0.191", Special),
            ("192.0.2.0", "192.0.2.255", Special),
            ("192.88.99.0", "192.88.99.255", Special),
            ("192.168.0.0", "192.168.255.255", Private),
            ("198.18.0.0", "198.19.255.255", Special),
            ("198.51.100.0", "198.51.100.255", Special),
            ("203.0.113.0", "203.0.113.255", Special),
            ("224.0.0.0", "255.255.255.255", Special),
            ("168.63.129.16", "168.63.129.16", Metadata),
            ("192.0.0.192", "192.0.0.192", Metadata),
            ("100.100.100.200", "100.100.100.200", Metadata),
            ("::", "::", Special),
            ("::1", "::1", Loopback),
            ("::2", "::fffe:ffff:ffff", Special),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Special),
            ("100::", "100::ffff:ffff:ffff:ffff", Special),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special),
            ("fc00::", "fd00:ec2::253", Private),
            ("fd00:ec2::254", "fd00:ec2::254", Metadata),
            ("fd20:ce::254", "fd20:ce::254", Metadata),
            ("fd20:ce::255", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special),
        ] {
            assert_eq!((of(first), of(last)), (Some(kind), Some(kind)), "{first} {last}");
        }
    }

    #[test]
    fn what_is_beside_those_ranges_is_public() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "168.63.129.15",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2606:4700::1111",
            "3ffe:ffff::",
            "3fff:1000::",
        ] {
            assert_eq!(of(address), None, "{address}");
        }
    }

    #[test]
    fn what_carries_an_address_is_judged_by_it() {
        for prefix in ["::ffff:", "64:ff9b::"] {
            assert_eq!(of(&format!("{prefix}127.0.0.1")), Some(Kind::Loopback));
            assert_eq!(of(&format!("{prefix}169.254.169.254")), Some(Kind::Metadata));
            assert_eq!(of(&format!("{prefix}8.8.8.8")), None);
        }
        assert_eq!(of("2002:7f00:1::"), Some(Kind::Loopback));
        assert_eq!(of("2002:a00:1::"), Some(Kind::Private));
        assert_eq!(of("2002:808:808::"), Some(Kind::Special), "6to4 is nobody's way any more");
    }

    #[test]
    fn what_is_allowed_is_what_was_named() {
        let check = |allowed: &Allowed, a: &str| allowed.check(a.parse().unwrap()).map_err(|r| r.kind);
        let nothing = Allowed::default();
        assert_eq!(check(&nothing, "8.8.8.8"), Ok(()));
        assert_eq!(check(&nothing, "127.0.0.1"), Err(Kind::Loopback));
        let private = Allowed { private: true, networks: Vec::new() };
        for a in ["127.0.0.1", "::1", "10.1.2.3", "fd12::1", "100.64.0.1", "::ffff:192.168.0.1"] {
            assert_eq!(check(&private, a), Ok(()), "{a}");
        }
        for a in
            ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "fe80::1", "0.0.0.0"]
        {
            assert!(check(&private, a).is_err(), "{a}");
        }
        let networks = ["169.254.169.254", "10.1.0.0/16"].map(|n| network(n).unwrap()).to_vec();
        let named = Allowed { private: false, networks };
        assert_eq!(check(&named, "169.254.169.254"), Ok(()));
        assert_eq!(check(&named, "::ffff:10.1.9.9"), Ok(()));
        assert_eq!(check(&named, "10.2.0.1"), Err(Kind::Private));
        for bad in ["", "10.0.0.0/33", "a.example", "10.0.0"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_allow_it() {
        let said = |a: &str| Allowed::default().check(a.parse().unwrap()).unwrap_err().to_string();
        assert!(said("10.0.0.1").contains("allow_private"), "{}", said("10.0.0.1"));
        assert!(!said("169.254.169.254").contains("allow_private"), "{}", said("169.254.169.254"));
    }

    proptest! {
        /// The standard library's own words on IPv4, where it has any.
        #[test]
        fn nothing_that_the_standard_library_knows_gets_through(bits: u32) {
            let a = Ipv4Addr::from(bits);
            let special = a.is_loopback() || a.is_private() || a.is_link_local() || a.is_broadcast()
                || a.is_documentation() || a.is_multicast() || a.is_unspecified() || a.octets()[0] == 0
                || a.octets()[0] >= 240;
            if special {
                prop_assert!(kind(a.into()).is_some());
            }
            // Written in any other way it is the same address.
            let mapped = IpAddr::from(a.to_ipv6_mapped());
            prop_assert_eq!(kind(mapped), kind(a.into()));
            prop_assert_eq!(kind(mapped.to_canonical()), kind(mapped));
        }

        #[test]
        fn only_global_unicast_gets_through_of_ipv6(bits: u128) {
            let a = Ipv6Addr::from(bits);
            let first = a.segments()[0];
            let translated = matches!(a.segments(), [0x64, 0xff9b, 0, 0, 0, 0, ..]);
            if kind(a.into()).is_none() {
                prop_assert!((0x2000..=0x3fff).contains(&first) || translated || a.to_ipv4_mapped().is_some());
            }
            if a.is_multicast() || a.is_unicast_link_local() || a.is_unique_local() || a.is_loopback() {
                prop_assert!(kind(a.into()).is_some());
            }
        }

        /// Nothing but loopback, private and shared networks is let through by `allow_private`.
        #[test]
        fn allow_private_allows_no_more_than_its_name(bits: u128, v4: bool) {
            let a: IpAddr = if v4 { Ipv4Addr::from(bits as u32).into() } else { Ipv6Addr::from(bits).into() };
            let private = Allowed { private: true, networks: Vec::new() };
            let expected = matches!(kind(a), None | Some(Kind::Loopback | Kind::Private | Kind::Shared));
            prop_assert_eq!(private.check(a).is_ok(), expected);
            prop_assert_eq!(Allowed::default().check(a).is_ok(), kind(a).is_none());
        }
    }
}
