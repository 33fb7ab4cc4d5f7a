use proptest::prelude::*;

use super::*;
use crate::retry::{Jitter, Policy};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A machine in virtual time; what it did, and when.
struct Sim {
    machine: Machine,
    now: Duration,
    random: f64,
    done: Vec<(Duration, Task)>,
}

impl Sim {
    /// Without jitter, in an unknown network, at 1000 s.
    fn new(change: impl FnOnce(&mut SuperviseOptions)) -> Self {
        let mut options = SuperviseOptions::default();
        options.policy.jitter = Jitter::None;
        change(&mut options);
        options.validate().unwrap();
        let now = s(1000);
        let machine = Machine::new(now, options, State::Unknown);
        let mut sim = Self { machine, now, random: 0.5, done: Vec::new() };
        sim.tell(Input::Wake);
        sim
    }

    fn tell(&mut self, input: Input) -> bool {
        let changed = self.machine.handle(self.now, self.random, input);
        while let Some(task) = self.machine.poll_task() {
            self.done.push((self.now, task));
        }
        changed
    }

    /// Lets `d` pass, waking the machine when it asks for it.
    fn pass(&mut self, d: Duration) {
        let end = self.now + d;
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.tell(Input::Wake);
        }
        self.now = end;
    }

    /// What was done since the last question.
    fn done(&mut self) -> Vec<Task> {
        self.done.drain(..).map(|(_, task)| task).collect()
    }

    /// The call that an answer is awaited to.
    fn call(&self) -> u64 {
        let call = self.machine.next_call - 1;
        let awaited = [Some(Call::Connect(call)), Some(Call::Check(call))];
        assert!(awaited.contains(&self.machine.awaited()), "{:?}", self.machine.phase);
        call
    }

    fn connects(&mut self) {
        let call = self.call();
        self.tell(Input::Connected(call, Ok(())));
    }

    fn refuses(&mut self) {
        let call = self.call();
        self.tell(Input::Connected(call, Err("refused".into())));
    }

    fn passes(&mut self) {
        let call = self.call();
        self.tell(Input::Checked(call, Ok(())));
    }

    fn fails(&mut self) {
        let call = self.call();
        self.tell(Input::Checked(call, Err("silent".into())));
    }

    fn network(&mut self, state: State) {
        self.tell(Input::Network(state));
    }

    /// Connected, checked, and the log empty.
    fn working(state: State) -> Self {
        let mut sim = Self::new(|_| {});
        sim.network(state);
        sim.connects();
        sim.pass(s(30));
        sim.passes();
        sim.done.clear();
        sim
    }

    fn snapshot(&self) -> ConnectionSnapshot {
        self.machine.snapshot(self.now)
    }
}

/// Lets time pass until the next attempt begins; how much. None: there is none within a minute.
fn until_attempt(sim: &mut Sim) -> Option<Duration> {
    let from = sim.now;
    loop {
        let deadline = sim.machine.deadline().filter(|deadline| *deadline <= from + s(60))?;
        let known = sim.done.len();
        sim.pass(deadline.saturating_sub(sim.now));
        if sim.done[known..].iter().any(|(_, task)| matches!(task, Task::Begin(Call::Connect(_)))) {
            return Some(sim.now - from);
        }
    }
}

#[test]
fn attempts_back_off_to_the_cap_and_start_anew_once_it_works() {
    let mut sim = Sim::new(|_| {});
    assert_eq!((sim.done().len(), sim.machine.state()), (1, ConnectionState::Connecting));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        sim.refuses();
        assert_eq!(sim.machine.state(), ConnectionState::Error);
        let pause = sim.snapshot().next_attempt.unwrap();
        pauses.push(pause.as_secs());
        sim.pass(pause);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(sim.snapshot().attempts, 9);
    sim.connects();
    assert_eq!(sim.machine.state(), ConnectionState::Connected);
    assert_eq!(sim.snapshot().attempts, 9, "nothing has shown yet that it works");
    sim.pass(s(30));
    sim.passes();
    let snapshot = sim.snapshot();
    assert_eq!((snapshot.attempts, snapshot.attempts_total), (0, 9));
    sim.tell(Input::Broken("reset".into()));
    assert_eq!(sim.snapshot().next_attempt, Some(s(1)));
}

