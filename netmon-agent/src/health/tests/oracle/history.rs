//! Random histories: of one kind of trouble each, so that the states that take a while are come by, or of all kinds.

use rand::RngExt;

use super::{
    super::*,
    catalogue::{ADDRESSES, FAILURES, TARGETS, USUAL},
    step::{FateAct, RawAct, Step},
    tell::{AddressAct, LinkAct, SLOTS},
};

type Rng = SmallRng;

fn pick<T: Copy>(r: &mut Rng, all: &[T]) -> T {
    all[r.random_range(0..all.len())]
}

/// The history of this seed, and whether links are told of in it.
pub fn of_seed(seed: u64) -> (Vec<Step>, bool) {
    let mut r = SmallRng::seed_from_u64(seed);
    let kind = match r.random_range(0..100) {
        0..13 => links,
        13..17 => ports,
        17..20 => uplinks,
        20..40 => probes,
        40..52 => fates,
        52..57 => failures,
        57..67 => flaps,
        67..77 => names,
        77..85 => tcp,
        85..95 => anything,
        95..97 => retransmits,
        97..99 => loss,
        _ => latency,
    };
    let netlink = !r.random_bool(0.06);
    let mut steps = Vec::with_capacity(64);
    match r.random_range(0..20) {
        // Some are told of links late, or never.
        0 => {}
        1 => steps.extend([Step::Run(r.random_range(1..5000)), Step::Dump]),
        2 => steps.extend([Step::Gap, Step::Dump]),
        _ => steps.push(Step::Dump),
    }
    let mask = match r.random_range(0..20) {
        0 => 0,
        1..8 => r.random_range(0..1 << TARGETS),
        _ => USUAL,
    };
    if r.random_bool(0.1) {
        steps.insert(0, Step::Fate(255, FateAct::Silent));
    }
    let begin = [Step::Targets(mask, 0), Step::Resolved(r.random_range(0..16)), Step::Run(100)];
    let begun = if r.random_bool(0.9) { 3 } else { r.random_range(0..3) };
    let rest = std::mem::replace(&mut steps, begin[..begun].to_vec());
    steps.extend(rest);
    kind(&mut r, &mut steps);
    (steps, netlink)
}

fn many(r: &mut Rng, steps: &mut Vec<Step>, range: std::ops::Range<usize>, one: impl Fn(&mut Rng) -> Step) {
    for _ in 0..r.random_range(range) {
        steps.push(one(r));
    }
}

fn links(r: &mut Rng, steps: &mut Vec<Step>) {
    many(r, steps, 5..50, |r| match r.random_range(0..20) {
        0..6 => link(r),
        6..9 => address(r),
        9..12 => routes(r),
        12 => neighbour(r),
        13 => pick(r, &[Step::Gap, Step::Dump, Step::Dump]),
        14 => Step::Configure(r.random_range(0..8)),
        15 => any(r),
        16 => Step::Run(r.random_range(1..6000)),
        _ => Step::Run(r.random_range(1..700)),
    });
}

/// The link of the last place is a bridge; the others are its ports.
fn ports(r: &mut Rng, steps: &mut Vec<Step>) {
    let bridge = SLOTS - 1;
    steps.extend([LinkAct::Made, LinkAct::Bridge(true)].map(|act| Step::Link(bridge, act)));
    let slots = 0..r.random_range(1..SLOTS);
    steps.extend(slots.map(|slot| Step::Link(slot, LinkAct::Under(true))));
    steps.extend([Step::Address(bridge, AddressAct::Added), Step::Routes(0b00011 << 10, false)]);
    many(r, steps, 5..40, |r| match r.random_range(0..16) {
        0..5 => {
            let yes = r.random_bool(0.5);
            let act = pick(r, &[LinkAct::Carrier(yes), LinkAct::Admin(yes), LinkAct::Under(yes)]);
            Step::Link(r.random_range(0..SLOTS), act)
        }
        5 => Step::Link(bridge, pick(r, &[LinkAct::Bridge(false), LinkAct::Bridge(true), LinkAct::Gone])),
        6 => Step::Link(bridge, LinkAct::Made),
        7 => link(r),
        8 => address(r),
        9 => Step::Routes(pick(r, &[0b00011 << 10, 0b00011, 0b00011_00011_00011]), false),
        10 => any(r),
        11 => Step::Configure(r.random_range(0..8)),
        _ => Step::Run(r.random_range(1..4000)),
    });
}

