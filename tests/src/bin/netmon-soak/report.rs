//! The verdict, printed.

use netmon_tests::promise;

use crate::verdict::{Judgement, Line};

/// Prints each row and all together; whether nothing is bad or open.
pub fn print(lines: &[Line], hours: f64, warm_up: f64, samples: usize) -> bool {
    println!(
        "soak: {hours:.2} h, {samples} samples; growth an hour after {warm_up:.2} h of warm-up, with its 95 % interval"
    );
    println!(
        "  figure                         from         to    growth/h   from       to    below  verdict"
    );
    for line in lines {
        let ends = line.ends.map_or_else(
            || format!("{:>10} {:>10}", "–", "–"),
            |(first, last)| format!("{first:>10.1} {last:>10.1}"),
        );
        let slope = line.slope.map_or_else(
            || format!("{:>11} {:>8} {:>8}", "", "", ""),
            |s| format!("{:>11.3} {:>8.2} {:>8.2}", s.per_hour, s.low, s.high),
        );
        println!("  {:<24} {ends} {slope} {:>8.1} {:>8}", line.name, line.bound, word(line));
    }
    let count = |judgement: &Judgement| lines.iter().filter(|l| l.judgement == *judgement).count();
    let (bad, open) = (count(&Judgement::Bad), count(&Judgement::Open));
    let (good, unjudged) = (count(&Judgement::Good), count(&Judgement::Unjudged));
    println!("  {good} good, {bad} bad, {open} open, {unjudged} not judged");
    promise(
        "soak-slopes",
        format_args!(
            "{hours:.1} h: {good} figures as due or without growth, {bad} bad, {open} open, {unjudged} not judged"
        ),
    );
    bad + open == 0
}

fn word(line: &Line) -> &'static str {
    match (&line.judgement, line.slope) {
        (Judgement::Good, Some(_)) => "flat",
        (Judgement::Good, None) => "as due",
        (Judgement::Bad, Some(_)) => "GROWS",
        (Judgement::Bad, None) => "WRONG",
        (Judgement::Open, _) => "OPEN",
        (Judgement::Unjudged, _) => "too few",
    }
}
