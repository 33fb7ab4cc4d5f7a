//! Targets by name: what is resolved late, not at all, not any more, or to other addresses.

use super::*;

const NAMED: TargetId = TargetId(7);

/// The usual world, and a target by name that is not resolved yet.
fn named() -> World {
    let mut w = World::usual();
    let mut spec = target(7, "named", "own", "::", Role::Plain);
    spec.host = "web.example".into();
    spec.addresses.clear();
    let specs = w.health.targets().map(|t| t.spec.clone()).chain([spec]).collect();
    w.health.set_targets(w.moment(), specs);
    w.drain();
    w
}

fn resolved(w: &mut World, addresses: &[&str]) {
    let addresses = addresses.iter().map(|a| ip(a)).collect();
    w.observe(Evidence::Resolved { target: NAMED, addresses });
}

fn failed(w: &mut World, error: &str) {
    w.observe(Evidence::ResolveFailed { target: NAMED, error: error.into() });
}

fn states(w: &World) -> Vec<State> {
    let of = |(_, subject, state): &(u64, Subject, State)| {
        (*subject == Subject::Target("named".into())).then_some(*state)
    };
    w.changes.iter().filter_map(of).collect()
}

/// Both families have a default route.
fn with_v6(w: &mut World) {
    let mut n = w.health.network().clone();
    let mut v6 = n.routes[0].clone();
    (v6.destination, v6.gateway) = (ip("::"), Some(ip("fe80::1")));
    n.routes.push(v6);
    w.network(NetworkChange::Dump(Box::new(n)));
}

#[test]
fn a_name_that_never_resolved_is_down_and_says_so() {
    let mut w = named();
    assert_eq!(w.target("named"), (State::Unknown, Some(ReasonCode::Starting)));
    failed(&mut w, "no such name (NXDOMAIN)");
    assert_eq!(w.target("named"), (State::Down, Some(ReasonCode::Dns)));
    let t = w.health.targets().find(|t| t.spec.id == NAMED).unwrap();
    assert_eq!(t.verdict.reasons[0].detail, "web.example can't be resolved: no such name (NXDOMAIN)");
    w.run(60_000);
    assert_eq!(w.target("named").0, State::Down);
    resolved(&mut w, &["9.9.9.9"]);
    w.run(4000);
    assert_eq!(w.target("named"), (State::Up, None));
}

#[test]
fn a_name_that_never_resolved_is_explained_by_the_link_while_none_is_usable() {
    let mut w = named();
    w.link(|l| l.carrier = false);
    failed(&mut w, "the resolver 10.0.0.53 can't be reached");
    assert_eq!(w.target("named"), (State::Down, Some(ReasonCode::ExplainedByLink)));
    w.link(|l| l.carrier = true);
    assert_eq!(w.target("named"), (State::Down, Some(ReasonCode::Dns)), "the link is no excuse any more");
}

#[test]
fn kept_addresses_are_judged_while_resolution_fails() {
    let mut w = named();
    resolved(&mut w, &["9.9.9.9"]);
    w.run(4000);
    w.changes.clear();
    failed(&mut w, "the resolver 10.0.0.53 does not answer");
    w.run(600_000);
    assert_eq!(w.target("named"), (State::Up, Some(ReasonCode::Dns)));
    assert_eq!(states(&w), [], "a resolver that dies is no fault of the target");
    assert_eq!(w.state(), State::Up);

    w.answer("9.9.9.9", false);
    w.run(10_000);
    assert_eq!(w.target("named"), (State::Down, Some(ReasonCode::NoReply)));
    let t = w.health.targets().find(|t| t.spec.id == NAMED).unwrap();
    assert!(t.verdict.reasons.iter().any(|r| r.code == ReasonCode::Dns), "{:?}", t.verdict.reasons);
    w.answer("9.9.9.9", true);
    w.run(10_000);
    assert_eq!(w.target("named"), (State::Up, Some(ReasonCode::Dns)));
    resolved(&mut w, &["9.9.9.9"]);
    assert_eq!(w.target("named"), (State::Up, None));
}