/// Several default routes, and a memory of ten minutes.
fn uplinks(r: &mut Rng, steps: &mut Vec<Step>) {
    if r.random_bool(0.5) {
        steps.push(Step::Targets(0, 0));
    }
    if r.random_bool(0.5) {
        steps.extend([Step::Link(2, LinkAct::Made), Step::Address(2, AddressAct::Added)]);
    }
    for _ in 0..r.random_range(1..3) {
        many(r, steps, 3..20, |r| match r.random_range(0..12) {
            0..4 => {
                let equal = if r.random_bool(0.2) { 1 << 15 } else { 0 };
                let all =
                    [0b11, 0b11_00011, 0b11_00000, 0b11_00011_00011, 0b00100, 0b00111_00011, 0b00111_00111];
                Step::Routes(pick(r, &all) | equal, false)
            }
            4..7 => {
                let yes = r.random_bool(0.5);
                Step::Link(r.random_range(0..SLOTS), pick(r, &[LinkAct::Carrier(yes), LinkAct::Admin(yes)]))
            }
            7 => link(r),
            8 => address(r),
            9 => any(r),
            _ => Step::Run(r.random_range(1..3000)),
        });
        steps.push(Step::Run(r.random_range(1000..620_000)));
    }
}

fn link(r: &mut Rng) -> Step {
    let slot = if r.random_bool(0.6) { 0 } else { r.random_range(0..SLOTS) };
    let yes = r.random_bool(0.6);
    Step::Link(
        slot,
        match r.random_range(0..12) {
            0..2 => LinkAct::Admin(yes),
            2..6 => LinkAct::Carrier(yes),
            6..8 => LinkAct::Oper(if yes { 0 } else { r.random_range(0..7) }),
            8 => LinkAct::Rename,
            9 => LinkAct::Gone,
            10 => LinkAct::Made,
            _ if slot + 1 < SLOTS && r.random_bool(0.3) => LinkAct::Under(!yes),
            _ => LinkAct::Port(!yes),
        },
    )
}

fn address(r: &mut Rng) -> Step {
    use AddressAct::{Added, LinkLocal, Removed, Tentative};
    Step::Address(r.random_range(0..SLOTS), pick(r, &[Added, Added, Removed, Tentative, LinkLocal]))
}

fn routes(r: &mut Rng) -> Step {
    let any = r.random();
    let mask: u16 = pick(r, &[0b00011, 0b00011_00011, 0b01111_00111, 0, 0b10000, any]);
    let equal = if r.random_bool(0.2) { 1 << 15 } else { 0 };
    Step::Routes(mask | equal, r.random_bool(0.05))
}

fn neighbour(r: &mut Rng) -> Step {
    Step::Neighbour(r.random_range(0..2), r.random_range(0..8))
}

fn probes(r: &mut Rng, steps: &mut Vec<Step>) {
    let at = r.random_range(0..3);
    many(r, steps, 10..70, |r| match r.random_range(0..30) {
        0 => link(r),
        1 => any(r),
        2 => fate(r),
        3..7 => Step::Run(r.random_range(1..900)),
        _ => raw(r, at),
    });
}

/// Mostly about one address, or six in a row are not soon seen.
fn raw(r: &mut Rng, usual: u8) -> Step {
    let target = if r.random_bool(0.85) { usual } else { r.random_range(0..TARGETS) };
    let nth = if r.random_bool(0.7) { 0 } else { r.random_range(0..40) };
    Step::Raw(
        target,
        match r.random_range(0..40) {
            0..14 => RawAct::Sent,
            14..21 => RawAct::Reply(nth),
            21..32 => RawAct::Failed(nth, reason(r)),
            32..34 => RawAct::Inconclusive(nth, r.random_range(0..300)),
            34 => RawAct::Late(nth),
            35 => RawAct::Duplicate,
            36 => RawAct::Corrupted,
            37 => RawAct::Detail,
            38 => RawAct::Stray,
            _ => RawAct::Forged,
        },
    )
}

