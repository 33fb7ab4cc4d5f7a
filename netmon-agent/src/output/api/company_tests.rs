//! Random lives of waiters in virtual time, beside a naive account of what was so and when.

use std::time::Duration;

use netmon_client::Condition as Wanted;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    health::Verdict,
    observation::IfIndex,
    output::api::wire_map,
    state::DeviceView,
    time::{Moment, Mono},
};

/// Age of an evaluation at which nobody is released any more.
const FRESH: Duration = Duration::from_millis(300);

fn at(ms: u64) -> Moment {
    let ns = ms * 1_000_000;
    Moment { mono: Mono::from_nanos(ns), boot: Boot::from_nanos(ns) }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A state is published; `seen`: the companies look before anything else happens.
    Publish { state: State, device: bool, seen: bool },
    /// The core looks at its evidence, and finds nothing new.
    Evaluate,
    /// Time goes by.
    Pass(u64),
    /// Somebody comes. `ticket`: to be answered by the company; else it looks for itself.
    Join { company: usize, ticket: bool },
    /// The `n`th of those who wait hangs up, or its time is over.
    Leave(usize),
    /// In the midst of the next batch, after so many, this is published.
    Interrupt { after: usize, state: State },
}

fn step() -> impl Strategy<Value = Step> {
    let state = || prop::sample::select(State::ALL.to_vec());
    prop_oneof![
        3 => (state(), prop::bool::weighted(0.8), prop::bool::weighted(0.7))
            .prop_map(|(state, device, seen)| Step::Publish { state, device, seen }),
        3 => Just(Step::Evaluate),
        4 => (1u64..500).prop_map(Step::Pass),
        6 => (0..conditions().len(), prop::bool::weighted(0.8))
            .prop_map(|(company, ticket)| Step::Join { company, ticket }),
        1 => (0usize..100).prop_map(Step::Leave),
        1 => (0usize..5, state()).prop_map(|(after, state)| Step::Interrupt { after, state }),
    ]
}

fn conditions() -> Vec<Condition> {
    let one = |wanted, stable, device: bool| Condition {
        wanted,
        stable: Duration::from_millis(stable),
        device: device.then(|| "eth0".to_owned()),
        target: None,
    };
    vec![
        one(Wanted::Up, 0, false),
        one(Wanted::Usable, 0, false),
        one(Wanted::Down, 0, false),
        one(Wanted::Up, 200, false),
        one(Wanted::Usable, 700, false),
        one(Wanted::Degraded, 50, true),
        one(Wanted::Up, 0, true),
        one(Wanted::Usable, 400, true),
    ]
}

/// All that was published: when, the state, and the device's, if it was there. This is what releases are held against.
#[derive(Default)]
struct Truth {
    published: Vec<(u64, State, Option<State>)>,
    evaluated: u64,
}

impl Truth {
    /// Whether somebody may be released at `now`: it is so, has been for long enough, and was looked at lately.
    fn holds(&self, condition: &Condition, now: u64) -> bool {
        let held = self.published.iter().rev().take_while(|(_, state, device)| {
            let state = if condition.device.is_some() { *device } else { Some(*state) };
            state.is_some_and(|state| condition.wanted.holds(wire_map::state(state)))
        });
        let since = held.last().map(|(since, ..)| *since);
        let fresh = now - self.evaluated <= FRESH.as_millis() as u64;
        fresh && since.is_some_and(|since| u128::from(now - since) >= condition.stable.as_millis())
    }
}

/// One that waits, with whom it waits, and its number there if it has a ticket.
#[derive(Debug)]
struct Waiting {
    id: usize,
    company: usize,
    number: Option<u64>,
}

struct Life {
    now: u64,
    truth: Truth,
    network: Verdict,
    device: Option<(u32, Verdict)>,
    devices: u32,
    snapshot: Arc<Snapshot>,
    companies: Vec<(Company<usize>, Option<Boot>)>,
    waiting: Vec<Waiting>,
    /// How often each was answered.
    answered: Vec<u32>,
    interrupt: Option<(usize, State)>,
}

