//! The last changes.

use netmon_client::wire::Change;
use ratatui::style::Style;

use super::{
    links::heading,
    paint::{Pen, Theme, clock},
};
use crate::cli::{
    top::{layout::Pane, model::Model},
    watch::{what, why},
};

const TIME: usize = 8;
const STATE: usize = 8;

/// Names of the columns.
pub(super) fn title(model: &Model, pen: &mut Pen<'_>, style: Style) {
    pen.cell(&heading("EVENTS", model, Pane::Events), TIME + STATE + 1, style);
    pen.text("WHAT AND WHY", style);
}

/// One change.
pub(super) fn row(c: &Change, theme: &Theme, pen: &mut Pen<'_>) {
    pen.cell(&clock(&c.at, theme), TIME, theme.dim());
    pen.cell(c.state.as_str(), STATE, theme.state(c.state));
    pen.text(&words(c), Style::new());
}

/// What changed, and why.
pub(super) fn words(c: &Change) -> String {
    let (what, why) = (what(c), why(c));
    if why.is_empty() { what } else { format!("{what}  {why}") }
}
