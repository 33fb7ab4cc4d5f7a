//! The whole core in virtual time: a small world of one uplink, its gateway and some hosts, in which things break.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use proptest::prelude::*;

use super::{Event, Health, ReasonCode, Role, Settings, State, Subject, TargetSpec, Watch};
use crate::{
    observation::{
        Address, Evidence, FailureReason, IfIndex, IfName, Link, Method, Network, NetworkChange, Observation,
        OperState, ProbeEvent, ProbeOutcome, Route, SourceKind, StampSource, TargetId,
    },
    time::{Boot, Moment, Mono},
};

const INTERVAL: u64 = 2000;
const TIMEOUT: u64 = 1000;
const START: u64 = 1_000_000;

/// A world in milliseconds. Probes leave every two seconds and when the core asks; `answers` says which come back.
struct World {
    now: u64,
    boot_ahead: u64,
    health: Health,
    seq: u64,
    pending: Vec<(u64, ProbeEvent)>,
    answers: HashMap<IpAddr, bool>,
    changes: Vec<(u64, Subject, State)>,
    frozen: bool,
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn target(id: u32, name: &str, scope: &str, address: &str, role: Role) -> TargetSpec {
    TargetSpec {
        id: TargetId(id),
        name: name.into(),
        host: address.into(),
        scope: scope.into(),
        method: Method::Icmp,
        role,
        addresses: vec![ip(address)],
        link: None,
    }
}

fn uplink(index: u32, name: &str, address: &str, gateway: &str) -> Network {
    let index = IfIndex(index);
    let mut n = Network::default();
    let link = Link {
        index,
        name: IfName::new(name),
        admin_up: true,
        carrier: true,
        oper: OperState::Up,
        ..Link::default()
    };
    n.links.insert(index, link);
    let a = Address { ifindex: index, address: ip(address), prefix_len: 24, usable: true };
    n.addresses.insert((index, a.address, 24), a);
    let route = |dst: &str, len, gateway| Route {
        table: 254,
        destination: ip(dst),
        prefix_len: len,
        gateway,
        ifindex: index,
        metric: index.0,
    };
    n.routes = vec![route("0.0.0.0", 0, Some(ip(gateway))), route(&address.replace(".2", ".0"), 24, None)];
    n
}

impl World {
    fn new(settings: Settings, network: Network) -> Self {
        let watch = Watch::new(&["*".into()], &["lo".into()]).unwrap();
        let mut w = Self {
            now: START,
            boot_ahead: 0,
            health: Health::new(moment(START, 0), settings, watch, true),
            seq: 0,
            pending: Vec::new(),
            answers: HashMap::new(),
            changes: Vec::new(),
            frozen: false,
        };
        w.health.set_targets(
            w.moment(),
            vec![
                target(0, "gateway", "gateway", "10.0.0.1", Role::Gateway),
                target(1, "a", "internet", "8.8.8.8", Role::Plain),
                target(2, "b", "internet", "1.1.1.1", Role::Plain),
            ],
        );
        w.network(NetworkChange::Dump(Box::new(network)));
        w
    }

    fn usual() -> Self {
        let mut w = Self::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
        w.run(5000);
        assert_eq!(w.state(), State::Up);
        w.changes.clear();
        w
    }

    fn moment(&self) -> Moment {
        moment(self.now, self.boot_ahead)
    }

    fn observe(&mut self, evidence: Evidence) {
        let now = self.moment();
        self.health.handle(now, Observation { at: now.mono, evidence });
        self.drain();
    }

    fn network(&mut self, change: NetworkChange) {
        self.observe(Evidence::Network(change));
    }

    fn link(&mut self, change: impl FnOnce(&mut Link)) {
        let mut link = self.health.network().links[&IfIndex(2)].clone();
        change(&mut link);
        self.network(NetworkChange::Link(Box::new(link)));
    }

    fn answer(&mut self, address: &str, answers: bool) {
        self.answers.insert(ip(address), answers);
    }

    fn all_answer(&mut self, answers: bool) {
        for a in ["10.0.0.1", "8.8.8.8", "1.1.1.1"] {
            self.answer(a, answers);
        }
    }

