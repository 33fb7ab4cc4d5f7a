//! Makes a failing history as short as it gets, by leaving out steps and making times shorter.

use super::step::Step;

/// The shortest found that still fails. `fails` runs one.
pub fn shrink(steps: Vec<Step>, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut best = steps;
    let mut size = best.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < best.len() {
            let without: Vec<Step> = best
                .iter()
                .enumerate()
                .filter(|(i, _)| !(at..at + size).contains(i))
                .map(|(_, s)| *s)
                .collect();
            if fails(&without) {
                (best, shorter) = (without, true);
            } else {
                at += size;
            }
        }
        size = if size == 1 && shorter { 1 } else { size / 2 };
    }
    for i in 0..best.len() {
        for part in [16, 4, 2] {
            let Step::Run(ms) = best[i] else { break };
            let mut less = best.clone();
            less[i] = Step::Run((ms / part).max(1));
            if less[i] != best[i] && fails(&less) {
                best = less;
            }
        }
    }
    best
}

#[test]
fn what_matters_is_what_is_left() {
    let all: Vec<Step> = (0..40).map(Step::Run).chain([Step::Gap]).chain((0..9).map(Step::Run)).collect();
    let fails = |steps: &[Step]| {
        let gap = steps.iter().position(|s| *s == Step::Gap);
        gap.is_some_and(|gap| steps[..gap].iter().any(|s| matches!(s, Step::Run(ms) if *ms >= 7)))
    };
    assert_eq!(shrink(all, fails).len(), 2);
}
