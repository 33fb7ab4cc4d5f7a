use proptest::{collection::vec, prelude::*};

use super::*;
use crate::source::sockdiag::decode::tests::sample;

const V4: IfIndex = IfIndex(2);
const V6: IfIndex = IfIndex(3);

fn interface_of(address: IpAddr) -> Option<IfIndex> {
    match address {
        IpAddr::V4(address) => address.octets().starts_with(&[192, 0, 2]).then_some(V4),
        IpAddr::V6(_) => Some(V6),
    }
}

fn socket(local: &str, segments: u32) -> Socket {
    Socket { segments_sent: Some(segments), ..sample(1, local, "198.51.100.1") }
}

fn tally(sums: &[(IfIndex, u64)]) -> Tally {
    Tally { sums: sums.iter().copied().collect() }
}

fn settle(census: &mut Census, closed: u64, live: u64) -> u64 {
    census.settle(&BTreeMap::from([(V4, closed)]), &tally(&[(V4, live)]))[&V4]
}

#[test]
fn sockets_lie_with_their_address_and_those_to_this_host_with_loopback() {
    let mut tally = Tally::default();
    tally.add(&socket("192.0.2.1", 5), interface_of);
    tally.add(&socket("192.0.2.2", 6), interface_of);
    tally.add(&socket("2001:db8::1", 7), interface_of);
    tally.add(&Socket { bound: IfIndex(9), ..socket("127.0.0.1", 8) }, interface_of);
    tally.add(&Socket { remote: "192.0.2.9".parse().unwrap(), ..socket("192.0.2.1", 3) }, interface_of);
    tally.add(&Socket { remote: "127.0.0.9".parse().unwrap(), ..socket("127.0.0.1", 4) }, interface_of);
    tally.add(&Socket { bound: IfIndex(9), ..socket("192.0.2.1", 1) }, interface_of);
    tally.add(&socket("127.0.0.1", 10), interface_of);
    tally.add(&Socket { segments_sent: None, ..socket("192.0.2.1", 0) }, interface_of);
    let expected = BTreeMap::from([(V4, 12), (V6, 7), (IfIndex(1), 7), (IfIndex(0), 18)]);
    assert_eq!(*tally.sums(), expected);
}

#[test]
fn history_before_the_first_dump_is_left_out() {
    let mut census = Census::default();
    assert_eq!(settle(&mut census, 3, 1000), 3);
    assert_eq!(settle(&mut census, 3, 1010), 13);
    // The socket of 1,010 segments sends 5 more and closes; another has sent 7.
    assert_eq!(settle(&mut census, 1018, 7), 25);
}

#[test]
fn a_socket_that_closes_between_the_two_readings_is_late_and_counts_once() {
    let mut census = Census::default();
    settle(&mut census, 0, 100);
    assert_eq!(settle(&mut census, 0, 150), 50);
    assert_eq!(settle(&mut census, 0, 30), 50, "120 of them are in neither");
    assert_eq!(settle(&mut census, 120, 31), 51);
}

#[test]
fn a_counter_that_turns_over_halts_a_device_for_three_dumps_only() {
    let mut census = Census::default();
    settle(&mut census, 0, 0);
    let full = u64::from(u32::MAX);
    assert_eq!(settle(&mut census, 0, full), full);
    assert_eq!([10, 20, 30].map(|live| settle(&mut census, 0, live)), [full; 3]);
    assert_eq!(settle(&mut census, 0, 45), full + 15);
}

#[test]
fn a_device_counts_on_when_a_socket_left_it_with_its_address() {
    let mut census = Census::default();
    let closed = BTreeMap::new();
    census.settle(&closed, &tally(&[(V4, 1000)]));
    assert_eq!(census.settle(&closed, &tally(&[(V4, 1100)])), BTreeMap::from([(V4, 100)]));
    for _ in 0..3 {
        let moved = census.settle(&closed, &tally(&[(V4, 0), (V6, 1100)]));
        assert_eq!(moved, BTreeMap::from([(V4, 100), (V6, 1100)]));
    }
    let after = census.settle(&closed, &tally(&[(V4, 8), (V6, 1105)]));
    assert_eq!(after, BTreeMap::from([(V4, 108), (V6, 1105)]));
}

#[test]
fn a_device_with_the_index_of_one_that_is_gone_begins_at_nothing() {
    let mut census = Census::default();
    settle(&mut census, 0, 500);
    assert_eq!(settle(&mut census, 100, 500), 100);
    census.forget(V4);
    assert_eq!(settle(&mut census, 0, 7), 7);
}