    fn send(&mut self, target: TargetId, address: IpAddr) {
        self.seq += 1;
        let event = |outcome| ProbeEvent { target, address, seq: self.seq, outcome };
        let reply = ProbeOutcome::Reply {
            rtt: Duration::from_millis(5),
            stamp: StampSource::Kernel,
            ttl: None,
            reordered: false,
        };
        let lost = ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None };
        self.pending.push(match self.answers.get(&address).copied().unwrap_or(true) {
            true => (self.now + 5, event(reply)),
            false => (self.now + TIMEOUT, event(lost)),
        });
        let sent = event(ProbeOutcome::Sent);
        self.observe(Evidence::Probe(sent));
    }

    fn probe_all(&mut self) {
        let all: Vec<_> = self.health.targets().map(|t| (t.spec.id, t.spec.addresses[0])).collect();
        all.into_iter().for_each(|(id, address)| self.send(id, address));
    }

    fn drain(&mut self) {
        while let Some(event) = self.health.poll_event() {
            match event {
                Event::Changed { subject, state, reasons, .. } => {
                    assert!(
                        state == State::Up || !reasons.is_empty(),
                        "{subject:?} is {state} for no reason"
                    );
                    self.changes.push((self.now, subject, state));
                }
                Event::Probe { target, address } => self.send(target, address),
                Event::TimeoutScale(_) | Event::RoutesChanged => {}
            }
        }
    }

    /// Lets `ms` milliseconds pass.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            if self.frozen {
                continue;
            }
            if self.now.is_multiple_of(INTERVAL) {
                self.probe_all();
            }
            while let Some(i) = self.pending.iter().position(|(at, _)| *at <= self.now) {
                let (_, event) = self.pending.remove(i);
                let now = self.moment();
                self.health.handle(now, Observation { at: now.mono, evidence: Evidence::Probe(event) });
            }
            self.drain();
            if self.health.poll_timeout() <= self.moment().mono {
                let now = self.moment();
                self.health.handle_timeout(now);
                self.drain();
            }
        }
    }

    fn state(&self) -> State {
        self.health.verdict().state
    }

    fn codes(&self) -> Vec<ReasonCode> {
        self.health.verdict().reasons.iter().map(|r| r.code).collect()
    }

    fn target(&self, name: &str) -> (State, Option<ReasonCode>) {
        let t = self.health.targets().find(|t| &*t.spec.name == name).unwrap();
        (t.verdict.state, t.verdict.reasons.first().map(|r| r.code))
    }

    /// Runs until the verdict over all is `state`; how long that took.
    #[track_caller]
    fn until(&mut self, state: State, within: u64) -> u64 {
        let start = self.now;
        while self.state() != state {
            assert!(
                self.now - start <= within,
                "still {} after {within} ms: {:?}",
                self.state(),
                self.health.verdict()
            );
            self.run(1);
        }
        self.now - start
    }
}

fn moment(ms: u64, boot_ahead: u64) -> Moment {
    Moment { mono: Mono::from_nanos(ms * 1_000_000), boot: Boot::from_nanos((ms + boot_ahead) * 1_000_000) }
}

#[test]
fn r1_unknown_until_every_target_has_its_first_verdict() {
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    w.answer("1.1.1.1", false);
    w.probe_all();
    assert_eq!(w.state(), State::Unknown);
    assert!(w.until(State::Degraded, 6000) <= 3000);
    let network: Vec<_> = w.changes.iter().filter(|c| c.1 == Subject::Network).collect();
    assert_eq!(network.len(), 1, "no other verdict on the way: {network:?}");
}

#[test]
fn r2_a_lost_link_is_down_at_once_and_r3_explains_the_targets() {
    for (change, code) in [
        ((|l| l.carrier = false) as fn(&mut Link), ReasonCode::NoCarrier),
        (|l| l.admin_up = false, ReasonCode::AdminDown),
        (|l| l.oper = OperState::LowerLayerDown, ReasonCode::OperDown),
    ] {
        let mut w = World::usual();
        w.link(change);
        assert_eq!((w.state(), w.codes()[0]), (State::Down, code), "in the same instant");
        assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::ExplainedByLink)));
        w.all_answer(false);
        w.run(10_000);
        assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::ExplainedByLink)));
        w.all_answer(true);
        w.link(|l| *l = Link { admin_up: true, carrier: true, oper: OperState::Up, ..l.clone() });
        assert!(w.until(State::Up, 3000) >= 500, "three replies at 250 ms");
    }
}

