//! R7: TCP that gets through vetoes what only echoes say.

use super::*;

const HOSTS: [&str; 2] = ["8.8.8.8", "1.1.1.1"];

fn filter(w: &mut World, filtered: bool) {
    HOSTS.iter().for_each(|h| w.answer(h, !filtered));
}

#[test]
fn r7_filtered_echoes_are_no_outage_while_tcp_gets_through() {
    for offset in (0..INTERVAL).step_by(97) {
        let mut w = World::usual();
        w.acknowledge.insert(2, 3);
        w.run(offset);
        assert_eq!(w.looks, 0, "nobody asks while all is well");
        w.all_answer(false);
        w.run(20_000);
        assert!(
            w.changes.iter().all(|c| c.1 != Subject::Network || c.2 == State::Degraded),
            "{:?}",
            w.changes
        );
        for host in ["a", "b"] {
            assert_eq!(
                w.target(host),
                (State::Degraded, Some(ReasonCode::IcmpFiltered)),
                "never down before"
            );
            assert_eq!(w.changes.iter().filter(|c| c.1 == Subject::Target(host.into())).count(), 1);
        }
        assert_eq!(w.target("gateway").0, State::Down, "it is on the link, where TCP proves nothing of it");
        w.all_answer(true);
        w.until(State::Up, 3000);
        let downs =
            w.changes.iter().filter(|c| c.2 == State::Down && c.1 != Subject::Target("gateway".into()));
        assert_eq!(downs.count(), 0, "{:?}", w.changes);
    }
}

#[test]
fn r7_down_follows_when_progress_stops() {
    for offset in (0..1000).step_by(83) {
        let mut w = World::usual();
        w.acknowledge.insert(2, 5);
        w.all_answer(false);
        w.run(10_000 + offset);
        assert_eq!(w.state(), State::Degraded);
        w.acknowledge.clear();
        let took = w.until(State::Down, 5000);
        assert!(took <= 3001, "2 s and the next look: {took}");
    }
}

#[test]
fn r7_a_stale_report_vetoes_nothing() {
    let mut w = World::usual();
    w.acknowledge.insert(2, 5);
    w.all_answer(false);
    w.run(10_000);
    assert_eq!(w.state(), State::Degraded);
    w.blind = true;
    let (last, took) = (w.now, w.until(State::Down, 5000));
    assert!(took <= 2500, "{took} after {last}");
}

#[test]
fn r7_a_report_over_too_long_a_time_vetoes_nothing() {
    let mut w = World::usual();
    w.acknowledge.insert(2, 5);
    w.blind = true;
    w.all_answer(false);
    for _ in 0..20 {
        w.run(1000);
        w.progress(3000);
    }
    assert_eq!(w.state(), State::Down);
}

#[test]
fn r7_two_prefixes_or_another_device_are_no_progress() {
    for acknowledge in [BTreeMap::from([(2, 2)]), BTreeMap::from([(3, 50)]), BTreeMap::from([(0, 50)])] {
        let mut w = World::usual();
        w.acknowledge = acknowledge.clone();
        w.all_answer(false);
        let took = w.until(State::Down, 10_000);
        assert!(took <= 5200, "{acknowledge:?}: {took}");
    }
}

#[test]
fn r7_two_looks_together_are_enough() {
    let mut w = World::usual();
    w.blind = true;
    w.all_answer(false);
    for i in 0..20 {
        w.run(1000);
        let half = |k: u32| [(IfIndex(2), [k, k + 10].into())].into();
        let report = TcpProgress { over: Duration::from_secs(1), prefixes: half(i % 2) };
        w.observe(Evidence::TcpProgress(report));
    }
    assert_eq!(w.state(), State::Degraded);
}

/// Two uplinks; the targets leave by the first.
fn two_uplinks() -> World {
    let mut both = uplink(2, "eth0", "10.0.0.2", "10.0.0.1");
    let second = uplink(3, "eth1", "10.1.0.2", "10.1.0.1");
    both.links.extend(second.links);
    both.addresses.extend(second.addresses);
    both.routes.extend(second.routes);
    let mut w = World::new(Settings::default(), both);
    w.run(5000);
    w.changes.clear();
    w
}

