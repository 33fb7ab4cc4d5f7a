//! What the samples prove: each figure's growth held against a bound, and counts that have to be zero, or not. Pure.

use crate::regression::{Slope, blocks, slope};
use crate::table::{REST, Row, SECONDS};

/// How a figure is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// The slope of its means under load, in blocks of [`BLOCK`] hours.
    Load,
    /// The same of what the allocator keeps in store as well: as much as the busiest moment so far took. So it grows by steps,
    /// ever more seldom, the next of which may come in any run. Held against the bound are its ends, with [`STEP`].
    Store,
    /// Memory at each rest, when nobody asks for anything and the targets are those of the beginning. What leaks is there at
    /// every later one: the least of the second half is no more than that of the first, but for its bound and [`SWING`].
    Rest,
    /// A number of things at each rest: the same, with nothing beside.
    Count,
}

/// What memory in store may have grown by beside its bound, KiB.
const STEP: f64 = 1024.0;

/// By what the least of some rests may differ with nothing leaked, KiB: by what is being written and answered just then.
const SWING: f64 = 128.0;

/// A block under load, hours: several turns of the load, and one rest.
const BLOCK: f64 = 5.0 / 60.0;

/// Columns whose growth is held against a bound, in their unit an hour.
///
/// Memory: 64 KiB an hour would be 110 MB in ten weeks, beyond the 100 MB that the agent may take by default. A leak is in what is
/// allocated.
///
/// CPU: beside that of the load, which does the same work all the time. What a machine that others share does to one it does to
/// the other: a new agent took 5.7 % of a core in one hour and 10.1 % two hours later. A tenth more an hour of what is usual.
const GROWTH: &[(&str, Of, f64)] = &[
    ("allocated_kib", Of::Rest, 64.0),
    ("rss_kib", Of::Store, 64.0),
    ("pss_kib", Of::Store, 64.0),
    ("anon_kib", Of::Store, 64.0),
    ("heap_kib", Of::Store, 64.0),
    ("threads", Of::Count, 0.0),
    ("children", Of::Count, 0.0),
    ("fd_all", Of::Count, 0.0),
    ("fd_file", Of::Count, 0.0),
    ("fd_pipe", Of::Count, 0.0),
    ("fd_anon", Of::Count, 0.0),
    ("fd_socket", Of::Count, 0.0),
    ("sock_tcp", Of::Count, 0.0),
    ("sock_udp", Of::Count, 0.0),
    ("sock_ping", Of::Count, 0.0),
    ("sock_unix", Of::Count, 0.0),
    ("sock_netlink", Of::Count, 0.0),
    ("sock_other", Of::Count, 0.0),
    ("bpf_maps", Of::Count, 0.0),
    ("bpf_programs", Of::Count, 0.0),
    ("bpf_links", Of::Count, 0.0),
    ("bpf_map_kib", Of::Count, 0.0),
    ("series", Of::Count, 0.0),
    ("cpu_to_load", Of::Load, 0.25),
];

/// Files that the configuration keeps small, and KiB that they may have at any time: four of the ledger and of the log's files,
/// and a quarter more, for both are cut when they have passed that. Their size swings by that much, so it has no slope.
const CAPPED: &[(&str, f64)] = &[("ledger_kib", 4.0 * 1024.0 * 1.25), ("log_kib", 4.0 * 256.0 * 1.25)];

/// Counts that have to be zero at the end.
const ZERO: &[&str] = &[
    "wrong_releases",
    "failed_waits",
    "missed_scrapes",
    "failed_requests",
    "restarts",
    "own_observations_dropped",
    "own_bpf_dropped",
    "own_history_errors",
];

/// Counts without which a run proves nothing.
const ALIVE: &[&str] = &[
    "flaps",
    "cuts",
    "released",
    "abandoned_waits",
    "subscriptions",
    "scrapes",
    "connections",
    "targets_put",
    "files_rewritten",
    "reloads",
    "hooks",
    "webhooks",
    "own_retransmitted",
];

/// What became of one row of the verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// The upper bound of the growth is below what is allowed, or the count is as it has to be.
    Good,
    /// It surely grows, or the count is not.
    Bad,
    /// It may grow by more than is allowed, or not at all: the run was too short, or too uneven.
    Open,
    /// Too few samples to say anything.
    Unjudged,
}

/// One row of the verdict.
#[derive(Clone, Debug)]
pub struct Line {
    /// The figure's name.
    pub name: String,
    /// The first value after the warm-up, and the last.
    pub ends: Option<(f64, f64)>,
    /// Its growth.
    pub slope: Option<Slope>,
    /// What it is held against.
    pub bound: f64,
    /// What comes of it.
    pub judgement: Judgement,
}

