//! Brush and colours: text into cells, never outside its place, and harmless whatever it is.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use netmon_client::State;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

use crate::cli::text::{printable, span};

/// How things look.
#[derive(Clone, Debug)]
pub(in crate::cli::top) struct Theme {
    /// Whether there are colours.
    pub(in crate::cli::top) colours: bool,
    /// Whether the terminal shows more than ASCII.
    pub(in crate::cli::top) unicode: bool,
    /// Where the clock on the wall is.
    pub(in crate::cli::top) zone: TimeZone,
    /// What this machine is called.
    pub(in crate::cli::top) host: String,
}

impl Default for Theme {
    fn default() -> Self {
        Self { colours: true, unicode: true, zone: TimeZone::UTC, host: String::new() }
    }
}

impl Theme {
    /// Of a state.
    pub(super) fn state(&self, state: State) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if !self.colours {
            return style;
        }
        style.fg(match state {
            State::Up => Color::Green,
            State::Degraded => Color::Yellow,
            State::Down => Color::Red,
            State::Unknown => Color::DarkGray,
        })
    }

    /// Of a share that is lost or sent again.
    pub(super) fn share(&self, share: Option<f64>) -> Style {
        match share {
            Some(share) if self.colours && share >= 0.5 => Style::new().fg(Color::Red),
            Some(share) if self.colours && share >= 0.005 => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        }
    }

    /// Of a bar for something lost.
    pub(super) fn lost(&self) -> Style {
        if self.colours { Style::new().fg(Color::Red) } else { Style::new() }
    }

    /// Of what is there to be found, not to be read each time.
    pub(super) fn dim(&self) -> Style {
        if self.colours { Style::new().fg(Color::DarkGray) } else { Style::new().add_modifier(Modifier::DIM) }
    }

    /// Of a pane's title.
    pub(super) fn title(&self, is_focused: bool) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        match (is_focused, self.colours) {
            (true, true) => style.fg(Color::Black).bg(Color::Cyan),
            (true, false) => style.add_modifier(Modifier::REVERSED),
            (false, true) => style.fg(Color::Cyan),
            (false, false) => style.add_modifier(Modifier::UNDERLINED),
        }
    }
}

/// Writes a line from left to right.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    x: u16,
    y: u16,
    right: u16,
}

impl<'a> Pen<'a> {
    /// At the left of the line `y` of `area`; none where that line is outside it, or outside the buffer.
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect, y: u16) -> Option<Self> {
        let area = area.intersection(buffer.area);
        let at = area.y.saturating_add(y);
        (!area.is_empty() && at < area.bottom()).then(|| Self {
            x: area.x,
            y: at,
            right: area.right(),
            buffer,
        })
    }

    /// Columns left.
    pub(super) fn left(&self) -> usize {
        usize::from(self.right.saturating_sub(self.x))
    }

    /// Writes a text, as much as there is room for.
    pub(super) fn text(&mut self, text: &str, style: Style) {
        let room = self.left();
        if room > 0 {
            (self.x, _) = self.buffer.set_stringn(self.x, self.y, printable(text), room, style);
        }
    }

    /// Writes a text in a column of a width, then a blank. What is too long ends in `…`.
    pub(super) fn cell(&mut self, text: &str, width: usize, style: Style) {
        self.column(text, width, style, false);
    }

    /// The same, at the right of the column.
    pub(super) fn figure(&mut self, text: &str, width: usize, style: Style) {
        self.column(text, width, style, true);
    }

    fn column(&mut self, text: &str, width: usize, style: Style, right: bool) {
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        let end = self.x.saturating_add(width).min(self.right);
        let room = usize::from(end.saturating_sub(self.x));
        let text = crate::cli::text::clipped(&printable(text), room);
        // Wide characters take two columns each, of which nobody knows before they are drawn.
        let blanks = if right { room.saturating_sub(text.chars().count()) } else { 0 };
        if room > blanks {
            let x = self.x + u16::try_from(blanks).unwrap_or_default();
            self.buffer.set_stringn(x, self.y, text, room - blanks, style);
        }
        self.x = end.saturating_add(1).min(self.right);
    }

    /// Writes a text at the right end of the line, if there is room for it and a blank before.
    pub(super) fn at_the_right(&mut self, text: &str, style: Style) {
        let text = printable(text);
        let length = text.chars().count();
        if self.left() > length {
            let x = self.right - u16::try_from(length).unwrap_or_default();
            self.buffer.set_stringn(x, self.y, text, length, style);
            self.right = x;
        }
    }

    /// Lays a style over the whole line.
    pub(super) fn style(&mut self, area: Rect, style: Style) {
        self.buffer.set_style(Rect { y: self.y, height: 1, ..area }, style);
    }
}

/// A round trip, in six characters or so.
pub(super) fn round_trip(ns: Option<u64>, theme: &Theme) -> String {
    let Some(ns) = ns else { return "-".to_owned() };
    match ns as f64 / 1e6 {
        ms if ms < 0.9995 => format!("{:.0}{}", ms * 1e3, if theme.unicode { "µs" } else { "us" }),
        ms if ms < 9.995 => format!("{ms:.2}ms"),
        ms if ms < 999.95 => format!("{ms:.1}ms"),
        ms => format!("{:.2}s", ms / 1e3),
    }
}

/// A share in percent.
pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        None => "-".to_owned(),
        Some(share) if share > 0.0 && share < 0.1 => format!("{:.1}%", share * 100.0),
        Some(share) => format!("{:.0}%", share * 100.0),
    }
}

/// How long ago something was, both by `CLOCK_BOOTTIME`.
pub(super) fn age(since: u64, now: u64) -> String {
    span(Duration::from_nanos(now.saturating_sub(since)))
}

/// The time of the day of an RFC 3339 time, in this zone; the text itself where it is none.
pub(super) fn clock(at: &str, theme: &Theme) -> String {
    match at.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(theme.zone.clone()).strftime("%H:%M:%S").to_string(),
        Err(_) => at.to_owned(),
    }
}

/// A text's end that says there is more.
pub(super) fn ellipsis(theme: &Theme) -> &'static str {
    if theme.unicode { "…" } else { "..." }
}