#[test]
fn replies_that_come_together_are_judged_together() {
    let mut w = World::usual();
    w.link(|l| l.carrier = false);
    w.link(|l| l.carrier = true);
    w.changes.clear();
    w.run(1500);
    let network: Vec<_> = w.changes.iter().filter(|c| c.1 == Subject::Network).map(|c| c.2).collect();
    assert_eq!(network, [State::Up], "no degraded on the way");
}

#[test]
fn r8_a_start_without_carrier_goes_from_down_to_up() {
    let mut n = uplink(2, "eth0", "10.0.0.2", "10.0.0.1");
    n.links.get_mut(&IfIndex(2)).unwrap().carrier = false;
    let mut w = World::new(Settings::default(), n);
    assert_eq!(w.state(), State::Down);
    let late = target(3, "late", "internet", "8.8.4.4", Role::Plain);
    let specs = w.health.targets().map(|t| t.spec.clone()).chain([late]).collect();
    w.health.set_targets(w.moment(), specs);
    w.drain();
    w.changes.clear();
    w.link(|l| l.carrier = true);
    assert!(w.until(State::Up, 3000) >= 500);
    assert!(w.changes.iter().all(|c| c.2 != State::Unknown), "{:?}", w.changes);
}

#[test]
fn r2_an_address_or_the_default_route_removed() {
    let mut w = World::usual();
    let a = w.health.network().addresses.values().next().unwrap().clone();
    w.network(NetworkChange::AddressGone(a));
    assert_eq!((w.state(), w.codes()[0]), (State::Down, ReasonCode::NoAddress));

    let mut w = World::usual();
    w.network(NetworkChange::LinkGone(IfIndex(2)));
    assert_eq!((w.state(), w.codes()), (State::Down, vec![ReasonCode::NoRoute]));
}

#[test]
fn r2_a_resolver_of_its_own_makes_no_network() {
    let mut w = World::usual();
    let stub = target(3, "dns-127.0.0.53", "dns", "127.0.0.53", Role::Plain);
    let mut all: Vec<_> = w.health.targets().map(|t| t.spec.clone()).collect();
    all.push(stub.clone());
    w.health.set_targets(w.moment(), all);
    w.run(2500);
    assert_eq!(w.state(), State::Up);
    w.link(|l| l.carrier = false);
    assert_eq!((w.state(), w.codes()[0]), (State::Down, ReasonCode::NoCarrier));

    let mut w = World::new(Settings::default(), Network::default());
    w.health.set_targets(w.moment(), vec![stub]);
    w.run(2500);
    assert_eq!(w.state(), State::Up, "where the machine itself is all that is asked for");
}

#[test]
fn r2_a_link_that_is_not_watched_is_blamed_even_when_its_routes_are_gone() {
    let mut w = World::new(Settings::default(), uplink(2, "lo-like", "10.0.0.2", "10.0.0.1"));
    let unwatched = Watch::new(&["*".into()], &["lo*".into()]).unwrap();
    w.health.configure(w.moment(), Settings::default(), unwatched);
    w.run(3000);
    w.link(|l| l.admin_up = false);
    w.network(NetworkChange::Routes { routes: Vec::new(), truncated: false });
    assert_eq!((w.state(), w.codes()), (State::Down, vec![ReasonCode::AdminDown, ReasonCode::NoRoute]));
}

#[test]
fn r2b_a_watched_device_down_degrades_and_a_required_one_decides() {
    let mut both = uplink(2, "eth0", "10.0.0.2", "10.0.0.1");
    let second = uplink(3, "eth1", "10.1.0.2", "10.1.0.1");
    both.links.extend(second.links);
    both.addresses.extend(second.addresses);
    both.routes.extend(second.routes);
    let required = Settings { required: vec!["eth0".into()], ..Settings::default() };
    for (settings, expected) in [(Settings::default(), State::Degraded), (required, State::Down)] {
        let mut w = World::new(settings, both.clone());
        w.run(3000);
        assert_eq!(w.state(), State::Up);
        w.link(|l| l.carrier = false);
        assert_eq!(w.state(), expected);
    }
}

