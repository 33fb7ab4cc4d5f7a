//! From the model to the screen: pure, and only what is in sight is put into words.

mod details;
mod events;
mod header;
mod help;
mod links;
mod paint;
mod peers;

use ratatui::{buffer::Buffer, layout::Rect, style::Modifier, style::Style};

use self::paint::Pen;
pub(super) use self::{header::lines as header_lines, paint::Theme};
use super::{
    layout::{Pane, Parts},
    model::{Mode, Model, Selected},
};
use crate::cli::text::folded;

/// A line of a text that is read.
type Line = (String, Style);

/// Draws the model as of `now`, nanoseconds of `CLOCK_BOOTTIME`, onto the whole buffer.
pub(super) fn draw(model: &Model, now: u64, buffer: &mut Buffer) {
    let (theme, area) = (&model.theme, buffer.area);
    let now = model.shown_at(now);
    let parts = model.parts(area);
    header::draw(model, theme, now, parts.header, buffer);
    footer(model, theme, parts.footer, buffer);
    if let Mode::Details(line) | Mode::Help(line) = model.mode {
        return read(&reading(model, theme, now, area.width), line, reading_room(&parts), buffer);
    }
    for pane in Pane::ALL {
        let place = parts.panes[pane as usize];
        if place.height > 0 {
            title(model, theme, pane, place, buffer);
            rows(model, theme, now, pane, place, buffer);
        }
    }
    words(model, theme, parts.words, buffer);
}

/// The last line that the text which is read may begin with, on a screen of this size.
pub(super) fn last_line(model: &Model, now: u64, area: Rect) -> usize {
    let lines = reading(model, &model.theme, model.shown_at(now), area.width).len();
    lines.saturating_sub(reading_room(&model.parts(area)).height.into())
}

/// Where a text is read.
fn reading_room(parts: &Parts) -> Rect {
    let top = parts.header.bottom();
    Rect { y: top, height: parts.footer.y.saturating_sub(top), ..parts.header }
}

/// What is read at the moment.
fn reading(model: &Model, theme: &Theme, now: u64, width: u16) -> Vec<Line> {
    let text = match model.mode {
        Mode::Help(_) => help::text(theme),
        _ => details::text(model, theme, now, width.into()),
    };
    let width = usize::from(width).max(1);
    let fold = |(text, style): Line| {
        let indent = text.len() - text.trim_start().len();
        let lines = if text.chars().count() <= width {
            vec![text]
        } else {
            // What goes on stands further in.
            let more = |(i, line): (usize, String)| {
                format!("{:1$}{line}", "", if i == 0 { indent } else { indent + 2 })
            };
            folded(&text, width.saturating_sub(indent + 2).max(1)).into_iter().enumerate().map(more).collect()
        };
        lines.into_iter().map(move |line| (line, style))
    };
    text.into_iter().flat_map(fold).collect()
}

fn read(text: &[Line], line: usize, area: Rect, buffer: &mut Buffer) {
    let first = line.min(text.len().saturating_sub(area.height.into()));
    for (y, (text, style)) in (0..area.height).zip(&text[first..]) {
        if let Some(mut pen) = Pen::new(buffer, area, y) {
            pen.text(text, *style);
        }
    }
}

fn title(model: &Model, theme: &Theme, pane: Pane, area: Rect, buffer: &mut Buffer) {
    let style = theme.title(model.focus == pane);
    let Some(mut pen) = Pen::new(buffer, area, 0) else { return };
    pen.style(area, style);
    match pane {
        Pane::Devices => links::title(model, &mut pen, style),
        Pane::Targets => peers::title(model, &mut pen, style),
        Pane::Events => events::title(model, &mut pen, style),
    }
}

fn rows(model: &Model, theme: &Theme, now: u64, pane: Pane, area: Rect, buffer: &mut Buffer) {
    let height = area.height.saturating_sub(1);
    let (selected, first) = model.sight(pane, height.into());
    let store = model.store();
    for (y, (row, place)) in (1..=height).zip(model.rows(pane).iter().enumerate().skip(first)) {
        let Some(mut pen) = Pen::new(buffer, area, y) else { return };
        match pane {
            Pane::Devices => {
                let Some(device) = store.status.devices.get(*place) else { continue };
                links::row(device, theme, now, &mut pen);
            }
            Pane::Targets => {
                let Some(target) = store.status.targets.get(*place) else { continue };
                peers::row(target, store.track(&target.name), theme, &mut pen);
            }
            Pane::Events => {
                let Some(change) = store.changes.get(*place) else { continue };
                events::row(change, theme, &mut pen);
            }
        }
        if row == selected && pane == model.focus {
            pen.style(area, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

/// Why what is selected is as it is.
fn words(model: &Model, theme: &Theme, area: Rect, buffer: &mut Buffer) {
    let text = match model.selected() {
        Some(Selected::Device(device)) => links::words(device),
        Some(Selected::Target(target)) => peers::words(target),
        Some(Selected::Change(change)) => events::words(change),
        None if model.filter.text.is_empty() => String::new(),
        None => format!("nothing here has {:?}; Esc takes the filter away", model.filter.text),
    };
    let mut lines = folded(&text, usize::from(area.width).max(1));
    let room = usize::from(area.height);
    if lines.len() > room && room > 0 {
        lines.truncate(room);
        let last = &mut lines[room - 1];
        let kept = usize::from(area.width).saturating_sub(3);
        *last = last.chars().take(kept).chain(paint::ellipsis(theme).chars()).collect();
    }
    for (y, line) in (0..area.height).zip(lines) {
        if let Some(mut pen) = Pen::new(buffer, area, y) {
            pen.text(&line, Style::new());
        }
    }
}

fn footer(model: &Model, theme: &Theme, area: Rect, buffer: &mut Buffer) {
    let Some(mut pen) = Pen::new(buffer, area, 0) else { return };
    let filter = &model.filter.text;
    match model.mode {
        Mode::Filter => {
            pen.text("/", theme.title(false));
            pen.text(filter, Style::new().add_modifier(Modifier::BOLD));
            pen.text(" ", Style::new().add_modifier(Modifier::REVERSED));
            pen.text("  Enter keeps it, Esc takes it away", theme.dim());
        }
        Mode::Details(_) | Mode::Help(_) => pen.text("up, down, PgUp, PgDn: read   Esc: back", theme.dim()),
        Mode::Browse => {
            if model.is_paused() {
                pen.text("PAUSED ", theme.title(true));
                pen.text(" ", Style::new());
            }
            if !filter.is_empty() {
                pen.text(&format!("/{filter}"), theme.title(false));
                pen.text("  ", Style::new());
            }
            pen.text(
                "q quit  / filter  s sort  r reverse  p pause  Tab pane  Enter details  ? help",
                theme.dim(),
            );
        }
    }
}
