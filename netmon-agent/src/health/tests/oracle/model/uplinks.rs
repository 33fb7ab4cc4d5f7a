//! R2b: uplinks that carried a default route and are missed, found in all that was seen of routes.

use super::net::Net;
use crate::{observation::IfIndex, time::Mono};

/// How long one is missed whose link is not down.
const MISSED: u64 = 600_000_000_000;

/// A link and its name at the time.
type Named = (IfIndex, Vec<u8>);

/// What carried one family's default route at one time, when anything did.
#[derive(Debug)]
struct Sight {
    at: Mono,
    best: u32,
    /// All usable links with a default route, and those with the best.
    stand: Vec<Named>,
    carry: Vec<Named>,
    /// Those of the latter that are missed no longer, for it was long ago.
    forgotten: Vec<IfIndex>,
}

/// All sights of both families.
#[derive(Debug, Default)]
pub struct Uplinks([Vec<Sight>; 2]);

impl Uplinks {
    /// Looks at the main table.
    pub fn look(&mut self, now: Mono, net: &Net, preferred: &[String]) {
        for (family, sights) in self.0.iter_mut().enumerate() {
            let standing: Vec<_> = net
                .routes
                .iter()
                .filter(|r| r.table == 254 && r.prefix_len == 0 && r.destination.is_ipv6() == (family == 1))
                .filter(|r| net.usable(r.ifindex, preferred))
                .collect();
            let Some(best) = standing.iter().map(|r| r.metric).min() else { continue };
            let named = |i: IfIndex| (i, net.link(i).map(|l| l.name.as_bytes().to_vec()).unwrap_or_default());
            sights.push(Sight {
                at: now,
                best,
                stand: standing.iter().map(|r| named(r.ifindex)).collect(),
                carry: standing.iter().filter(|r| r.metric == best).map(|r| named(r.ifindex)).collect(),
                forgotten: Vec::new(),
            });
        }
    }

    /// Time passed: one whose link is not down is not missed for ever.
    pub fn forget(&mut self, now: Mono, net: &Net, preferred: &[String]) {
        for sights in &mut self.0 {
            for i in 0..sights.len().saturating_sub(1) {
                if now.as_nanos() < sights[i + 1].at.as_nanos() + MISSED {
                    continue;
                }
                let sound = |i: IfIndex| net.link(i).is_none() || net.usable(i, preferred);
                let old: Vec<_> = sights[i].carry.iter().map(|(i, _)| *i).filter(|i| sound(*i)).collect();
                sights[i].forgotten.extend(old);
            }
        }
    }

    /// Whether any is missed: it carried, and since then nothing better did, and it had no usable route of its own.
    pub fn any_is_missed(&self) -> bool {
        self.0.iter().any(|sights| {
            sights.iter().enumerate().any(|(i, sight)| {
                let later = &sights[i + 1..];
                let gone = |(link, name): &Named| {
                    let stands = |s: &Sight| s.stand.iter().any(|(l, n)| l == link || n == name);
                    !sight.forgotten.contains(link) && !later.iter().any(|s| s.best < sight.best || stands(s))
                };
                !later.is_empty() && sight.carry.iter().any(gone)
            })
        })
    }
}
