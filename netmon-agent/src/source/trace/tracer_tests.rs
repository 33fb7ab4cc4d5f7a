//! Traces of simulated paths, in virtual time.

use std::{cell::Cell, cmp::Reverse, collections::BinaryHeap, net::Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::source::trace::path::{End, Limit};

const MS: Duration = Duration::from_millis(1);
const DESTINATION: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fn router(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))
}

#[derive(Clone, Copy)]
enum Out {
    Next,
    /// Says so, after a while, from its own address.
    Refuse(FailureReason, Duration),
    Drop,
    Back(usize),
}

struct Router {
    silent: bool,
    /// Answers it may give, then one more each second.
    tokens: Cell<u32>,
    filled: Cell<u64>,
    mtu: u32,
    /// `Some(0)`: says that it is too big, and no more. `None`: says nothing.
    tells: Option<u32>,
    out: Out,
}

impl Router {
    fn may_answer(&self, now: Mono) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        let more = second.saturating_sub(self.filled.replace(second)) as u32;
        self.tokens.set((self.tokens.get().saturating_add(more)).min(1_000_000));
        let able = !self.silent && self.tokens.get() > 0;
        self.tokens.set(self.tokens.get() - u32::from(able));
        able
    }
}

struct World {
    device: u32,
    routers: Vec<Router>,
    destination_answers: bool,
    /// So many large packets that would have come through are lost first,
    lose: Cell<u32>,
    /// and so many small ones of the search.
    lose_small: Cell<u32>,
    sent: Cell<u32>,
}

