//! The health core: how evidence becomes a verdict. Pure: it reads no clock, opens no socket, spawns nothing; every
//! entry takes the time, and the same history gives the same verdict.
//!
//! | rule | what | where |
//! |---|---|---|
//! | R1, R4, R8 | unknown, up, suspect, down of one address | `fsm` |
//! | R2 | a usable link | `device`, `stack`, `reach` |
//! | R2b | ports and uplinks lost while others serve | `stack`, `uplinks` |
//! | R2b, R6 | the verdict over all | `overall`, `judging` |
//! | R3 | targets explained by their link | `target` |
//! | R5 | TCP's time-outs start the burst of R4 | `rto` |
//! | R7 | TCP's progress vetoes `down` | `progress` |
//! | R9 | loss | `loss`, of what `sampling` picks |
//! | R10 | retransmits of a device | `retransmits` |
//! | R11 | latency | `latency`, likewise |
//! | R12 | flap damping | `flaps` |
//! | R13, R14 | distrust of oneself | `trust` |
//! | R15 | staleness | [`crate::state::Board::is_stale`], which readers ask |
//! | R16 | gaps | `network` |
//!
//! Use: [`Health::handle`] each observation, [`Health::handle_timeout`] when [`Health::poll_timeout`] is due, then take
//! [`Health::poll_event`] until it is empty, and look at the TCP sockets once a second while
//! [`Health::wants_progress`].

mod address;
mod details;
mod device;
mod flaps;
mod fsm;
mod judging;
mod latency;
mod loss;
mod network;
mod overall;
mod progress;
mod reach;
mod retransmits;
mod rto;
mod sampling;
mod settings;
mod stack;
mod stats;
mod target;
mod targets;
mod timers;
mod trust;
mod uplinks;
mod verdict;
mod wilson;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

pub use address::AddressEvidence;
pub use details::LastDetail;
pub use device::{Watch, judge as judge_link};
pub use fsm::AddressFsm;
pub use network::Device;
use reach::Ways;
pub use reach::{Reach, Way, next_hop};
pub use retransmits::READ_INTERVAL;
pub use settings::{BURST, LOST_FOR_DOWN, Settings};
pub use stats::{
    AddressStats, BURST_BUCKETS, Departed, Figures, NativeHistogram, Piece, ProbeCounters, Quantiles,
    RTT_BUCKETS, Span, WINDOW, rtt_bucket,
};
pub use target::{Role, Target, TargetSpec};
pub use uplinks::MEMORY as UPLINK_MEMORY;
pub use verdict::{Reason, ReasonCode, State, Subject, Verdict};

use crate::{
    observation::{
        Evidence, IfIndex, Method, Network, Observation, ProbeEvent, ProbeOutcome, SourceKind, TargetId,
        TcpReading,
    },
    time::{Moment, Mono},
};
use overall::ScopeTally;
use progress::{Answered, Progress, note_echo};
use rto::Timeouts;
use timers::Timers;
use trust::{ClockWatch, LateScore};
use uplinks::Uplinks;

/// What thresholds make of one another, for whoever takes them from outside.
pub mod limits {
    pub use super::{
        flaps::ceiling as flap_ceiling,
        loss::{SAMPLES, lost_to_enter},
        retransmits::can_enter as retransmits_can_enter,
    };
}

/// The core looks at the clocks at least this often (R14).
const TICK: Duration = Duration::from_secs(1);

/// What the core wants the world to know or to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A verdict changed its state.
    Changed {
        /// Whose.
        subject: Subject,
        /// Before.
        previous: State,
        /// After.
        state: State,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// Probe this address now, out of turn.
    Probe {
        /// Whose.
        target: TargetId,
        /// Which.
        address: IpAddr,
    },
    /// R13: multiply every time-out by this, 1–8.
    TimeoutScale(u8),
    /// The routes changed, or a link's name: default gateways may be others now, or called otherwise.
    RoutesChanged,
}

/// What is known of the links.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LinkKnowledge {
    /// No netlink here: R2 and R3 are silent.
    Absent,
    /// Not read yet, or being read anew after a gap (R16).
    Pending(ReasonCode),
    /// Known.
    Known,
}

impl LinkKnowledge {
    /// Whether they were ever read. While they are read anew, targets are judged by what was last known of routes: lost
    /// events make no target worse.
    fn were_read(&self) -> bool {
        matches!(self, Self::Known | Self::Pending(ReasonCode::Gap))
    }
}

/// A verdict that has to be given anew at a certain time, though nothing is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Review {
    Device(IfIndex),
    Target(TargetId),
    Progress,
    Uplinks,
}

