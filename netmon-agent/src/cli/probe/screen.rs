//! A few lines at the end of a terminal that are written anew in place.
//!
//! No other screen and no hidden cursor: however the program ends, the terminal is as it was.

use std::{fmt::Write as _, io};

use super::live::Size;
use crate::cli::bars::has_unicode;

/// What a terminal is taken for that does not tell.
const USUAL: (u16, u16) = (80, 24);

/// What is on the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    colours: bool,
    unicode: bool,
    /// How long each of the lines is that were written last.
    drawn: Vec<usize>,
}

impl Screen {
    /// For standard output.
    pub(super) fn new() -> Self {
        let choice = anstream::AutoStream::choice(&io::stdout());
        Self { colours: choice != anstream::ColorChoice::Never, unicode: has_unicode(), drawn: Vec::new() }
    }

    /// What the terminal is like now: windows are made larger and smaller.
    pub(super) fn size(&self) -> Size {
        let found = terminal_size::terminal_size_of(io::stdout()).map(|(w, h)| (w.0, h.0));
        let (columns, rows) = found.filter(|(w, h)| *w > 0 && *h > 0).unwrap_or(USUAL);
        Size { columns: columns.into(), rows: rows.into(), unicode: self.unicode }
    }

    /// What to write so that these lines stand in the place of the last ones.
    pub(super) fn draw(&mut self, lines: &[String], columns: usize) -> String {
        let mut out = self.home(columns);
        self.drawn.clear();
        for line in lines {
            let bare = anstream::adapter::strip_str(line).to_string();
            self.drawn.push(bare.chars().count());
            // Writing to a String can't fail.
            let _ = writeln!(out, "{}\x1b[K", if self.colours { line } else { &bare });
        }
        out.push_str("\x1b[J");
        out
    }

    /// What to write so that nothing stands there any more.
    pub(super) fn erase(&mut self, columns: usize) -> String {
        let out = self.home(columns) + "\x1b[J";
        self.drawn.clear();
        out
    }

    /// Back to the first line. One that was written for a wider window now takes several.
    fn home(&self, columns: usize) -> String {
        match self.drawn.iter().map(|length| length.div_ceil(columns.max(1)).max(1)).sum::<usize>() {
            0 => "\r".to_owned(),
            rows => format!("\r\x1b[{rows}A"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(colours: bool) -> Screen {
        Screen { colours, unicode: true, drawn: Vec::new() }
    }

    #[test]
    fn lines_take_the_place_of_the_last_ones() {
        let mut screen = screen(true);
        let lines = ["\x1b[31mab\x1b[0m".to_owned(), "cd".to_owned()];
        assert_eq!(screen.draw(&lines, 80), "\r\x1b[31mab\x1b[0m\x1b[K\ncd\x1b[K\n\x1b[J");
        assert!(screen.draw(&lines[..1], 80).starts_with("\r\x1b[2A"));
        assert_eq!(screen.erase(80), "\r\x1b[1A\x1b[J");
        assert_eq!(screen.erase(80), "\r\x1b[J");
    }

    #[test]
    fn a_narrower_window_has_broken_them() {
        let mut screen = screen(true);
        screen.draw(&["x".repeat(80), String::new()], 80);
        assert_eq!(screen.erase(30), "\r\x1b[4A\x1b[J");
    }

    #[test]
    fn without_colours_there_are_none() {
        let drawn = screen(false).draw(&["\x1b[31mab\x1b[0m".to_owned()], 80);
        assert_eq!(drawn, "\rab\x1b[K\n\x1b[J");
    }
}
