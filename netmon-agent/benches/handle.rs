//! What the core costs: nanoseconds and allocations an observation, by the thread's own CPU time, with many targets:
//! `cargo xtask bench handle [TARGETS]` (10000).
//!
//! Every target is an address of its own that is probed every two seconds, and each probe is two observations: that it
//! left, and what became of it. They are told one after another in the order of time, as the agent does it, timers between
//! them as they fall due; with ten thousand targets nothing of one is left in a cache until its next turn.

mod common;
#[path = "common/cpu.rs"]
mod cpu;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use allocation_counter::measure;
use anyhow::Result;
use netmon_agent::{
    health::{Health, Role, Settings, State, TargetSpec, Watch},
    observation::{
        Address, Evidence, FailureReason, IfIndex, IfName, Link, Method, Network, NetworkChange, Observation,
        OperState, ProbeEvent, ProbeOutcome, Route, StampSource, TargetId,
    },
    time::{Boot, Moment, Mono},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use common::count;
use cpu::cpu;

const INTERVAL: u64 = 2_000_000_000;
const RTT: u64 = 3_000_000;
const TIMEOUT: u64 = 1_000_000_000;

/// Rounds before anything is measured: more than the samples of every window of the rules.
const WARM: u64 = 150;

/// Rounds that are measured, and of which the median is told.
const ROUNDS: usize = 31;

fn main() -> Result<()> {
    let Some(count) = count()? else { return Ok(()) };
    println!("{count} targets, every 2 s; CPU time of this thread, medians of {ROUNDS} rounds");
    println!("  {:<44} {:>10} {:>14}", "", "ns each", "allocations");
    let mut world = World::new(count);
    world.steady();
    world.timeouts();
    world.lossy();
    world.link_events();
    Ok(())
}

/// A core with its targets, in virtual time.
struct World {
    health: Health,
    count: u32,
    /// Nanoseconds since the start.
    now: u64,
    seq: u64,
    rng: SmallRng,
}

impl World {
    fn new(count: u32) -> Self {
        let everything = Watch::new(&["*".to_owned()], &[]).expect("no pattern is bad");
        let mut world = Self {
            health: Health::new(moment(0), Settings::default(), everything, true),
            count,
            now: 0,
            seq: 0,
            rng: SmallRng::seed_from_u64(7),
        };
        world.health.handle(moment(0), network(NetworkChange::Dump(Box::new(one_uplink())), 0));
        world.health.set_targets(moment(0), (0..count).map(spec).collect());
        for _ in 0..WARM {
            world.round(0.0);
        }
        assert_eq!(world.health.verdict().state, State::Up, "{:?}", world.health.verdict());
        world
    }

    /// A round of all targets, `loss` of them lost. Gives the CPU time and the allocations, each by observation.
    fn round(&mut self, loss: f64) -> (f64, f64) {
        let gap = INTERVAL / u64::from(self.count);
        self.seq += 1;
        let (round, seq) = (self.now, self.seq);
        let lost: Vec<bool> = (0..self.count).map(|_| self.rng.random_bool(loss)).collect();
        // In the order of time: what became of a probe comes after the next ones have left.
        let sent = (0..self.count).map(|n| (round + u64::from(n) * gap, n, false));
        let after = |n: u32| if lost[n as usize] { TIMEOUT } else { RTT };
        let settled = (0..self.count).map(|n| (round + u64::from(n) * gap + after(n), n, true));
        let mut all: Vec<(u64, u32, bool)> = sent.chain(settled).collect();
        all.sort_unstable();
        let observations = all.into_iter().map(|(at, n, settled)| {
            let outcome = match (settled, lost[n as usize]) {
                (false, _) => ProbeOutcome::Sent,
                (true, false) => reply(),
                (true, true) => ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None },
            };
            probe(n, seq, outcome, at)
        });
        let observations: Vec<Observation> = observations.collect();
        let number = observations.len() as f64;
        let mut took = Duration::ZERO;
        let info = measure(|| {
            let started = cpu();
            for observation in observations {
                let at = observation.at;
                self.pass(at);
                self.health.handle(of(at), observation);
                self.drain();
            }
            took = cpu().saturating_sub(started);
        });
        self.now += INTERVAL + if loss > 0.0 { TIMEOUT } else { RTT };
        (took.as_nanos() as f64 / number, info.count_total as f64 / number)
    }

    fn steady(&mut self) {
        let (mut ns, mut allocations) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (took, count) = self.round(0.0);
            ns.push(took);
            allocations.push(count);
        }
        let most = allocations.iter().copied().fold(0.0, f64::max);
        line("sent or answered, an observation", &mut ns, &mut allocations);
        println!("    most in one round {most:.3}: once a minute an address packs what is over");
        assert_eq!(self.health.verdict().state, State::Up);
    }

    fn lossy(&mut self) {
        let (mut ns, mut allocations) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (took, count) = self.round(0.05);
            ns.push(took);
            allocations.push(count);
        }
        line("the same, 5 % lost", &mut ns, &mut allocations);
    }

    /// The core's own second: nothing is due but the look at the clocks.
    fn timeouts(&mut self) {
        const CALLS: u32 = 1000;
        let (mut ask, mut allocations_ask) = (Vec::new(), Vec::new());
        let (mut handle, mut allocations_handle) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (took, count) = timed(|| {
                for _ in 0..CALLS {
                    std::hint::black_box(self.health.poll_timeout());
                }
            });
            ask.push(took.as_nanos() as f64 / f64::from(CALLS));
            allocations_ask.push(count as f64 / f64::from(CALLS));
            let (took, count) = timed(|| {
                for _ in 0..CALLS {
                    self.now += 1_000_000;
                    self.health.handle_timeout(moment(self.now));
                    self.drain();
                }
            });
            handle.push(took.as_nanos() as f64 / f64::from(CALLS));
            allocations_handle.push(count as f64 / f64::from(CALLS));
        }
        line("poll_timeout", &mut ask, &mut allocations_ask);
        line("handle_timeout, nothing due", &mut handle, &mut allocations_handle);
    }

    /// The uplink loses its carrier and gets it back: every target is judged anew.
    fn link_events(&mut self) {
        let (mut lost, mut back) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for i in 0..ROUNDS {
            self.now += INTERVAL;
            self.pass(moment(self.now).mono);
            let carrier = i % 2 == 1;
            let change = NetworkChange::Link(Box::new(eth0(carrier)));
            let observation = network(change, self.now);
            let (took, count) = timed(|| {
                self.health.handle(moment(self.now), observation);
                self.drain();
            });
            let each = if carrier { &mut back } else { &mut lost };
            each.0.push(took.as_nanos() as f64);
            each.1.push(count as f64);
        }
        line("a lost carrier, all targets with it", &mut lost.0, &mut lost.1);
        line("the carrier back", &mut back.0, &mut back.1);
    }

    /// Lets what is due until then come to pass.
    fn pass(&mut self, until: Mono) {
        while self.health.poll_timeout() <= until {
            self.health.handle_timeout(of(self.health.poll_timeout()));
            self.drain();
        }
    }

    /// What the core wants is done by nobody: a probe out of turn would be an observation more.
    fn drain(&mut self) {
        while self.health.poll_event().is_some() {}
    }
}

