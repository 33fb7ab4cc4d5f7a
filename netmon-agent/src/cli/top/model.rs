//! What `top` shows, and what keys and news make of it. Values in, values out: no I/O, no clock.

use netmon_client::wire::{Change, Device, Status, Target};
use ratatui::layout::{Rect, Size};

use super::{
    cursor::Cursor,
    keys::Key,
    layout::{Pane, Parts, Wanted, parts},
    rows::{self, Filter, Order, Sort},
    store::Store,
    view::{self, Theme},
};

/// What comes in.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// A key was pressed.
    Key(Key),
    /// The agent told its state.
    Status(Box<Status>),
    /// The agent told of a change.
    Change(Box<Change>),
    /// The agent does not answer: why.
    Lost(String),
    /// The screen is so large now.
    Size(Size),
}

/// What is to be done about it outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: draw.
    None,
    /// Stop the program until it is continued.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// End.
    Quit,
}

/// What keys mean at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The panes.
    #[default]
    Browse,
    /// A filter is typed.
    Filter,
    /// All about what is selected, this many lines scrolled.
    Details(usize),
    /// The keys, likewise.
    Help(usize),
}

/// What is shown while it stands still.
#[derive(Debug)]
struct Still {
    store: Store,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    at: u64,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// How things look.
    pub(super) theme: Theme,
    live: Store,
    still: Option<Box<Still>>,
    pub(super) focus: Pane,
    pub(super) mode: Mode,
    pub(super) filter: Filter,
    /// Of devices and of targets.
    pub(super) orders: [Order; 2],
    devices: List<String>,
    targets: List<String>,
    changes: List<(u64, String)>,
    size: Size,
    /// Lines that the state with its reasons fills.
    header: usize,
    /// Rows are no longer those of the data.
    stale: bool,
}

#[derive(Debug)]
struct List<K> {
    rows: Vec<usize>,
    cursor: Cursor<K>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self { rows: Vec::new(), cursor: Cursor::default() }
    }
}

