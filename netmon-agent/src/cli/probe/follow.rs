//! Prints while probes go out, until the last is settled, the deadline, or a signal.

use std::{
    future,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{live::frame, report::Report, screen::Screen};
use crate::observation::Observation;

/// Between two pictures of the live view.
const REDRAW: Duration = Duration::from_millis(100);
/// What standard output takes at a time.
const BUFFER: usize = 64 << 10;

/// Signals of the terminal.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    window: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            window: signal(SignalKind::window_change())?,
        })
    }
}

/// Whether standard output is a terminal that lines can be rewritten on.
pub(super) fn is_live() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && !dumb
}

/// `live`: a view kept up to date instead of a line a probe.
///
/// # Errors
/// When standard output can't be written.
pub(super) async fn follow(
    report: Report,
    observations: &mut mpsc::Receiver<Vec<Observation>>,
    live: bool,
    deadline: Option<Duration>,
) -> io::Result<Report> {
    let out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut printer = Printer { report, out, screen: live.then(Screen::new), is_stale: live };
    printer.report.begin(&mut printer.out)?;
    printer.out.flush()?;
    printer.run(observations, deadline).await?;
    printer.end()
}

struct Printer<'a> {
    report: Report,
    out: BufWriter<StdoutLock<'a>>,
    screen: Option<Screen>,
    /// The view shows no longer what is.
    is_stale: bool,
}

impl Printer<'_> {
    async fn run(
        &mut self,
        observations: &mut mpsc::Receiver<Vec<Observation>>,
        deadline: Option<Duration>,
    ) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = async {
            match deadline {
                Some(deadline) => sleep(deadline).await,
                None => future::pending().await,
            }
        };
        tokio::pin!(deadline);
        while !self.report.is_complete() {
            tokio::select! {
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.terminate.recv() => return Ok(()),
                () = &mut deadline => return Ok(()),
                _ = signals.quit.recv() => self.interim()?,
                _ = signals.window.recv() => self.is_stale = self.screen.is_some(),
                _ = redraw.tick(), if self.is_stale => self.draw()?,
                seen = observations.recv() => match seen {
                    Some(seen) => self.take(&seen)?,
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    fn take(&mut self, seen: &[Observation]) -> io::Result<()> {
        self.report.look_at_clocks();
        for observation in seen {
            self.report.take(observation, &mut self.out)?;
        }
        self.is_stale = self.screen.is_some();
        self.out.flush()
    }

    fn draw(&mut self) -> io::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let size = screen.size();
        let drawn = screen.draw(&frame(self.report.hosts(), size), size.columns);
        self.is_stale = false;
        self.out.write_all(drawn.as_bytes())?;
        self.out.flush()
    }

    /// Clears the view from where the next lines shall stand.
    fn clear(&mut self) -> io::Result<()> {
        if let Some(screen) = &mut self.screen {
            let columns = screen.size().columns;
            self.out.write_all(screen.erase(columns).as_bytes())?;
        }
        self.out.flush()
    }

    /// On standard error, as ping's: what reads the output knows nothing of it.
    fn interim(&mut self) -> io::Result<()> {
        self.clear()?;
        // Where it is closed there is nobody to tell.
        let _ = self.report.interim(&mut io::stderr().lock());
        self.is_stale = self.screen.is_some();
        Ok(())
    }

    fn end(mut self) -> io::Result<Report> {
        // The view's last picture stays; the summary comes below.
        self.draw()?;
        self.report.end(&mut self.out, &mut BufWriter::new(io::stderr().lock()))?;
        self.out.flush()?;
        Ok(self.report)
    }
}
