//! R10: retransmits of a device.

use super::*;
use crate::observation::{RetransmitKind, TcpCounters, TcpReading, TcpSpread};

/// What eth0 has sent so far, and how much of it again.
fn reading(sent: u64, again: u64) -> Evidence {
    let mut counters = TcpCounters { segments_sent: sent, ..TcpCounters::default() };
    counters.retransmitted_segments[RetransmitKind::Rto as usize] = again;
    let mut spread = TcpSpread::default();
    for i in 0..again as usize {
        spread.flows[i % 20] += 1;
        spread.prefixes[i % 7] += 1;
    }
    Evidence::Tcp(Box::new(TcpReading {
        devices: [(IfIndex(2), counters)].into(),
        spread: [(IfIndex(2), spread.into())].into(),
        sent_is_current: true,
        ..TcpReading::default()
    }))
}

#[test]
fn r10_a_device_that_sends_much_again_is_degraded_and_so_is_the_whole() {
    let mut w = World::usual();
    let (mut sent, mut again) = (0, 0);
    let mut feed = |w: &mut World, seconds: u64, per_read: u64| {
        for _ in 0..seconds / 5 {
            (sent, again) = (sent + 1000, again + per_read);
            w.observe(reading(sent, again));
            w.run(5000);
        }
    };
    feed(&mut w, 60, 10);
    assert_eq!((w.state(), w.device()), (State::Up, (State::Up, None)));
    let device = w.health.devices().next().unwrap();
    let ratio = w.health.retransmit_ratio(device, w.moment().mono).unwrap();
    assert!((ratio - 0.01).abs() < 0.001, "{ratio}");
    feed(&mut w, 30, 50);
    assert_eq!(w.device(), (State::Degraded, Some(ReasonCode::Retransmits)));
    assert_eq!((w.state(), w.codes()), (State::Degraded, vec![ReasonCode::Retransmits]));
    w.link(|l| l.carrier = false);
    assert_eq!((w.state(), w.device()), (State::Down, (State::Down, Some(ReasonCode::NoCarrier))));
    w.link(|l| l.carrier = true);
    w.run(3000);
    feed(&mut w, 120, 0);
    assert_eq!(w.state(), State::Up);
}

#[test]
fn r10_the_whole_tells_the_numbers_of_now() {
    let mut w = World::usual();
    let mut before = None;
    for i in 0..24 {
        w.observe(reading(i * 1000, i * 50 + i * i));
        let device = w.health.devices().next().unwrap().verdict.clone();
        assert_eq!(w.health.verdict().reasons, device.reasons, "reading {i}");
        if device.state == State::Degraded {
            assert_ne!(before.replace(device.reasons.clone()), Some(device.reasons), "reading {i}");
        }
        w.run(5000);
    }
    assert!(before.is_some());
}

#[test]
fn r10_silence_ends_it_by_itself() {
    let mut w = World::usual();
    for i in 0..12 {
        w.observe(reading(i * 1000, i * 50));
        w.run(5000);
    }
    assert_eq!(w.device().0, State::Degraded);
    let took = w.until(State::Up, 310_000);
    assert!(took > 280_000, "{took}");
}

#[test]
fn r10_what_was_sent_is_never_older_than_what_was_sent_again() {
    let mut w = World::usual();
    for i in 0..24 {
        let Evidence::Tcp(mut reading) = reading(i / 2 * 2000, i * 10) else { unreachable!() };
        // Sockets are looked at every other time; between, what was sent stands still.
        reading.sent_is_current = i % 2 == 0;
        w.observe(Evidence::Tcp(reading));
        w.run(5000);
        let device = w.health.devices().next().unwrap();
        let ratio = w.health.retransmit_ratio(device, w.moment().mono);
        assert!(ratio.is_none_or(|ratio| (ratio - 0.01).abs() < 1e-9), "{ratio:?} after reading {i}");
    }
    assert_eq!(w.state(), State::Up);
}