#[test]
fn attempts_may_be_limited_and_take_no_longer_than_they_may() {
    let mut sim = Sim::new(|o| o.policy.attempts = Some(3));
    sim.refuses();
    sim.pass(s(1));
    sim.pass(s(30));
    assert_eq!(sim.machine.state(), ConnectionState::Error);
    assert!(sim.snapshot().last_error.unwrap().contains("30.0 s"));
    sim.pass(s(2));
    sim.refuses();
    let snapshot = sim.snapshot();
    assert!(snapshot.gave_up && snapshot.next_attempt.is_none() && snapshot.state == ConnectionState::Error);
    assert_eq!((sim.machine.deadline(), sim.done().len()), (None, 3));
    // What comes of a call that was given up changes nothing.
    sim.tell(Input::Connected(1, Ok(())));
    assert!(sim.snapshot().gave_up);
}

#[test]
fn an_outage_pauses_costs_nothing_and_its_end_is_met_at_once() {
    let mut sim = Sim::new(|o| o.policy.attempts = Some(3));
    sim.network(State::Up);
    sim.refuses();
    sim.pass(s(1));
    // Under way when the outage becomes known, and one failed just before: both are refunded.
    sim.network(State::Down);
    sim.refuses();
    let snapshot = sim.snapshot();
    assert_eq!((snapshot.attempts, snapshot.paused, snapshot.next_attempt), (0, true, None));
    assert_eq!(snapshot.state, ConnectionState::Disconnected);
    sim.done.clear();
    sim.pass(s(3600));
    assert_eq!(sim.done(), []);
    sim.network(State::Up);
    // A tenth of an hour is more than ten seconds; random is a half.
    assert_eq!(until_attempt(&mut sim), Some(s(5)));
    assert_eq!(sim.snapshot().attempts, 1);

    let mut sim = Sim::new(|o| o.policy.spread = false);
    sim.network(State::Down);
    sim.pass(s(7));
    sim.done.clear();
    sim.network(State::Degraded);
    assert_eq!(sim.done().len(), 1, "the attempt that was cut is not waited for");
}

#[test]
fn what_used_the_attempts_up_may_turn_out_to_be_an_outage() {
    let mut sim = Sim::new(|o| o.policy.attempts = Some(1));
    sim.network(State::Up);
    sim.refuses();
    assert!(sim.snapshot().gave_up);
    sim.pass(s(5));
    sim.network(State::Down);
    assert!(!sim.snapshot().gave_up && sim.snapshot().paused);
    let mut late = Sim::new(|o| o.policy.attempts = Some(1));
    late.network(State::Up);
    late.refuses();
    late.pass(s(7));
    late.network(State::Down);
    assert!(late.snapshot().gave_up, "too long before to be of this outage");
}

#[test]
fn refunds_have_an_end() {
    let mut sim = Sim::new(|o| o.policy.attempts = Some(2));
    for _ in 0..20 {
        sim.network(State::Down);
        sim.pass(s(1));
        sim.network(State::Up);
        sim.pass(s(1));
    }
    assert!(sim.snapshot().gave_up);
    assert_eq!(sim.snapshot().attempts_total, 12);
}

#[test]
fn an_unknown_network_is_tried_and_an_outage_that_may_be_over_at_its_pace() {
    let mut sim = Sim::new(|_| {});
    sim.network(State::Down);
    sim.refuses();
    sim.pass(s(100));
    sim.network(State::Unknown);
    assert_eq!(until_attempt(&mut sim), Some(s(10)));
    sim.refuses();
    // Known again: what it measures is the whole outage.
    sim.network(State::Up);
    assert_eq!(until_attempt(&mut sim), Some(s(5)));
}

