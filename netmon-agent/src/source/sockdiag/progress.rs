//! Which remote prefixes acknowledged bytes between two looks at the sockets.

use std::net::IpAddr;

use netmon_ebpf::prefix_hash;

use super::{Socket, device_of};
use crate::{
    observation::{IfIndex, TcpProgress},
    time::Mono,
};

/// Sockets remembered from one look to the next, 24 bytes each: 1.5 MiB a look. Beyond it the half of the sockets
/// with an even chance is left out, and again the half of the rest, by their cookies: so both looks leave out the
/// same ones.
pub const MOST_SOCKETS: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Seen {
    cookie: u64,
    bytes_acked: u64,
    device: IfIndex,
    prefix: u32,
}

/// One look: what a dump told, socket by socket.
#[derive(Clone, Debug)]
pub struct Look {
    seen: Vec<Seen>,
    most: usize,
    /// One socket in `1 << halvings` is in it.
    halvings: u32,
}

impl Default for Look {
    fn default() -> Self {
        Self::of_at_most(MOST_SOCKETS)
    }
}

impl Look {
    /// A look that remembers at most this many sockets, no fewer than one.
    pub fn of_at_most(most: usize) -> Self {
        Self { seen: Vec::new(), most: most.max(1), halvings: 0 }
    }

    /// Takes a socket in. Connections that stay within the host are left out: over loopback, or to another of its
    /// own addresses.
    pub fn add(&mut self, socket: &Socket, interface_of: impl Fn(IpAddr) -> Option<IfIndex>) {
        let Some(bytes_acked) = socket.bytes_acked else { return };
        let Socket { cookie, local, remote, .. } = *socket;
        if !self.admits(cookie) || local.is_loopback() || remote.is_loopback() {
            return;
        }
        if interface_of(remote).is_some() {
            return;
        }
        let octets = match remote {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let device = device_of(socket, interface_of);
        self.seen.push(Seen { cookie, bytes_acked, device, prefix: prefix_hash(&octets) });
        while self.seen.len() > self.most && self.halvings < u64::BITS - 1 {
            self.halvings += 1;
            let halvings = self.halvings;
            self.seen.retain(|seen| admitted(seen.cookie, halvings));
        }
    }

    fn admits(&self, cookie: u64) -> bool {
        admitted(cookie, self.halvings)
    }
}

/// Whether a socket is among the one in `1 << halvings`. Cookies count up, so they are mixed (Knuth, The Art of Computer
/// Programming, section 6.4: multiplication by the golden ratio).
fn admitted(cookie: u64, halvings: u32) -> bool {
    cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15).leading_zeros() >= halvings
}

/// Compares each look with the one before.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    before: Option<(Mono, Look)>,
}

impl Progress {
    /// The prefixes that acknowledged bytes since the look before; none at the first. `at` is when the dump began.
    ///
    /// A connection that was not there before counts if anything of it is acknowledged, its SYN included.
    pub fn settle(&mut self, at: Mono, mut look: Look) -> Option<TcpProgress> {
        look.seen.sort_unstable_by_key(|seen| seen.cookie);
        let (since, before) = self.before.replace((at, look))?;
        let now = &self.before.as_ref()?.1;
        let mut progress = TcpProgress { over: at.since(since), ..TcpProgress::default() };
        let mut earlier = before.seen.iter().peekable();
        for seen in &now.seen {
            while earlier.next_if(|earlier| earlier.cookie < seen.cookie).is_some() {}
            let acked_before = match earlier.peek() {
                Some(earlier) if earlier.cookie == seen.cookie => earlier.bytes_acked,
                // Left out then: nothing is known of it.
                _ if !before.admits(seen.cookie) => continue,
                _ => 0,
            };
            if seen.bytes_acked > acked_before {
                progress.prefixes.entry(seen.device).or_default().insert(seen.prefix);
            }
        }
        Some(progress)
    }

