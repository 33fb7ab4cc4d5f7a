//! Properties that hold in every history.

use proptest::prelude::*;

use super::*;

/// Longer than any rule remembers a fault that is over.
const STEADY: u64 = 310_000;

#[derive(Clone, Debug)]
enum Act {
    Answer(u8, bool),
    Carrier(bool),
    Admin(bool),
    Gap,
    Freeze(u16),
    Suspend(u32),
    Run(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..3u8, any::<bool>()).prop_map(|(i, b)| Act::Answer(i, b)),
        3 => any::<bool>().prop_map(Act::Carrier),
        1 => any::<bool>().prop_map(Act::Admin),
        1 => Just(Act::Gap),
        1 => (1..8000u16).prop_map(Act::Freeze),
        1 => (1..100_000u32).prop_map(Act::Suspend),
        6 => (1..6000u16).prop_map(Act::Run),
    ]
}

fn play(acts: &[Act]) -> World {
    let mut w = World::new(Settings::default(), uplink(2, "eth0", "10.0.0.2", "10.0.0.1"));
    for act in acts {
        match act {
            Act::Answer(i, b) => w.answer(["10.0.0.1", "8.8.8.8", "1.1.1.1"][*i as usize], *b),
            Act::Carrier(b) => w.link(|l| l.carrier = *b),
            Act::Admin(b) => w.link(|l| l.admin_up = *b),
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
            Act::Run(ms) => w.run(u64::from(*ms)),
        }
        let link = &w.health.network().links[&IfIndex(2)];
        assert!(link.carrier && link.admin_up || w.state() == State::Down, "link down ⇒ down, after {act:?}");
    }
    w
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happened, a lost link reads down at every step, and a world that is whole again is soon up.
    #[test]
    fn every_history_ends_well_when_the_world_does(acts in prop::collection::vec(act(), 1..25)) {
        let mut w = play(&acts);
        w.all_answer(true);
        w.link(|l| (l.admin_up, l.carrier) = (true, true));
        w.run(6000);
        // It works; only what has to be steady for a while first may say more.
        prop_assert!(matches!(w.state(), State::Up | State::Degraded), "{:?}", w.health.verdict());
        w.run(STEADY);
        prop_assert_eq!(w.state(), State::Up, "{:?}", w.health.verdict());
    }

    /// The same history gives the same verdicts at the same times.
    #[test]
    fn the_core_is_a_function_of_its_history(acts in prop::collection::vec(act(), 1..15)) {
        let (a, b) = (play(&acts), play(&acts));
        prop_assert_eq!(a.changes, b.changes);
        prop_assert_eq!(a.health.verdict(), b.health.verdict());
    }

    /// A world that answers nothing is never called up, after the time it takes to see that.
    #[test]
    fn silence_is_never_up(acts in prop::collection::vec(act(), 1..15)) {
        let mut w = play(&acts);
        w.all_answer(false);
        w.run(9000);
        prop_assert!(w.state() == State::Down, "{:?}", w.health.verdict());
    }
}
