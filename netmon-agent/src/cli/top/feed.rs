//! Where news comes from: a thread each for the agent's state, its changes, the keys, and the signals.

use std::{
    io,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use netmon_client::{Client, EventOptions};
use nix::sys::signal::{SigSet, Signal};
use ratatui::{
    crossterm::event::{self, Event},
    layout::Size,
};

use super::{keys, model::Input};
use crate::time::Mono;

/// News that wait to be shown.
const ROOM: usize = 1024;
/// Of the time, the agent spends at most a tenth with telling us its state.
const PART: u32 = 10;
/// After a change, so soon is the whole state asked for.
const SOON: Duration = Duration::from_millis(200);

/// What is heard of instead of being obeyed.
const HEARD: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGCONT];

/// What comes in.
#[derive(Debug)]
pub(super) enum News {
    /// For the model.
    Input(Input),
    /// A signal.
    Signal(Signal),
    /// The keys can't be read any more.
    Deaf(io::Error),
}

/// Starts all threads; they end with the process. To be called before any other thread is started. Changes are told from
/// the number `seen` on, which is that of the state known already.
///
/// # Errors
/// No thread can be had.
pub(super) fn start(socket: &Path, interval: Duration, seen: u64) -> io::Result<Receiver<News>> {
    let (out, news) = sync_channel(ROOM);
    // Inherited by the threads.
    let heard: SigSet = HEARD.into_iter().collect();
    heard.thread_block()?;
    let (poke, poked) = sync_channel(1);
    let client = Client::new(socket);
    let (of_keys, of_status, of_changes) = (out.clone(), out.clone(), out.clone());
    let asking = client.clone();
    spawn("signals", move || signals(&heard, &out))?;
    spawn("keys", move || read_keys(&of_keys))?;
    spawn("status", move || ask(&asking, interval, &poked, &of_status))?;
    spawn("changes", move || follow(&client, seen, &poke, &of_changes))?;
    Ok(news)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Until nobody listens any more.
fn signals(heard: &SigSet, out: &SyncSender<News>) {
    while let Ok(signal) = heard.wait() {
        if out.send(News::Signal(signal)).is_err() {
            return;
        }
    }
}

fn read_keys(out: &SyncSender<News>) {
    loop {
        let news = match event::read() {
            Ok(Event::Key(key)) => keys::of(key).map(|key| News::Input(Input::Key(key))),
            Ok(Event::Resize(width, height)) => Some(News::Input(Input::Size(Size { width, height }))),
            Ok(_) => None,
            Err(error) => {
                let _ = out.send(News::Deaf(error));
                return;
            }
        };
        if news.is_some_and(|news| out.send(news).is_err()) {
            return;
        }
    }
}

/// Asks for the whole state, once an interval and soon after a change.
fn ask(client: &Client, interval: Duration, poked: &Receiver<()>, out: &SyncSender<News>) {
    loop {
        let asked = Mono::now();
        let input = match client.status() {
            Ok(status) => Input::Status(Box::new(status)),
            Err(error) => Input::Lost(error.to_string()),
        };
        let took = Mono::now().since(asked);
        if out.send(News::Input(input)).is_err() {
            return;
        }
        let (soonest, pause) = pauses(interval, took);
        thread::sleep(soonest);
        // A change that came while it was asked for may not be in it: it is asked for once more than need be.
        if poked.recv_timeout(pause - soonest) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// The shortest and the longest pause after a state that took so long to come.
fn pauses(interval: Duration, took: Duration) -> (Duration, Duration) {
    let longest = interval.max(took.saturating_mul(PART));
    (SOON.max(took.saturating_mul(PART)).min(longest), longest)
}

/// Follows the changes, over restarts of the agent.
fn follow(client: &Client, seen: u64, poke: &SyncSender<()>, out: &SyncSender<News>) {
    for change in client.events(EventOptions { last_id: Some(seen), all: false }) {
        let input = match change {
            Ok(change) => Input::Change(Box::new(change)),
            Err(error) => Input::Lost(error.to_string()),
        };
        // Full: it has been told already.
        let _ = poke.try_send(());
        if out.send(News::Input(input)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_needs_long_is_asked_seldom() {
        let ms = Duration::from_millis;
        assert_eq!(pauses(ms(1000), ms(5)), (ms(200), ms(1000)));
        assert_eq!(pauses(ms(1000), ms(50)), (ms(500), ms(1000)));
        assert_eq!(pauses(ms(1000), ms(400)), (ms(4000), ms(4000)));
        assert_eq!(pauses(ms(100), ms(5)), (ms(100), ms(100)));
    }
}
