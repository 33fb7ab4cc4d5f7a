//! Properties that hold in every history, of all kinds of evidence. `NETMON_HISTORIES` sets how many are tried.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::*;
use crate::observation::{RetransmitKind, TcpCounters, TcpReading, TcpSpread, TcpTimeout};

/// Longer than any rule remembers a fault that is over: R12 and R10 have five minutes, R9 two, and a flap at the end
/// begins them anew.
const STEADY: u64 = 620_000;

const HOSTS: [&str; 3] = ["10.0.0.1", "8.8.8.8", "1.1.1.1"];

#[derive(Clone, Debug)]
enum Act {
    Answer(u8, bool),
    Loss(u8, u8),
    Rtt(u8, u16),
    Failure(FailureReason),
    Carrier(bool),
    Admin(bool),
    Flap(u8, u16),
    Gap,
    Freeze(u16),
    Suspend(u32),
    TimeOuts(u8, u8),
    Acknowledge(u8, u8),
    Blind(bool),
    /// Segments sent since the last reading, and how many in a thousand of them again; a lower count starts from zero.
    Counters(u16, u16, bool),
    Run(u16),
    RunLong(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let failure = prop_oneof![
        Just(FailureReason::Timeout),
        Just(FailureReason::Refused),
        Just(FailureReason::Prohibited),
        Just(FailureReason::HostUnreachable),
        Just(FailureReason::SendError),
    ];
    prop_oneof![
        4 => (0..3u8, any::<bool>()).prop_map(|(i, b)| Act::Answer(i, b)),
        2 => (0..3u8, 0..60u8).prop_map(|(i, l)| Act::Loss(i, l)),
        2 => (0..3u8, 1..900u16).prop_map(|(i, ms)| Act::Rtt(i, ms)),
        1 => failure.prop_map(Act::Failure),
        3 => any::<bool>().prop_map(Act::Carrier),
        1 => any::<bool>().prop_map(Act::Admin),
        1 => (1..6u8, 1..8000u16).prop_map(|(n, ms)| Act::Flap(n, ms)),
        1 => Just(Act::Gap),
        1 => (1..8000u16).prop_map(Act::Freeze),
        1 => (1..100_000u32).prop_map(Act::Suspend),
        2 => (0..4u8, 1..5u8).prop_map(|(d, n)| Act::TimeOuts(d, n)),
        2 => (0..4u8, 0..6u8).prop_map(|(d, n)| Act::Acknowledge(d, n)),
        1 => any::<bool>().prop_map(Act::Blind),
        2 => (any::<u16>(), 0..200u16, any::<bool>()).prop_map(|(n, k, r)| Act::Counters(n, k, r)),
        6 => (1..6000u16).prop_map(Act::Run),
        1 => (1..400_000u32).prop_map(Act::RunLong),
    ]
}

/// The kernel's counters of eth0, as they grow.
#[derive(Default)]
struct Kernel {
    counters: TcpCounters,
    spread: TcpSpread,
}

impl Kernel {
    fn read(&mut self, sent: u16, per_mille: u16, restart: bool) -> Evidence {
        if restart {
            *self = Self::default();
        }
        let again = u64::from(sent) * u64::from(per_mille) / 1000;
        self.counters.segments_sent += u64::from(sent);
        self.counters.retransmitted_segments[RetransmitKind::Fast as usize] += again;
        for i in 0..again as usize {
            self.spread.flows[i % 31] += 1;
            self.spread.prefixes[i % 5] += 1;
        }
        Evidence::Tcp(Box::new(TcpReading {
            devices: [(IfIndex(2), self.counters)].into(),
            spread: [(IfIndex(2), self.spread.clone().into())].into(),
            sent_is_current: true,
            ..TcpReading::default()
        }))
    }
}

fn play(acts: &[Act]) -> World {
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    let mut kernel = Kernel::default();
    for act in acts {
        match act {
            Act::Answer(i, b) => w.answer(HOSTS[*i as usize], *b),
            Act::Loss(i, percent) => drop(w.loss.insert(ip(HOSTS[*i as usize]), f64::from(*percent) / 100.0)),
            Act::Rtt(i, ms) => drop(w.rtt.insert(ip(HOSTS[*i as usize]), u64::from(*ms))),
            Act::Failure(reason) => w.failure = *reason,
            Act::Carrier(b) => w.link(|l| l.carrier = *b),
            Act::Admin(b) => w.link(|l| l.admin_up = *b),
            Act::Flap(times, ms) => {
                for i in 0..2 * times {
                    w.link(|l| l.carrier = i % 2 == 1);
                    w.run(u64::from(*ms));
                }
            }
            Act::Gap => {
                w.observe(Evidence::Gap(SourceKind::Netlink));
                assert_eq!(w.state(), State::Unknown);
                let dump = w.health.network().clone();
                w.network(NetworkChange::Dump(Box::new(dump)));
            }
            Act::Freeze(ms) => {
                w.frozen = true;
                w.run(u64::from(*ms));
                w.frozen = false;
            }
            Act::Suspend(ms) => w.boot_ahead += u64::from(*ms),
            Act::TimeOuts(device, prefixes) => {
                for prefix in (0..*prefixes).chain(0..*prefixes) {
                    let device = IfIndex(u32::from(*device));
                    w.observe(Evidence::TcpTimeout(TcpTimeout { device, prefix: u32::from(prefix) }));
                }
            }
            Act::Acknowledge(device, n) => drop(w.acknowledge.insert((*device).into(), (*n).into())),
            Act::Blind(b) => w.blind = *b,
            Act::Counters(sent, per_mille, restart) => {
                let reading = kernel.read(*sent, *per_mille, *restart);
                w.observe(reading);
            }
            Act::Run(ms) => w.run(u64::from(*ms)),
            Act::RunLong(ms) => w.run(u64::from(*ms)),
        }
        holds_always(&w, act);
    }
    w
}

/// What may never be, whatever happens.
fn holds_always(w: &World, act: &Act) {
    let link = &w.health.network().links[&IfIndex(2)];
    let link_works = link.carrier && link.admin_up;
    assert!(link_works || w.state() == State::Down, "link down ⇒ down, after {act:?}");
    assert!(link_works || w.device().0 == State::Down, "and no damping hides it, after {act:?}");
    let now = w.moment();
    // After a freeze the agent is behind, until it runs again.
    let runs = matches!(act, Act::Run(_) | Act::RunLong(_));
    assert!(!runs || w.health.poll_timeout() > now.mono, "a deadline is over and stays, after {act:?}");
    assert!(w.changes.is_sorted_by_key(|c| c.0), "time runs forwards");
    assert!(w.health.verdict().since.mono <= now.mono);
    let vetoes = |v: &Verdict| v.reasons.iter().any(|r| r.code == ReasonCode::IcmpFiltered);
    for t in w.health.targets() {
        let v = &t.verdict;
        assert!(v.state == State::Up || !v.reasons.is_empty(), "{}: {v:?}", t.spec.name);
        let all_down = t.addresses.iter().all(|a| a.fsm.state() == State::Down);
        let may = vetoes(v) || v.reasons.iter().any(|r| r.code == ReasonCode::GatewaySilent);
        assert!(!all_down || v.state == State::Down || may, "no rule hides a down: {v:?}, after {act:?}");
        assert!(!vetoes(v) || v.state == State::Degraded, "{v:?}");
    }
    // A stale report never vetoes; the worlds tell of nothing but eth0 and what is not there.
    let told = w.last_report.is_some_and(|at| w.now - at <= 2500);
    let any = vetoes(w.health.verdict()) || w.health.targets().any(|t| vetoes(&t.verdict));
    assert!(!any || told || !runs, "after {act:?}: {:?}", w.last_report);
}

/// The world is whole again, for good.
fn mend(w: &mut World) {
    w.all_answer(true);
    w.loss.clear();
    w.rtt.clear();
    w.link(|l| (l.admin_up, l.carrier) = (true, true));
}

fn histories(default: u32) -> ProptestConfig {
    let cases = std::env::var("NETMON_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A target that answers once, then not again, while nobody looks at the sockets any more.
#[test]
fn a_veto_ends_with_its_report_whatever_the_target_does_meanwhile() {
    use Act::{Acknowledge, Answer, Blind, Loss, Run};
    for wait in (0..3000).step_by(100) {
        let mut acts = vec![Acknowledge(2, 9), Run(9000), Answer(1, false), Answer(2, false), Run(9000)];
        acts.extend([Blind(true), Run(wait), Answer(1, true), Run(300), Loss(1, 99), Run(2600)]);
        play(&acts);
    }
}

/// A property proves nothing of a rule that no history comes by.
#[test]
fn the_histories_come_by_every_rule() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..400 {
        let acts = prop::collection::vec(act(), 1..40).new_tree(&mut runner).unwrap().current();
        seen.extend(play(&acts).seen);
    }
    for code in [
        ReasonCode::IcmpFiltered,
        ReasonCode::Loss,
        ReasonCode::Retransmits,
        ReasonCode::Latency,
        ReasonCode::Flapping,
        ReasonCode::Suspended,
        ReasonCode::Stalled,
        ReasonCode::ExplainedByLink,
        ReasonCode::ScopeDown,
    ] {
        assert!(seen.contains(&code), "{code} in none: {seen:?}");
    }
}

proptest! {
    #![proptest_config(histories(1000))]

    /// Whatever happened, a world that is whole again soon works, and some minutes later nothing is held against it.
    #[test]
    fn every_history_ends_well_when_the_world_does(acts in prop::collection::vec(act(), 1..25)) {
        let mut w = play(&acts);
        mend(&mut w);
        w.run(6000);
        prop_assert!(matches!(w.state(), State::Up | State::Degraded), "{:?}", w.health.verdict());
        let down = w.health.targets().find(|t| t.verdict.state == State::Down);
        prop_assert!(down.is_none(), "{:?}", down.map(|t| &t.verdict));
        w.run(STEADY);
        prop_assert_eq!(w.state(), State::Up, "{:?}", w.health.verdict());
        prop_assert!(!w.health.wants_progress(), "nobody has to look at sockets");
    }

    /// The same history gives the same verdicts at the same times.
    #[test]
    fn the_core_is_a_function_of_its_history(acts in prop::collection::vec(act(), 1..15)) {
        let (a, b) = (play(&acts), play(&acts));
        prop_assert_eq!(&a.changes, &b.changes);
        prop_assert_eq!(a.health.verdict(), b.health.verdict());
        prop_assert_eq!(a.health.wants_progress(), b.health.wants_progress());
    }

    /// A world that answers nothing is never called up, after the time it takes to see that; nor usable where TCP does
    /// not get through either.
    #[test]
    fn silence_is_never_up(acts in prop::collection::vec(act(), 1..15), tcp in any::<bool>()) {
        let mut w = play(&acts);
        w.all_answer(false);
        w.failure = FailureReason::Timeout;
        w.acknowledge = BTreeMap::from([(2, if tcp { 9 } else { 0 })]);
        w.run(12_000);
        let state = w.state();
        prop_assert!(state == State::Down || tcp && state == State::Degraded, "{:?}", w.health.verdict());
    }

    /// Once loss, retransmits or latency made a subject degraded, it is not up within the dwell.
    #[test]
    fn what_is_impaired_stays_so_for_the_dwell(acts in prop::collection::vec(act(), 1..40)) {
        let w = play(&acts);
        let lasting = [ReasonCode::Loss, ReasonCode::Latency, ReasonCode::Retransmits];
        for (at, subject, reasons) in &w.impaired {
            if !reasons.iter().all(|r| lasting.contains(r)) {
                continue;
            }
            let next = w.changes.iter().find(|c| c.0 > *at && c.1 == *subject);
            let soon = next.is_some_and(|c| c.2 == State::Up && c.0 - at < 59_000);
            // A stall or a suspend in between forgets what was.
            prop_assert!(!soon, "{subject:?}: {reasons:?} at {at}, then {next:?}");
        }
    }
}
