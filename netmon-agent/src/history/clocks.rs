//! The wall clock as it stands, for the boot that still goes on: it may have been set since a run wrote its last sign of
//! life, and what is told is by the clock as it was last set.

use super::{record::Run, timeline, writer::boot_id};
use crate::{
    output::STEP_NS,
    time::{Boot, Wall},
};

/// The clocks of this machine at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Which boot of the machine; empty where the kernel does not tell.
    boot: String,
    /// Wall-clock time less boot time, nanoseconds.
    offset: i64,
}

impl Clocks {
    /// As they are.
    pub fn now() -> Self {
        Self::of(boot_id(), Boot::now(), Wall::now())
    }

    /// Those of a boot, both read at one moment.
    pub(super) fn of(boot: String, since_boot: Boot, wall: Wall) -> Self {
        let ns = i128::from(wall.as_nanos()) - i128::from(since_boot.as_nanos());
        let nearest = if ns < 0 { i64::MIN } else { i64::MAX };
        Self { boot, offset: i64::try_from(ns).unwrap_or(nearest) }
    }
}

/// Gives all runs of a boot the distance of the clocks that holds for it: the one of `clocks` where these are of the same
/// boot and were stepped since, or that of its last run.
pub(super) fn set_right(runs: &mut [Run], clocks: Option<&Clocks>) {
    if let Some(clocks) = clocks.filter(|clocks| !clocks.boot.is_empty())
        && let Some(last) = runs.iter_mut().rfind(|run| run.boot == clocks.boot)
        && last.offset.abs_diff(clocks.offset) >= STEP_NS
    {
        last.offset = clocks.offset;
    }
    let of_boots = timeline::offsets(runs);
    let offsets: Vec<i64> = runs.iter().map(|run| of_boots[run.boot.as_str()]).collect();
    for (run, offset) in runs.iter_mut().zip(offsets) {
        run.offset = offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn run(id: i64, boot: &str, offset: i64) -> Run {
        Run { id, boot: boot.into(), started: Boot::default(), seen: Boot::default(), offset, clean: true }
    }

    fn offsets(clocks: Option<&Clocks>) -> [i64; 4] {
        let mut runs = [run(1, "a", 7), run(2, "b", 1), run(3, "b", 50), run(4, "", 3)];
        set_right(&mut runs, clocks);
        runs.map(|run| run.offset)
    }

    #[test]
    fn a_step_since_the_last_sign_of_life_counts_for_its_whole_boot_and_for_no_other() {
        let clocks = |boot: &str, offset| Clocks { boot: boot.into(), offset };
        assert_eq!(offsets(None), [7, 50, 50, 3]);
        assert_eq!(offsets(Some(&clocks("b", 50 + S))), [7, 50 + S, 50 + S, 3]);
        assert_eq!(offsets(Some(&clocks("b", 50 - S))), [7, 50 - S, 50 - S, 3]);
        assert_eq!(offsets(Some(&clocks("b", 49 + S))), [7, 50, 50, 3], "a slewed clock makes no time crawl");
        assert_eq!(offsets(Some(&clocks("c", 9 * S))), [7, 50, 50, 3], "nothing of this boot is written");
        assert_eq!(offsets(Some(&clocks("", 9 * S))), [7, 50, 50, 3], "a boot that nobody knows is no boot");
    }

    #[test]
    fn a_distance_beyond_all_clocks_is_the_farthest() {
        let of =
            |boot, wall| Clocks::of(String::new(), Boot::from_nanos(boot), Wall::from_nanos(wall)).offset;
        assert_eq!((of(3, 10), of(10, 3)), (7, -7));
        assert_eq!((of(0, u64::MAX), of(u64::MAX, 0)), (i64::MAX, i64::MIN));
    }
}
