//! R5: TCP's time-outs start the burst of R4 at once.
//!
//! When connections to several remote prefixes run into retransmission time-outs together, something near is wrong, and
//! waiting for the next regular probe would only lose time. The targets that leave by that device are examined: not
//! convicted. What six lost probes in a row do not prove, nothing here does.

use std::{collections::VecDeque, time::Duration};

use super::{Health, LinkKnowledge, Role, settings::Settings, target::Target, verdict::State};
use crate::{
    observation::{IfIndex, TargetId, TcpTimeout},
    time::{Moment, Mono},
};

/// Departures of the extra probes. The first takes the place of the regular probe that R4 would have waited for; the
/// rest is spread so that even with a regular probe among them, six losses span what R4's own burst spans: an outage
/// under 1.8 s, of which the first 0.2 s are TCP's shortest time-out, gives no `down` here either.
pub const RTO_BURST: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1200),
    Duration::from_millis(1600),
    Duration::from_millis(2000),
];

/// Time-outs remembered. Their source tells two per prefix and second.
const REMEMBERED: usize = 512;

/// Addresses examined at once at most; a machine with thousands of targets would drown in its own probes.
const EXAMINED: usize = 256;

/// The last time-outs.
#[derive(Clone, Debug, Default)]
pub struct Timeouts {
    recent: VecDeque<(Mono, IfIndex, u32)>,
    burst: Option<Mono>,
}

impl Timeouts {
    /// Takes one; true when a burst should start.
    pub fn note(&mut self, at: Mono, timeout: &TcpTimeout, settings: &Settings) -> bool {
        while self.recent.front().is_some_and(|(t, ..)| at.since(*t) > settings.rto_window) {
            self.recent.pop_front();
        }
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((at, timeout.device, timeout.prefix));
        if self.burst.is_some_and(|last| at.since(last) < settings.rto_pause) {
            return false;
        }
        let mut here: Vec<u32> =
            self.recent.iter().filter(|(_, d, _)| *d == timeout.device).map(|(.., p)| *p).collect();
        here.sort_unstable();
        let concerned = here
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() >= usize::from(settings.rto_per_prefix))
            .count();
        let many = concerned >= usize::from(settings.rto_prefixes);
        if many {
            self.burst = Some(at);
        }
        many
    }
}

impl Health {
    /// A TCP retransmission time-out happened.
    pub(super) fn tcp_timeout(&mut self, now: Moment, at: Mono, timeout: &TcpTimeout) {
        // Of before a stall: it says nothing of now.
        if now.mono.since(at) > self.settings.rto_window || !self.timeouts.note(at, timeout, &self.settings) {
            return;
        }
        let known = self.links == LinkKnowledge::Known && timeout.device != IfIndex(0);
        let gateway = |t: &&Target| t.spec.role == Role::Gateway;
        let all = || self.order.iter().filter_map(|id| self.targets.get(id));
        let gateways_first = all().filter(gateway).chain(all().filter(|t| !gateway(t)));
        let mut concerned: Vec<(TargetId, usize)> = Vec::new();
        for t in gateways_first {
            for (i, a) in t.addresses.iter().enumerate() {
                let leaves_there = match &a.way {
                    Some(way) if known => way.links.contains(&timeout.device),
                    // It is this machine's own, or has no route.
                    None if known => false,
                    _ => !a.address.is_loopback(),
                };
                if leaves_there && a.fsm.state() == State::Up && !a.fsm.is_suspect() {
                    concerned.push((t.spec.id, i));
                }
            }
        }
        concerned.truncate(EXAMINED);
        for (id, i) in concerned {
            let Some(a) = self.targets.get_mut(&id).and_then(|t| t.addresses.get_mut(i)) else { continue };
            a.fsm.examine(now.mono, &RTO_BURST);
            self.attend(now.mono, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000)
    }

    fn on(device: u32, prefix: u32) -> TcpTimeout {
        TcpTimeout { device: IfIndex(device), prefix }
    }

    /// Whether the last of these, at so many milliseconds, starts a burst.
    fn last(all: &[(u64, u32, u32)]) -> bool {
        let mut timeouts = Timeouts::default();
        let tell = |(t, d, p): &(u64, u32, u32)| timeouts.note(ms(*t), &on(*d, *p), &Settings::default());
        all.iter().map(tell).last().unwrap()
    }

    #[test]
    fn r5_two_each_towards_three_prefixes_within_a_second() {
        let all = [(0, 2, 1), (100, 2, 2), (200, 2, 3), (300, 2, 1), (400, 2, 2), (500, 2, 3)];
        assert!(last(&all));
        assert!(!last(&all[..5]), "two prefixes twice, one once");
        assert!(!last(&all.map(|(t, d, p)| (t * 3, d, p))), "over a second and a half");
        assert!(!last(&all.map(|(t, d, p)| (t, d + (t / 200) as u32, p))), "over three devices");
        assert!(!last(&all.map(|(t, d, p)| (t, d, p.min(2)))), "towards two prefixes");
    }

    #[test]
    fn r5_once_in_five_seconds_at_most() {
        let mut timeouts = Timeouts::default();
        let mut bursts = Vec::new();
        for t in (0..20_000).step_by(50) {
            let prefix = t as u32 / 50 % 5;
            if timeouts.note(ms(t), &on(0, prefix), &Settings::default()) {
                bursts.push(t);
            }
        }
        assert_eq!(bursts.len(), 4);
        assert!(bursts.windows(2).all(|w| w[1] - w[0] >= 5000), "{bursts:?}");
    }

    #[test]
    fn r5_a_flood_is_bounded() {
        let mut timeouts = Timeouts::default();
        for i in 0..100_000 {
            timeouts.note(ms(0), &on(2, i), &Settings::default());
        }
        assert_eq!(timeouts.recent.len(), REMEMBERED);
    }
}