#[test]
fn a_connection_is_held_through_an_outage_and_checked_at_its_end() {
    let mut sim = Sim::working(State::Up);
    sim.network(State::Down);
    sim.pass(s(600));
    assert_eq!((sim.done(), sim.machine.state()), (vec![], ConnectionState::Connected));
    sim.network(State::Up);
    assert!(matches!(sim.done()[..], [Task::Begin(Call::Check(_))]));
    sim.passes();
    assert_eq!(sim.snapshot().losses, 0);
    assert_eq!(sim.machine.deadline(), Some(sim.now + s(30)));

    // One that does not answer soon after an outage is given up, and made anew at the moment of its own.
    sim.network(State::Down);
    sim.pass(s(60));
    sim.network(State::Up);
    assert_eq!(sim.machine.deadline(), Some(sim.now + ms(2500)));
    // Random is a half, and a tenth of the outage six seconds.
    assert_eq!(until_attempt(&mut sim), Some(s(3)));
    assert_eq!(sim.snapshot().losses, 1);
}

#[test]
fn a_check_under_way_has_its_time_after_the_outage() {
    for states in [&[State::Up][..], &[State::Degraded], &[State::Up, State::Degraded]] {
        let mut sim = Sim::working(State::Up);
        sim.pass(s(30));
        sim.network(State::Down);
        sim.pass(s(100));
        assert_eq!(sim.machine.state(), ConnectionState::Connected, "nothing is timed out in an outage");
        let back = sim.now;
        for state in states {
            sim.network(*state);
            assert_eq!(sim.machine.deadline(), Some(back + ms(2500)), "{states:?}");
            sim.pass(ms(500));
        }
        assert_eq!(sim.machine.state(), ConnectionState::Connected, "{states:?}");
        sim.passes();
        assert_eq!(sim.snapshot().losses, 0);
    }

    let mut sim = Sim::working(State::Up);
    sim.pass(s(30));
    sim.network(State::Down);
    sim.fails();
    assert_eq!(sim.machine.state(), ConnectionState::Disconnected, "it says itself that it is over");
    assert!(sim.snapshot().paused);
}

#[test]
fn on_a_healthy_network_one_failed_check_is_not_the_end() {
    let mut sim = Sim::working(State::Up);
    sim.pass(s(30));
    sim.fails();
    assert_eq!(sim.machine.state(), ConnectionState::Connected);
    sim.pass(s(1));
    sim.passes();
    sim.pass(s(30));
    sim.fails();
    sim.pass(s(1));
    sim.fails();
    assert_eq!((sim.machine.state(), sim.snapshot().losses), (ConnectionState::Error, 1));
    assert_eq!(sim.snapshot().next_attempt, Some(s(1)));

    let mut slow = Sim::working(State::Up);
    slow.pass(s(30) + ms(9999));
    assert_eq!(slow.machine.state(), ConnectionState::Connected);
    slow.pass(ms(1));
    assert_eq!(slow.machine.state(), ConnectionState::Error);
    assert!(slow.snapshot().last_error.unwrap().contains("10.0 s"));
}

#[test]
fn on_a_degraded_network_it_is_made_anew_before_the_time_out() {
    let mut sim = Sim::working(State::Up);
    sim.pass(s(5));
    sim.network(State::Degraded);
    assert!(matches!(sim.done()[..], [Task::Begin(Call::Check(_))]), "checked at once");
    sim.pass(ms(2500));
    assert!(
        matches!(sim.done()[..], [Task::Drop, Task::Begin(Call::Connect(_))]),
        "slow, and made anew at once"
    );
    // It never worked: its loss is a failure like any other.
    sim.connects();
    sim.tell(Input::Broken("reset".into()));
    assert_eq!((sim.machine.state(), sim.snapshot().next_attempt), (ConnectionState::Error, Some(s(1))));

    let mut sim = Sim::working(State::Degraded);
    sim.pass(s(30));
    sim.fails();
    assert!(
        matches!(sim.done()[..], [Task::Begin(Call::Check(_)), Task::Drop, Task::Begin(Call::Connect(_))]),
        "one is enough"
    );

    // A check that has been under way for too long when the network degrades ends there and then.
    let mut sim = Sim::working(State::Up);
    sim.pass(s(34));
    sim.done.clear();
    sim.network(State::Degraded);
    assert_eq!(sim.done(), [Task::Drop]);
    sim.pass(Duration::ZERO);
    assert!(matches!(sim.done()[..], [Task::Begin(Call::Connect(_))]));
    assert_eq!(sim.snapshot().losses, 1);
}