    /// Forgets the last look: after a pause, what happened long ago is not news.
    pub fn forget(&mut self) {
        self.before = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::source::sockdiag::decode::tests::sample;

    const LAN: IfIndex = IfIndex(2);

    /// The host has 192.0.2.1, 192.0.2.9 and 2001:db8::1 on one interface.
    fn interface_of(address: IpAddr) -> Option<IfIndex> {
        let own = ["192.0.2.1", "192.0.2.9", "2001:db8::1"];
        own.iter().any(|own| own.parse() == Ok(address)).then_some(LAN)
    }

    fn socket(cookie: u64, remote: &str, bytes_acked: u64) -> Socket {
        let local = if remote.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        Socket { bytes_acked: Some(bytes_acked), ..sample(cookie, local, remote) }
    }

    fn look(most: usize, sockets: &[Socket]) -> Look {
        let mut look = Look::of_at_most(most);
        sockets.iter().for_each(|socket| look.add(socket, interface_of));
        look
    }

    fn prefixes(addresses: &[&str]) -> BTreeSet<u32> {
        let octets = |text: &&str| match text.parse().unwrap() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        addresses.iter().map(|a| prefix_hash(&octets(a))).collect()
    }

    fn between(before: &[Socket], now: &[Socket]) -> TcpProgress {
        let mut progress = Progress::default();
        assert_eq!(progress.settle(Mono::from_nanos(5), look(100, before)), None);
        progress.settle(Mono::from_nanos(1_000_000_005), look(100, now)).unwrap()
    }

    #[test]
    fn prefixes_of_connections_that_grew_and_of_new_ones() {
        let told = between(
            &[
                socket(3, "198.51.100.7", 10),
                socket(2, "203.0.113.1", 10),
                socket(1, "2001:db8:9::1", 10),
                socket(8, "203.0.114.1", 10),
            ],
            &[
                socket(1, "2001:db8:9::1", 11),
                socket(2, "203.0.113.1", 10),
                socket(3, "198.51.100.7", 11),
                socket(4, "198.51.100.8", 1),
                socket(5, "198.51.101.1", 0),
                socket(6, "198.51.102.1", 1),
            ],
        );
        assert_eq!(told.over, Duration::from_secs(1));
        let expected = prefixes(&["198.51.100.0", "198.51.102.0", "2001:db8:9::"]);
        assert_eq!(told.prefixes, [(LAN, expected)].into());
    }

    #[test]
    fn what_stays_within_the_host_is_left_out() {
        let inside = [
            sample(1, "127.0.0.1", "127.0.0.2"),
            sample(2, "::1", "::1"),
            sample(3, "192.0.2.1", "192.0.2.9"),
            sample(4, "2001:db8::1", "2001:db8::1"),
            sample(5, "192.0.2.1", "127.0.0.1"),
        ]
        .map(|socket| Socket { bytes_acked: Some(100), ..socket });
        assert!(between(&[], &inside).prefixes.is_empty());
        let unknown = Socket { bytes_acked: None, ..sample(6, "192.0.2.1", "198.51.100.1") };
        assert!(between(&[], &[unknown]).prefixes.is_empty());
    }

    #[test]
    fn an_address_of_no_interface_lies_with_the_device_bound_to() {
        let socket = Socket { bound: IfIndex(7), ..socket(1, "198.51.100.1", 4) };
        let elsewhere = Socket { local: "192.0.2.77".parse().unwrap(), ..socket };
        let told = between(&[], &[elsewhere]);
        assert_eq!(told.prefixes, [(IfIndex(7), prefixes(&["198.51.100.0"]))].into());
    }

    #[test]
    fn after_a_pause_it_begins_anew() {
        let mut progress = Progress::default();
        progress.settle(Mono::from_nanos(1), look(9, &[]));
        progress.forget();
        assert_eq!(progress.settle(Mono::from_nanos(2), look(9, &[socket(1, "198.51.100.1", 4)])), None);
    }

    #[test]
    fn memory_is_bounded_and_what_is_left_out_is_never_taken_for_new() {
        let crowd = |count: u64, bytes| -> Vec<Socket> {
            (1..=count).map(|c| socket(c, &format!("10.{}.{}.1", c / 256, c % 256), bytes)).collect()
        };
        let crowded = look(1000, &crowd(20_000, 5));
        assert!((400..=1000).contains(&crowded.seen.len()), "{}", crowded.seen.len());
        // Most of them go: the next look has room for all that are left, most of which the first left out.
        let mut progress = Progress::default();
        progress.settle(Mono::default(), crowded.clone());
        let still = progress.settle(Mono::default(), look(1000, &crowd(900, 5))).unwrap();
        assert!(still.prefixes.is_empty(), "nothing was acknowledged");
        // And the other way round: what both have is compared.
        let grown = progress.settle(Mono::default(), look(1000, &crowd(20_000, 6))).unwrap();
        assert_eq!(grown.prefixes[&LAN].len(), crowded.seen.len());
    }
}
