//! What the agent says of the network, told to the loop that waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use netmon_client::{
    Client, Condition, Error, Event, EventOptions, State, WaitOptions,
    retry::Network,
    wire::{Change, Reason, Status},
};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::cli::again::Pauses;

/// Whose state counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    pub(super) condition: Condition,
    pub(super) device: Option<String>,
    /// By its name or its host.
    pub(super) target: Option<String>,
}

/// News of the agent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// The state of the subject, and why.
    State(State, Vec<Reason>),
    /// The agent is gone, or silent.
    Lost(String),
}

impl Subject {
    /// What the state means for an attempt.
    pub(super) fn network(&self, state: State) -> Network {
        match state {
            State::Unknown => Network::Unknown,
            state if self.condition.holds(state) => Network::Usable,
            _ => Network::Unusable,
        }
    }

    /// A wait for it, as the agent does it.
    pub(super) fn wait(&self, stable: Duration, timeout: Option<Duration>) -> WaitOptions {
        let mut options = WaitOptions::usable();
        options.condition = self.condition;
        options.device.clone_from(&self.device);
        options.target.clone_from(&self.target);
        (options.stable, options.timeout) = (stable, timeout);
        options
    }

    fn is_whole(&self) -> bool {
        self.device.is_none() && self.target.is_none()
    }

    /// Its state in a snapshot: the worse of a device's and a target's, where both are asked for. What is gone is down.
    fn state_in(&self, status: &Status) -> (State, Vec<Reason>) {
        let gone = |what: &str, name: &str| {
            let detail = format!("there is no {what} {name} any more");
            (
                State::Down,
                vec![Reason { code: "gone".into(), subject: name.into(), detail, ..Reason::default() }],
            )
        };
        let device = self.device.as_ref().map(|name| {
            let found = status.devices.iter().find(|d| d.name == *name);
            found.map_or_else(|| gone("device", name), |d| (d.state, d.reasons.clone()))
        });
        let target = self.target.as_ref().map(|name| {
            let found = status.targets.iter().find(|t| t.name == *name || t.host == *name);
            found.map_or_else(|| gone("target", name), |t| (t.state, t.reasons.clone()))
        });
        match (device, target) {
            (Some(device), Some(target)) => worse(device, target),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => (status.state, status.reasons.clone()),
        }
    }
}

/// The one that is further from being up; of unknown ones nothing better can be said.
fn worse(a: (State, Vec<Reason>), b: (State, Vec<Reason>)) -> (State, Vec<Reason>) {
    let rank = |state| match state {
        State::Down => 3,
        State::Unknown => 2,
        State::Degraded => 1,
        State::Up => 0,
    };
    if rank(a.0) >= rank(b.0) { a } else { b }
}

/// Follows the agent on a thread of its own, over its restarts, for as long as the process lives.
#[derive(Debug)]
pub(super) struct Watcher {
    news: mpsc::Receiver<News>,
    bell: Arc<EventFd>,
}

impl Watcher {
    /// Begins to follow.
    ///
    /// # Errors
    /// No thread or no descriptor can be had.
    pub(super) fn start(client: Client, subject: Subject) -> std::io::Result<Self> {
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (sender, news) = mpsc::channel();
        let post = Post { sender, bell: bell.clone() };
        thread::Builder::new().name("network".into()).spawn(move || follow(&client, &subject, &post))?;
        Ok(Self { news, bell })
    }

    /// Readable when there is news.
    pub(super) fn bell(&self) -> &EventFd {
        &self.bell
    }

    /// What came since the last call.
    pub(super) fn read(&self) -> Vec<News> {
        let _ = self.bell.read();
        self.news.try_iter().collect()
    }
}

struct Post {
    sender: mpsc::Sender<News>,
    bell: Arc<EventFd>,
}

impl Post {
    fn tell(&self, news: News) {
        let _ = self.sender.send(news);
        let _ = self.bell.write(1);
    }
}