impl Life {
    fn new() -> Self {
        let company = |condition| (Company::new(Arc::new(condition), Memory::default()), None);
        let mut life = Self {
            now: 1_000,
            truth: Truth::default(),
            network: Verdict::default(),
            device: None,
            devices: 0,
            snapshot: Arc::default(),
            companies: conditions().into_iter().map(company).collect(),
            waiting: Vec::new(),
            answered: Vec::new(),
            interrupt: None,
        };
        life.publish(State::Unknown, true);
        life
    }

    fn stale(&self) -> bool {
        self.now - self.truth.evaluated > FRESH.as_millis() as u64
    }

    fn publish(&mut self, state: State, device: bool) {
        let now = at(self.now);
        self.network.update(now, state, vec![]);
        if device {
            let (_, verdict) = self.device.get_or_insert_with(|| {
                self.devices += 1;
                (self.devices, Verdict::default())
            });
            verdict.update(now, state, vec![]);
        } else {
            self.device = None;
        }
        let views = self.device.iter().map(|(index, verdict)| {
            let mut view = DeviceView { name: "eth0".into(), verdict: verdict.clone(), ..Default::default() };
            view.link.index = IfIndex(*index);
            Arc::new(view)
        });
        let (verdict, devices) = (self.network.clone(), views.collect());
        let seq = self.snapshot.seq + 1;
        self.snapshot = Arc::new(Snapshot { seq, at: now, verdict, devices, ..Snapshot::default() });
        self.truth.published.push((self.now, state, device.then_some(state)));
        self.truth.evaluated = self.now;
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish { state, device, seen } => {
                self.publish(state, device);
                if seen {
                    self.look()?;
                } else {
                    self.look_soon();
                }
            }
            Step::Evaluate => self.truth.evaluated = self.now,
            Step::Pass(ms) => self.pass(ms)?,
            Step::Join { company, ticket } => self.join(company, ticket)?,
            Step::Leave(n) => {
                if let Some(n) = n.checked_rem(self.waiting.len()) {
                    let gone = self.waiting.remove(n);
                    if let Some(number) = gone.number {
                        prop_assert_eq!(self.companies[gone.company].0.leave(number), Some(gone.id));
                    }
                }
            }
            Step::Interrupt { after, state } => self.interrupt = Some((after, state)),
        }
        Ok(())
    }

    fn join(&mut self, company: usize, ticket: bool) -> Result<(), TestCaseError> {
        let id = self.answered.len();
        self.answered.push(0);
        let number = ticket.then(|| self.companies[company].0.join(id));
        self.waiting.push(Waiting { id, company, number });
        self.look_alone(id)
    }

    /// One looks for itself, and answers itself if it holds.
    fn look_alone(&mut self, id: usize) -> Result<(), TestCaseError> {
        let n = self.waiting.iter().position(|w| w.id == id).expect("it waits");
        let Waiting { company, number, .. } = self.waiting[n];
        let (snapshot, now, stale) = (self.snapshot.clone(), at(self.now).boot, self.stale());
        let company = &mut self.companies[company].0;
        if matches!(company.look(&snapshot, now, stale).0, Outcome::Satisfied { .. }) {
            if let Some(number) = number {
                prop_assert_eq!(company.leave(number), Some(id));
            }
            self.release(id)?;
        }
        Ok(())
    }

    fn release(&mut self, id: usize) -> Result<(), TestCaseError> {
        let n = self.waiting.iter().position(|w| w.id == id);
        let Some(n) = n else { return Err(TestCaseError::fail(format!("{id} was released and had left"))) };
        let company = self.waiting.remove(n).company;
        let condition = &conditions()[company];
        let (now, states) = (self.now, &self.truth.published);
        prop_assert!(self.truth.holds(condition, now), "{condition:?} at {now}: {states:?}");
        self.answered[id] += 1;
        Ok(())
    }

    /// Every company looks, as at a publication.
    fn look(&mut self) -> Result<(), TestCaseError> {
        (0..self.companies.len()).try_for_each(|company| self.serve(company))
    }

    /// Every company will look when time goes by, at what is the newest then.
    fn look_soon(&mut self) {
        for (_, until) in &mut self.companies {
            *until = Some(at(self.now).boot);
        }
    }

    /// What the agent does with a company's turns.
    fn serve(&mut self, n: usize) -> Result<(), TestCaseError> {
        loop {
            let (snapshot, now, stale) = (self.snapshot.clone(), at(self.now).boot, self.stale());
            let (company, until) = &mut self.companies[n];
            match company.turn(&snapshot, now, stale) {
                Turn::Release { batch, seq, state, .. } => {
                    prop_assert!(batch.len() <= BATCH && batch.is_sorted_by_key(|(number, _)| *number));
                    prop_assert!(seq == snapshot.seq && conditions()[n].wanted.holds(wire_map::state(state)));
                    let interrupt = self.interrupt.take_if(|(after, _)| *after < batch.len());
                    let served = interrupt.map_or(batch.len(), |(after, _)| after);
                    for (_, id) in &batch[..served] {
                        self.release(*id)?;
                    }
                    if let Some((_, state)) = interrupt {
                        self.publish(state, true);
                        self.companies[n].0.put_back(batch.into_iter().skip(served));
                        // The others hear of it as well, but later.
                        self.look_soon();
                    }
                }
                Turn::Look { until: then } => {
                    *until = Some(then);
                    prop_assert!(then > now);
                    let all: Vec<usize> =
                        self.waiting.iter().filter(|w| w.company == n).map(|w| w.id).collect();
                    return all.into_iter().try_for_each(|id| self.look_alone(id));
                }
                Turn::Rest { until: then } => {
                    *until = then;
                    return Ok(());
                }
            }
        }
    }

    /// Time goes by, and companies look when they said they would.
    fn pass(&mut self, ms: u64) -> Result<(), TestCaseError> {
        let end = self.now + ms;
        loop {
            let next = (0..self.companies.len()).filter_map(|n| Some((self.companies[n].1?, n))).min();
            let Some((then, n)) = next.filter(|(then, _)| *then <= at(end).boot) else { break };
            // Timers are of whole milliseconds.
            self.now = self.now.max(then.as_nanos().div_ceil(1_000_000));
            self.serve(n)?;
        }
        self.now = end;
        Ok(())
    }
}

