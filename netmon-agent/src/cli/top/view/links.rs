//! The devices.

use netmon_client::wire::Device;
use ratatui::style::Style;

use super::paint::{Pen, Theme, age, percent};
use crate::cli::{
    text::reasons,
    top::{layout::Pane, model::Model, rows::sent_again},
};

const STATE: usize = 8;
const FOR: usize = 7;
const LINK: usize = 7;
const AGAIN: usize = 6;

/// Width of names, where lines are so long.
pub(super) fn name(width: usize) -> usize {
    (width / 4).clamp(8, 36)
}

/// Names of the columns.
pub(super) fn title(model: &Model, pen: &mut Pen<'_>, style: Style) {
    let width = pen.left();
    pen.cell(&heading("DEVICES", model, Pane::Devices), name(width), style);
    pen.cell("STATE", STATE, style);
    pen.figure("FOR", FOR, style);
    pen.cell("LINK", LINK, style);
    pen.figure("RETX", AGAIN, style);
    pen.text("ADDRESSES", style);
}

/// A pane's name, with how many rows it has, of how many, and by what they are ordered.
pub(super) fn heading(word: &str, model: &Model, pane: Pane) -> String {
    let status = &model.store().status;
    let (all, order) = match pane {
        Pane::Devices => (status.devices.len(), Some(model.orders[0])),
        Pane::Targets => (status.targets.len(), Some(model.orders[1])),
        Pane::Events => (model.store().changes.len(), None),
    };
    let shown = model.rows(pane).len();
    let mut heading = if shown == all { format!("{word} {all}") } else { format!("{word} {shown}/{all}") };
    if let Some(order) = order {
        heading += &format!(" {}{}", if order.reverse { "-" } else { "+" }, order.sort.as_str());
    }
    heading
}

/// One device.
pub(super) fn row(d: &Device, theme: &Theme, now: u64, pen: &mut Pen<'_>) {
    let width = pen.left();
    pen.cell(&d.name, name(width), Style::new());
    pen.cell(d.state.as_str(), STATE, theme.state(d.state));
    pen.figure(&age(d.since_boottime_ns, now), FOR, Style::new());
    pen.cell(link(d), LINK, if d.carrier { Style::new() } else { theme.lost() });
    let again = sent_again(d);
    pen.figure(&percent(again), AGAIN, theme.share(again));
    pen.text(&d.addresses.join(" "), Style::new());
}

/// Whether it has a carrier, in a word.
pub(super) fn link(d: &Device) -> &'static str {
    match (d.admin_up, d.carrier) {
        (true, true) => "carrier",
        (true, false) => "none",
        (false, _) => "off",
    }
}

/// Why it is as it is.
pub(super) fn words(d: &Device) -> String {
    match d.reasons.as_slice() {
        [] => format!("{}: {}", d.name, d.state.as_str()),
        why => format!("{}: {}", d.name, reasons(why)),
    }
}