fn follow(client: &Client, subject: &Subject, post: &Post) {
    let mut pauses = Pauses::new();
    loop {
        let mut heard = false;
        let lost = match one_connection(client, subject, post, &mut heard) {
            Ok(()) => Error::Disconnected,
            Err(e) => e,
        };
        if heard {
            pauses = Pauses::new();
        }
        post.tell(News::Lost(lost.to_string()));
        thread::sleep(pauses.next(rand::random()));
    }
}

/// Follows one connection to its end.
fn one_connection(client: &Client, subject: &Subject, post: &Post, heard: &mut bool) -> Result<(), Error> {
    let read = || -> Result<u64, Error> {
        let status = client.status()?;
        let (state, reasons) = subject.state_in(&status);
        // Of a state that is stale the agent says that it is unknown; so is all that it rests on.
        let state = if status.state == State::Unknown { State::Unknown } else { state };
        post.tell(News::State(state, reasons));
        Ok(status.seq)
    };
    let mut last_id = None;
    if !subject.is_whole() {
        last_id = Some(read()?);
        *heard = true;
    }
    let mut stream = client.event_stream(EventOptions { last_id, all: false })?;
    while let Some(event) = stream.read()? {
        *heard = true;
        match event {
            Event::Change(change) if subject.is_whole() => {
                if matches!(change.kind.as_str(), "state" | "gap") {
                    let Change { state, reasons, .. } = *change;
                    post.tell(News::State(state, reasons));
                }
            }
            // One's own news is rare, and what it means beside another one's is worked out from the whole.
            Event::Change(change) if concerns(subject, &change) => {
                read()?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn concerns(subject: &Subject, change: &Change) -> bool {
    match change.kind.as_str() {
        "device" => subject.device.as_ref() == Some(&change.subject),
        // It may be named by its host here.
        "target" => subject.target.is_some(),
        "state" | "gap" => true,
        _ => false,
    }
}

/// Waits at the agent too while this program waits, so that the agent knows who does.
#[derive(Debug, Default)]
pub(super) struct Presence(Arc<AtomicBool>);

impl Presence {
    /// Shows that it waits, unless it does so already; the agent ends it when what is waited for has come.
    pub(super) fn show(&self, client: &Client, options: WaitOptions) {
        if self.0.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shown, client) = (self.0.clone(), client.clone());
        let spawned = thread::Builder::new().name("presence".into()).spawn(move || {
            // What it comes to is known from the changes already.
            let _ = client.wait(&options);
            shown.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            self.0.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Device, Target};

    use super::*;

    fn subject(device: Option<&str>, target: Option<&str>) -> Subject {
        Subject {
            condition: Condition::Usable,
            device: device.map(Into::into),
            target: target.map(Into::into),
        }
    }

    #[test]
    fn only_what_was_asked_for_counts() {
        let status = Status {
            state: State::Degraded,
            devices: vec![Device { name: "eth0".into(), state: State::Up, ..Device::default() }],
            targets: vec![Target {
                name: "nas".into(),
                host: "10.0.0.9".into(),
                state: State::Down,
                ..Target::default()
            }],
            ..Status::default()
        };
        let state = |device, target| subject(device, target).state_in(&status).0;
        assert_eq!(state(None, None), State::Degraded);
        assert_eq!(state(Some("eth0"), None), State::Up);
        assert_eq!(state(None, Some("nas")), State::Down);
        assert_eq!(state(None, Some("10.0.0.9")), State::Down);
        assert_eq!(state(Some("eth0"), Some("nas")), State::Down);
        let (gone, reasons) = subject(Some("eth7"), None).state_in(&status);
        assert_eq!((gone, reasons[0].code.as_str()), (State::Down, "gone"));
    }

    #[test]
    fn a_state_that_is_not_asked_for_is_no_network() {
        let up = Subject { condition: Condition::Up, ..Subject::default() };
        let usable = subject(None, None);
        for (state, by_up, by_usable) in [
            (State::Up, Network::Usable, Network::Usable),
            (State::Degraded, Network::Unusable, Network::Usable),
            (State::Down, Network::Unusable, Network::Unusable),
            (State::Unknown, Network::Unknown, Network::Unknown),
        ] {
            assert_eq!((up.network(state), usable.network(state)), (by_up, by_usable), "{state:?}");
        }
    }
}