/// All rows of the verdict; samples of the first `warm_up` hours count for no growth.
pub fn judge(rows: &[Row], warm_up: f64) -> Vec<Line> {
    let growth = GROWTH.iter().map(|(name, of, bound)| grows(rows, name, *of, *bound, warm_up));
    let last = |name: &str| rows.iter().rev().find_map(|row| row.get(name).copied());
    let count = |name: &&str, good: fn(f64) -> bool, bound: f64| {
        let value = last(name);
        let judgement = match value {
            None => Judgement::Unjudged,
            Some(value) if good(value) => Judgement::Good,
            Some(_) => Judgement::Bad,
        };
        Line { name: (*name).to_owned(), ends: value.map(|v| (0.0, v)), slope: None, bound, judgement }
    };
    let zero = ZERO.iter().map(|name| count(name, |v| v == 0.0, 0.0));
    let alive = ALIVE.iter().map(|name| count(name, |v| v > 0.0, 1.0));
    let capped = CAPPED.iter().map(|(name, cap)| most(rows, name, *cap));
    growth.chain(capped).chain(zero).chain(alive).collect()
}

/// A figure that may never be beyond `cap`.
fn most(rows: &[Row], name: &str, cap: f64) -> Line {
    let values: Vec<f64> = rows.iter().filter_map(|row| row.get(name).copied()).collect();
    let judgement = match values.iter().copied().reduce(f64::max) {
        None => Judgement::Unjudged,
        Some(most) if most <= cap => Judgement::Good,
        Some(_) => Judgement::Bad,
    };
    let ends = values.first().map(|first| (*first, values.iter().copied().fold(0.0, f64::max)));
    Line { name: format!("{name}, most"), ends, slope: None, bound: cap, judgement }
}

