//! Small drawings of round trips and losses, with what they show in words. They are drawn from what the statistics of an
//! address hold anyhow: nothing is kept for them.

use std::{fmt::Write as _, time::Duration};

use maud::{Markup, html};

use super::{
    marks,
    words::{count, per_cent, round_trip},
};
use crate::{
    health::{AddressStats, Piece},
    time::Mono,
};

/// Width and height of a drawing; a minute and an hour are as wide.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 26.0;
/// Room above the highest point and below the lowest.
const MARGIN: f64 = 2.0;

/// The last minute, a point a probe; one that was lost is a line from top to bottom.
pub(super) fn minute(stats: &AddressStats, now: Mono) -> Markup {
    let samples: Vec<(Duration, Option<Duration>)> = stats.samples(now).collect();
    if samples.is_empty() {
        return marks::nothing();
    }
    let answered = || samples.iter().filter_map(|(_, rtt)| *rtt);
    let (least, most) = (answered().min(), answered().max());
    let scale = Scale::to(most);
    let (mut line, mut lost, mut drawing) = (String::new(), String::new(), false);
    for (age, rtt) in &samples {
        let x = WIDTH - age.as_secs_f64() / 60.0 * WIDTH;
        // Writing to a String can't fail.
        match rtt {
            // A point alone is a line of no length, whose round ends show.
            Some(rtt) if !drawing => _ = write!(line, "M{x:.0} {:.1}h0", scale.y(*rtt)),
            Some(rtt) => _ = write!(line, "L{x:.0} {:.1}", scale.y(*rtt)),
            None => _ = write!(lost, "M{x:.0} 0V{HEIGHT}"),
        }
        drawing = rtt.is_some();
    }
    let losses = samples.iter().filter(|(_, rtt)| rtt.is_none()).count();
    let mut told = format!("{}, {losses} lost", count(samples.len(), "probe", "probes"));
    if let (Some(least), Some(most)) = (least, most) {
        let _ = write!(told, ", {}", range(least, most));
    }
    drawn(&told, &[("lost", &lost), ("line", &line)])
}

/// The last hour in pieces: the median as a line, up to the 99th percentile a band, losses as bars from below.
pub(super) fn hour(stats: &AddressStats, now: Mono) -> Markup {
    let pieces = stats.pieces(now);
    if pieces.is_empty() {
        return marks::nothing();
    }
    let scale = Scale::to(pieces.iter().filter_map(|p| p.figures.p99).max());
    let [mut band, mut line, mut lost] = [const { String::new() }; 3];
    let mut before: Option<f64> = None;
    for piece in &pieces {
        let (from, to) = (x(now, piece.from), x(now, piece.to.min(now)).max(x(now, piece.from) + 0.5));
        let figures = &piece.figures;
        let joins = before == Some(from);
        before = None;
        if let (Some(p50), Some(p99)) = (figures.p50, figures.p99) {
            let (low, high) = (scale.y(p50), scale.y(p99));
            let _ = write!(band, "M{from:.1} {low:.1}V{high:.1}H{to:.1}V{low:.1}z");
            let verb = if joins { 'L' } else { 'M' };
            let _ = write!(line, "{verb}{from:.1} {low:.1}H{to:.1}");
            before = Some(to);
        }
        if let Some(ratio) = figures.loss_ratio().filter(|ratio| *ratio > 0.0) {
            let top = HEIGHT - (ratio * HEIGHT).max(3.0);
            let _ = write!(lost, "M{from:.1} {HEIGHT}V{top:.1}H{to:.1}V{HEIGHT}z");
        }
    }
    drawn(&hour_told(&pieces), &[("band", &band), ("bars", &lost), ("line", &line)])
}

fn hour_told(pieces: &[Piece]) -> String {
    let probes: u64 = pieces.iter().map(|p| p.figures.probes()).sum();
    let worst = pieces.iter().filter_map(|p| p.figures.loss_ratio()).fold(0.0, f64::max);
    let mut told = count(usize::try_from(probes).unwrap_or(usize::MAX), "probe", "probes");
    let medians = || pieces.iter().filter_map(|p| p.figures.p50);
    if let (Some(least), Some(most)) = (medians().min(), medians().max()) {
        let _ = write!(told, ", median {}", range(least, most));
    }
    let _ = match worst {
        0.0 => write!(told, ", none lost"),
        worst => write!(told, ", {} lost at worst", per_cent(worst)),
    };
    told
}

fn range(least: Duration, most: Duration) -> String {
    let (least, most) = (round_trip(least), round_trip(most));
    if least == most { least } else { format!("{least} to {most}") }
}

fn x(now: Mono, at: Mono) -> f64 {
    (WIDTH - now.since(at).as_secs_f64() / 3600.0 * WIDTH).max(0.0)
}

/// Round trips as heights, from zero.
struct Scale(f64);

impl Scale {
    fn to(most: Option<Duration>) -> Self {
        Self(most.unwrap_or_default().as_secs_f64().max(1e-9))
    }

    fn y(&self, rtt: Duration) -> f64 {
        let part = (rtt.as_secs_f64() / self.0).min(1.0);
        HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN)
    }
}

fn drawn(told: &str, paths: &[(&str, &String)]) -> Markup {
    html! {
        svg.spark viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(told) {
            title { (told) }
            @for (class, path) in paths.iter().filter(|(_, path)| !path.is_empty()) { path class=(class) d=(path) {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{FailureReason, ProbeOutcome, StampSource};

    fn at(t: u64) -> Mono {
        Mono::from_nanos(t * 1_000_000_000)
    }

    fn of(outcomes: &[Option<u64>]) -> AddressStats {
        let mut stats = AddressStats::default();
        for (i, ms) in outcomes.iter().enumerate() {
            let outcome = match ms {
                Some(ms) => ProbeOutcome::Reply {
                    rtt: Duration::from_millis(*ms),
                    stamp: StampSource::Kernel,
                    ttl: None,
                    reordered: false,
                },
                None => ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None },
            };
            stats.record(at(3600 + 2 * i as u64), &outcome);
        }
        stats
    }

    #[test]
    fn a_minute_is_drawn_and_told() {
        let drawing = minute(&of(&[Some(10), Some(20), None, Some(10)]), at(3606)).into_string();
        assert!(
            drawing.contains("aria-label=\"4\u{a0}probes, 1 lost, 10.0\u{a0}ms to 20.0\u{a0}ms\""),
            "{drawing}"
        );
        // Ages 6, 4, 2 and 0 seconds, two wide each; the highest point has its margin, the line is broken where one was lost.
        assert!(drawing.contains("d=\"M108 13.0h0L112 2.0M120 13.0h0\""), "{drawing}");
        assert!(drawing.contains("class=\"lost\" d=\"M116 0V26\""), "{drawing}");
        assert!(minute(&AddressStats::default(), at(1)).into_string().contains("none"));
    }

    #[test]
    fn an_hour_is_drawn_and_told() {
        let drawing = hour(&of(&[Some(10), None, Some(10), Some(10)]), at(3630)).into_string();
        assert!(drawing.contains("4\u{a0}probes, median 10.0\u{a0}ms, 25.0"), "{drawing}");
        assert!(drawing.contains("25.0\u{a0}% lost at worst"), "{drawing}");
        assert!(drawing.contains("class=\"bars\" d=\"M119.0 26V19.5H120.0V26z\""), "{drawing}");
        let all_lost = hour(&of(&[None]), at(3601)).into_string();
        assert!(all_lost.contains("100\u{a0}% lost") && !all_lost.contains("class=\"line\""), "{all_lost}");
    }
}
