//! The targets.

use std::time::Duration;

use netmon_client::wire::Target;
use ratatui::style::Style;

use super::{
    links::{heading, name},
    paint::{Pen, Theme, percent, round_trip},
};
use crate::cli::{
    bars,
    text::{place, reasons},
    top::{
        layout::Pane,
        model::Model,
        rows::Worst,
        track::{Sample, Track},
    },
};

const STATE: usize = 8;
const LOSS: usize = 5;
const TIME: usize = 7;
/// Narrower than this the last round trips tell nothing.
const LEAST: usize = 6;

/// Names of the columns.
pub(super) fn title(model: &Model, pen: &mut Pen<'_>, style: Style) {
    let width = pen.left();
    pen.cell(&heading("TARGETS", model, Pane::Targets), name(width), style);
    pen.cell("STATE", STATE, style);
    for (word, width) in [("LOSS", LOSS), ("P50", TIME), ("P99", TIME), ("JITTER", TIME)] {
        pen.figure(word, width, style);
    }
    if pen.left() >= LEAST {
        pen.text("ROUND TRIPS", style);
    }
}

/// One target.
pub(super) fn row(t: &Target, track: Option<&Track>, theme: &Theme, pen: &mut Pen<'_>) {
    let (width, worst) = (pen.left(), Worst::of(t));
    pen.cell(&t.name, name(width), Style::new());
    pen.cell(t.state.as_str(), STATE, theme.state(t.state));
    pen.figure(&percent(worst.loss), LOSS, theme.share(worst.loss));
    for ns in [worst.p50, worst.p99, worst.jitter] {
        pen.figure(&round_trip(ns, theme), TIME, Style::new());
    }
    if let Some(track) = track.filter(|_| pen.left() >= LEAST) {
        line(track, theme, pen);
    }
}

/// The last round trips, the newest at the right of as many as have room.
pub(super) fn line(track: &Track, theme: &Theme, pen: &mut Pen<'_>) {
    let samples = track.last(pen.left());
    let micros = samples.clone().filter_map(Sample::micros);
    let time = |micros: Option<u32>| Duration::from_micros(micros.unwrap_or_default().into());
    let (low, high) = (time(micros.clone().min()), time(micros.max()));
    for sample in samples {
        let (mark, style) = match sample.micros() {
            Some(_) => (bars::bar(time(sample.micros()), low, high, theme.unicode), Style::new()),
            None => (bars::lost(theme.unicode), theme.lost()),
        };
        pen.text(mark.encode_utf8(&mut [0; 4]), style);
    }
}

/// Why it is as it is, or what it is.
pub(super) fn words(t: &Target) -> String {
    let mut words = match t.reasons.as_slice() {
        [] => format!("{}: {} {}, scope {}", t.name, t.probe, t.host, t.scope),
        why => format!("{}: {}", t.name, reasons(why)),
    };
    if let Some(diagnosis) = &t.diagnosis {
        words += &format!("; where: {}", place(diagnosis));
    }
    words
}