fn grows(rows: &[Row], name: &str, of: Of, bound: f64, warm_up: f64) -> Line {
    let at_rest = matches!(of, Of::Rest | Of::Count);
    let samples: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| (row.get(REST) == Some(&1.0)) == at_rest)
        .filter_map(|row| Some((row.get(SECONDS)? / 3600.0, *row.get(name)?)))
        .filter(|(at, _)| *at >= warm_up)
        .collect();
    let points = if at_rest { samples } else { blocks(&samples, BLOCK) };
    let found = slope(&points);
    let ends = points.first().copied().zip(points.last().copied());
    let hours = ends.map_or(0.0, |(first, last)| last.0 - first.0);
    // From the middle of one half to that of the other.
    let apart = hours / 2.0;
    let bound = match of {
        Of::Store if hours > 0.0 => bound + STEP / hours,
        Of::Rest if hours > 0.0 => bound + SWING / apart,
        _ => bound,
    };
    let good = |is_good: bool| if is_good { Judgement::Good } else { Judgement::Bad };
    let judgement = match (found, of) {
        (None, _) => Judgement::Unjudged,
        (Some(_), Of::Store) => good(ends.is_some_and(|(first, last)| last.1 - first.1 < bound * hours)),
        (Some(_), Of::Rest | Of::Count) => {
            let (earlier, later) = points.split_at(points.len() / 2);
            let least = |part: &[(f64, f64)]| part.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
            good(least(later) - least(earlier) <= bound * apart)
        }
        (Some(slope), _) if slope.high < bound => Judgement::Good,
        (Some(slope), _) if slope.low > 0.0 => Judgement::Bad,
        (Some(_), _) => Judgement::Open,
    };
    let ends = ends.map(|(first, last)| (first.1, last.1));
    let name = if at_rest { format!("{name} at rest") } else { name.to_owned() };
    Line { name, ends, slope: found, bound, judgement }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two hours, a sample every ten seconds, a rest every five minutes.
    fn run(value: impl Fn(f64, bool) -> Vec<(&'static str, f64)>) -> Vec<Row> {
        let sample = |i: u32| {
            let (seconds, rest) = (f64::from(i) * 10.0, i % 30 == 29);
            let own = [(SECONDS, seconds), (REST, f64::from(u8::from(rest)))];
            own.into_iter().chain(value(seconds / 3600.0, rest)).map(|(n, v)| (n.to_owned(), v)).collect()
        };
        (0..720).map(sample).collect()
    }

    fn of(lines: &[Line], name: &str) -> Line {
        lines.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    /// Noise that is the same each time, between -1 and 1.
    fn noise(hours: f64) -> f64 {
        (hours * 3600.0 * 0.7).sin()
    }

    #[test]
    fn noise_is_flat_and_a_leak_is_found_in_it() {
        let rows = run(|t, _| vec![("rss_kib", 20_000.0 + 400.0 * noise(t)), ("pss_kib", 9_000.0)]);
        let lines = judge(&rows, 0.25);
        assert_eq!(of(&lines, "rss_kib").judgement, Judgement::Good, "{:?}", of(&lines, "rss_kib"));
        assert_eq!(of(&lines, "pss_kib").judgement, Judgement::Good);
        let rows = run(|t, _| vec![("rss_kib", 20_000.0 + 400.0 * noise(t) + 2_000.0 * t)]);
        assert_eq!(of(&judge(&rows, 0.25), "rss_kib").judgement, Judgement::Bad);
    }

    #[test]
    fn a_leak_is_found_in_memory_at_rest_and_what_is_held_now_and_then_is_none() {
        let judgement = |leak: f64, hours: usize| {
            // Every third rest falls into something that holds half a mebibyte for a while.
            let held = |t: f64| if ((t * 12.0) as u32).is_multiple_of(3) { 500.0 } else { 0.0 };
            let rows =
                run(move |t, _| vec![("allocated_kib", 9_000.0 + 40.0 * noise(t) + held(t) + leak * t)]);
            of(&judge(&rows[..hours * 360], 0.25), "allocated_kib at rest").judgement
        };
        assert_eq!(judgement(0.0, 2), Judgement::Good);
        assert_eq!(judgement(350.0, 2), Judgement::Bad);
        assert_eq!(judgement(-350.0, 2), Judgement::Good);
        assert_eq!(judgement(600.0, 1), Judgement::Bad);
    }

    #[test]
    fn a_step_of_the_store_is_no_leak_and_many_are() {
        let steps = |every: f64| {
            let rows = run(move |t, _| vec![("rss_kib", 50_000.0 + 400.0 * (t / every).floor())]);
            of(&judge(&rows, 0.25), "rss_kib").judgement
        };
        assert_eq!(steps(1.0), Judgement::Good);
        assert_eq!(steps(0.2), Judgement::Bad);
    }

    #[test]
    fn what_grew_in_the_warm_up_alone_is_flat() {
        let rows = run(|t, _| vec![("anon_kib", 5_000.0 + 3_000.0 * t.min(0.5))]);
        let judgement = |warm_up| of(&judge(&rows, warm_up), "anon_kib").judgement;
        assert_eq!(judgement(0.6), Judgement::Good);
        assert_ne!(judgement(0.0), Judgement::Good);
    }

    #[test]
    fn descriptors_are_looked_at_while_the_load_rests() {
        let with = |leak: f64| {
            let rows = run(move |t, rest| {
                vec![("fd_all", (40.0 + leak * t).floor() + if rest { 0.0 } else { 9.0 * noise(t) })]
            });
            of(&judge(&rows, 0.25), "fd_all at rest").judgement
        };
        assert_eq!(with(0.0), Judgement::Good);
        assert_eq!(with(12.0), Judgement::Bad);
        assert_eq!(with(1.2), Judgement::Bad);
    }

    #[test]
    fn a_number_that_comes_and_goes_does_not_grow() {
        let rows = run(|t, _| vec![("threads", 9.0 + f64::from(u8::from((t * 4.0) as u32 % 2 == 1)))]);
        assert_eq!(of(&judge(&rows, 0.25), "threads at rest").judgement, Judgement::Good);
    }

    #[test]
    fn a_file_is_held_to_its_cap_at_any_time() {
        let swings = |high: f64| run(move |t, _| vec![("ledger_kib", if t < 0.2 { high } else { 3_500.0 })]);
        assert_eq!(of(&judge(&swings(5_000.0), 1.0), "ledger_kib, most").judgement, Judgement::Good);
        assert_eq!(of(&judge(&swings(5_200.0), 1.0), "ledger_kib, most").judgement, Judgement::Bad);
        assert_eq!(of(&judge(&swings(0.0), 1.0), "log_kib, most").judgement, Judgement::Unjudged);
    }

    #[test]
    fn a_wild_figure_is_open_and_few_samples_are_not_judged() {
        let rows =
            run(|t, _| vec![("cpu_to_load", if ((t * 6.0) as u32).is_multiple_of(3) { 90.0 } else { 0.0 })]);
        assert_eq!(of(&judge(&rows, 0.25), "cpu_to_load").judgement, Judgement::Open);
        assert_eq!(of(&judge(&rows[..200], 0.25), "cpu_to_load").judgement, Judgement::Unjudged);
    }

    #[test]
    fn a_wrong_release_is_bad_and_a_run_without_any_release_too() {
        let rows =
            run(|t, _| vec![("wrong_releases", (t - 1.9).max(0.0).ceil()), ("released", 0.0), ("flaps", t)]);
        let lines = judge(&rows, 0.25);
        for (name, judgement) in [
            ("wrong_releases", Judgement::Bad),
            ("released", Judgement::Bad),
            ("flaps", Judgement::Good),
            ("cuts", Judgement::Unjudged),
        ] {
            assert_eq!(of(&lines, name).judgement, judgement, "{name}");
        }
    }
}