#[test]
fn news_of_the_network_ask_for_a_check_a_second_at_most() {
    let mut sim = Sim::working(State::Up);
    for _ in 0..20 {
        sim.network(State::Degraded);
        if sim.machine.awaited() == Some(Call::Check(sim.machine.next_call - 1)) {
            sim.passes();
        }
        sim.pass(ms(100));
        sim.network(State::Up);
    }
    assert!(sim.done().len() <= 3);
}

#[test]
fn stopped_is_stopped() {
    let mut sim = Sim::working(State::Up);
    sim.pass(s(30));
    let call = sim.call();
    assert!(sim.tell(Input::Stop));
    assert_eq!(sim.done().last(), Some(&Task::Drop));
    sim.tell(Input::Checked(call, Err("late".into())));
    sim.network(State::Down);
    sim.network(State::Up);
    sim.tell(Input::Broken("late".into()));
    sim.pass(s(1000));
    assert!(!sim.tell(Input::Stop));
    assert_eq!((sim.machine.state(), sim.done().len()), (ConnectionState::Stopped, 0));
    assert_eq!(sim.snapshot().losses, 0, "nobody lost it");
}

#[test]
fn the_figures_are_those_of_its_life() {
    let mut sim = Sim::new(|_| {});
    sim.pass(s(10));
    sim.connects();
    sim.pass(s(30));
    sim.pass(ms(40));
    sim.passes();
    sim.pass(s(20) - ms(40));
    sim.tell(Input::Broken("reset by peer".into()));
    sim.pass(s(10));
    sim.connects();
    sim.pass(s(30));
    let snapshot = sim.snapshot();
    assert_eq!((snapshot.supervised_for, snapshot.connected_for), (s(100), s(80)));
    assert!((snapshot.uptime_ratio() - 0.8).abs() < 1e-9);
    assert_eq!((snapshot.losses, snapshot.reconnects, snapshot.last_reconnect_took), (1, 1, Some(s(10))));
    assert_eq!((snapshot.last_check, snapshot.checks, snapshot.failed_checks), (Some(ms(40)), 1, 0));
    assert_eq!(snapshot.last_error.as_deref(), Some("reset by peer"));
    assert_eq!((snapshot.last_error_ago, snapshot.last_success_ago), (Some(s(40)), Some(s(30))));
    assert_eq!((snapshot.state, snapshot.state_for), (ConnectionState::Connected, s(30)));
}

/// What the world does to a connection.
#[derive(Clone, Copy, Debug)]
enum Move {
    Pass(u64),
    Network(State),
    Answer(bool),
    Stale,
    Broken,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (1u64..60_000).prop_map(Move::Pass),
        2 => (1u64..500).prop_map(Move::Pass),
        3 => proptest::sample::select(&State::ALL[..]).prop_map(Move::Network),
        6 => any::<bool>().prop_map(Move::Answer),
        1 => Just(Move::Stale),
        1 => Just(Move::Broken),
    ];
    proptest::collection::vec(one, 1..200)
}

