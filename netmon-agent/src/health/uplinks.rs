//! R2b: the default route that is best by its metric carries; which one does so in its place when it is lost.
//!
//! Only the machine's own main table is looked at: what policy rules make of others is not known, and a VRF's default
//! route serves the VRF alone. Routes of equal metric carry together (multipath), and the loss of one of them is told too.
//! What never carried is not missed, nor is what has a usable route still, though a worse one: then somebody has changed
//! the metrics. A lost uplink is told for as long as its link is down. Where its link is sound and only its route is gone,
//! or where it is gone altogether, it is forgotten after [`MEMORY`]: somebody may have wanted it so.

use std::{collections::BTreeSet, time::Duration};

use super::verdict::{Reason, ReasonCode};
use crate::{
    observation::{IfIndex, Network, Route},
    time::Mono,
};

/// How long an uplink is missed whose link is not down.
pub const MEMORY: Duration = Duration::from_secs(600);

/// An uplink that carries a family's default route, or did so last.
#[derive(Clone, Debug)]
struct Uplink {
    link: IfIndex,
    name: String,
    v4: bool,
    metric: u32,
    lost: Option<Loss>,
}

#[derive(Clone, Debug, PartialEq)]
struct Loss {
    at: Mono,
    /// Its link is there, and down.
    down: bool,
    /// In words: what carries now.
    now: String,
}

/// All that carry, and those that are missed.
#[derive(Clone, Debug, Default)]
pub(super) struct Uplinks(Vec<Uplink>);

impl Uplinks {
    /// Looks at the routes; `usable` are the links that R2 finds so.
    pub(super) fn look(&mut self, now: Mono, network: &Network, usable: &BTreeSet<IfIndex>) {
        for v4 in [true, false] {
            self.look_at_family(now, network, usable, v4);
        }
    }

    /// Forgets what has been missed for long enough; true when there was any.
    pub(super) fn expire(&mut self, now: Mono) -> bool {
        let before = self.0.len();
        self.0.retain(|u| u.forgotten_at().is_none_or(|at| at > now));
        self.0.len() != before
    }

    /// When [`Uplinks::expire`] has something to do.
    pub(super) fn until(&self) -> Option<Mono> {
        self.0.iter().filter_map(Uplink::forgotten_at).min()
    }

    /// A reason for each link that is missed, both families in one.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = Vec::new();
        for uplink in &self.0 {
            let Some(loss) = &uplink.lost else { continue };
            match reasons.iter_mut().find(|r| r.subject == uplink.name) {
                Some(other) => other.detail.push_str(&format!(", {}", loss.now)),
                None => {
                    let detail = format!("{} carries the default route no longer: {}", uplink.name, loss.now);
                    reasons.push(Reason::new(ReasonCode::UplinkLost, &uplink.name, detail));
                }
            }
        }
        reasons
    }

    fn look_at_family(&mut self, now: Mono, network: &Network, usable: &BTreeSet<IfIndex>, v4: bool) {
        let of_family = |r: &&Route| r.is_default() && r.is_main() && r.destination.is_ipv4() == v4;
        let defaults: Vec<(u32, IfIndex)> =
            network.routes.iter().filter(of_family).map(|r| (r.metric, r.ifindex)).collect();
        let stand = || defaults.iter().filter(|(_, link)| usable.contains(link));
        let down = |link: &IfIndex| network.links.contains_key(link) && !usable.contains(link);
        let family = if v4 { "IPv4" } else { "IPv6" };
        // With none left it is no longer a matter of which: R2 decides, and what was missed before is missed still.
        let Some(best) = stand().map(|(metric, _)| *metric).min() else {
            for missed in self.0.iter_mut().filter(|u| u.v4 == v4) {
                if let Some(loss) = &mut missed.lost {
                    (loss.down, loss.now) = (down(&missed.link), format!("nothing carries {family}"));
                }
            }
            return;
        };
        let carrying: BTreeSet<IfIndex> =
            stand().filter(|(metric, _)| *metric == best).map(|(_, link)| *link).collect();
        let name = |link: &IfIndex| {
            network.links.get(link).map_or_else(|| format!("#{}", link.0), |l| l.name.escaped())
        };
        self.0.retain(|u| {
            // One that carries is noted anew; one whose route was only put behind, or a worse one, is not missed. A device
            // that was made anew is another link of the same name.
            let stands = || stand().any(|(_, link)| *link == u.link || name(link) == u.name);
            u.v4 != v4 || !(u.metric > best || stands())
        });
        let names: Vec<String> = carrying.iter().map(name).collect();
        for missed in self.0.iter_mut().filter(|u| u.v4 == v4) {
            let stands = defaults.iter().any(|(_, link)| *link == missed.link);
            let behind = if stands { ", though its own route still stands" } else { "" };
            let loss = Loss {
                at: missed.lost.as_ref().map_or(now, |l| l.at),
                down: down(&missed.link),
                now: format!(
                    "{family} goes by {} (metric {best}; its was {}){behind}",
                    names.join(", "),
                    missed.metric
                ),
            };
            missed.lost = Some(loss);
        }
        for link in &carrying {
            self.0.push(Uplink { link: *link, name: name(link), v4, metric: best, lost: None });
        }
    }
}

