//! The published state: one immutable [`Snapshot`], and the [`Board`] it is published on.
//!
//! Everything that a user sees is rendered from a snapshot. Readers never reach further back.

mod board;
mod view;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use crate::{
    capability::Capability,
    diagnosis::{Diagnosis, Outcome},
    health::{AddressStats, Departed, Reason, State, Subject, Verdict},
    observation::{IfIndex, Link, ProbeDetail, TcpCounters, TcpReading},
    time::{Boot, Moment},
};

pub use board::{BACKLOG, BacklogOverrun, Board, Follower};
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

impl DeviceView {
    /// Its index, by which devices are looked up.
    pub fn index(&self) -> IfIndex {
        self.link.index
    }
}
