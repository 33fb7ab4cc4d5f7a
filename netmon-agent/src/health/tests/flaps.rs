//! R12: flap damping.

use super::*;

#[test]
fn r12_a_flapping_link_reads_degraded_until_it_is_steady() {
    let mut w = World::usual();
    for _ in 0..3 {
        w.link(|l| l.carrier = false);
        assert_eq!((w.state(), w.device().0), (State::Down, State::Down), "down is never hidden");
        w.run(3000);
        w.link(|l| l.carrier = true);
        w.run(5000);
    }
    assert_eq!(w.device(), (State::Degraded, Some(ReasonCode::Flapping)));
    assert_eq!((w.state(), w.codes()), (State::Degraded, vec![ReasonCode::Flapping]));
    assert_eq!(w.target("a"), (State::Up, None), "the link's flaps are not the target's");
    let took = w.until(State::Up, 120_000);
    assert!(took > 60_000, "{took}");
    assert_eq!(w.device(), (State::Up, None));
}

#[test]
fn r12_a_flapping_target_reads_degraded() {
    let mut w = World::usual();
    for _ in 0..3 {
        w.answer("8.8.8.8", false);
        w.run(5500);
        assert_eq!(w.target("a").0, State::Down, "down is never hidden");
        w.answer("8.8.8.8", true);
        w.run(3500);
    }
    assert_eq!(w.target("a"), (State::Degraded, Some(ReasonCode::Flapping)));
    assert_eq!((w.state(), w.codes()), (State::Degraded, vec![ReasonCode::TargetDegraded]));
    w.until(State::Up, 120_000);
}

#[test]
fn r12_a_gap_ends_no_suppression() {
    let mut w = World::usual();
    for _ in 0..3 {
        w.link(|l| l.carrier = false);
        w.run(1000);
        w.link(|l| l.carrier = true);
        w.run(1000);
    }
    w.observe(Evidence::Gap(SourceKind::Netlink));
    assert_eq!(w.device().0, State::Unknown);
    let dump = w.health.network().clone();
    w.network(NetworkChange::Dump(Box::new(dump)));
    assert_eq!(w.device(), (State::Degraded, Some(ReasonCode::Flapping)));
}
