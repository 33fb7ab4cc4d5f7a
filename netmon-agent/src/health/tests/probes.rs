//! R4, R6, R8, R13, R14: what probes and the agent's own lateness make of a verdict.

use super::*;

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
fn r4_a_burst_that_is_never_heard_of_is_made_up_for() {
    let mut w = World::usual();
    w.all_answer(false);
    w.run(4000);
    w.pending.clear();
    w.observe(Evidence::Gap(SourceKind::Probe));
    let took = w.until(State::Down, 10_000);
    assert!(took <= 5200, "{took} ms after the gap");
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
fn r6_a_quorum_set_anew_counts_at_once_with_links_or_without() {
    for netlink in [true, false] {
        let mut w = World::usual();
        let specs: Vec<TargetSpec> =
            w.health.targets().map(|t| t.spec.clone()).filter(|t| t.id.0 > 0).collect();
        let watch = Watch::new(&["*".into()], &[]).unwrap();
        if !netlink {
            w.health = Health::new(w.moment(), Settings::default(), watch.clone(), false);
        }
        w.health.set_targets(w.moment(), specs);
        w.run(5000);
        w.answer("8.8.8.8", false);
        w.until(State::Degraded, 5200);
        let settings = Settings { quorum: [("internet".to_owned(), 1)].into(), ..Settings::default() };
        w.health.configure(w.moment(), settings, watch);
        w.drain();
        assert_eq!((w.state(), w.codes()[0]), (State::Down, ReasonCode::ScopeDown), "netlink: {netlink}");
    }
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
fn a_reading_with_no_news_changes_nothing() {
    let mut w = World::usual();
    w.run(600_000);
    assert!(w.changes.is_empty(), "{:?}", w.changes);
}

#[test]
fn a_throttled_agent_says_so_and_changes_no_state() {
    let mut w = World::usual();
    w.health.throttle(w.moment(), Some("5.1 % of 5.0 %".to_owned()));
    assert!(w.health.take_dirty());
    w.run(3000);
    assert_eq!((w.state(), w.codes()), (State::Up, vec![ReasonCode::Throttled]));
    w.answer("8.8.8.8", false);
    w.until(State::Degraded, 5200);
    assert_eq!(w.codes(), [ReasonCode::TargetDown, ReasonCode::Throttled]);
    w.health.throttle(w.moment(), None);
    assert_eq!(w.codes(), [ReasonCode::TargetDown]);
    w.all_answer(false);
    w.health.throttle(w.moment(), Some(String::new()));
    w.until(State::Down, 10_000);
    assert_eq!(w.codes().last(), Some(&ReasonCode::Throttled));
}