proptest! {
    /// Over any history: no attempt in an outage, none sooner than 250 ms after another, one connection at a time, no
    /// more attempts than allowed, never stuck, and figures that add up.
    #[test]
    fn any_history_keeps_the_promises(
        moves in moves(), limit in proptest::option::of(1u32..5), random in 0.0f64..=1.0, full: bool,
    ) {
        let jitter = if full { Jitter::Full } else { Jitter::None };
        let policy = Policy { attempts: limit, jitter, ..SuperviseOptions::default().policy };
        let options = SuperviseOptions { policy, ..SuperviseOptions::default() };
        let mut sim = Sim {
            machine: Machine::new(s(5), options, State::Unknown), now: s(5), random, done: Vec::new(),
        };
        sim.tell(Input::Wake);
        let (mut held, mut last, mut since_success, mut seen) = (false, Some(s(5)), 1, 1);
        for step in moves {
            let before = sim.machine.network;
            match step {
                Move::Pass(d) => sim.pass(ms(d)),
                Move::Network(state) => sim.network(state),
                Move::Answer(good) => {
                    let call = sim.machine.next_call.saturating_sub(1);
                    let outcome = if good { Ok(()) } else { Err("bad".to_owned()) };
                    if sim.machine.awaited() == Some(Call::Check(call)) && good {
                        since_success = 0;
                    }
                    if sim.machine.awaited() == Some(Call::Connect(call)) && good {
                        prop_assert!(!held);
                        held = true;
                    }
                    // The one that is not awaited changes nothing.
                    if sim.machine.awaited() == Some(Call::Connect(call)) {
                        sim.tell(Input::Checked(call, outcome.clone()));
                        sim.tell(Input::Connected(call, outcome));
                    } else {
                        sim.tell(Input::Connected(call, outcome.clone()));
                        sim.tell(Input::Checked(call, outcome));
                    }
                }
                Move::Stale => {
                    let phase = sim.machine.phase.clone();
                    sim.tell(Input::Connected(u64::MAX, Ok(())));
                    sim.tell(Input::Checked(u64::MAX, Err("stale".into())));
                    prop_assert_eq!(&phase, &sim.machine.phase);
                }
                Move::Broken => { sim.tell(Input::Broken("broken".into())); }
            }
            for (at, task) in &sim.done[seen..] {
                match task {
                    Task::Begin(Call::Connect(_)) => {
                        prop_assert!(!held, "a second connection");
                        let down = before == State::Down && sim.machine.network == State::Down;
                        prop_assert!(!down, "an attempt in an outage");
                        prop_assert!(last.is_none_or(|last: Duration| *at >= last + GAP), "too soon");
                        last = Some(*at);
                        since_success += 1;
                    }
                    Task::Begin(Call::Check(_)) => prop_assert!(held && sim.machine.network != State::Down),
                    Task::Drop => {
                        prop_assert!(held, "dropped what there was not");
                        held = false;
                    }
                }
            }
            seen = sim.done.len();
            if let Some(limit) = limit {
                prop_assert!(since_success <= limit + 10, "{since_success} attempts");
            }
            let snapshot = sim.snapshot();
            prop_assert_eq!(held, snapshot.state == ConnectionState::Connected);
            let idle = snapshot.network == State::Down || snapshot.gave_up;
            prop_assert_eq!(sim.machine.deadline().is_none(), idle, "stuck: {:?}", sim.machine.phase);
            prop_assert!(sim.machine.deadline().is_none_or(|d| d <= sim.now + s(70)));
            prop_assert!(snapshot.connected_for <= snapshot.supervised_for);
            prop_assert!((0.0..=1.0).contains(&snapshot.uptime_ratio()));
            prop_assert!(snapshot.reconnects <= snapshot.losses && snapshot.failed_checks <= snapshot.checks);
            prop_assert!(sim.machine.recent.len() <= MAX_RECENT);
        }
        // An outage ends: whatever there is no connection for is tried within ten seconds.
        sim.network(State::Down);
        sim.pass(s(40));
        sim.network(State::Up);
        let due = match sim.machine.phase {
            Phase::Waiting(due) => due,
            _ => sim.now,
        };
        prop_assert!(due <= sim.now + MAX_SPREAD);
        sim.tell(Input::Stop);
        sim.done.clear();
        sim.network(State::Down);
        sim.pass(s(1000));
        sim.network(State::Up);
        sim.pass(s(1000));
        prop_assert!(sim.done.is_empty() && sim.machine.deadline().is_none());
    }
}
