//! The driver itself: that it tells the core what the agent would.

use std::{cell::RefCell, net::IpAddr, rc::Rc, time::Duration};

use netmon_agent::{
    health::{Event, ReasonCode, Role, Settings, State, Subject},
    observation::{Evidence, FailureReason, NetworkChange, TargetId},
};

use super::{Agent, Fate, Probe, Unsent, Wire, world};

const RTT: Duration = Duration::from_millis(5);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn answered() -> Fate {
    Fate::Answered { rtt: RTT }
}

/// A history: when what became what.
#[derive(Default)]
struct Told {
    changes: Vec<(u64, String, State)>,
    reasons: Vec<ReasonCode>,
    scales: Vec<u8>,
    extra: usize,
}

impl Told {
    fn run<W: Wire>(&mut self, agent: &mut Agent<W>, until: Duration) {
        agent.run_until(until, &mut |at, event| match event {
            Event::Changed { subject, state, reasons, .. } => {
                self.changes.push((at.as_millis() as u64, subject.name().to_owned(), *state));
                self.reasons.extend(reasons.iter().map(|r| r.code));
            }
            Event::Probe { .. } => self.extra += 1,
            Event::TimeoutScale(scale) => self.scales.push(*scale),
            Event::RoutesChanged => {}
        });
    }

    fn of(&self, name: &str) -> Vec<(u64, State)> {
        self.changes.iter().filter(|(_, n, _)| n == name).map(|(at, _, state)| (*at, *state)).collect()
    }
}

/// One uplink and two hosts beyond it.
fn agent<W: Wire>(seed: u64, wire: W) -> Agent<W> {
    let mut agent = Agent::new(seed, Settings::default(), world::watch(), wire);
    agent.set_targets(vec![
        world::target(0, "a", "internet", [8, 8, 8, 8], Role::Plain),
        world::target(1, "b", "internet", [1, 1, 1, 1], Role::Plain),
    ]);
    let network = world::uplink(2, "eth0", [10, 0, 0, 2], [10, 0, 0, 1]);
    agent.network(NetworkChange::Dump(Box::new(network)));
    agent
}

#[test]
fn it_is_up_with_the_first_replies_and_stays_so() {
    let mut agent = agent(1, |_: &Probe<'_>| answered());
    let mut told = Told::default();
    told.run(&mut agent, ms(600_000));
    assert_eq!(told.of("network"), [(5, State::Up)]);
    assert_eq!((told.extra, told.scales), (0, vec![]));
}

#[test]
fn regular_probes_are_an_interval_apart_and_the_lanes_evenly() {
    let sent: Rc<RefCell<Vec<(TargetId, Duration)>>> = Rc::default();
    let seen = Rc::clone(&sent);
    let mut agent = agent(2, move |p: &Probe<'_>| {
        assert!(p.regular);
        seen.borrow_mut().push((p.target.id, p.at));
        answered()
    });
    Told::default().run(&mut agent, ms(400_000));
    let of = |id| -> Vec<Duration> {
        sent.borrow().iter().filter(|(i, _)| *i == TargetId(id)).map(|(_, at)| *at).collect()
    };
    let (a, b) = (of(0), of(1));
    assert_eq!((a[0], a[1], b[0], b[1]), (ms(0), ms(1000), ms(0), ms(2000)));
    for pair in a[1..].windows(2) {
        let gap = pair[1] - pair[0];
        assert!((ms(1800)..=ms(2200)).contains(&gap), "{gap:?}");
    }
    assert!((195..=205).contains(&a.len()), "{}", a.len());
}

#[test]
fn silence_is_down_within_the_bound_and_three_replies_are_up_again() {
    let hole = ms(20_000)..ms(60_000);
    let mut agent = agent(3, |p: &Probe<'_>| if hole.contains(&p.at) { Fate::Silent } else { answered() });
    let mut told = Told::default();
    told.run(&mut agent, ms(90_000));
    let [(_, State::Up), (fell, State::Down), (rose, State::Up)] = told.of("a")[..] else {
        panic!("{:?}", told.changes)
    };
    assert!((23_000..=25_200).contains(&fell) && (60_505..=63_000).contains(&rose), "{fell} {rose}");
}

#[test]
fn an_answer_after_its_time_is_a_loss_and_a_late_one() {
    let mut agent = agent(4, |_: &Probe<'_>| Fate::Answered { rtt: ms(1500) });
    Told::default().run(&mut agent, ms(20_000));
    let target = agent.health().targets().next().unwrap();
    let counters = &target.addresses[0].stats.counters;
    assert_eq!((target.verdict.state, counters.replies), (State::Down, 0));
    assert!(counters.late > 5 && counters.failures[FailureReason::Timeout as usize] >= counters.late);
}

#[test]
fn an_error_names_its_reason_at_once() {
    let router: IpAddr = [10, 0, 0, 1].into();
    let failed = move |p: &Probe<'_>| match p.at > ms(10_000) {
        true => Fate::Failed { after: ms(1), reason: FailureReason::HostUnreachable, reporter: Some(router) },
        false => answered(),
    };
    let mut agent = agent(5, failed);
    let mut told = Told::default();
    told.run(&mut agent, ms(20_000));
    let fell = told.of("a").iter().find(|(_, state)| *state == State::Down).unwrap().0;
    assert!((12_000..=14_300).contains(&fell), "no time-out has to pass: {fell}");
    assert!(told.reasons.contains(&ReasonCode::Unreachable));
}

#[test]
fn what_cannot_be_sent_is_tried_ever_more_rarely_until_the_network_changes() {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sent);
    let mut agent = agent(6, move |p: &Probe<'_>| {
        if p.target.id == TargetId(0) && p.regular {
            seen.borrow_mut().push(p.at);
        }
        Fate::Unsent { reason: Unsent::NoRoute }
    });
    let mut told = Told::default();
    told.run(&mut agent, ms(200_000));
    assert_eq!(agent.health().verdict().state, State::Down);
    let tries = sent.borrow().len();
    assert!((6..=8).contains(&tries), "0, 4, 12, 28, 60, 124 s: {:?}", sent.borrow());
    let network = world::uplink(2, "eth0", [10, 0, 0, 2], [10, 0, 0, 1]);
    agent.network(NetworkChange::Dump(Box::new(network)));
    told.run(&mut agent, ms(200_300));
    assert_eq!(sent.borrow().len(), tries + 1);
}