proptest! {
    #[test]
    fn everybody_is_answered_once_and_nobody_wrongly(
        steps in vec(step(), 1..120),
        last in prop::sample::select(State::ALL.to_vec()),
    ) {
        let mut life = Life::new();
        for step in steps {
            life.take(step)?;
        }
        life.interrupt = None;
        // A last word, then nothing but the core's own looks, for longer than any condition asks for.
        life.publish(last, true);
        life.look()?;
        for _ in 0..20 {
            life.take(Step::Evaluate)?;
            life.pass(100)?;
        }
        prop_assert!(life.answered.iter().all(|times| *times <= 1));
        // Nobody waits any more for what is so.
        for waiting in &life.waiting {
            let condition = &conditions()[waiting.company];
            prop_assert!(!condition.wanted.holds(wire_map::state(last)), "{condition:?} in vain, {last}");
            prop_assert_eq!(life.answered[waiting.id], 0);
        }
    }
}

#[test]
fn a_crowd_is_released_in_batches_oldest_first() {
    let mut life = Life::new();
    for _ in 0..3 * BATCH {
        life.join(0, true).unwrap();
    }
    life.publish(State::Up, true);
    let (snapshot, now) = (life.snapshot.clone(), at(life.now).boot);
    let company = &mut life.companies[0].0;
    for round in 0..3 {
        let Turn::Release { batch, .. } = company.turn(&snapshot, now, false) else {
            panic!("round {round}")
        };
        let all: Vec<usize> = batch.into_iter().map(|(_, id)| id).collect();
        assert_eq!(all, (round * BATCH..(round + 1) * BATCH).collect::<Vec<_>>());
    }
    assert_eq!(company.turn(&snapshot, now, false), Turn::Look { until: now + STALE_RETRY });
}

#[test]
fn what_can_never_be_is_left_to_those_who_wait_for_it() {
    let mut life = Life::new();
    let condition = Condition { target: Some("gone".into()), ..Condition::default() };
    let mut company = Company::new(Arc::new(condition), Memory::default());
    company.join(1);
    life.publish(State::Up, true);
    let turn = company.turn(&life.snapshot, at(life.now).boot, false);
    assert!(matches!(turn, Turn::Look { .. }), "{turn:?}");
    assert_eq!(company.leave(0), Some(1));
}