/// The core.
#[derive(Debug)]
pub struct Health {
    settings: Settings,
    watch: Watch,
    clocks: ClockWatch,
    late: LateScore,
    started: Mono,
    settled: bool,
    /// The links were read for the first time; whoever looks after the targets has until the next time-out to add those
    /// that the routes name.
    settle_at: Option<Mono>,
    links: LinkKnowledge,
    network: Network,
    /// Links of the default routes as they last were, the best first.
    uplinks: Vec<IfIndex>,
    /// R2b: those that carry, and those that are missed.
    carriers: Uplinks,
    devices: BTreeMap<IfIndex, Device>,
    targets: HashMap<TargetId, Target>,
    order: Vec<TargetId>,
    /// Those of them that are gateways.
    gateways: Vec<TargetId>,
    /// How all addresses together can be reached; none while it is to be found anew.
    ways: Option<Ways>,
    scopes: BTreeMap<String, ScopeTally>,
    tcp: Option<Arc<TcpReading>>,
    timeouts: Timeouts,
    progress: Progress,
    /// R7: when an echo that came back from beyond the gateway left, by device.
    echoes: Answered,
    /// R7: targets that progress may keep from being down.
    doubted: BTreeSet<TargetId>,
    /// R7: the whole is down, or excused, by probes of gateways alone.
    down_by_probes: bool,
    verdict: Verdict,
    interrupted: Option<Reason>,
    /// Why it probes more slowly than it should.
    throttled: Option<Reason>,
    timers: Timers<(TargetId, IpAddr)>,
    reviews: Timers<Review>,
    events: VecDeque<Event>,
    /// A target's verdict changed at this moment, and that over all is still to follow: replies that come together are
    /// judged together.
    overall_due: Option<Moment>,
    dirty: bool,
}

impl Health {
    /// A core that knows nothing yet: unknown (R1). `netlink` tells whether links will be told of at all.
    pub fn new(now: Moment, settings: Settings, watch: Watch, netlink: bool) -> Self {
        let mut verdict = Verdict { since: now, ..Verdict::default() };
        verdict.reasons = vec![Reason::new(ReasonCode::Starting, "", "the agent has just started")];
        let mut clocks = ClockWatch::default();
        clocks.look(now, &settings);
        Self {
            settings,
            watch,
            clocks,
            late: LateScore::default(),
            started: now.mono,
            settled: false,
            settle_at: None,
            links: if netlink { LinkKnowledge::Pending(ReasonCode::Starting) } else { LinkKnowledge::Absent },
            network: Network::default(),
            uplinks: Vec::new(),
            carriers: Uplinks::default(),
            devices: BTreeMap::new(),
            targets: HashMap::new(),
            order: Vec::new(),
            gateways: Vec::new(),
            ways: None,
            scopes: BTreeMap::new(),
            tcp: None,
            timeouts: Timeouts::default(),
            progress: Progress::default(),
            echoes: Answered::new(),
            doubted: BTreeSet::new(),
            down_by_probes: false,
            verdict,
            interrupted: None,
            throttled: None,
            timers: Timers::default(),
            reviews: Timers::default(),
            events: VecDeque::new(),
            overall_due: None,
            dirty: true,
        }
    }

    /// Sets the thresholds and the watched devices to these. Evidence is kept, and so is the kind of histograms, which is
    /// chosen once.
    pub fn configure(&mut self, now: Moment, settings: Settings, watch: Watch) {
        if self.settings.preferred != settings.preferred {
            // Others carry now, and nobody has lost anything.
            self.carriers = Uplinks::default();
        }
        let native_histograms = self.settings.native_histograms;
        self.settings = Settings { native_histograms, ..settings };
        self.watch = watch;
        match self.links {
            LinkKnowledge::Known => self.links_judged_anew(now),
            // They are judged when they are read; a quorum counts at once.
            LinkKnowledge::Absent | LinkKnowledge::Pending(_) => self.judge_all(now),
        }
    }

    /// The agent probes more slowly than it should, and why; none when it does not. That stands among the reasons of the
    /// verdict over all, and changes no state.
    pub fn throttle(&mut self, now: Moment, why: Option<String>) {
        let throttled = why.map(|why| Reason::new(ReasonCode::Throttled, "", why));
        if self.throttled != throttled {
            self.throttled = throttled;
            self.judge_overall(now);
        }
    }

    /// Takes one observation.
    pub fn handle(&mut self, now: Moment, observation: Observation) {
        self.look_at_clocks(now);
        match observation.evidence {
            Evidence::Network(change) => self.network_changed(now, change),
            Evidence::Probe(event) => self.probe(now, observation.at, &event),
            Evidence::Tcp(reading) => self.tcp_read(now, observation.at, reading),
            Evidence::TcpTimeout(timeout) => self.tcp_timeout(now, observation.at, &timeout),
            Evidence::TcpProgress(progress) => self.tcp_progress(now, observation.at, progress),
            Evidence::Gap(SourceKind::Netlink) => self.network_gap(now),
            Evidence::Gap(SourceKind::Probe) => self.forget_probes(now.mono),
            // Counters that were lost are counted at their source.
            Evidence::Gap(SourceKind::Bpf) => {}
            Evidence::Resolved { target, addresses } => self.resolved(now, target, &addresses),
            Evidence::LookedUp { target, took } => {
                if let Some(t) = self.targets.get_mut(&target) {
                    t.look_up = Some(took);
                }
            }
            Evidence::ResolveFailed { target, error } => {
                if let Some(t) = self.targets.get_mut(&target) {
                    t.unresolved = Some(error);
                    self.judge_target(now, target);
                    self.overall_due = Some(now);
                }
            }
        }
    }

