//! The terminal: taken, and given back as it was, however the program ends.

use std::{
    env,
    io::{self, IsTerminal, Stdout},
    panic,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::signal::{Signal, raise};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
    layout::{Rect, Size},
};

use super::{model::Model, view};

/// Some thread has panicked, and the terminal was given back for its last words.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Why there is nothing to draw on; none where there is.
pub(super) fn missing() -> Option<&'static str> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Some("standard input and output are not both a terminal");
    }
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    dumb.then_some("this terminal (see $TERM) can't place what is drawn")
}

/// The terminal, for as long as this lives.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal: what was on it comes back in the end.
    ///
    /// # Errors
    /// It can't be read or set.
    pub(super) fn take() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICKED.store(true, Ordering::SeqCst);
            give_back();
            before(panic);
        }));
        let taken = take().and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        taken.map(|terminal| Self { terminal }).inspect_err(|_| give_back())
    }

    /// How large it is.
    ///
    /// # Errors
    /// It can't be asked.
    pub(super) fn size(&self) -> io::Result<Size> {
        self.terminal.size()
    }

    /// Draws what the model shows.
    ///
    /// # Errors
    /// The terminal is gone, or a thread has panicked.
    pub(super) fn draw(&mut self, model: &Model, now: u64) -> io::Result<()> {
        if PANICKED.load(Ordering::SeqCst) {
            return Err(io::Error::other("a thread of its own has panicked"));
        }
        self.terminal.draw(|frame| view::draw(model, now, frame.buffer_mut())).map(drop)
    }

    /// Stops this process until it is continued, with the terminal given back meanwhile.
    ///
    /// # Errors
    /// As [`Screen::resume`].
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // The signal that can't be caught: ours are.
        raise(Signal::SIGSTOP)?;
        self.resume()
    }

    /// Takes the terminal again: the shell may have set it anew meanwhile.
    ///
    /// # Errors
    /// It can't be set.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        // What is to be given back is what it is now.
        disable_raw_mode()?;
        take()?;
        self.redraw()
    }

    /// Has the next drawing be the whole, whatever is on the terminal.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn redraw(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal where its cursor is, and its answer would go to who reads the keys.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::new(0, 0, size.width, size.height))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
}

/// Where the terminal is gone there is nobody to tell.
fn give_back() {
    let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}