#[test]
fn r7_tcp_over_the_other_uplink_releases_nobody() {
    let mut w = two_uplinks();
    w.acknowledge.insert(3, 50);
    w.all_answer(false);
    w.until(State::Down, 5200);
    w.run(20_000);
    assert_eq!(w.state(), State::Down);
    w.acknowledge.insert(2, 3);
    w.until(State::Degraded, 2000);
}

#[test]
fn r7_a_host_that_is_silent_while_others_answer_is_down() {
    let mut w = World::usual();
    w.acknowledge.insert(2, 50);
    w.answer("8.8.8.8", false);
    w.run(12_000);
    assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::NoReply)));
    let looks = w.looks;
    w.run(60_000);
    assert_eq!(w.looks, looks, "nobody looks at sockets for its sake any more");
    // Now echoes are filtered too: what was down before stays so.
    w.answer("1.1.1.1", false);
    w.run(10_000);
    assert_eq!(w.target("a").0, State::Down);
    assert_eq!(w.target("b"), (State::Degraded, Some(ReasonCode::IcmpFiltered)));
}

#[test]
fn r7_a_refusal_and_other_methods_are_not_vetoed() {
    for method in [Method::Tcp { port: 443 }, Method::dns(53)] {
        let mut w = World::usual();
        let mut specs: Vec<_> = w.health.targets().map(|t| t.spec.clone()).collect();
        specs[1].method = method.clone();
        w.health.set_targets(w.moment(), specs);
        w.run(3000);
        w.acknowledge.insert(2, 50);
        filter(&mut w, true);
        w.run(12_000);
        assert_eq!(w.target("a").0, State::Down, "{method:?}");
        assert_eq!(w.target("b").0, State::Degraded);
    }
}

#[test]
fn r7_an_error_from_the_way_is_not_vetoed_and_a_filters_is() {
    for (reason, state) in [
        (FailureReason::HostUnreachable, State::Down),
        (FailureReason::Prohibited, State::Degraded),
        (FailureReason::SendError, State::Degraded),
    ] {
        let mut w = World::usual();
        w.failure = reason;
        w.acknowledge.insert(2, 50);
        filter(&mut w, true);
        w.run(12_000);
        assert_eq!(w.target("a").0, state, "{reason:?}");
    }
}

#[test]
fn r7_a_lost_link_is_no_matter_of_probes() {
    let mut w = World::usual();
    w.acknowledge.insert(2, 50);
    w.all_answer(false);
    w.run(10_000);
    assert_eq!(w.state(), State::Degraded);
    w.link(|l| l.carrier = false);
    assert_eq!((w.state(), w.codes()[0]), (State::Down, ReasonCode::NoCarrier));
    w.progress(1000);
    w.run(5000);
    assert_eq!(w.state(), State::Down);
}

#[test]
fn r7_a_silent_gateway_alone_is_excused_but_not_vetoed() {
    use crate::observation::{Neighbour, NeighbourState};
    let mut w = World::usual();
    let gateway = w.health.targets().next().unwrap().spec.clone();
    w.health.set_targets(w.moment(), vec![gateway]);
    w.acknowledge.insert(2, 50);
    w.all_answer(false);
    w.run(12_000);
    assert_eq!(w.target("gateway").0, State::Down);
    assert_eq!((w.state(), w.codes()[0]), (State::Degraded, ReasonCode::IcmpFiltered));
    assert!(w.changes.iter().all(|c| c.1 != Subject::Network || c.2 != State::Down), "{:?}", w.changes);
    let failed =
        Neighbour { ifindex: IfIndex(2), address: ip("10.0.0.1"), state: NeighbourState::Failed, mac: None };
    w.network(NetworkChange::Neighbour(failed));
    assert_eq!(w.state(), State::Down, "then it is another's way that TCP takes");
}

#[test]
fn r7_a_stall_forgets_progress() {
    let mut w = World::usual();
    w.acknowledge.insert(2, 50);
    w.all_answer(false);
    w.run(10_000);
    assert_eq!(w.state(), State::Degraded);
    w.acknowledge.clear();
    w.frozen = true;
    w.run(4000);
    w.frozen = false;
    w.run(1);
    assert_eq!(w.state(), State::Unknown);
    w.run(5000);
    assert_eq!(w.state(), State::Down);
}
