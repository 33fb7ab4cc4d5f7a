use std::time::Duration;

use crate::{State, wire::ConnectionState};

/// What is known of a supervised connection at one moment. Ages are as of that moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ConnectionSnapshot {
    /// Its name.
    pub name: String,
    /// What it is.
    pub state: ConnectionState,
    /// For how long.
    pub state_for: Duration,
    /// The network's state, as far as the supervisor knows.
    pub network: State,
    /// There is no connection, and no attempt is made because the network is down.
    pub paused: bool,
    /// Attempts since the connection last worked; those that an outage paid for are not counted.
    pub attempts: u32,
    /// All attempts.
    pub attempts_total: u64,
    /// Time until the next attempt; none while there is a connection or an attempt, in an outage, and when there will
    /// be none.
    pub next_attempt: Option<Duration>,
    /// The attempts are used up: there will be no other.
    pub gave_up: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How long ago that was.
    pub last_error_ago: Option<Duration>,
    /// How long ago it last worked: connected, or a health check passed.
    pub last_success_ago: Option<Duration>,
    /// Health checks that ended, or took too long.
    pub checks: u64,
    /// Those that failed, or took too long.
    pub failed_checks: u64,
    /// How long the last one took that passed.
    pub last_check: Option<Duration>,
    /// How often it was lost.
    pub losses: u64,
    /// How often it was connected anew after it had been lost.
    pub reconnects: u64,
    /// How long that took the last time, from the loss on.
    pub last_reconnect_took: Option<Duration>,
    /// Since when it is supervised.
    pub supervised_for: Duration,
    /// For how much of that time there was a connection.
    pub connected_for: Duration,
}

impl ConnectionSnapshot {
    /// Part of the time for which there was a connection, 0–1.
    pub fn uptime_ratio(&self) -> f64 {
        let whole = self.supervised_for.as_secs_f64();
        if whole > 0.0 { (self.connected_for.as_secs_f64() / whole).min(1.0) } else { 0.0 }
    }
}

/// The history of a connection, kept by the machine. Times are since the supervisor's start.
#[derive(Clone, Debug)]
pub(super) struct Record {
    started: Duration,
    state: ConnectionState,
    since: Duration,
    /// Of connections that are over.
    connected: Duration,
    connected_since: Option<Duration>,
    lost_at: Option<Duration>,
    pub(super) attempts_total: u64,
    last_error: Option<(Duration, String)>,
    last_success: Option<Duration>,
    checks: u64,
    failed_checks: u64,
    last_check: Option<Duration>,
    losses: u64,
    reconnects: u64,
    last_reconnect_took: Option<Duration>,
}

impl Record {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            started: now,
            state: ConnectionState::Disconnected,
            since: now,
            connected: Duration::ZERO,
            connected_since: None,
            lost_at: None,
            attempts_total: 0,
            last_error: None,
            last_success: None,
            checks: 0,
            failed_checks: 0,
            last_check: None,
            losses: 0,
            reconnects: 0,
            last_reconnect_took: None,
        }
    }

    /// Notes the state; whether it is another.
    pub(super) fn state(&mut self, now: Duration, state: ConnectionState) -> bool {
        let changed = self.state != state;
        if changed {
            (self.state, self.since) = (state, now);
        }
        changed
    }

    pub(super) fn connected(&mut self, now: Duration) {
        self.connected_since = Some(now);
        self.last_success = Some(now);
        if let Some(lost) = self.lost_at.take() {
            self.reconnects += 1;
            self.last_reconnect_took = Some(now.saturating_sub(lost));
        }
    }

    pub(super) fn checked(&mut self, now: Duration, took: Duration) {
        self.checks += 1;
        self.last_success = Some(now);
        self.last_check = Some(took);
    }

    pub(super) fn check_failed(&mut self) {
        self.checks += 1;
        self.failed_checks += 1;
    }

    /// The connection is no more; lost, unless nobody wants it any more.
    pub(super) fn over(&mut self, now: Duration, lost: bool) {
        if let Some(since) = self.connected_since.take() {
            self.connected += now.saturating_sub(since);
        }
        if lost {
            self.losses += 1;
            self.lost_at = Some(now);
        }
    }

    pub(super) fn error(&mut self, now: Duration, error: String) {
        self.last_error = Some((now, error));
    }

    /// All but what only the machine knows.
    pub(super) fn snapshot(&self, now: Duration) -> ConnectionSnapshot {
        let ago = |then: Duration| now.saturating_sub(then);
        // What was supervised until it was stopped ages no more.
        let end = if self.state == ConnectionState::Stopped { self.since } else { now };
        ConnectionSnapshot {
            state: self.state,
            state_for: ago(self.since),
            attempts_total: self.attempts_total,
            last_error: self.last_error.as_ref().map(|(_, e)| e.clone()),
            last_error_ago: self.last_error.as_ref().map(|(at, _)| ago(*at)),
            last_success_ago: self.last_success.map(ago),
            checks: self.checks,
            failed_checks: self.failed_checks,
            last_check: self.last_check,
            losses: self.losses,
            reconnects: self.reconnects,
            last_reconnect_took: self.last_reconnect_took,
            supervised_for: end.saturating_sub(self.started),
            connected_for: self.connected + self.connected_since.map_or(Duration::ZERO, ago),
            ..ConnectionSnapshot::default()
        }
    }
}