fn reason(r: &mut Rng) -> FailureReason {
    if r.random_bool(0.5) { FailureReason::Timeout } else { pick(r, &FAILURES) }
}

fn fates(r: &mut Rng, steps: &mut Vec<Step>) {
    many(r, steps, 5..30, |r| match r.random_range(0..12) {
        0..6 => fate(r),
        6 => Step::Freeze(r.random_range(1..4500)),
        7 => any(r),
        _ => Step::Run(r.random_range(1..7000)),
    });
}

fn fate(r: &mut Rng) -> Step {
    let which = if r.random_bool(0.3) { 255 } else { r.random_range(0..ADDRESSES.len() as u8) };
    let percent = r.random_range(0..70);
    Step::Fate(
        which,
        match r.random_range(0..14) {
            0..4 => FateAct::Answers,
            4..8 => FateAct::Silent,
            8 => FateAct::Fails(reason(r)),
            9 => FateAct::Loses(percent),
            10 => FateAct::Rtt(r.random_range(1..1100)),
            11 => FateAct::Unproven(percent),
            12 => FateAct::Late(percent),
            _ => FateAct::Twice(percent),
        },
    )
}

/// Every way to fail, from the start on or later; the gateway's neighbour entry tells something of its own.
fn failures(r: &mut Rng, steps: &mut Vec<Step>) {
    let first = Step::Fate(255, FateAct::Fails(pick(r, &FAILURES)));
    steps.insert(0, if r.random_bool(0.4) { Step::Fate(255, FateAct::Silent) } else { first });
    for _ in 0..r.random_range(1..4) {
        steps.extend([neighbour(r), Step::Run(r.random_range(3000..8000))]);
        steps.push(Step::Fate(255, FateAct::Fails(pick(r, &FAILURES))));
        if r.random_bool(0.3) {
            steps.extend([Step::Run(6000), Step::Fate(0, FateAct::Answers), neighbour(r), Step::Run(1000)]);
        }
    }
}

fn flaps(r: &mut Rng, steps: &mut Vec<Step>) {
    let of_link = r.random_bool(0.6);
    let (short, times) = (r.random_range(1..9000), r.random_range(2..7));
    let which = r.random_range(0..3);
    for _ in 0..times {
        match of_link {
            true => steps.push(Step::Link(0, pick(r, &[LinkAct::Carrier(false), LinkAct::Admin(false)]))),
            false => steps.push(Step::Fate(which, FateAct::Silent)),
        }
        steps.push(Step::Run(if of_link { short } else { r.random_range(5000..7000) }));
        steps.extend([Step::Link(0, LinkAct::Carrier(true)), Step::Link(0, LinkAct::Admin(true))]);
        steps.extend([Step::Fate(255, FateAct::Answers), Step::Run(r.random_range(100..4000))]);
        if r.random_bool(0.15) {
            steps.push(any(r));
        }
    }
    if r.random_bool(0.2) {
        steps.push(Step::Run(r.random_range(1000..100_000)));
    }
    many(r, steps, 0..8, any);
}

fn names(r: &mut Rng, steps: &mut Vec<Step>) {
    many(r, steps, 5..40, |r| match r.random_range(0..16) {
        0..4 => Step::Resolved(r.random_range(0..16)),
        4..6 => Step::ResolveFailed,
        6 => Step::LookedUp,
        7..9 => targets(r),
        9 => routes(r),
        10 => fate(r),
        11 => any(r),
        12 => Step::Run(r.random_range(1..7000)),
        _ => Step::Run(r.random_range(1..800)),
    });
}

fn targets(r: &mut Rng) -> Step {
    let mask = if r.random_bool(0.5) { USUAL } else { r.random_range(0..1 << TARGETS) };
    Step::Targets(mask, r.random_range(0..4))
}

fn tcp(r: &mut Rng, steps: &mut Vec<Step>) {
    if r.random_bool(0.8) {
        steps.extend([Step::Acknowledge(0, 5), Step::Run(3000)]);
    }
    if r.random_bool(0.3) {
        // Where gateways are all there is to go by.
        steps.push(Step::Targets(1, 0));
    }
    many(r, steps, 5..30, |r| match r.random_range(0..24) {
        0..4 => fate(r),
        4..7 => Step::Fate(255, FateAct::Silent),
        7..9 => Step::Acknowledge(r.random_range(0..3), r.random_range(0..6)),
        9 => Step::Report(r.random_range(0..3), r.random_range(0..6), r.random_range(0..3000)),
        10 => Step::Blind(r.random_bool(0.3)),
        11..14 => time_outs(r),
        14 => neighbour(r),
        15 => link(r),
        16 => any(r),
        17 => Step::Run(r.random_range(1..900)),
        _ => Step::Run(r.random_range(1..8000)),
    });
}

