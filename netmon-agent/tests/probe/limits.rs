//! How much the engine sends: the cap, the stretch, and the wait of what can't be sent.

use std::{collections::BTreeSet, net::IpAddr, thread, time::Duration};

use netmon_agent::{
    observation::{FailureReason, Method, ProbeOutcome, TargetId},
    source::probe::{SkipReason, TargetSpec},
    time::Mono,
};

use super::world::{Probing, host, in_netns, shell};

fn every(id: u32, address: IpAddr, interval: Duration) -> TargetSpec {
    TargetSpec { interval, ..TargetSpec::new(TargetId(id), vec![address], Method::Icmp) }
}

/// Probes sent within `time`, and how long it was.
fn sent_within(probing: &Probing, time: Duration) -> (f64, f64) {
    let (before, began) = (probing.engine.stats().sent, Mono::now());
    thread::sleep(time);
    ((probing.engine.stats().sent - before) as f64, Mono::now().since(began).as_secs_f64())
}

#[test]
fn nothing_leaves_beyond_the_cap_and_everybody_has_a_turn() {
    in_netns(|| {
        let mut probing = Probing::start();
        probing.engine.set_max_rate(200.0);
        let interval = Duration::from_millis(100);
        probing.engine.set_targets((1..=100).map(|i| every(i, host(i as u8), interval)).collect());
        let (sent, time) = sent_within(&probing, Duration::from_secs(2));
        // A bucket's worth more, and a turn that was under way.
        assert!(sent <= 200.0 * time + 30.0 && sent >= 150.0, "{sent} in {time} s");
        for _ in 0..20 {
            (1..=100).for_each(|i| probing.engine.probe_now(TargetId(i), host(i as u8)));
        }
        let (sent, time) = sent_within(&probing, Duration::from_secs(2));
        assert!(sent <= 200.0 * time + 30.0 && sent >= 150.0, "{sent} in {time} s, asked for more");
        assert!(probing.engine.stats().skipped[SkipReason::RateCap as usize] > 100);
        probing.until(|events| {
            let replied = events.iter().filter(|e| matches!(e.outcome, ProbeOutcome::Reply { .. }));
            replied.map(|e| e.target).collect::<BTreeSet<_>>().len() == 100
        });
    });
}

#[test]
fn a_stretch_slows_every_target_and_its_end_brings_the_pace_back() {
    in_netns(|| {
        let probing = Probing::start();
        let interval = Duration::from_millis(50);
        probing.engine.set_targets((1..=20).map(|i| every(i, host(i as u8), interval)).collect());
        for (factor, most, least) in [(8.0, 90.0, 20.0), (1.0, 450.0, 150.0)] {
            probing.engine.stretch(factor);
            thread::sleep(Duration::from_millis(100));
            let (sent, time) = sent_within(&probing, Duration::from_secs(2));
            let rate = sent / time;
            assert!((least..=most).contains(&rate), "{rate} a second at {factor}");
        }
    });
}

#[test]
fn what_has_no_route_waits_ever_longer_and_is_probed_at_once_when_it_has_one() {
    in_netns(|| {
        let mut probing = Probing::start();
        let address = "10.9.9.9".parse().expect("an address");
        probing.engine.set_targets(vec![every(1, address, Duration::from_millis(100))]);
        let failed = ProbeOutcome::Failed { reason: FailureReason::SendError, reporter: None };
        let began = Mono::now();
        probing.until(|events| events.iter().filter(|e| e.outcome == failed).count() == 5);
        // 0.2 + 0.4 + 0.8 + 1.6 s.
        assert!(Mono::now().since(began) >= Duration::from_millis(2_500), "{:?}", Mono::now().since(began));
        shell("ip address add 10.9.9.9/32 dev lo");
        let began = Mono::now();
        probing.engine.retry_unsent();
        let replies = |n: usize| {
            move |events: &[netmon_agent::observation::ProbeEvent]| {
                events.iter().filter(|e| matches!(e.outcome, ProbeOutcome::Reply { .. })).count() >= n
            }
        };
        probing.until(replies(1));
        // It would have waited for 3.2 s.
        assert!(Mono::now().since(began) < Duration::from_millis(1_500), "{:?}", Mono::now().since(began));
        probing.until(replies(5));
        assert!(Mono::now().since(began) < Duration::from_millis(3_000), "its pace is not back");
    });
}
