//! R5: TCP's time-outs start the burst at once.

use super::*;
use crate::observation::TcpTimeout;

/// Two time-outs each towards three prefixes by this device.
fn time_outs(w: &mut World, device: u32) {
    for prefix in [1, 2, 3, 1, 2, 3] {
        w.observe(Evidence::TcpTimeout(TcpTimeout { device: IfIndex(device), prefix }));
    }
}

#[test]
fn r5_a_blackhole_that_tcp_sees_is_down_sooner() {
    let (mut with, mut without) = (0, 0);
    for offset in (0..INTERVAL).step_by(97) {
        for (sum, told) in [(&mut with, true), (&mut without, false)] {
            let mut w = World::usual();
            w.run(offset);
            w.all_answer(false);
            w.run(300);
            if told {
                time_outs(&mut w, 2);
            }
            let took = 300 + w.until(State::Down, 10_000);
            assert!((2400..=5200).contains(&took), "{took} ms at offset {offset}");
            assert!(!told || took <= 3300, "{took} ms at offset {offset}");
            *sum += took;
        }
    }
    assert!(without - with > 20 * 500, "a second sooner in the mean: {with} {without}");
}

#[test]
fn r5_decides_nothing() {
    let mut w = World::usual();
    let sent = w.seq;
    for _ in 0..100 {
        time_outs(&mut w, 2);
        w.run(1000);
    }
    assert!(w.changes.is_empty(), "{:?}", w.changes);
    let extra = w.seq - sent - 3 * 50;
    assert_eq!(extra, 3 * 20, "one extra probe a target, at most once in 5 s");
}

#[test]
fn r5_a_short_outage_is_no_down_whatever_tcp_says() {
    for start in (0..INTERVAL).step_by(50) {
        for told in [200, 400, 800, 1200] {
            let mut w = World::usual();
            w.run(start);
            w.all_answer(false);
            w.run(told);
            time_outs(&mut w, 2);
            w.run(1800 - told);
            w.all_answer(true);
            w.run(5000);
            assert!(w.changes.is_empty(), "from {start} ms, told after {told}: {:?}", w.changes);
        }
    }
}

#[test]
fn r5_examines_what_leaves_by_that_device_and_all_when_it_is_unknown() {
    for (device, examined) in [(2, 3), (3, 0), (0, 3)] {
        let mut w = World::usual();
        let sent = w.seq;
        time_outs(&mut w, device);
        w.run(1);
        assert_eq!(w.seq - sent, examined, "device {device}");
    }
}

#[test]
fn r5_leaves_alone_what_is_suspect_already() {
    let mut w = World::usual();
    w.all_answer(false);
    w.run(1500);
    let (mut twin, sent) = (World::usual(), w.seq);
    twin.all_answer(false);
    twin.run(1500);
    time_outs(&mut w, 2);
    w.run(500);
    twin.run(500);
    assert_eq!(w.seq - sent, twin.seq - sent);
}
