//! A link that comes and goes: what readers are told, beside what there is to tell (R12).

use std::{cell::Cell, rc::Rc, time::Duration};

use netmon_agent::{
    health::{Event, State, Subject},
    observation::NetworkChange,
};
use netmon_tests::sim::{Fate, Probe, Unsent, world};

use crate::plan::{Bounds, Plan, WARM_UP, one_target};

const RTT: Duration = Duration::from_millis(10);
/// How long the link flaps.
const FLAPPING: Duration = Duration::from_secs(120);
/// Longer than any suppression may last.
const STEADY: Duration = Duration::from_secs(400);

pub fn run(plan: &Plan, bounds: &mut Bounds) {
    println!(
        "flaps: a carrier lost and found for {} s, half of each period; told of it:",
        FLAPPING.as_secs()
    );
    println!(
        "  {:>8} {:>8} {:>16} {:>10} {:>10} {:>14} {:>12} {:>20}",
        "rate", "raw", "device changes", "`up` raw", "`up` told", "downs hidden", "network", "up again after"
    );
    for (topic, hertz) in [0.02, 0.1, 1.0, 10.0].into_iter().enumerate() {
        let told = flap(plan.seed(72, topic as u64), hertz);
        // Two flaps are no flapping; from the third in short on nobody is told `up`.
        let few = hertz < 0.1 || told.up <= 2;
        let ends = told.up_after <= 300.0;
        let kept = told.hidden == 0 && few && ends;
        let word = bounds.check(kept, format!("flaps at {hertz} Hz: {told:?}"));
        println!(
            "  {:>5} Hz {:>8} {:>16} {:>10} {:>10} {:>14} {:>12} {:>18.0} s {word}",
            hertz,
            told.raw,
            told.device,
            told.raw / 2,
            told.up,
            told.hidden,
            told.network,
            told.up_after
        );
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Changes of the carrier.
    raw: u32,
    /// Changes of the device's state, and of the whole's.
    device: u32,
    network: u32,
    /// How often the device was called up while it flapped.
    up: u32,
    /// Losses of the carrier that were not told at once as `down`.
    hidden: u32,
    /// Seconds from the last change to `up`.
    up_after: f64,
}

fn flap(seed: u64, hertz: f64) -> Told {
    let carrier = Rc::new(Cell::new(true));
    let seen = Rc::clone(&carrier);
    let mut agent = one_target(seed, move |_: &Probe<'_>| match seen.get() {
        true => Fate::Answered { rtt: RTT },
        false => Fate::Unsent { reason: Unsent::NoRoute },
    });
    agent.run_until(WARM_UP, &mut |_, _| {});
    let half = Duration::from_secs_f64(0.5 / hertz);
    let mut told = Told::default();
    let mut state = State::Up;
    let mut at = WARM_UP;
    // It ends as it began: the number of changes is even.
    for _ in 0..2 * (FLAPPING.as_secs_f64() * hertz).ceil() as u32 {
        carrier.set(!carrier.get());
        told.raw += 1;
        let mut link = world::link(2, "eth0");
        link.carrier = carrier.get();
        agent.network(NetworkChange::Link(Box::new(link)));
        agent.run_until(at, &mut |_, event| note(&mut told, &mut state, event));
        told.hidden += u32::from(!carrier.get() && state != State::Down);
        at += half;
        agent.run_until(at, &mut |_, event| note(&mut told, &mut state, event));
    }
    let last = at - half;
    let mut up_again = if state == State::Up { 0.0 } else { f64::NAN };
    agent.run_until(at + STEADY, &mut |at, event| {
        if let Event::Changed { subject: Subject::Device(_), state: State::Up, .. } = event {
            up_again = (at - last).as_secs_f64();
        }
    });
    Told { up_after: up_again, ..told }
}

fn note(told: &mut Told, state: &mut State, event: &Event) {
    let Event::Changed { subject, state: new, .. } = event else { return };
    match subject {
        Subject::Device(_) => {
            told.device += 1;
            told.up += u32::from(*new == State::Up);
            *state = *new;
        }
        Subject::Network => told.network += 1,
        Subject::Target(_) => {}
    }
}