#[test]
fn a_full_buffer_proves_nothing() {
    let mut agent = agent(7, |p: &Probe<'_>| match p.at < ms(10_000) {
        true => answered(),
        false => Fate::Unsent { reason: Unsent::NoBuffer },
    });
    let mut told = Told::default();
    told.run(&mut agent, ms(60_000));
    assert_eq!(told.of("network"), [(5, State::Up)]);
}

#[test]
fn a_stall_is_unknown_and_then_up_whoever_wakes_first() {
    for seed in 0..20 {
        let mut agent = agent(seed, |_: &Probe<'_>| answered());
        let mut told = Told::default();
        told.run(&mut agent, ms(20_500));
        agent.stall(ms(10_000));
        told.run(&mut agent, ms(60_000));
        let [(5, State::Up), (at, State::Unknown), (back, State::Up)] = told.of("network")[..] else {
            panic!("{:?}", told.changes)
        };
        assert!(at == 30_500 && back <= 31_600, "{at} {back}");
        assert!(told.reasons.contains(&ReasonCode::Stalled));
    }
}

#[test]
fn a_short_stall_stretches_time_outs_and_changes_no_verdict() {
    let mut agent = agent(8, |_: &Probe<'_>| answered());
    let mut told = Told::default();
    for i in 1..100 {
        told.run(&mut agent, ms(10_000 + 700 * i));
        agent.stall(ms(600));
    }
    assert_eq!(told.of("network"), [(5, State::Up)]);
    assert!(told.scales.iter().any(|scale| *scale > 4), "{:?}", told.scales);
}

#[test]
fn a_suspend_is_unknown_and_the_clock_goes_on() {
    let mut agent = agent(9, |_: &Probe<'_>| answered());
    let mut told = Told::default();
    told.run(&mut agent, ms(20_000));
    agent.suspend(ms(3_600_000));
    assert_eq!(agent.now(), ms(3_620_000));
    told.run(&mut agent, ms(3_630_000));
    let [(5, State::Up), (at, State::Unknown), (back, State::Up)] = told.of("network")[..] else {
        panic!("{:?}", told.changes)
    };
    assert!(at <= 3_621_000 && back <= at + 1100, "{at} {back}");
    assert!(told.reasons.contains(&ReasonCode::Suspended));
}

#[test]
fn late_ticks_are_noted_beyond_a_tenth_of_a_second() {
    for (by, noted) in [(90, false), (150, true)] {
        let mut agent = agent(10, |_: &Probe<'_>| answered());
        let mut told = Told::default();
        for i in 10..30 {
            told.run(&mut agent, ms(i * 1000));
            agent.late(ms(by));
        }
        assert_eq!(told.scales.first(), noted.then_some(&2), "{by} ms");
        assert_eq!(told.of("network"), [(5, State::Up)]);
    }
}

#[test]
fn addresses_that_were_resolved_are_probed() {
    let mut agent = Agent::new(11, Settings::default(), world::watch(), |_: &Probe<'_>| answered());
    let mut spec = world::target(0, "web", "internet", [8, 8, 8, 8], Role::Plain);
    spec.host = "web.example".into();
    spec.addresses.clear();
    agent.set_targets(vec![spec]);
    let network = world::uplink(2, "eth0", [10, 0, 0, 2], [10, 0, 0, 1]);
    agent.network(NetworkChange::Dump(Box::new(network)));
    let mut told = Told::default();
    told.run(&mut agent, ms(1000));
    agent.observe(Evidence::Resolved { target: TargetId(0), addresses: vec![[8, 8, 8, 8].into()] });
    told.run(&mut agent, ms(2000));
    assert_eq!(told.of("web"), [(1005, State::Up)]);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        use rand::{RngExt, SeedableRng, rngs::SmallRng};
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut agent = agent(seed, move |_: &Probe<'_>| match rng.random_bool(0.4) {
            true => Fate::Silent,
            false => answered(),
        });
        let mut told = Told::default();
        told.run(&mut agent, ms(3_600_000));
        told.changes
    };
    assert!(history(12).len() > 10);
    assert_eq!(history(12), history(12));
    assert_ne!(history(12), history(13));
}

#[test]
fn a_link_that_is_lost_explains_its_targets() {
    let mut agent = agent(14, |_: &Probe<'_>| answered());
    let mut told = Told::default();
    told.run(&mut agent, ms(10_000));
    let mut link = world::link(2, "eth0");
    link.carrier = false;
    agent.network(NetworkChange::Link(Box::new(link)));
    told.run(&mut agent, ms(10_000));
    assert!(told.changes.contains(&(10_000, Subject::Network.name().to_owned(), State::Down)));
    assert!(told.reasons.contains(&ReasonCode::ExplainedByLink));
}
