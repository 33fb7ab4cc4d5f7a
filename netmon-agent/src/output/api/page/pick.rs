//! Which targets a sheet has: the worst first, and no more than a sheet holds.

use std::sync::Arc;

use super::question::{Question, Show};
use crate::{health::State, state::TargetView};

/// Targets of a sheet.
pub(super) const SHEET: usize = 50;

/// The targets of a sheet, and how many there are beside.
#[derive(Debug)]
pub(super) struct Picked<'a> {
    /// Those of this sheet.
    pub(super) rows: Vec<&'a TargetView>,
    /// How many are found in all.
    pub(super) found: usize,
    /// Number of the sheet, from 1; the last where a later one was asked for.
    pub(super) sheet: usize,
    /// How many sheets there are, 1 at least.
    pub(super) sheets: usize,
    /// Of those that have what is searched for, how many are in each state, in the order of [`State::ALL`].
    pub(super) counts: [usize; State::ALL.len()],
}

/// The order of states, the worst first. One of which nothing is known may be down.
pub(super) fn rank(state: State) -> u8 {
    match state {
        State::Down => 0,
        State::Degraded => 1,
        State::Unknown => 2,
        State::Up => 3,
    }
}

/// Takes a look at every target, and keeps those of the sheet that was asked for. Equal ones stay in the order of the
/// configuration.
pub(super) fn pick<'a>(targets: &'a [Arc<TargetView>], asked: &Question) -> Picked<'a> {
    let mut counts = [0; State::ALL.len()];
    let mut found: Vec<&TargetView> = Vec::new();
    for target in targets.iter().filter(|t| asked.finds(t)) {
        counts[target.verdict.state as usize] += 1;
        if asked.is_of(target) {
            found.push(target);
        }
    }
    if asked.show == Show::All || asked.show == Show::Faulty {
        found.sort_by_key(|t| rank(t.verdict.state));
    }
    let sheets = found.len().div_ceil(SHEET).max(1);
    let sheet = asked.sheet.clamp(1, sheets);
    let rows = found.iter().skip((sheet - 1) * SHEET).take(SHEET).copied().collect();
    Picked { rows, found: found.len(), sheet, sheets, counts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Verdict;

    fn target(name: &str, state: State) -> Arc<TargetView> {
        let verdict = Verdict { state, ..Verdict::default() };
        Arc::new(TargetView {
            name: name.into(),
            scope: "Custom".into(),
            method: "icmp",
            verdict,
            ..TargetView::default()
        })
    }

    fn names<'a>(picked: &'a Picked<'_>) -> Vec<&'a str> {
        picked.rows.iter().map(|t| &*t.name).collect()
    }

    #[test]
    fn the_worst_come_first_and_the_order_is_kept_otherwise() {
        let all = [
            target("b", State::Up),
            target("a", State::Up),
            target("d", State::Degraded),
            target("u", State::Unknown),
            target("x", State::Down),
        ];
        let picked = pick(&all, &Question::default());
        assert_eq!(names(&picked), ["x", "d", "u", "b", "a"]);
        assert_eq!((picked.counts, picked.found, picked.sheets), ([1, 2, 1, 1], 5, 1));
        let faulty = Question { show: Show::Faulty, ..Question::default() };
        assert_eq!(names(&pick(&all, &faulty)), ["x", "d", "u"]);
        let up = Question { show: Show::Only(State::Up), search: "custom".into(), ..Question::default() };
        assert_eq!(names(&pick(&all, &up)), ["b", "a"]);
        let none = Question { search: "nothing".into(), ..Question::default() };
        let picked = pick(&all, &none);
        assert_eq!((picked.rows.len(), picked.sheet, picked.sheets, picked.counts), (0, 1, 1, [0; 4]));
    }

    #[test]
    fn a_sheet_is_never_longer_than_it_may_be_and_all_sheets_have_all() {
        let states = [State::Up, State::Up, State::Down, State::Degraded];
        let all: Vec<_> = (0..1234).map(|i| target(&format!("t{i}"), states[i % 4])).collect();
        let mut seen = std::collections::BTreeSet::new();
        for sheet in 1..=25 {
            let picked = pick(&all, &Question { sheet, ..Question::default() });
            assert_eq!((picked.sheet, picked.sheets), (sheet, 25));
            assert!(picked.rows.len() <= SHEET);
            seen.extend(picked.rows.iter().map(|t| t.name.clone()));
        }
        assert_eq!(seen.len(), 1234);
        // A sheet that is gone, as targets are removed, is the last one.
        assert_eq!(pick(&all, &Question { sheet: usize::MAX, ..Question::default() }).sheet, 25);
    }
}