/// A host whose sockets send and close; one may close just between the two readings of a dump.
#[derive(Clone, Debug)]
enum Event {
    Open,
    Send { which: usize, segments: u32 },
    Close { which: usize },
    Dump { closes_between: Option<usize> },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Open),
        (any::<usize>(), 1_u32..1000).prop_map(|(which, segments)| Event::Send { which, segments }),
        any::<usize>().prop_map(|which| Event::Close { which }),
        prop::option::of(any::<usize>()).prop_map(|closes_between| Event::Dump { closes_between }),
    ]
}

proptest! {
    /// Never more than was sent since the first dump, never less than before, and exactly that once all is quiet. Dumps
    /// that miss a socket have at least one between them that misses none.
    #[test]
    fn a_host_is_counted_exactly(before in vec(0_u32..1000, 0..5), events in vec(event(), 0..200)) {
        let (mut live, mut closed, mut sent) = (before, 0_u64, 0_u64);
        let (mut census, mut published, mut missed) = (Census::default(), 0, false);
        let all = |live: &[u32]| live.iter().map(|n| u64::from(*n)).sum::<u64>();
        settle(&mut census, 0, all(&live));
        for event in events {
            match event {
                Event::Open => live.push(0),
                Event::Send { which, segments } if !live.is_empty() => {
                    let which = which % live.len();
                    live[which] += segments;
                    sent += u64::from(segments);
                }
                Event::Close { which } if !live.is_empty() => {
                    closed += u64::from(live.swap_remove(which % live.len()));
                }
                Event::Dump { closes_between } => {
                    let read = closed;
                    let closes = closes_between.filter(|_| !missed && !live.is_empty());
                    missed = closes.is_some();
                    if let Some(which) = closes {
                        closed += u64::from(live.swap_remove(which % live.len()));
                    }
                    let now = settle(&mut census, read, all(&live));
                    prop_assert!(published <= now && now <= sent);
                    prop_assert!(missed || now == sent);
                    published = now;
                }
                Event::Send { .. } | Event::Close { .. } => {}
            }
        }
        prop_assert_eq!(settle(&mut census, closed, all(&live)), sent);
    }

    /// Whatever the sums do, no device ever shrinks.
    #[test]
    fn nothing_published_shrinks(
        dumps in vec((vec((0_u32..4, 0..u64::MAX), 0..4), vec((0_u32..4, 0..u64::MAX), 0..4)), 1..40),
    ) {
        let mut census = Census::default();
        let mut before = BTreeMap::new();
        for (closed, live) in dumps {
            let by_index = |sums: Vec<(u32, u64)>| sums.into_iter().map(|(i, n)| (IfIndex(i), n)).collect();
            let now = census.settle(&by_index(closed), &Tally { sums: by_index(live) });
            for (index, value) in &before {
                prop_assert!(now.get(index) >= Some(value));
            }
            before = now;
        }
    }
}

#[test]
fn what_a_device_that_is_gone_had_goes_on_under_no_device_and_counts_once() {
    const NOWHERE: IfIndex = IfIndex(0);
    let mut census = Census::default();
    let settle = |census: &mut Census, closed: &[(IfIndex, u64)], live: &[(IfIndex, u64)]| {
        census.settle(&closed.iter().copied().collect(), &tally(live))
    };
    settle(&mut census, &[], &[(V4, 1000), (NOWHERE, 10)]);
    let before = settle(&mut census, &[(V4, 30), (NOWHERE, 5)], &[(V4, 1100), (NOWHERE, 10)]);
    assert_eq!((before[&V4], before[&NOWHERE]), (130, 5));
    census.merge(V4);
    // Its open connections are laid to no device, with all their history; its closed ones are there already.
    let after = settle(&mut census, &[(NOWHERE, 35)], &[(NOWHERE, 1115)]);
    assert_eq!(after, BTreeMap::from([(NOWHERE, 140)]));
    // Or they were reset with it.
    let after = settle(&mut census, &[(NOWHERE, 1140)], &[(NOWHERE, 10)]);
    assert_eq!(after, BTreeMap::from([(NOWHERE, 140)]));
    // Another device with its index begins at nothing.
    assert_eq!(settle(&mut census, &[(NOWHERE, 1140)], &[(V4, 3), (NOWHERE, 10)])[&V4], 3);
}
