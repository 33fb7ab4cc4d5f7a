//! The whole core in virtual time: a small world of one uplink, its gateway and some hosts, in which things break.

mod flaps;
mod histories;
mod impairments;
mod links;
mod names;
mod oracle;
mod probes;
mod progress;
mod retransmits;
mod routes;
mod rto;
mod stacks;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{Event, Health, ReasonCode, Role, Settings, State, Subject, TargetSpec, Verdict, Watch};
use crate::{
    observation::{
        Address, Evidence, FailureReason, IfIndex, IfName, Link, Method, Network, NetworkChange, Observation,
        OperState, ProbeEvent, ProbeOutcome, Route, SourceKind, StampSource, TargetId, TcpProgress,
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
    /// Independent loss of what is answered, 0–1.
    loss: HashMap<IpAddr, f64>,
    /// Milliseconds, where it is not 5.
    rtt: HashMap<IpAddr, u64>,
    rng: SmallRng,
    /// How a probe that is not answered fails; after a time-out, or at once by an error.
    failure: FailureReason,
    /// How many remote prefixes acknowledge TCP's bytes, by device.
    acknowledge: BTreeMap<u32, u32>,
    last_look: Option<u64>,
    /// Nobody looks at sockets, whatever the core wants.
    blind: bool,
    last_report: Option<u64>,
    looks: u32,
    /// Every time that something became degraded from up, and by which rules.
    impaired: Vec<(u64, Subject, Vec<ReasonCode>)>,
    changes: Vec<(u64, Subject, State)>,
    seen: BTreeSet<ReasonCode>,
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
            loss: HashMap::new(),
            rtt: HashMap::new(),
            rng: SmallRng::seed_from_u64(9),
            failure: FailureReason::Timeout,
            acknowledge: BTreeMap::new(),
            last_look: None,
            blind: false,
            last_report: None,
            looks: 0,
            impaired: Vec::new(),
            changes: Vec::new(),
            seen: BTreeSet::new(),
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
        let rtt = self.rtt.get(&address).copied().unwrap_or(5);
        let reply = ProbeOutcome::Reply {
            rtt: Duration::from_millis(rtt),
            stamp: StampSource::Kernel,
            ttl: None,
            reordered: false,
        };
        let lost = ProbeOutcome::Failed { reason: self.failure, reporter: None };
        let failed_after = if self.failure == FailureReason::Timeout { TIMEOUT } else { 2 };
        let loss = self.loss.get(&address).copied().unwrap_or_default();
        let arrives = self.answers.get(&address).copied().unwrap_or(true)
            && (loss == 0.0 || !self.rng.random_bool(loss));
        self.pending.push(match arrives {
            true => (self.now + rtt, event(reply)),
            false => (self.now + failed_after, event(lost)),
        });
        // What can't be sent never left.
        if arrives || self.failure != FailureReason::SendError {
            let sent = event(ProbeOutcome::Sent);
            self.observe(Evidence::Probe(sent));
        }
    }

    fn probe_all(&mut self) {
        let all = self.health.targets().flat_map(|t| t.spec.addresses.iter().map(|a| (t.spec.id, *a)));
        let all: Vec<_> = all.collect();
        all.into_iter().for_each(|(id, address)| self.send(id, address));
    }

    fn drain(&mut self) {
        while let Some(event) = self.health.poll_event() {
            match event {
                Event::Changed { subject, previous, state, reasons } => {
                    assert_ne!(previous, state);
                    self.seen.extend(reasons.iter().map(|r| r.code));
                    if (previous, state) == (State::Up, State::Degraded) {
                        let codes = reasons.iter().map(|r| r.code).collect();
                        self.impaired.push((self.now, subject.clone(), codes));
                    }
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

    /// Lets `ms` milliseconds pass, from one thing that happens to the next.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            let regular = (self.now / INTERVAL + 1) * INTERVAL;
            let pending = self.pending.iter().map(|(at, _)| *at).min().unwrap_or(end);
            let timeout = self.health.poll_timeout().as_nanos().div_ceil(1_000_000);
            let look = self.last_look.map_or(end, |t| t + 1000);
            let next = regular.min(pending).min(timeout).min(look).min(end);
            let next = if self.frozen { end } else { next };
            self.now = next.max(self.now + 1);
            if !self.frozen {
                self.happen();
            }
        }
    }

    /// What happens in this millisecond.
    fn happen(&mut self) {
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
        self.look_at_sockets();
    }

    /// As the agent does: a look at the sockets a second while they are wanted, and a report from the second on.
    fn look_at_sockets(&mut self) {
        if self.blind || !self.health.wants_progress() {
            self.last_look = None;
            return;
        }
        let before = self.last_look.filter(|t| self.now - t < 1000);
        if before.is_some() {
            return;
        }
        self.looks += 1;
        if let Some(before) = self.last_look.replace(self.now) {
            self.progress(self.now - before);
        }
    }

    fn progress(&mut self, over: u64) {
        let prefixes = self.acknowledge.iter().map(|(i, n)| (IfIndex(*i), (0..*n).collect()));
        let report = TcpProgress { over: Duration::from_millis(over), prefixes: prefixes.collect() };
        self.last_report = Some(self.now);
        self.observe(Evidence::TcpProgress(report));
    }

    fn state(&self) -> State {
        self.health.verdict().state
    }

    fn device(&self) -> (State, Option<ReasonCode>) {
        let d = self.health.devices().next().unwrap();
        (d.verdict.state, d.verdict.reasons.first().map(|r| r.code))
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

/// Each rule has a test that says its number, where the rule is tried as a whole or stands by itself.
#[test]
fn every_rule_has_a_test_of_its_number() {
    let sources = [
        include_str!("flaps.rs"),
        include_str!("impairments.rs"),
        include_str!("links.rs"),
        include_str!("probes.rs"),
        include_str!("progress.rs"),
        include_str!("retransmits.rs"),
        include_str!("routes.rs"),
        include_str!("rto.rs"),
        include_str!("stacks.rs"),
        include_str!("../../output/api/group.rs"),
    ];
    let numbers = (1..=16).map(|n| n.to_string()).chain(["2b".to_owned()]);
    let is_tried = |n: &String| sources.iter().any(|s| s.contains(&format!("fn r{n}_")));
    let missing: Vec<_> = numbers.filter(|n| !is_tried(n)).collect();
    assert!(missing.is_empty(), "no test of R{missing:?}");
}