/// What is selected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Selected<'a> {
    /// A device.
    Device(&'a Device),
    /// A target.
    Target(&'a Target),
    /// A change.
    Change(&'a Change),
}

impl Model {
    /// One that shows nothing yet.
    pub(super) fn new(size: Size, theme: Theme) -> Self {
        Self { size, theme, ..Self::default() }
    }

    /// Takes what came in at `now`, nanoseconds of `CLOCK_BOOTTIME`.
    pub(super) fn update(&mut self, input: Input, now: u64) -> Effect {
        match input {
            Input::Key(key) => {
                // It means what is in sight.
                self.settle();
                return self.key(key, now);
            }
            Input::Status(status) => self.live.take_status(*status),
            Input::Change(change) => self.live.take_change(*change),
            Input::Lost(why) => self.live.lose(why, now),
            Input::Size(size) => self.size = size,
        }
        self.stale = true;
        Effect::None
    }

    /// Puts the rows in order, if something came in since. To be called before anything is shown: many inputs at once
    /// are sorted once.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let store = self.still.as_ref().map_or(&self.live, |still| &still.store);
        let (all_devices, all_targets) = (&store.status.devices, &store.status.targets);
        self.devices.rows = rows::devices(all_devices, &self.filter, self.orders[0]);
        self.targets.rows = rows::targets(all_targets, &self.filter, self.orders[1]);
        self.changes.rows = rows::changes(&store.changes, &self.filter);
        self.devices.settle(|i, name| all_devices[i].name == *name);
        self.targets.settle(|i, name| all_targets[i].name == *name);
        self.changes
            .settle(|i, (seq, subject)| store.changes[i].seq == *seq && store.changes[i].subject == *subject);
        self.header = view::header_lines(store);
        self.scroll();
    }

    /// What is shown: the live state, or that of the moment when it was told to stand still.
    pub(super) fn store(&self) -> &Store {
        self.still.as_ref().map_or(&self.live, |still| &still.store)
    }

    /// Whether it stands still.
    pub(super) fn is_paused(&self) -> bool {
        self.still.is_some()
    }

    /// The time that is shown, given what it is.
    pub(super) fn shown_at(&self, now: u64) -> u64 {
        self.still.as_ref().map_or(now, |still| still.at)
    }

    /// Where what stands on a screen of this size.
    pub(super) fn parts(&self, area: Rect) -> Parts {
        let rows = Pane::ALL.map(|pane| self.rows(pane).len());
        parts(area, Wanted { header: self.header, rows }, self.focus)
    }

    /// The rows of a pane, as places in what the agent told.
    pub(super) fn rows(&self, pane: Pane) -> &[usize] {
        match pane {
            Pane::Devices => &self.devices.rows,
            Pane::Targets => &self.targets.rows,
            Pane::Events => &self.changes.rows,
        }
    }

    /// The selected row of a pane, and the first in sight where there is room for `height`.
    pub(super) fn sight(&self, pane: Pane, height: usize) -> (usize, usize) {
        match pane {
            Pane::Devices => self.devices.sight(height),
            Pane::Targets => self.targets.sight(height),
            Pane::Events => self.changes.sight(height),
        }
    }

    /// What is selected in the pane in use.
    pub(super) fn selected(&self) -> Option<Selected<'_>> {
        let store = self.store();
        let (at, _) = self.sight(self.focus, 1);
        let place = *self.rows(self.focus).get(at)?;
        match self.focus {
            Pane::Devices => store.status.devices.get(place).map(Selected::Device),
            Pane::Targets => store.status.targets.get(place).map(Selected::Target),
            Pane::Events => store.changes.get(place).map(Selected::Change),
        }
    }

    fn key(&mut self, key: Key, now: u64) -> Effect {
        match key {
            Key::Interrupt => return Effect::Quit,
            Key::Suspend => return Effect::Suspend,
            Key::Redraw => return Effect::Redraw,
            _ => {}
        }
        match self.mode {
            Mode::Browse => return self.browse(key, now),
            Mode::Filter => self.type_filter(key),
            Mode::Details(line) => self.read(key, line, Mode::Details, now),
            Mode::Help(line) => self.read(key, line, Mode::Help, now),
        }
        Effect::None
    }

    fn browse(&mut self, key: Key, now: u64) -> Effect {
        let page = isize::try_from(self.parts(self.area()).rows(self.focus).max(1)).unwrap_or(isize::MAX);
        match key {
            Key::Char('q') => return Effect::Quit,
            Key::Up | Key::Char('k') => self.step(-1),
            Key::Down | Key::Char('j') => self.step(1),
            Key::PageUp => self.step(-page),
            Key::PageDown | Key::Char(' ') => self.step(page),
            Key::Home | Key::Char('g') => self.step(isize::MIN),
            Key::End | Key::Char('G') => self.step(isize::MAX),
            Key::Tab => self.focus = self.focus.next(),
            Key::BackTab => self.focus = self.focus.previous(),
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('?' | 'h') => self.mode = Mode::Help(0),
            Key::Char('s') => self.reorder(|order, all| order.sort = order.sort.next(all)),
            Key::Char('r') => self.reorder(|order, _| order.reverse = !order.reverse),
            Key::Char('p') => self.pause(now),
            Key::Enter if self.selected().is_some() => self.mode = Mode::Details(0),
            Key::Escape if !self.filter.text.is_empty() => {
                self.filter.text.clear();
                self.stale = true;
            }
            _ => {}
        }
        self.settle();
        self.scroll();
        Effect::None
    }

    fn type_filter(&mut self, key: Key) {
        let text = &mut self.filter.text;
        match key {
            Key::Enter => self.mode = Mode::Browse,
            Key::Escape => {
                text.clear();
                self.mode = Mode::Browse;
            }
            Key::Backspace if text.is_empty() => self.mode = Mode::Browse,
            Key::Backspace => {
                text.pop();
            }
            Key::Erase => text.clear(),
            Key::Char(c) if text.len() < 128 => text.push(c),
            _ => return,
        }
        self.stale = true;
    }

    /// What a key does to a text that is read.
    fn read(&mut self, key: Key, line: usize, mode: fn(usize) -> Mode, now: u64) {
        let last = view::last_line(self, now, self.area());
        let to = |line: usize| mode(line.min(last));
        self.mode = match key {
            Key::Up | Key::Char('k') => to(line.saturating_sub(1)),
            Key::Down | Key::Char('j') => to(line.saturating_add(1)),
            Key::PageUp => to(line.saturating_sub(10)),
            Key::PageDown | Key::Char(' ') => to(line.saturating_add(10)),
            Key::Home => to(0),
            Key::End => to(last),
            Key::Escape | Key::Enter | Key::Char('q' | '?') => Mode::Browse,
            _ => to(line),
        };
    }

    fn pause(&mut self, now: u64) {
        self.still = match self.still.take() {
            Some(_) => None,
            None => Some(Box::new(Still { store: self.live.clone(), at: now })),
        };
        self.stale = true;
    }

    fn reorder(&mut self, change: impl FnOnce(&mut Order, &[Sort])) {
        match self.focus {
            Pane::Devices => change(&mut self.orders[0], Sort::OF_DEVICES),
            Pane::Targets => change(&mut self.orders[1], Sort::OF_TARGETS),
            // The newest is always on top.
            Pane::Events => return,
        }
        self.stale = true;
    }

    fn step(&mut self, steps: isize) {
        let store = self.still.as_ref().map_or(&self.live, |still| &still.store);
        match self.focus {
            Pane::Devices => {
                self.devices.step(steps, |i| store.status.devices.get(i).map(|d| d.name.clone()));
            }
            Pane::Targets => {
                self.targets.step(steps, |i| store.status.targets.get(i).map(|t| t.name.clone()));
            }
            Pane::Events => {
                self.changes.step(steps, |i| store.changes.get(i).map(|c| (c.seq, c.subject.clone())));
            }
        }
    }

    fn area(&self) -> Rect {
        Rect::new(0, 0, self.size.width, self.size.height)
    }

    /// Keeps what is selected in sight.
    fn scroll(&mut self) {
        let parts = self.parts(self.area());
        self.devices.scroll(parts.rows(Pane::Devices));
        self.targets.scroll(parts.rows(Pane::Targets));
        self.changes.scroll(parts.rows(Pane::Events));
    }
}

impl<K> List<K> {
    fn settle(&mut self, is: impl Fn(usize, &K) -> bool) {
        let rows = &self.rows;
        self.cursor.settle(rows.len(), |key| rows.iter().position(|i| is(*i, key)));
    }

    fn step(&mut self, steps: isize, key: impl FnOnce(usize) -> Option<K>) {
        let rows = &self.rows;
        self.cursor.by(steps, rows.len(), |row| rows.get(row).and_then(|i| key(*i)));
    }

    fn scroll(&mut self, height: usize) {
        self.cursor.scroll(self.rows.len(), height);
    }

    fn sight(&self, height: usize) -> (usize, usize) {
        (self.cursor.at(), self.cursor.offset(self.rows.len(), height))
    }
}