    /// Time passed. Call it when [`Health::poll_timeout`] is due, after the observations that are waiting.
    pub fn handle_timeout(&mut self, now: Moment) {
        let due = self.poll_timeout();
        self.look_at_clocks(now);
        if now.mono.since(due) > self.settings.late_tick {
            self.note_lateness(now.mono);
        } else if self.late.quiet(now.mono) {
            self.events.push_back(Event::TimeoutScale(self.late.scale()));
        }
        while let Some((id, address)) = self.timers.pop_due(now.mono) {
            let Some(a) = address_mut(&mut self.targets, id, address) else { continue };
            if a.fsm.on_timer(now.mono, &self.settings) {
                self.events.push_back(Event::Probe { target: id, address });
            }
            self.attend(now.mono, id);
        }
        while let Some(review) = self.reviews.pop_due(now.mono) {
            match review {
                Review::Device(index) if self.links == LinkKnowledge::Known => self.judge_device(now, index),
                // It is unknown until the links are read anew, and is judged then.
                Review::Device(_) => {}
                Review::Target(id) => self.judge_target(now, id),
                Review::Progress => self.progress_is_stale(now),
                Review::Uplinks => self.uplinks_forgotten(now),
            }
        }
        if self.settle_at.take().is_some() || !self.settled || self.interrupted.is_some() {
            self.judge_overall(now);
        }
    }

    /// When [`Health::handle_timeout`] wants to be called; never more than a second after the last look (R14).
    pub fn poll_timeout(&self) -> Mono {
        let tick = self.clocks.last().map_or(self.started, |m| m.mono) + TICK;
        [self.timers.next(), self.reviews.next(), self.settle_at].into_iter().flatten().fold(tick, Mono::min)
    }

    /// The next thing that the world should know or do.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty()
            && let Some(now) = self.overall_due
        {
            self.judge_overall(now);
        }
        self.events.pop_front()
    }

    /// Whether anything worth publishing changed since the last call.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// The verdict over all, as of the last [`Health::poll_event`].
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The network as last told.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The watched devices, by index.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// The targets, in the order they were given.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.order.iter().filter_map(|id| self.targets.get(id))
    }

    /// The target of this number.
    pub fn target(&self, id: TargetId) -> Option<&Target> {
        self.targets.get(&id)
    }

    /// Those of them that are default gateways.
    pub fn gateways(&self) -> impl Iterator<Item = &Target> {
        self.gateways.iter().filter_map(|id| self.targets.get(id))
    }

    /// Links of the default routes as they last were, the best first: they may be gone by now, as their routes are.
    pub fn uplinks(&self) -> &[IfIndex] {
        &self.uplinks
    }

    /// The last reading of the kernel's TCP counters.
    pub fn tcp(&self) -> Option<&Arc<TcpReading>> {
        self.tcp.as_ref()
    }

    fn probe(&mut self, now: Moment, at: Mono, event: &ProbeEvent) {
        if let ProbeOutcome::Inconclusive { lag } = event.outcome
            && lag > self.settings.late_tick
        {
            self.note_lateness(now.mono);
        }
        let Some(target) = self.targets.get_mut(&event.target) else { return };
        let echo = target.spec.method == Method::Icmp && target.spec.role == Role::Plain;
        let Some(a) = target.addresses.iter_mut().find(|a| a.address == event.address) else { return };
        let alone = a.echoes.is_alone();
        note_echo(a, echo, at, event, &mut self.echoes);
        let mut changed = a.probed(at, event, &self.settings) || alone != a.echoes.is_alone();
        if self.links == LinkKnowledge::Known && !a.reach.stands() {
            // R3: while its link is lost no reply can acquit it, and none of its losses are its own.
            changed |= a.fsm.state() != State::Down;
            a.lose_link(at);
        }
        self.attend(now.mono, event.target);
        self.dirty = true;
        if changed {
            self.judge_target(now, event.target);
            self.overall_due = Some(now);
        }
    }
}

/// The evidence of one address of one target.
fn address_mut(
    targets: &mut HashMap<TargetId, Target>,
    id: TargetId,
    address: IpAddr,
) -> Option<&mut AddressEvidence> {
    targets.get_mut(&id)?.addresses.iter_mut().find(|a| a.address == address)
}