fn time_outs(r: &mut Rng) -> Step {
    Step::TimeOuts(pick(r, &[0, 0, 0, 1, 9]), r.random_range(1..5), r.random_range(1..4))
}

fn retransmits(r: &mut Rng, steps: &mut Vec<Step>) {
    let rounds = r.random_range(8..40);
    let (mut sent, mut again) = (600, 63);
    for _ in 0..rounds {
        if r.random_bool(0.15) {
            (sent, again) = (r.random_range(0..3000), pick(r, &[0, 0, 4, 24, 48, 60, 63, 94]));
        }
        steps.push(Step::Reading(0, sent, again, r.random_bool(0.02), r.random_bool(0.9)));
        steps.push(Step::Run(if r.random_bool(0.9) { 5000 } else { r.random_range(2500..70_000) }));
        if r.random_bool(0.05) {
            steps.push(any(r));
        }
    }
    let silence = if r.random_bool(0.2) { 320_000 } else { 20_000 };
    steps.extend([Step::Run(r.random_range(1000..silence)), any(r)]);
}

fn loss(r: &mut Rng, steps: &mut Vec<Step>) {
    let which = r.random_range(0..3);
    for _ in 0..r.random_range(1..4) {
        steps.push(Step::Fate(which, FateAct::Loses(r.random_range(5..60))));
        steps.push(Step::Run(r.random_range(20_000..150_000)));
        many(r, steps, 0..2, any);
        steps.extend([Step::Fate(which, FateAct::Loses(0)), Step::Fate(which, FateAct::Answers)]);
        steps.push(Step::Run(r.random_range(10_000..150_000)));
    }
}

fn latency(r: &mut Rng, steps: &mut Vec<Step>) {
    let which = r.random_range(0..3);
    steps.push(Step::Fate(which, FateAct::Rtt(r.random_range(1..60))));
    steps.push(Step::Run(r.random_range(205_000..260_000)));
    for _ in 0..r.random_range(1..4) {
        steps.push(Step::Fate(which, FateAct::Rtt(r.random_range(1..400))));
        steps.push(Step::Run(r.random_range(10_000..90_000)));
        many(r, steps, 0..2, any);
    }
}

fn anything(r: &mut Rng, steps: &mut Vec<Step>) {
    many(r, steps, 5..60, |r| if r.random_bool(0.35) { Step::Run(r.random_range(1..3000)) } else { any(r) });
}

/// Any one step.
fn any(r: &mut Rng) -> Step {
    match r.random_range(0..32) {
        0..4 => link(r),
        4..6 => address(r),
        6..8 => routes(r),
        8 => neighbour(r),
        9 => Step::LinkStats,
        10 => Step::Gap,
        11 => Step::Dump,
        12 => Step::Lost(r.random_bool(0.7)),
        13..16 => fate(r),
        16..18 => raw(r, 1),
        18 => Step::Resolved(r.random_range(0..16)),
        19 => Step::ResolveFailed,
        20 => Step::Freeze(r.random_range(1..5000)),
        21 => Step::Suspend(r.random_range(1..100_000)),
        22 => Step::Reading(
            r.random_range(0..3),
            r.random_range(0..3000),
            r.random_range(0..120),
            r.random_bool(0.1),
            true,
        ),
        23 => time_outs(r),
        24 => Step::Acknowledge(r.random_range(0..3), r.random_range(0..6)),
        25 => Step::Report(r.random_range(0..3), r.random_range(0..6), r.random_range(0..3000)),
        26 => Step::Blind(r.random_bool(0.5)),
        27 => Step::Configure(r.random_range(0..8)),
        28 => targets(r),
        29 => Step::Throttle(r.random_bool(0.5)),
        30 => Step::LookedUp,
        _ => Step::Run(r.random_range(1..8000)),
    }
}