#[test]
fn r4_a_blackhole_is_down_within_the_bound() {
    for offset in (0..INTERVAL).step_by(97) {
        let mut w = World::usual();
        w.run(offset);
        w.all_answer(false);
        let took = w.until(State::Down, 10_000);
        assert!((2800..=5200).contains(&took), "{took} ms at offset {offset}");
        w.all_answer(true);
        assert!(w.until(State::Up, 3000) <= 3000);
    }
}

#[test]
fn r6_one_target_or_one_scope_down_degrades() {
    let mut w = World::usual();
    w.answer("8.8.8.8", false);
    w.until(State::Degraded, 5200);
    assert_eq!(w.codes(), [ReasonCode::TargetDown]);
    assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::NoReply)));
    w.answer("1.1.1.1", false);
    w.run(6000);
    assert_eq!((w.state(), w.codes()[0]), (State::Degraded, ReasonCode::ScopeDown));
}

#[test]
fn r13_lateness_proves_nothing() {
    let mut w = World::usual();
    for _ in 0..20 {
        w.seq += 1;
        let event = |outcome| ProbeEvent { target: TargetId(1), address: ip("8.8.8.8"), seq: w.seq, outcome };
        let (sent, late) =
            (event(ProbeOutcome::Sent), event(ProbeOutcome::Inconclusive { lag: Duration::from_secs(1) }));
        w.observe(Evidence::Probe(sent));
        w.observe(Evidence::Probe(late));
    }
    assert_eq!(w.state(), State::Up);
}

#[test]
fn r14_a_stall_or_a_suspend_is_unknown_then_known_again() {
    let mut w = World::usual();
    w.frozen = true;
    w.run(5000);
    w.frozen = false;
    w.run(1);
    assert_eq!((w.state(), w.codes()[0]), (State::Unknown, ReasonCode::Stalled));
    assert!(w.until(State::Up, 100) <= 10, "the burst goes out at once");

    w.boot_ahead += 3_600_000;
    w.run(1500);
    let unknown = w.changes.iter().filter(|c| c.1 == Subject::Network && c.2 == State::Unknown).count();
    assert_eq!((unknown, w.state()), (2, State::Up));
}

#[test]
fn r16_a_gap_is_unknown_until_the_dump() {
    let mut w = World::usual();
    w.observe(Evidence::Gap(SourceKind::Netlink));
    assert_eq!((w.state(), w.codes()[0]), (State::Unknown, ReasonCode::Gap));
    w.run(50);
    let mut fresh = w.health.network().clone();
    fresh.links.get_mut(&IfIndex(2)).unwrap().carrier = false;
    w.network(NetworkChange::Dump(Box::new(fresh.clone())));
    assert_eq!(w.state(), State::Down, "what was missed is known now");
    assert_eq!(*w.health.network(), fresh);
}

#[test]
fn a_gateway_silent_to_echo_is_judged_by_its_neighbour_entry() {
    use crate::observation::{Neighbour, NeighbourState};
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    w.answer("10.0.0.1", false);
    let neighbour = |state| {
        NetworkChange::Neighbour(Neighbour { ifindex: IfIndex(2), address: ip("10.0.0.1"), state, mac: None })
    };
    w.network(neighbour(NeighbourState::Stale));
    w.run(6000);
    assert_eq!(w.state(), State::Up);
    assert_eq!(w.target("gateway"), (State::Up, Some(ReasonCode::GatewaySilent)));
    w.network(neighbour(NeighbourState::Failed));
    assert_eq!(w.target("gateway").0, State::Down);
    w.run(1);
    assert_eq!(w.state(), State::Degraded);
}

