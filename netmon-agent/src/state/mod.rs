//! The published state: one immutable [`Snapshot`], and the [`Board`] it is published on.
//!
//! Everything that a user sees is rendered from a snapshot. Readers never reach further back.

mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    capability::Capability,
    diagnosis::{Diagnosis, Outcome},
    health::{AddressStats, Departed, Reason, State, Subject, Verdict},
    observation::{IfIndex, Link, ProbeDetail, TcpCounters, TcpReading},
    time::{Boot, Moment},
};

pub use view::{devices, targets, targets_changed};

/// Upper bounds of the scheduler lag's buckets, seconds. The last bucket is +Inf.
pub const LAG_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

pub use crate::health::{BURST_BUCKETS, ProbeCounters, RTT_BUCKETS};

/// The whole state at one instant.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Number of the last change in it. Starts at the agent's start in microseconds of boot time, so that it grows
    /// across restarts of the agent.
    pub seq: u64,
    /// When it was made.
    pub at: Moment,
    /// When the agent started.
    pub started: Moment,
    /// The verdict over all.
    pub verdict: Verdict,
    /// Where its fault is, as far as that is known.
    pub diagnosis: Option<Diagnosis>,
    /// Watched devices by index.
    pub devices: Vec<Arc<DeviceView>>,
    /// Targets in the order of the configuration.
    pub targets: Vec<Arc<TargetView>>,
    /// The last reading of the kernel's TCP counters; none without BPF.
    pub tcp: Option<Arc<TcpReading>>,
    /// What works here.
    pub capabilities: Arc<Vec<Capability>>,
    /// The agent's own counters.
    pub own: OwnCounters,
}

impl Snapshot {
    /// Every verdict in it, with where its fault is, as far as that is known: the network's first.
    pub fn verdicts(&self) -> impl Iterator<Item = (Subject, &Verdict, Option<&Diagnosis>)> {
        let network = (Subject::Network, &self.verdict, self.diagnosis.as_ref());
        let devices = self.devices.iter().map(|d| (Subject::Device(d.name.clone()), &d.verdict, None));
        let target = |t: &'_ TargetView| Subject::Target((*t.name).to_owned());
        let targets = self.targets.iter().map(move |t| (target(t), &t.verdict, t.diagnosis.as_ref()));
        std::iter::once(network).chain(devices).chain(targets)
    }

    /// Whether both show the same devices and targets.
    pub fn same_names(&self, other: &Self) -> bool {
        self.targets.len() == other.targets.len()
            && self.devices.len() == other.devices.len()
            && self.devices.iter().zip(&other.devices).all(|(a, b)| a.name == b.name)
            && self.targets.iter().zip(&other.targets).all(|(a, b)| Arc::ptr_eq(a, b) || a.name == b.name)
    }
}

/// A device as published.
#[derive(Clone, Debug, Default)]
pub struct DeviceView {
    /// Its name, printable.
    pub name: String,
    /// What netlink last said of it.
    pub link: Link,
    /// Name of its master, printable.
    pub master: Option<String>,
    /// Names of the links it stands on, printable.
    pub lowers: Vec<String>,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whether a default route stands on it, IPv4 and IPv6.
    pub default_route: [bool; 2],
    /// Its verdict.
    pub verdict: Verdict,
    /// TCP on it; none without BPF.
    pub tcp: Option<TcpCounters>,
    /// TCP segments sent again of those sent in the last half minute, 0–1; none where too few were sent to tell.
    pub retransmit_ratio: Option<f64>,
}

/// A target as published.
#[derive(Clone, Debug, Default)]
pub struct TargetView {
    /// Its name.
    pub name: Arc<str>,
    /// Host name or address, as configured.
    pub host: String,
    /// Its scope.
    pub scope: String,
    /// How it is probed: [`crate::observation::Method::as_str`].
    pub method: &'static str,
    /// Its verdict.
    pub verdict: Verdict,
    /// Where its fault is, as far as that is known.
    pub diagnosis: Option<Diagnosis>,
    /// How long the last look-up of its name took; none where no resolver was asked.
    pub look_up: Option<Duration>,
    /// Evidence by address.
    pub addresses: Vec<AddressView>,
    /// What the addresses counted that it no longer has; none before the first is gone.
    pub departed: Option<Arc<Departed>>,
}

