//! Who answers beyond a link: one silent target among many that answer is another fault than silence everywhere.

use std::collections::BTreeMap;

use crate::{
    health::{Health, Role, State, Way},
    observation::IfIndex,
};

/// Addresses of targets beyond one link, of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that have a verdict.
    pub known: usize,
    /// Those that are down.
    pub down: usize,
}

/// A count of all targets that lie beyond a gateway, by link and family.
#[derive(Clone, Debug, Default)]
pub struct Census(BTreeMap<(IfIndex, bool), Tally>);

impl Census {
    /// Counts, at one look at every address.
    pub fn of(health: &Health) -> Self {
        let mut all: BTreeMap<(IfIndex, bool), Tally> = BTreeMap::new();
        let plain = health.targets().filter(|t| t.spec.role == Role::Plain);
        for a in plain.flat_map(|t| &t.addresses) {
            let Some(way) = a.way.as_ref().filter(|way| way.beyond) else { continue };
            let state = a.fsm.state();
            for link in &way.links {
                let tally = all.entry((*link, a.address.is_ipv6())).or_default();
                tally.known += usize::from(state != State::Unknown);
                tally.down += usize::from(state == State::Down);
            }
        }
        Self(all)
    }

    /// Of the addresses that packets leave this way for, one of this family among them.
    pub fn beyond(&self, way: &Way, v6: bool) -> Tally {
        let mut sum = Tally::default();
        for tally in way.links.iter().filter_map(|link| self.0.get(&(*link, v6))) {
            sum.known += tally.known;
            sum.down += tally.down;
        }
        sum
    }
}
