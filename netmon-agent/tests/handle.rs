//! What an observation costs the core in the steady state, in allocations: none. Once a minute an address packs the minute
//! that is over, which does cost some; so what is measured lies within one minute.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use allocation_counter::measure;
use netmon_agent::{
    health::{Health, Role, Settings, State, TargetSpec, Watch},
    observation::{
        Evidence, FailureReason, Method, Observation, ProbeEvent, ProbeOutcome, StampSource, TargetId,
    },
    time::{Boot, Moment, Mono},
};

const TARGETS: u32 = 500;
const MS: u64 = 1_000_000;
/// A round of probes lasts two seconds, and there are 30 in a minute.
const ROUND: u64 = 2000 * MS;
const IN_A_MINUTE: u64 = 30;

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0b00_0000 + n).into()
}

fn core() -> Health {
    let everything = Watch::new(&[], &[]).expect("no pattern is bad");
    let start = moment(60_000 * MS);
    let mut health = Health::new(start, Settings::default(), everything, false);
    let spec = |n: u32| TargetSpec {
        id: TargetId(n),
        name: format!("target-{n}").into(),
        host: address(n).to_string(),
        scope: "custom".into(),
        method: Method::Icmp,
        role: Role::Plain,
        addresses: vec![address(n)],
        link: None,
    };
    health.set_targets(start, (0..TARGETS).map(spec).collect());
    health
}

fn moment(ns: u64) -> Moment {
    Moment { mono: Mono::from_nanos(ns), boot: Boot::from_nanos(ns) }
}

/// All that is seen of a round, `lost` of its probes being lost, in the order of time: some forty probes are always under
/// way together.
fn round(round: u64, lost: u32) -> Vec<Observation> {
    let start = 60_000 * MS + round * ROUND;
    let mut all = Vec::new();
    for n in 0..TARGETS {
        let (left, way) = (start + u64::from(n) * 18 * MS / 5, 150 * MS);
        let rtt = Duration::from_millis(149 + (u64::from(n) + round) % 3);
        let answered =
            ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false };
        let failed = ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None };
        let settled = if n < lost { failed } else { answered };
        for (at, outcome) in [(left, ProbeOutcome::Sent), (left + way, settled)] {
            let event = ProbeEvent { target: TargetId(n), address: address(n), seq: round, outcome };
            all.push(Observation { at: Mono::from_nanos(at), evidence: Evidence::Probe(event) });
        }
    }
    all.sort_by_key(|observation| observation.at);
    all
}

/// Takes them one by one, with what is due in between.
fn play(health: &mut Health, observations: Vec<Observation>) {
    for observation in observations {
        while health.poll_timeout() <= observation.at {
            health.handle_timeout(moment(health.poll_timeout().as_nanos()));
        }
        health.handle(moment(observation.at.as_nanos()), observation);
        while health.poll_event().is_some() {}
    }
}

#[test]
fn in_the_steady_state_no_observation_allocates() {
    let mut health = core();
    // Four minutes, and the first round of the fifth, in which the fourth is packed.
    let warm = 4 * IN_A_MINUTE + 1;
    (0..warm).for_each(|i| play(&mut health, round(i, 0)));
    assert_eq!(health.verdict().state, State::Up);
    let mut allocations = |i, lost| {
        let observations = round(i, lost);
        measure(|| play(&mut health, observations)).count_total
    };
    for i in warm..warm + IN_A_MINUTE - 1 {
        assert_eq!(allocations(i, 0), 0, "in round {i}, of {} observations", 2 * TARGETS);
    }
    // And the count is one: the next minute is packed, and losses put targets under examination.
    assert!(allocations(warm + IN_A_MINUTE - 1, 0) >= u64::from(TARGETS));
    assert!(allocations(warm + IN_A_MINUTE, 50) >= 50);
    assert_eq!(health.verdict().state, State::Up);
}
