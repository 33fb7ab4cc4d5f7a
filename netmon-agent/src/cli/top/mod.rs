//! `netmon top`: the state, live, on a terminal.
//!
//! [`Model`] is everything that is shown; what comes in (keys, the agent's state and its changes) makes of it another
//! one, and `view` draws it: all pure. `feed` and `terminal` are the world around it.

mod cursor;
mod feed;
mod keys;
mod layout;
mod model;
mod rows;
mod store;
mod terminal;
#[cfg(test)]
mod tests;
mod track;
mod view;

use std::{
    io,
    path::Path,
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use jiff::tz::TimeZone;
use netmon_client::Client;
use nix::sys::signal::{SigSet, Signal, raise};

use self::{
    feed::News,
    model::{Effect, Input, Model},
    terminal::Screen,
    view::Theme,
};
use super::{
    bars,
    busy::Busy,
    text::{USAGE, duration, failed, printable, say},
};
use crate::time::Boot;

/// How often the screen is drawn though nothing comes in: ages grow.
const TICK: Duration = Duration::from_secs(1);

/// Show the network live on a terminal
///
/// Devices, targets with their last round trips, events; over restarts of the agent.
///
/// Keys: arrows, PgUp, PgDn, Home and End move; Tab goes to another pane; / filters, s sorts, r turns the order round;
/// Enter shows all about what is selected; p stands still; ? shows all keys; q ends. No colours with NO_COLOR.
///
/// Exit codes: 0; 2 no terminal; 69 no agent answers at the start (later it is waited for).
#[derive(Clone, Debug, clap::Args)]
pub struct TopArgs {
    /// How often the agent is asked for everything; changes show at once. What takes the agent long is asked for less
    /// often
    #[arg(short = 'i', long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

/// Shows the agent at `socket` until a key or a signal ends it.
///
/// # Errors
/// The terminal can't be had, or is gone.
pub fn run(args: &TopArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    if let Some(why) = terminal::missing() {
        say(format_args!(
            "netmon: top draws on a terminal, and {why}; `netmon status` prints the state once, `netmon watch` each change"
        ));
        return Ok(ExitCode::from(USAGE));
    }
    let busy = Busy::new("waiting for the agent");
    let status = Client::new(socket).status();
    drop(busy);
    let status = match status {
        Ok(status) => status,
        Err(error) => return Ok(failed(&error)),
    };
    let news = feed::start(socket, args.interval, status.seq)?;
    let mut screen = Screen::take()?;
    let mut model = Model::new(screen.size()?, theme());
    model.update(Input::Status(Box::new(status)), now());
    let ended = show(&mut screen, &mut model, &news);
    drop(screen);
    match ended? {
        // As those who sent it expect.
        Some(signal) => {
            let _ = raise(signal);
            let _ = SigSet::from(signal).thread_unblock();
            Ok(ExitCode::FAILURE)
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Draws, and takes what comes in, until a key or a signal ends it.
fn show(screen: &mut Screen, model: &mut Model, news: &Receiver<News>) -> io::Result<Option<Signal>> {
    loop {
        model.settle();
        screen.draw(model, now())?;
        let mut next = match news.recv_timeout(TICK) {
            Ok(news) => Some(news),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("nothing comes in any more")),
        };
        // All that is there is shown together.
        while let Some(one) = next {
            let effect = match one {
                News::Input(input) => model.update(input, now()),
                News::Signal(Signal::SIGTSTP) => Effect::Suspend,
                News::Signal(Signal::SIGCONT) => {
                    screen.resume()?;
                    Effect::Redraw
                }
                News::Signal(signal) => return Ok(Some(signal)),
                News::Deaf(error) => return Err(error),
            };
            match effect {
                Effect::None => {}
                Effect::Quit => return Ok(None),
                Effect::Redraw => screen.redraw()?,
                Effect::Suspend => screen.suspend()?,
            }
            if effect == Effect::Suspend {
                model.update(Input::Size(screen.size()?), now());
            }
            next = news.try_recv().ok();
        }
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`, which is the agent's clock too.
fn now() -> u64 {
    Boot::now().as_nanos()
}

fn theme() -> Theme {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Theme {
        colours: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
        unicode: bars::has_unicode(),
        zone: TimeZone::system(),
        host: printable(host.trim()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_secs(60);
    duration(text)
        .and_then(|d| if range.contains(&d) { Ok(d) } else { Err("is between 100ms and 60s".to_owned()) })
}
