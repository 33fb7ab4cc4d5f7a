//! The service manager that started the agent, where there is one (sd_notify(3)): what it is told, and when.
//!
//! READY=1 comes when the socket answers, not when there is a verdict: a unit that wants to wait for one can
//! (`netmon-wait@.service`, `netmon-online.target`), and others are not held up in a boot without a network.

use std::{io, time::Duration};

use sd_notify::NotifyState;
use tokio::{task::JoinHandle, time::sleep};

use super::vitals::{self, Vitals};
use crate::{
    health::{State, Verdict},
    source::probe::Pulse,
    state::Board,
    time::{Boot, Mono},
};

/// The manager's line is changed no more often than this.
const PAUSE: Duration = Duration::from_secs(1);
/// A loop is said to stand still at the second look in a row: at the first, the machine may just have slept, or the agent
/// have started.
const SAID_AT: u32 = 2;
/// Longest line, bytes.
const LINE: usize = 200;

/// Tells the service manager, if one asks for it (`NOTIFY_SOCKET`).
pub(super) fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "the service manager can't be told how the agent is; see NOTIFY_SOCKET");
    }
}

/// A new configuration is being read. Must be followed by [`ready`].
pub(super) fn reloading() {
    let now = i128::from(Mono::now().as_nanos() / 1_000);
    tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(now)]);
}

/// The agent is there, or there again, with this to say.
pub(super) fn ready(line: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// Keeps the manager informed for as long as it lives.
#[derive(Debug)]
pub(super) struct Reports(Vec<JoinHandle<()>>);

impl Reports {
    /// The state in words whenever it changes, and, where the manager wants to hear it (`WATCHDOG_USEC`), that the loops
    /// turn. Must live in a tokio runtime.
    pub(super) fn start(board: Board, pulse: Pulse) -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(Vec::new());
        }
        let mut tasks = vec![tokio::spawn(tell_state(board.clone()))];
        if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
            tracing::debug!(?limit, "the service manager's watchdog is told that the loops turn");
            tasks.push(tokio::spawn(feed(limit, board, pulse)));
        }
        Self(tasks)
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn tell_state(board: Board) {
    let mut publications = board.subscribe();
    let mut told = String::new();
    loop {
        let line = words(&publications.borrow_and_update().verdict);
        if line != told {
            tell(&[NotifyState::Status(&line)]);
            told = line;
        }
        sleep(PAUSE).await;
        if publications.changed().await.is_err() {
            return;
        }
    }
}

async fn feed(limit: Duration, board: Board, pulse: Pulse) {
    // Looks in a row at which a loop stood still.
    let mut still = 0;
    loop {
        let vitals = Vitals {
            core: Boot::now().since(board.last_evaluated()),
            probe: Mono::now().since(pulse.last_turn()),
        };
        match vitals::judge(limit, vitals) {
            Ok(()) => {
                tell(&[NotifyState::Watchdog]);
                if still >= SAID_AT {
                    tracing::warn!("every loop turns again");
                }
                still = 0;
            }
            Err(why) => {
                still += 1;
                if still == SAID_AT {
                    tracing::error!("{why}: the service manager's watchdog is not told that all is well");
                }
            }
        }
        pulse.knock();
        sleep(vitals::pace(limit)).await;
    }
}

/// A verdict as one line.
pub(super) fn words(verdict: &Verdict) -> String {
    let mut line = verdict.state.to_string();
    let Some((first, others)) = verdict.reasons.split_first().filter(|_| verdict.state != State::Up) else {
        return line;
    };
    let subject = if first.subject.is_empty() { String::new() } else { format!(" {}", first.subject) };
    let reason = format!(": {}{subject}: {}", first.code, first.detail);
    // The manager takes one line.
    line.extend(reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE));
    if !others.is_empty() {
        line.push_str(&format!(" (and {} more)", others.len()));
    }
    line
}

/// What is passed by the manager at the start.
///
/// # Errors
/// The environment makes no sense.
pub(super) fn passed() -> io::Result<Vec<(std::os::fd::OwnedFd, String)>> {
    crate::sys::passed_descriptors()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Reason, ReasonCode};

    #[test]
    fn a_verdict_is_one_line() {
        let verdict = |state, reasons| words(&Verdict { state, reasons, ..Verdict::default() });
        let carrier = Reason::new(ReasonCode::NoCarrier, "eth\n0", "no carrier");
        let throttled = Reason::new(ReasonCode::Throttled, "", "slow");
        assert_eq!(verdict(State::Up, vec![]), "up");
        assert_eq!(verdict(State::Up, vec![throttled.clone()]), "up", "a note makes no state");
        assert_eq!(verdict(State::Unknown, vec![]), "unknown");
        assert_eq!(verdict(State::Down, vec![carrier.clone()]), "down: no_carrier eth 0: no carrier");
        let both = verdict(State::Degraded, vec![throttled, carrier]);
        assert_eq!(both, "degraded: throttled: slow (and 1 more)");
        let long = Reason::new(ReasonCode::Dns, "", "ü".repeat(1000));
        assert!(verdict(State::Down, vec![long]).chars().count() <= LINE + 4);
    }
}