#[test]
fn a_gateway_that_another_replaces_is_no_fault() {
    let mut w = World::usual();
    let mut routes = w.health.network().routes.clone();
    routes[0].gateway = Some(ip("10.0.0.3"));
    w.network(NetworkChange::Routes { routes: routes.clone(), truncated: false });
    assert_eq!((w.state(), w.changes.len()), (State::Up, 0), "{:?}", w.changes);
    routes.remove(0);
    w.network(NetworkChange::Routes { routes, truncated: false });
    assert_eq!(w.target("gateway"), (State::Down, Some(ReasonCode::NoRoute)), "none in its place");
}

#[test]
fn a_renamed_link_lets_its_gateways_be_named_anew() {
    let mut w = World::usual();
    let mut link = w.health.network().links[&IfIndex(2)].clone();
    for (name, asked) in [("wan0", true), ("wan0", false)] {
        link.name = IfName::new(name);
        let change = Evidence::Network(NetworkChange::Link(Box::new(link.clone())));
        w.health.handle(w.moment(), Observation { at: w.moment().mono, evidence: change });
        let events: Vec<_> = std::iter::from_fn(|| w.health.poll_event()).collect();
        assert_eq!(events.contains(&Event::RoutesChanged), asked, "{events:?}");
    }
}

#[test]
fn a_reading_with_no_news_changes_nothing() {
    let mut w = World::usual();
    w.run(600_000);
    assert!(w.changes.is_empty(), "{:?}", w.changes);
}

#[derive(Clone, Debug)]
enum Act {
    Answer(u8, bool),
    Carrier(bool),
    Admin(bool),
    Gap,
    Freeze(u16),
    Suspend(u32),
    Run(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..3u8, any::<bool>()).prop_map(|(i, b)| Act::Answer(i, b)),
        3 => any::<bool>().prop_map(Act::Carrier),
        1 => any::<bool>().prop_map(Act::Admin),
        1 => Just(Act::Gap),
        1 => (1..8000u16).prop_map(Act::Freeze),
        1 => (1..100_000u32).prop_map(Act::Suspend),
        6 => (1..6000u16).prop_map(Act::Run),
    ]
}

fn play(acts: &[Act]) -> World {
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    for act in acts {
        match act {
            Act::Answer(i, b) => w.answer(["10.0.0.1", "8.8.8.8", "1.1.1.1"][*i as usize], *b),
            Act::Carrier(b) => w.link(|l| l.carrier = *b),
            Act::Admin(b) => w.link(|l| l.admin_up = *b),
            Act::Gap => {
                w.observe(Evidence::Gap(SourceKind::Netlink));
                assert_eq!(w.state(), State::Unknown);
                let dump = w.health.network().clone();
                w.network(NetworkChange::Dump(Box::new(dump)));
            }
            Act::Freeze(ms) => {
                w.frozen = true;
                w.run(u64::from(*ms));
                w.frozen = false;
            }
            Act::Suspend(ms) => w.boot_ahead += u64::from(*ms),
            Act::Run(ms) => w.run(u64::from(*ms)),
        }
        let link = &w.health.network().links[&IfIndex(2)];
        assert!(link.carrier && link.admin_up || w.state() == State::Down, "link down ⇒ down, after {act:?}");
    }
    w
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happened, a lost link reads down at every step, and a world that is whole again is soon up.
    #[test]
    fn every_history_ends_well_when_the_world_does(acts in prop::collection::vec(act(), 1..25)) {
        let mut w = play(&acts);
        w.all_answer(true);
        w.link(|l| (l.admin_up, l.carrier) = (true, true));
        w.run(6000);
        prop_assert_eq!(w.state(), State::Up, "{:?}", w.health.verdict());
    }

    /// The same history gives the same verdicts at the same times.
    #[test]
    fn the_core_is_a_function_of_its_history(acts in prop::collection::vec(act(), 1..15)) {
        let (a, b) = (play(&acts), play(&acts));
        prop_assert_eq!(a.changes, b.changes);
        prop_assert_eq!(a.health.verdict(), b.health.verdict());
    }

    /// A world that answers nothing is never called up, after the time it takes to see that.
    #[test]
    fn silence_is_never_up(acts in prop::collection::vec(act(), 1..15)) {
        let mut w = play(&acts);
        w.all_answer(false);
        w.run(9000);
        prop_assert!(w.state() == State::Down, "{:?}", w.health.verdict());
    }
}