/// Evidence of one address of a target.
#[derive(Clone, Debug)]
pub struct AddressView {
    /// The address.
    pub address: IpAddr,
    /// Of this address alone.
    pub state: State,
    /// Its counters and windows. A window's figures are worked out by whoever shows them, as of [`Snapshot::at`].
    pub stats: Arc<AddressStats>,
    /// What the last probe told beside its round trip.
    pub detail: ProbeDetail,
}

/// The agent's own counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnCounters {
    /// Times that netlink lost messages.
    pub netlink_overruns: u64,
    /// Timestamps by who took them, in the order of [`crate::observation::StampSource::ALL`].
    pub timestamps: [u64; 3],
    /// Probes that were not sent, by reason.
    pub probes_skipped: BTreeMap<&'static str, u64>,
    /// Wishes to look where a fault is, by what became of them, in the order of [`Outcome::ALL`].
    pub diagnoses: [u64; Outcome::ALL.len()],
    /// How late the probe engine's ticks were: counts by [`LAG_BUCKETS`] and +Inf.
    pub scheduler_lag_buckets: [u64; LAG_BUCKETS.len() + 1],
    /// Sum of that lateness.
    pub scheduler_lag_sum: Duration,
    /// Datagrams that the kernel dropped because the probe engine's buffers were full.
    pub receive_drops: u64,
    /// Kernel timestamps that could not be used because the wall clock stepped.
    pub clock_steps: u64,
    /// Connections of TCP probes that were closed by a reset.
    pub resets_sent: u64,
    /// Answers and error reports that matched no probe.
    pub unmatched: u64,
    /// Sockets that were opened anew after a sudden total loss.
    pub sockets_reopened: u64,
    /// Observations that found the core's queue full.
    pub observations_dropped: u64,
    /// How much longer intervals are than configured, because the agent took more than it may; 1 when they are not. 0
    /// before the first look.
    pub interval_stretch: f64,
    /// Whether the configuration was valid the last time it was read.
    pub config_valid: bool,
    /// When it was last read and valid.
    pub config_read: Boot,
}

/// One change of a verdict, or one more word on it: then `previous` is `state`, and there is a diagnosis. Kept in the
/// board's backlog.
#[derive(Clone, Debug)]
pub struct ChangeEvent {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Boot,
    /// Whose verdict.
    pub subject: Subject,
    /// Before.
    pub previous: State,
    /// After.
    pub state: State,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Where the fault is, as far as that is known.
    pub diagnosis: Option<Diagnosis>,
}

/// Oldest evaluation that releases a waiter.
const RELEASE_AGE: Duration = Duration::from_millis(2500);

/// How many gaps are kept.
const GAPS: usize = 64;

/// How many changes the backlog keeps for clients that come back.
pub const BACKLOG: usize = 4096;

/// Where the state is published: one writer, any number of readers.
#[derive(Clone, Debug)]
pub struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: watch::Sender<Arc<Snapshot>>,
    /// Boot time of the core's last evaluation, which is more often than a snapshot is made.
    evaluated: AtomicU64,
    stale_after: AtomicU64,
    backlog: Mutex<VecDeque<Arc<ChangeEvent>>>,
    /// The last times for which it was not evaluated.
    gaps: Mutex<VecDeque<(Boot, Boot)>>,
    followers: AtomicUsize,
}