impl World {
    fn new(routers: usize) -> Self {
        let router = || Router {
            silent: false,
            tokens: Cell::new(1_000_000),
            filled: Cell::new(0),
            mtu: 1500,
            tells: Some(0),
            out: Out::Next,
        };
        Self {
            device: 1500,
            routers: (0..routers).map(|_| router()).collect(),
            destination_answers: true,
            lose: Cell::new(0),
            lose_small: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    /// The link after router `n` (from 1 on) takes `mtu`, and the router tells this of what is larger.
    fn narrow(&mut self, n: usize, mtu: u32, tells: Option<u32>) {
        self.routers[n - 1].mtu = mtu;
        self.routers[n - 1].tells = tells;
    }

    fn answer(&self, probe: Probe, now: Mono) -> Option<(Mono, Heard)> {
        self.sent.set(self.sent.get() + 1);
        let big = |mtu| What::Failed { reason: FailureReason::PacketTooBig, mtu };
        if probe.size > self.device {
            return Some((now, heard(None, big(self.device), Duration::ZERO)));
        }
        let lose = if probe.size == SMALL { &self.lose_small } else { &self.lose };
        if lose.get() > 0 && probe.purpose == Purpose::Mtu {
            lose.set(lose.get() - 1);
            return None;
        }
        let (mut i, mut ttl, mut rtt) = (0, probe.ttl, Duration::ZERO);
        while let Some(at) = self.routers.get(i) {
            rtt += 10 * MS;
            ttl -= 1;
            let failed = |reason| What::Failed { reason, mtu: 0 };
            let (what, wait) = if ttl == 0 {
                (failed(FailureReason::TtlExceeded), Duration::ZERO)
            } else if probe.size > at.mtu {
                (big(at.tells?), Duration::ZERO)
            } else {
                match at.out {
                    Out::Next => {
                        i += 1;
                        continue;
                    }
                    Out::Back(to) => {
                        i = to;
                        continue;
                    }
                    Out::Drop => return None,
                    Out::Refuse(reason, after) => (failed(reason), after),
                }
            };
            let answer = heard(Some(router(i as u8 + 1)), what, rtt + wait);
            return at.may_answer(now).then_some((now + rtt + wait, answer));
        }
        rtt += 10 * MS;
        self.destination_answers.then(|| (now + rtt, heard(Some(DESTINATION), What::Arrived, rtt)))
    }
}

fn heard(from: Option<IpAddr>, what: What, rtt: Duration) -> Heard {
    Heard { from, what, rtt: Some(rtt), stamp: StampSource::Kernel }
}

fn plan() -> Plan {
    Plan {
        destination: DESTINATION,
        method: Method::Icmp,
        max_hops: 30,
        probes: 3,
        timeout: Duration::from_secs(1),
        mtu: true,
    }
}

struct Traced {
    path: Path,
    /// In the order they were told.
    told: Vec<Hop>,
    took: Duration,
}

fn trace(world: &World, plan: Plan) -> Traced {
    let start = Mono::from_nanos(1_000_000_000);
    let (mut tracer, mut now, mut told) = (Tracer::new(plan), start, Vec::new());
    let mut under_way = BinaryHeap::new();
    let mut answers: Vec<(u16, Heard)> = Vec::new();
    for _ in 0..100_000 {
        match tracer.step(now) {
            Step::Send(probe) => {
                assert!(probe.ttl >= 1 && probe.size <= 65_535);
                if let Some((at, answer)) = world.answer(probe, now) {
                    under_way.push(Reverse((at, answers.len())));
                    answers.push((probe.id, answer));
                }
            }
            Step::Wait(until) => {
                assert!(until > now, "no rest at {now:?}");
                now = match under_way.peek() {
                    Some(Reverse((at, _))) if *at <= until => (*at).max(now),
                    _ => until,
                };
                while let Some(Reverse((at, index))) = under_way.peek().copied()
                    && at <= now
                {
                    under_way.pop();
                    let (id, answer) = answers[index];
                    tracer.heard(id, &answer);
                }
            }
            Step::Done => {
                told.extend(std::iter::from_fn(|| tracer.settled_hop(now)));
                return Traced { path: tracer.path(), told, took: now.since(start) };
            }
        }
        told.extend(std::iter::from_fn(|| tracer.settled_hop(now)));
    }
    panic!("no end: {tracer:?}");
}

fn addresses(path: &Path) -> Vec<Option<IpAddr>> {
    path.hops.iter().map(|hop| hop.addresses().first().copied()).collect()
}

#[test]
fn a_plain_path_is_told_hop_by_hop() {
    let traced = trace(&World::new(4), plan());
    let path = &traced.path;
    assert_eq!(path.end, End::Reached { hop: 5 });
    let expected: Vec<_> = (1..=4).map(router).chain([DESTINATION]).map(Some).collect();
    assert_eq!(addresses(path), expected);
    assert!(path.hops.iter().all(|hop| hop.replies.len() == 3 && hop.sent == 3 && hop.reason().is_none()));
    assert_eq!(path.hops[2].replies[0].rtt, Some(30 * MS));
    assert_eq!(traced.told, path.hops);
    let mtu = path.mtu.as_ref().unwrap();
    assert_eq!((mtu.bytes, mtu.device, mtu.as_far_as, &mtu.limits[..]), (1500, Some(1500), None, &[][..]));
    assert!(traced.took < Duration::from_secs(1), "{:?}", traced.took);
}

#[test]
fn a_silent_hop_is_no_reply_and_asked_once_more() {
    let mut world = World::new(4);
    world.routers[1].silent = true;
    let Traced { path, told, .. } = trace(&world, plan());
    assert_eq!(path.end, End::Reached { hop: 5 });
    assert_eq!((path.hops[1].sent, path.hops[1].replies.len()), (4, 0));
    assert_eq!((told.len(), addresses(&path)[2]), (5, Some(router(3))));
}

#[test]
fn a_hop_out_of_tokens_is_met_by_the_late_probe() {
    let mut world = World::new(4);
    world.routers[2].tokens = Cell::new(0);
    world.routers[2].filled = Cell::new(1);
    let Traced { path, .. } = trace(&world, plan());
    assert_eq!((path.hops[2].sent, path.hops[2].replies.len()), (4, 1));
    assert_eq!(addresses(&path)[2], Some(router(3)));
}

#[test]
fn nobody_beyond_a_hop_is_an_end_in_silence() {
    let mut world = World::new(4);
    world.routers[2].out = Out::Drop;
    let Traced { path, told, took } = trace(&world, plan());
    assert_eq!(path.end, End::Silent { last: Some(3), asked: 30 });
    assert_eq!((path.hops.len(), told.len()), (3, 3));
    assert!(took < Duration::from_secs(12), "{took:?}");
    let mtu = path.mtu.unwrap();
    assert_eq!((mtu.bytes, mtu.as_far_as), (1500, Some(3)));
    world.routers[0].out = Out::Drop;
    world.routers[0].silent = true;
    let path = trace(&world, plan()).path;
    assert_eq!((path.end, path.mtu), (End::Silent { last: None, asked: 30 }, None));
    assert!(path.hops.is_empty());
}

#[test]
fn whoever_refuses_ends_the_path_with_a_reason() {
    use FailureReason::{HostUnreachable, NetUnreachable, PortUnreachable, Prohibited};
    for reason in [NetUnreachable, HostUnreachable, Prohibited, PortUnreachable] {
        // A router knows only after three seconds that a host is not there.
        for after in [Duration::ZERO, 3100 * MS] {
            let mut world = World::new(4);
            world.routers[2].out = Out::Refuse(reason, after);
            let Traced { path, .. } = trace(&world, Plan { max_hops: 6, ..plan() });
            assert_eq!(path.end, End::Unreachable { hop: 4, from: router(3), reason });
            assert_eq!((path.hops.len(), path.hops[3].reason()), (4, Some(reason)));
            assert_eq!(path.mtu.unwrap().as_far_as, Some(3));
        }
    }
}

#[test]
fn a_circle_is_seen_and_not_run_to_the_end() {
    let mut world = World::new(4);
    world.routers[3].out = Out::Back(2);
    let Traced { path, .. } = trace(&world, plan());
    assert_eq!(path.end, End::Loop { hop: 3, again: 7, from: router(3) });
    assert!(world.sent.get() < 60, "{}", world.sent.get());
}

#[test]
fn every_router_that_narrows_the_path_is_named() {
    let mut world = World::new(4);
    world.narrow(2, 1400, Some(1400));
    world.narrow(4, 1300, Some(1300));
    let mtu = trace(&world, plan()).path.mtu.unwrap();
    let told = |n: u8, bytes| Limit::Told { by: router(n), hop: Some(n), bytes };
    assert_eq!((mtu.bytes, mtu.limits), (1300, vec![told(2, 1400), told(4, 1300)]));
}

#[test]
fn a_router_that_tells_no_size_is_named_all_the_same() {
    for nonsense in [0, 20, 1500, 9000] {
        let mut world = World::new(3);
        world.narrow(2, 1433, Some(nonsense));
        let mtu = trace(&world, plan()).path.mtu.unwrap();
        let expected = vec![Limit::Told { by: router(2), hop: Some(2), bytes: 1433 }];
        assert_eq!((mtu.bytes, mtu.limits), (1433, expected));
    }
}

#[test]
fn a_router_that_promises_too_much_hides_a_black_hole() {
    let mut world = World::new(4);
    world.narrow(2, 1450, Some(1450));
    world.narrow(3, 1399, None);
    let mtu = trace(&world, plan()).path.mtu.unwrap();
    let told = Limit::Told { by: router(2), hop: Some(2), bytes: 1450 };
    assert_eq!(mtu.limits, [told, Limit::BlackHole { after: Some(3), bytes: 1399 }]);
}

#[test]
fn who_repeats_an_answer_or_tells_ever_less_holds_nobody_up() {
    let (mut search, mut asked) = (Search::new(false, vec![Anchor::Destination(FAR)], vec![]), 0);
    let small = Question { ttl: FAR, size: SMALL };
    search.learn(small, Outcome::Passed);
    while let Some(question) = search.question() {
        asked += 1;
        assert!(asked < 100, "{search:?}");
        // Again and again that the small one came there, and of what is asked nothing.
        search.learn(small, Outcome::Passed);
        search.learn(question, Outcome::Silent);
    }
    assert_eq!(search.result(|_| None).map(|mtu| mtu.bytes), Some(SMALL));

    let (mut search, mut asked) = (Search::new(false, vec![Anchor::Destination(FAR)], vec![]), 0);
    search.learn(small, Outcome::Passed);
    while let Some(question) = search.question() {
        asked += 1;
        assert!(asked < 100, "{search:?}");
        search.learn(question, Outcome::TooBig { by: Some(router(1)), bytes: question.size - 1 });
    }
    assert_eq!(search.result(|_| None).map(|mtu| mtu.bytes), Some(SMALL));
}

#[test]
fn lost_packets_make_no_black_hole() {
    for lost in 1..=5 {
        let world = World::new(3);
        world.lose.set(lost);
        let mtu = trace(&world, plan()).path.mtu.unwrap();
        assert_eq!((mtu.bytes, mtu.as_far_as, mtu.limits), (1500, None, vec![]), "{lost} lost");
    }
}

#[test]
fn where_the_destination_answers_nothing_small_either_the_last_router_does() {
    let mut world = World::new(3);
    world.narrow(2, 1400, Some(1400));
    world.lose_small = Cell::new(2);
    let mtu = trace(&world, plan()).path.mtu.unwrap();
    assert_eq!((mtu.bytes, mtu.as_far_as), (1400, Some(3)));
}

#[test]
fn without_hops_that_answer_a_black_hole_has_no_place() {
    let mut world = World::new(3);
    world.routers.iter_mut().for_each(|r| r.silent = true);
    world.narrow(2, 1280, None);
    let mtu = trace(&world, plan()).path.mtu.unwrap();
    assert_eq!((mtu.bytes, mtu.limits), (1280, vec![Limit::BlackHole { after: None, bytes: 1280 }]));
}

#[test]
fn the_path_mtu_can_be_left_out() {
    let (without, with) = (World::new(1), World::new(1));
    assert_eq!(trace(&without, Plan { mtu: false, ..plan() }).path.mtu, None);
    assert!(trace(&with, plan()).path.mtu.is_some());
    // This host's refusal of the largest there is tells the device's MTU; then that, after a small one.
    assert_eq!(with.sent.get(), without.sent.get() + 3);
}

#[test]
fn a_second_answer_to_a_probe_and_one_to_none_change_nothing() {
    let mut tracer = Tracer::new(plan());
    let Step::Send(probe) = tracer.step(Mono::from_nanos(0)) else { panic!() };
    let answer = heard(Some(router(1)), What::Failed { reason: FailureReason::TtlExceeded, mtu: 0 }, 2 * MS);
    for id in [probe.id, probe.id, 4711] {
        tracer.heard(id, &answer);
    }
    assert_eq!(tracer.path().hops[0].replies.len(), 1);
}

proptest! {
    /// Whatever the path, the search ends, and at the right size.
    #[test]
    fn any_mtu_is_found(
        mtus in proptest::collection::vec((81u32..10_000, any::<bool>()), 1..6), device in 1500u32..10_000,
    ) {
        let mut world = World::new(mtus.len());
        world.device = device;
        for (n, (mtu, tells)) in (1..).zip(&mtus) {
            world.narrow(n, *mtu, tells.then_some(*mtu));
        }
        let narrowest = mtus.iter().map(|(mtu, _)| *mtu).min().unwrap();
        let Traced { path, .. } = trace(&world, Plan { timeout: 200 * MS, ..plan() });
        let mtu = path.mtu.unwrap();
        prop_assert_eq!(mtu.bytes, narrowest.min(device));
        let place = mtus.iter().position(|(mtu, _)| *mtu == narrowest).unwrap();
        if narrowest < device {
            match mtu.limits.last() {
                Some(Limit::Told { hop, .. }) => prop_assert_eq!(*hop, Some(place as u8 + 1)),
                Some(Limit::BlackHole { after, .. }) => {
                    // The first that drops what is just too big.
                    prop_assert_eq!(*after, Some(place as u8 + 1));
                    prop_assert!(!mtus[place].1);
                }
                None => prop_assert!(false, "{:?}", mtu),
            }
        } else {
            prop_assert_eq!(mtu.limits, &[]);
        }
    }

    /// Whoever is silent, it comes to an end, and hops are told in order.
    #[test]
    fn any_path_ends(silent in proptest::collection::vec(any::<bool>(), 0..40), answers: bool) {
        let mut world = World::new(silent.len());
        for (router, silent) in world.routers.iter_mut().zip(&silent) {
            router.silent = *silent;
        }
        world.destination_answers = answers;
        let Traced { path, told, .. } = trace(&world, plan());
        prop_assert_eq!(path.reached(), answers && silent.len() < 30);
        prop_assert_eq!(told, path.hops);
    }
}