#[test]
fn a_name_with_ipv6_addresses_only_is_up() {
    let mut w = named();
    with_v6(&mut w);
    resolved(&mut w, &["2001:db8::9"]);
    w.run(4000);
    assert_eq!(w.target("named"), (State::Up, None));
    resolved(&mut w, &["9.9.9.9", "2001:db8::9"]);
    w.run(4000);
    w.answer("9.9.9.9", false);
    w.run(8000);
    assert_eq!(w.target("named"), (State::Degraded, Some(ReasonCode::AddressDown)));
    resolved(&mut w, &["2001:db8::9"]);
    assert_eq!(w.target("named"), (State::Up, None), "the address that does not answer is gone");
}

#[test]
fn a_name_that_moves_stays_up_and_is_judged_by_its_new_address() {
    let mut w = named();
    resolved(&mut w, &["9.9.9.9"]);
    w.run(4000);
    w.changes.clear();
    for offset in 0..20 {
        w.run(1000 + 97 * offset);
        resolved(&mut w, &[&format!("9.9.8.{offset}")]);
    }
    w.run(4000);
    assert_eq!(states(&w), [], "no state is lost on the way");

    let moved = w.now;
    w.answer("9.9.7.1", false);
    resolved(&mut w, &["9.9.7.1"]);
    while w.target("named").0 == State::Up {
        w.run(1);
    }
    assert_eq!(w.target("named"), (State::Down, Some(ReasonCode::NoReply)));
    assert!(w.now - moved <= 5200, "as soon as one that falls silent: {} ms", w.now - moved);
    w.changes.clear();
    resolved(&mut w, &["9.9.7.2"]);
    w.run(4000);
    assert_eq!(w.target("named").0, State::Up);
    assert_eq!(states(&w), [State::Unknown, State::Up], "of one that was down nothing is taken over");
}

#[test]
fn another_host_under_the_same_target_starts_anew() {
    let mut w = named();
    resolved(&mut w, &["9.9.9.9"]);
    failed(&mut w, "SERVFAIL");
    w.run(4000);
    let put = |w: &mut World, change: &dyn Fn(&mut TargetSpec)| {
        let mut specs: Vec<TargetSpec> = w.health.targets().map(|t| t.spec.clone()).collect();
        specs.iter_mut().filter(|s| s.id == NAMED).for_each(change);
        w.health.set_targets(w.moment(), specs);
        w.drain();
    };
    put(&mut w, &|s| s.method = Method::Tcp { port: 443 });
    let t = w.health.targets().find(|t| t.spec.id == NAMED).unwrap();
    assert!(t.unresolved.is_some(), "the name is no better for being probed otherwise");
    assert_eq!(states(&w), [State::Up, State::Unknown], "and that is told");
    put(&mut w, &|s| {
        s.host = "9.9.9.8".into();
        s.addresses = vec![ip("9.9.9.8")];
    });
    assert_eq!(w.target("named"), (State::Unknown, Some(ReasonCode::Starting)));
    w.run(4000);
    assert_eq!(w.target("named"), (State::Up, None));
}

#[test]
fn what_former_addresses_counted_is_kept() {
    let mut w = named();
    resolved(&mut w, &["9.9.9.8", "9.9.9.9"]);
    w.run(4000);
    let replies = |w: &World| {
        let t = w.health.targets().find(|t| t.spec.id == NAMED).unwrap();
        let kept = t.departed.as_ref().map_or(0, |d| d.counters.replies);
        kept + t.addresses.iter().map(|a| a.stats.counters.replies).sum::<u64>()
    };
    let before = replies(&w);
    assert!(before > 0);
    for addresses in [&["9.9.9.9"][..], &["9.9.9.7", "9.9.9.8"], &["9.9.9.9"]] {
        resolved(&mut w, addresses);
        assert_eq!(replies(&w), before, "{addresses:?}");
    }
}

#[test]
fn r16_a_name_that_could_not_be_looked_up_for_want_of_a_link_is_explained_in_a_gap_too() {
    let mut w = named();
    w.link(|l| l.carrier = false);
    failed(&mut w, "timed out");
    assert_eq!(w.target("named"), (State::Down, Some(ReasonCode::ExplainedByLink)));
    w.observe(Evidence::Gap(SourceKind::Netlink));
    failed(&mut w, "timed out");
    assert_eq!(w.target("named"), (State::Down, Some(ReasonCode::ExplainedByLink)), "by what was last known");
}
