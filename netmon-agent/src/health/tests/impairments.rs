//! R9, R11: it answers, but not well.

use super::*;

#[test]
fn r9_heavy_loss_degrades_and_its_end_is_seen() {
    let mut w = World::usual();
    w.loss.insert(ip("8.8.8.8"), 0.25);
    let took = w.until(State::Degraded, 240_000);
    assert!(took > 10_000, "a window, not a moment: {took}");
    assert_eq!(w.target("a"), (State::Degraded, Some(ReasonCode::Loss)));
    w.loss.clear();
    let took = w.until(State::Up, 180_000);
    assert!((60_000..=125_000).contains(&took), "{took}");
}

#[test]
fn r9_an_outage_is_no_loss() {
    for (outage, offset) in [(3, 0), (5, 700), (30, 1999), (600, 1100)] {
        let mut w = World::usual();
        w.run(130_000 + offset);
        w.all_answer(false);
        w.run(outage * 1000);
        w.all_answer(true);
        w.run(4000);
        w.changes.clear();
        w.run(300_000);
        assert_eq!(w.state(), State::Up, "{outage} s");
        assert!(w.changes.is_empty(), "{:?}", w.changes);
    }
}

#[test]
fn r9_repeated_outages_are_flaps_and_not_loss() {
    let mut w = World::usual();
    for _ in 0..20 {
        w.answer("8.8.8.8", false);
        w.run(7000);
        w.answer("8.8.8.8", true);
        w.run(7000);
        let reasons = &w.health.targets().find(|t| &*t.spec.name == "a").unwrap().verdict.reasons;
        assert!(reasons.iter().all(|r| r.code != ReasonCode::Loss), "{reasons:?}");
    }
}

#[test]
fn r11_latency_degrades_within_half_a_minute_and_comes_back() {
    let mut w = World::usual();
    w.run(300_000);
    w.rtt.insert(ip("1.1.1.1"), 90);
    let took = w.until(State::Degraded, 30_000);
    assert!((14_000..=18_500).contains(&took), "{took}");
    assert_eq!(w.target("b"), (State::Degraded, Some(ReasonCode::Latency)));
    w.rtt.clear();
    let took = w.until(State::Up, 90_000);
    assert!(took >= 40_000, "the dwell: {took}");
}

#[test]
fn r11_a_path_that_changed_for_good_is_the_new_norm() {
    let mut w = World::usual();
    w.run(300_000);
    w.rtt.insert(ip("1.1.1.1"), 90);
    w.run(30_000);
    assert_eq!(w.state(), State::Degraded);
    w.run(3_600_000);
    assert_eq!(w.state(), State::Up);
}

#[test]
fn a_target_stays_small() {
    let mut w = World::usual();
    w.loss.insert(ip("8.8.8.8"), 0.1);
    w.run(7_200_000);
    for t in w.health.targets() {
        let bytes = size_of_val(t) + t.addresses.iter().map(|a| size_of_val(a) + a.heap()).sum::<usize>();
        assert!(bytes <= 4096, "{} has {bytes} bytes", t.spec.name);
    }
}