impl Uplink {
    fn forgotten_at(&self) -> Option<Mono> {
        self.lost.as_ref().filter(|l| !l.down).map(|l| l.at + MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{IfName, Link};

    struct Table {
        network: Network,
        usable: BTreeSet<IfIndex>,
        uplinks: Uplinks,
        now: Mono,
    }

    /// Default routes by device index and metric.
    fn table(routes: &[(u32, u32)]) -> Table {
        let mut t = Table {
            network: Network::default(),
            usable: BTreeSet::new(),
            uplinks: Uplinks::default(),
            now: Mono::from_nanos(1),
        };
        for (link, metric) in routes {
            let index = IfIndex(*link);
            let named = Link { index, name: IfName::new(format!("eth{link}")), ..Link::default() };
            t.network.links.insert(index, named);
            t.usable.insert(index);
            t.route(*link, *metric);
        }
        t.look();
        t
    }

    impl Table {
        fn route(&mut self, link: u32, metric: u32) {
            let any = "0.0.0.0".parse().unwrap();
            self.network.routes.push(Route {
                table: 254,
                destination: any,
                prefix_len: 0,
                gateway: None,
                ifindex: IfIndex(link),
                metric,
            });
        }

        fn unroute(&mut self, link: u32) {
            self.network.routes.retain(|r| r.ifindex != IfIndex(link));
        }

        fn lose(&mut self, link: u32) {
            self.usable.remove(&IfIndex(link));
            self.unroute(link);
        }

        fn look(&mut self) {
            self.uplinks.look(self.now, &self.network, &self.usable);
        }

        /// Subject and detail of what is missed.
        fn missed(&mut self) -> Vec<(String, String)> {
            self.look();
            self.uplinks.reasons().into_iter().map(|r| (r.subject, r.detail)).collect()
        }
    }

    #[test]
    fn r2b_the_loss_of_the_best_names_which_carries_now() {
        let mut t = table(&[(2, 100), (3, 200), (4, 300)]);
        assert_eq!(t.missed(), []);
        t.lose(2);
        let by = |link: &str, metric: u32| {
            format!(
                "eth2 carries the default route no longer: IPv4 goes by {link} (metric {metric}; its was 100)"
            )
        };
        assert_eq!(t.missed(), [("eth2".to_owned(), by("eth3", 200))]);
        t.lose(3);
        let now: Vec<_> = t.missed();
        assert_eq!(now[0].1, by("eth4", 300));
        assert_eq!(now[1].0, "eth3", "the second carried for a while, and is missed as well");
        t.usable.insert(IfIndex(2));
        t.route(2, 100);
        assert_eq!(t.missed(), [], "the best is back, and nothing else was ever asked for");
    }

    #[test]
    fn r2b_a_worse_one_that_never_carried_is_not_missed() {
        let mut t = table(&[(2, 100), (3, 200)]);
        t.lose(3);
        assert_eq!(t.missed(), []);
    }

    #[test]
    fn r2b_one_of_equal_rank_is_missed_too() {
        let mut t = table(&[(2, 100), (3, 100)]);
        t.lose(3);
        assert_eq!(t.missed().len(), 1);
        t.usable.insert(IfIndex(3));
        t.route(3, 100);
        assert_eq!(t.missed(), []);
    }

    #[test]
    fn r2b_changed_metrics_are_nobodys_loss() {
        let mut t = table(&[(2, 100), (3, 200)]);
        t.network.routes[0].metric = 300;
        assert_eq!(t.missed(), []);
        t.route(4, 10);
        t.usable.insert(IfIndex(4));
        assert_eq!(t.missed(), []);
        t.lose(3);
        assert_eq!(t.missed(), [], "a better one had taken its place");
    }

    #[test]
    fn r2b_a_device_made_anew_is_the_same_uplink() {
        let mut t = table(&[(2, 100), (3, 200)]);
        t.lose(2);
        t.network.links.remove(&IfIndex(2));
        assert_eq!(t.missed().len(), 1);
        let index = IfIndex(9);
        t.network.links.insert(index, Link { index, name: IfName::new(*b"eth2"), ..Link::default() });
        t.usable.insert(index);
        t.route(9, 100);
        assert_eq!(t.missed(), []);
    }

    #[test]
    fn r2b_a_route_that_still_stands_on_a_dead_link_is_told() {
        let mut t = table(&[(2, 100), (3, 200)]);
        t.usable.remove(&IfIndex(2));
        assert!(t.missed()[0].1.ends_with("though its own route still stands"));
    }

    #[test]
    fn r2b_a_lost_route_is_forgotten_in_time_and_a_lost_link_is_not() {
        let mut down = table(&[(2, 100), (3, 200)]);
        down.lose(2);
        down.look();
        assert_eq!(down.uplinks.until(), None);
        let mut gone = table(&[(2, 100), (3, 200)]);
        gone.unroute(2);
        assert_eq!(gone.missed().len(), 1);
        let until = gone.uplinks.until().unwrap();
        assert_eq!(until, gone.now + MEMORY);
        gone.now = gone.now + MEMORY / 2;
        gone.look();
        assert_eq!(gone.uplinks.until(), Some(until), "counted from the loss");
        assert!(gone.uplinks.expire(until) && gone.uplinks.reasons().is_empty());
        assert!(!gone.uplinks.expire(until));
    }

    #[test]
    fn r2b_what_is_missed_in_a_family_that_nothing_carries_is_told_as_it_is() {
        let mut t = table(&[(2, 100), (3, 200)]);
        t.lose(2);
        assert_eq!((t.missed().len(), t.uplinks.until()), (1, None));
        t.lose(3);
        let nothing = "eth2 carries the default route no longer: nothing carries IPv4";
        assert_eq!(t.missed(), [("eth2".to_owned(), nothing.to_owned())]);
        t.usable.insert(IfIndex(2));
        t.look();
        assert_eq!(t.uplinks.until(), Some(t.now + MEMORY), "its link is down no longer");
    }

    #[test]
    fn r2b_both_families_are_one_reason_and_none_left_is_none() {
        let mut t = table(&[(2, 100), (3, 200)]);
        for (link, metric) in [(2, 1024), (3, 2048)] {
            t.route(link, metric);
            t.network.routes.last_mut().unwrap().destination = "::".parse().unwrap();
        }
        t.look();
        t.lose(2);
        let missed = t.missed();
        assert_eq!(missed.len(), 1);
        assert!(missed[0].1.contains("IPv4 goes by eth3") && missed[0].1.contains("IPv6 goes by eth3"));
        let mut t = table(&[(2, 100)]);
        t.lose(2);
        assert_eq!(t.missed(), [], "R2 has the word");
    }
}