/// CPU time and allocations of `work`.
fn timed(work: impl FnOnce()) -> (Duration, u64) {
    let mut took = Duration::ZERO;
    let info = measure(|| {
        let started = cpu();
        work();
        took = cpu().saturating_sub(started);
    });
    (took, info.count_total)
}

fn line(what: &str, ns: &mut [f64], allocations: &mut [f64]) {
    println!("  {what:<44} {:>10.0} {:>14.3}", median(ns), median(allocations));
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// So many nanoseconds after the start.
fn moment(ns: u64) -> Moment {
    of(Mono::from_nanos(1_000_000_000 + ns))
}

/// A machine that was never suspended.
fn of(mono: Mono) -> Moment {
    Moment { mono, boot: Boot::from_nanos(mono.as_nanos()) }
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0b00_0000 + n).into()
}

fn spec(n: u32) -> TargetSpec {
    TargetSpec {
        id: TargetId(n),
        name: format!("target-{n}").into(),
        host: address(n).to_string(),
        scope: "custom".into(),
        method: Method::Icmp,
        role: Role::Plain,
        addresses: vec![address(n)],
        link: None,
    }
}

fn reply() -> ProbeOutcome {
    let rtt = Duration::from_nanos(RTT);
    ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false }
}

fn probe(n: u32, seq: u64, outcome: ProbeOutcome, at: u64) -> Observation {
    let event = ProbeEvent { target: TargetId(n), address: address(n), seq, outcome };
    Observation { at: moment(at).mono, evidence: Evidence::Probe(event) }
}

fn network(change: NetworkChange, at: u64) -> Observation {
    Observation { at: moment(at).mono, evidence: Evidence::Network(change) }
}

fn eth0(carrier: bool) -> Link {
    let oper = if carrier { OperState::Up } else { OperState::Down };
    let (index, name) = (IfIndex(2), IfName::new(*b"eth0"));
    Link { index, name, admin_up: true, carrier, oper, ..Link::default() }
}

fn one_uplink() -> Network {
    let mut network = Network::default();
    network.apply(NetworkChange::Link(Box::new(eth0(true))));
    let own = Ipv4Addr::new(10, 0, 0, 2).into();
    network.apply(NetworkChange::Address(Address {
        ifindex: IfIndex(2),
        address: own,
        prefix_len: 24,
        usable: true,
    }));
    network.routes.push(Route {
        table: 254,
        destination: Ipv4Addr::UNSPECIFIED.into(),
        prefix_len: 0,
        gateway: Some(Ipv4Addr::new(10, 0, 0, 1).into()),
        ifindex: IfIndex(2),
        metric: 100,
    });
    network
}