/// While it lives, an update is published every second although nothing changed.
#[derive(Debug)]
pub struct Follower(Arc<Shared>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Board {
    /// A board that shows `first`. A state is stale when it was last evaluated `stale_after` ago (R15).
    pub fn new(first: Snapshot, stale_after: Duration) -> Self {
        let evaluated = AtomicU64::new(first.at.boot.as_nanos());
        let writer = watch::Sender::new(Arc::new(first));
        let stale_after = AtomicU64::new(stale_after.as_nanos() as u64);
        Self {
            shared: Arc::new(Shared {
                writer,
                evaluated,
                stale_after,
                backlog: Mutex::default(),
                gaps: Mutex::default(),
                followers: AtomicUsize::new(0),
            }),
        }
    }

    /// Shows a new snapshot, with the changes that led to it, oldest first. The core alone calls this.
    pub fn publish(&self, snapshot: Snapshot, changes: impl IntoIterator<Item = ChangeEvent>) {
        {
            let mut backlog = self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                if backlog.len() == BACKLOG {
                    backlog.pop_front();
                }
                backlog.push_back(Arc::new(change));
            }
        }
        self.evaluated(snapshot.at.boot);
        self.shared.writer.send_replace(Arc::new(snapshot));
    }

    /// Notes that the core looked at its evidence, though nothing changed.
    pub fn evaluated(&self, at: Boot) {
        let before = Boot::from_nanos(self.shared.evaluated.swap(at.as_nanos(), Ordering::AcqRel));
        // The machine slept, or the agent stood still: as rare as it is worth to be known.
        if at.since(before) > RELEASE_AGE {
            let mut gaps = self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
            if gaps.len() == GAPS {
                gaps.pop_front();
            }
            gaps.push_back((before, at));
        }
    }

    /// The times that ended after `then` and in which nobody looked at the evidence for so long that nobody could have
    /// been released on it, oldest first; only the last few are kept.
    pub fn gaps_after(&self, then: Boot) -> Vec<(Boot, Boot)> {
        let gaps = self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.iter().filter(|(_, to)| *to > then).copied().collect()
    }

    /// Sets the age at which a state is stale.
    pub fn set_stale_after(&self, age: Duration) {
        self.shared.stale_after.store(age.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Age at which a state is stale (R15).
    pub fn stale_after(&self) -> Duration {
        Duration::from_nanos(self.shared.stale_after.load(Ordering::Relaxed))
    }

    /// When the core last looked at its evidence.
    pub fn last_evaluated(&self) -> Boot {
        Boot::from_nanos(self.shared.evaluated.load(Ordering::Acquire))
    }

    /// Whether the state says nothing any more, because nobody looked at the evidence for too long (R15).
    pub fn is_stale(&self, now: Boot) -> bool {
        now.since(self.last_evaluated()) > self.stale_after()
    }

    /// The state now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.writer.borrow().clone()
    }

    /// Whether the state is fresh enough for somebody to be released on it. Stricter than [`Board::is_stale`]: a core that
    /// runs looks at its evidence every second, so one that did not for longer was stopped, and a waiter whose time
    /// came meanwhile waits for its next word (R14).
    pub fn may_release(&self, now: Boot) -> bool {
        now.since(self.last_evaluated()) <= self.stale_after().min(RELEASE_AGE)
    }

    /// Follows every update, not only changes, for as long as the guard lives.
    pub fn follow(&self) -> Follower {
        self.shared.followers.fetch_add(1, Ordering::Relaxed);
        Follower(Arc::clone(&self.shared))
    }

    /// Whether anybody follows every update.
    pub fn is_followed(&self) -> bool {
        self.shared.followers.load(Ordering::Relaxed) > 0
    }

    /// A receiver that wakes at every publication.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.writer.subscribe()
    }

    /// The changes after number `seq`, oldest first.
    ///
    /// # Errors
    /// When some of them have left the backlog, or `seq` is of an earlier boot.
    pub fn changes_after(&self, seq: u64) -> Result<Vec<Arc<ChangeEvent>>, BacklogOverrun> {
        self.next_changes(seq, usize::MAX)
    }

    /// The same, but no more than so many of them: who reads slowly takes them as it goes.
    ///
    /// # Errors
    /// As [`Board::changes_after`].
    pub fn next_changes(&self, seq: u64, most: usize) -> Result<Vec<Arc<ChangeEvent>>, BacklogOverrun> {
        let current = self.snapshot();
        let backlog = self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = backlog.back().map_or(current.seq, |c| c.seq);
        // Before the first change the board's own number is as far back as anybody can have seen.
        let oldest_known = backlog.front().map_or(current.seq, |c| c.seq - 1);
        if seq < oldest_known || seq > newest {
            return Err(BacklogOverrun { newest });
        }
        // They are in order: the core, which publishes under the same lock, is not to wait for a search of them all.
        let first = backlog.partition_point(|c| c.seq <= seq);
        Ok(backlog.range(first..).take(most).cloned().collect())
    }
}

/// Changes were asked for that the backlog no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not all changes up to number {newest} are kept any more")]
pub struct BacklogOverrun {
    /// Number of the newest change.
    pub newest: u64,
}

impl DeviceView {
    /// Its index, by which devices are looked up.
    pub fn index(&self) -> IfIndex {
        self.link.index
    }
}
