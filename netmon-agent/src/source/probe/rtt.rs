//! A round trip from the stamps of its two ends.

use std::time::Duration;

use crate::{
    observation::StampSource,
    time::{DeviceTime, Mono, Wall},
};

/// How far the distance of the two clocks may differ between two readings. They are disciplined alike, so the distance
/// changes by clock steps alone; what remains is the time between the two reads.
const STEP: u64 = 200_000;

/// One moment on the clock that never steps and on the one socket stamps are taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Stamp {
    pub(in crate::source) mono: Mono,
    pub(in crate::source) wall: Wall,
}

impl Stamp {
    pub(in crate::source) fn now() -> Self {
        // The wall clock is read last: next to the send, whose time it is to be.
        let mono = Mono::now();
        Self { mono, wall: Wall::now() }
    }

    fn distance(self) -> i128 {
        i128::from(self.wall.as_nanos()) - i128::from(self.mono.as_nanos())
    }
}

/// A measured round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct RoundTrip {
    pub(in crate::source) rtt: Duration,
    pub(in crate::source) source: StampSource,
    /// The wall clock stepped in between, so the kernel's stamp could not be used.
    pub(in crate::source) stepped: bool,
}

/// The time from `sent`, or from `left`, the kernel's stamp of the departure, to `received`, its stamp of the arrival;
/// or to `read`, when the datagram was read, where there is no stamp or the wall clock stepped in between.
pub(in crate::source) fn round_trip(
    sent: Stamp,
    left: Option<Wall>,
    received: Option<Wall>,
    read: Stamp,
) -> RoundTrip {
    let seen = read.mono.since(sent.mono);
    let user = |stepped| RoundTrip { rtt: seen, source: StampSource::User, stepped };
    let Some(received) = received else { return user(false) };
    let stepped = (read.distance() - sent.distance()).unsigned_abs() > u128::from(STEP);
    // It cannot have left before it was sent, nor after its answer came.
    let start = left.filter(|left| (sent.wall..=received).contains(left)).unwrap_or(sent.wall);
    let Some(rtt) = received.as_nanos().checked_sub(start.as_nanos()) else { return user(true) };
    let rtt = Duration::from_nanos(rtt);
    // It cannot have come later than it was read.
    if stepped || rtt > seen + Duration::from_nanos(STEP) {
        return user(true);
    }
    RoundTrip { rtt, source: StampSource::Kernel, stepped: false }
}

/// The same by the network card's stamps of departure and arrival, where it made both: a shorter time, without what lies
/// between card and stamp of the kernel. One that does not lie within the other is of a clock that was set meanwhile.
pub(super) fn by_device(
    trip: RoundTrip,
    left: Option<DeviceTime>,
    received: Option<DeviceTime>,
) -> RoundTrip {
    let (Some(left), Some(received)) = (left, received) else { return trip };
    match received.as_nanos().checked_sub(left.as_nanos()).map(Duration::from_nanos) {
        Some(rtt) if rtt <= trip.rtt => RoundTrip { rtt, source: StampSource::Hardware, ..trip },
        _ => trip,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    fn at(mono: u64, wall: u64) -> Stamp {
        Stamp { mono: Mono::from_nanos(mono), wall: Wall::from_nanos(wall) }
    }

    #[test]
    fn the_kernels_stamp_makes_a_late_wake_up_irrelevant() {
        let r = round_trip(
            at(S, 9 * S),
            None,
            Some(Wall::from_nanos(9 * S + 5 * MS)),
            at(S + 80 * MS, 9 * S + 80 * MS),
        );
        assert_eq!(
            r,
            RoundTrip { rtt: Duration::from_millis(5), source: StampSource::Kernel, stepped: false }
        );
    }

    #[test]
    fn the_cards_stamps_are_the_best_unless_its_clock_was_set() {
        let rtt = Duration::from_millis(5);
        let trip = RoundTrip { rtt, source: StampSource::Kernel, stepped: false };
        let at = |us: u64| Some(DeviceTime::from_nanos(us * 1_000));
        let better = by_device(trip, at(100), at(5_080));
        assert_eq!((better.rtt, better.source), (Duration::from_micros(4_980), StampSource::Hardware));
        for (left, received) in [(None, at(1)), (at(1), None), (at(100), at(99)), (at(100), at(9_000_000))] {
            assert_eq!(by_device(trip, left, received), trip);
        }
    }

    #[test]
    fn without_a_stamp_the_time_of_reading_counts() {
        let r = round_trip(at(S, 9 * S), None, None, at(S + 8 * MS, 9 * S + 8 * MS));
        assert_eq!((r.rtt, r.source, r.stepped), (Duration::from_millis(8), StampSource::User, false));
    }

    #[test]
    fn a_stamp_of_the_departure_is_used_unless_it_is_absurd() {
        let us = |n: u64| Wall::from_nanos(9 * S + n * 1_000);
        let rtt = |left| round_trip(at(S, 9 * S), Some(left), Some(us(100)), at(S + MS, 9 * S + MS)).rtt;
        assert_eq!(rtt(us(30)), Duration::from_micros(70));
        assert_eq!(rtt(us(101)), Duration::from_micros(100));
        assert_eq!(rtt(Wall::from_nanos(8 * S)), Duration::from_micros(100));
    }

    proptest! {
        #[test]
        fn a_step_of_the_wall_clock_spoils_no_round_trip(
            step in prop_oneof![-(3_600 * S as i64)..-(MS as i64), MS as i64..3_600 * S as i64],
            path in 0..900 * MS,
            wake in 0..50 * MS,
            before_arrival: bool,
        ) {
            let sent = at(S, 10_000 * S);
            let shifted = |ns: u64| ns.checked_add_signed(step).unwrap();
            let arrival = 10_000 * S + path;
            let stamp = if before_arrival { shifted(arrival) } else { arrival };
            let read = at(S + path + wake, shifted(10_000 * S + path + wake));
            let r = round_trip(sent, None, Some(Wall::from_nanos(stamp)), read);
            prop_assert_eq!(r.source, StampSource::User);
            prop_assert!(r.stepped);
            prop_assert_eq!(r.rtt, Duration::from_nanos(path + wake));
        }

        #[test]
        fn a_round_trip_is_never_longer_than_it_was_awaited(
            sent_wall: u64, left: u64, stamp: u64, mono in 0..u64::MAX / 2, wait in 0..100 * S, read_wall: u64,
        ) {
            let r = round_trip(
                at(mono, sent_wall),
                Some(Wall::from_nanos(left)),
                Some(Wall::from_nanos(stamp)),
                at(mono + wait, read_wall),
            );
            prop_assert!(r.rtt <= Duration::from_nanos(wait + STEP));
        }
    }
}
