//! R7: TCP that gets through vetoes a `down` that rests on lost echoes alone.
//!
//! When bytes are acknowledged by several remote prefixes, the path beyond the gateway works, and what swallows the
//! echoes is a filter: `degraded`, reason `icmp_filtered`. As `degraded` is usable, this may release those who wait; so
//! it holds only for what the progress proves.
//!
//! - **The same device.** Progress counts for a target only on the device that the best route to the target stands on
//!   (on every one of them where several are equally good). TCP over the other uplink proves nothing of this one.
//! - **Beyond the link.** Connections within the LAN prove nothing of the path beyond the gateway. The core sees hashes
//!   of prefixes and can't tell which are on the link: whoever hands in [`TcpProgress`] leaves those out. Likewise a
//!   target on the link is not vetoed: others' answers are not its own.
//! - **Echoes alone.** A TCP or DNS probe asks for the very thing that is wanted; no filter of echoes explains its
//!   silence, and a refusal even less. Nor is an error vetoed that says "unreachable", but one that says "prohibited"
//!   is, as is a local firewall's.
//! - **The path, not the host.** Where another target beyond the same device answers echoes that were sent after this
//!   one fell silent, and this one still does not, no filter is to blame and this host is down ([`Echoes`]). That is
//!   known an interval and a time-out later; without it a machine with traffic would never call a single host down.
//! - **The gateway** itself is never vetoed: it is on the link. But where gateways are all there is to go by, and TCP
//!   gets through behind a silent one whose link-layer address is not known to be dead, the whole is not `down`.
//! - A lost link, route or required device is no matter of probes, and the machine's own addresses need no network.
//! - Two gateways on one link can't be told apart: progress through one speaks for the other.
//!
//! A report holds for the bytes of [`Settings::progress_window`] before the last one, and nothing is vetoed by one
//! older than [`Settings::progress_stale`]. So `down` follows at the first report that comes two seconds after the one
//! with the last acknowledged byte, or half a second later when none comes at all.
//!
//! Looking costs a dump of all sockets, and two are needed, a second apart. [`Health::wants_progress`] is true from 0.4
//! to 0.7 s after suspicion began, which lasts two seconds at least.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    Health, LinkKnowledge, Review, Role,
    address::AddressEvidence,
    reach::Way,
    settings::Settings,
    target::Target,
    verdict::{Reason, ReasonCode, State},
};
use crate::{
    observation::{
        FailureReason, IfIndex, Method, NeighbourState, ProbeEvent, ProbeOutcome, TargetId, TcpProgress,
    },
    time::{Moment, Mono},
};

/// A suspicion that is younger asks for no look at the sockets: most are ended by the next probe, and where thousands of
/// targets are probed somebody is always suspect.
const YOUNG: Duration = Duration::from_millis(400);

/// Reports kept at most.
const KEPT: usize = 16;

/// What TCP was seen to get through.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    reports: VecDeque<(Mono, BTreeMap<IfIndex, BTreeSet<u32>>)>,
    /// Remote prefixes by device, where they are enough.
    carrying: BTreeMap<IfIndex, usize>,
}

impl Progress {
    /// Takes a report; true when it speaks for other devices than before.
    pub fn report(&mut self, at: Mono, report: TcpProgress, settings: &Settings) -> bool {
        // Bytes from further back than that may be older than they may be.
        if report.over > settings.progress_stale || self.reports.back().is_some_and(|(last, _)| at < *last) {
            return false;
        }
        while self.reports.front().is_some_and(|(t, _)| at.since(*t) >= settings.progress_window)
            || self.reports.len() >= KEPT
        {
            self.reports.pop_front();
        }
        self.reports.push_back((at, report.prefixes));
        let mut together: BTreeMap<IfIndex, BTreeSet<u32>> = BTreeMap::new();
        for (index, prefixes) in self.reports.iter().flat_map(|(_, r)| r) {
            together.entry(*index).or_default().extend(prefixes);
        }
        let enough = usize::from(settings.progress_prefixes);
        let counted = together.into_iter().map(|(index, prefixes)| (index, prefixes.len()));
        let carrying: BTreeMap<_, _> = counted.filter(|(index, n)| index.0 != 0 && *n >= enough).collect();
        let same = carrying.keys().eq(self.carrying.keys());
        self.carrying = carrying;
        !same
    }

    /// Nothing is known any more. True when that changes anything.
    pub fn forget(&mut self) -> bool {
        self.reports.clear();
        !std::mem::take(&mut self.carrying).is_empty()
    }

    /// When it proves nothing any more unless there is another report.
    pub fn until(&self, settings: &Settings) -> Option<Mono> {
        let (last, _) = self.reports.back().filter(|_| !self.carrying.is_empty())?;
        Some(*last + settings.progress_stale)
    }

    /// Remote prefixes that acknowledge what leaves this way, if they are enough.
    pub fn along(&self, now: Mono, way: &Way, settings: &Settings) -> Option<usize> {
        let (last, _) = self.reports.back()?;
        if now.since(*last) >= settings.progress_stale {
            return None;
        }
        way.links.iter().map(|link| self.carrying.get(link).copied()).min().flatten()
    }
}

/// Whether other hosts' echoes say that this one's silence is its own.
#[derive(Clone, Debug, Default)]
pub struct Echoes {
    /// Since when it is suspect or down.
    doubted: Option<Mono>,
    /// Since when it has not answered, of that time.
    silent: Mono,
    /// The first probe that left after another's echo, itself sent later than `silent`, had come back.
    proof: Option<u64>,
    alone: bool,
}

impl Echoes {
    /// Whether this address is silent while others answer.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether it has been suspect or down for longer than [`YOUNG`].
    fn is_lasting(&self, now: Mono) -> bool {
        self.doubted.is_some_and(|since| now.since(since) >= YOUNG)
    }

    /// It is suspect or down, or is not.
    pub fn doubt(&mut self, now: Mono, doubted: bool) {
        match doubted {
            true if self.doubted.is_none() => {
                *self = Self { doubted: Some(now), silent: now, ..Self::default() }
            }
            true => {}
            false => *self = Self::default(),
        }
    }

    /// A probe left; `answered` is the departure of the last echo of another that came back the same way.
    pub fn sent(&mut self, seq: u64, answered: Option<Mono>) {
        if self.doubted.is_some() && answered.is_some_and(|a| a > self.silent) {
            self.proof.get_or_insert(seq);
        }
    }

    /// A probe was lost.
    pub fn lost(&mut self, seq: u64) {
        self.alone |= self.proof.is_some_and(|proof| seq >= proof);
    }

    /// A probe was answered.
    pub fn replied(&mut self, now: Mono) {
        *self = Self { doubted: self.doubted, silent: now, ..Self::default() };
    }
}

/// Departure of the last echo that came back from beyond the gateway, by device.
pub type Answered = BTreeMap<IfIndex, Mono>;

/// Takes what became of a probe of `a`; `echo` where it is an echo of a target that is no gateway.
pub(super) fn note_echo(
    a: &mut AddressEvidence,
    echo: bool,
    at: Mono,
    event: &ProbeEvent,
    answered: &mut Answered,
) {
    let links = a.way.as_ref().map(|w| w.links.as_slice()).unwrap_or_default();
    match event.outcome {
        ProbeOutcome::Sent => {
            let last = links.iter().filter_map(|link| answered.get(link)).max().copied();
            a.echoes.sent(event.seq, last);
        }
        ProbeOutcome::Reply { rtt, .. } => {
            a.echoes.replied(at);
            if echo && a.way.as_ref().is_some_and(|w| w.beyond) {
                let left = Mono::from_nanos(at.as_nanos().saturating_sub(rtt.as_nanos() as u64));
                for link in links {
                    let last = answered.entry(*link).or_default();
                    *last = left.max(*last);
                }
            }
        }
        ProbeOutcome::Failed { reason, .. } if reason != FailureReason::SendError => a.echoes.lost(event.seq),
        _ => {}
    }
}

/// Whether what became of the last probe may be a filter's doing.
fn filtered(a: &AddressEvidence) -> bool {
    let silent = [FailureReason::Timeout, FailureReason::Prohibited, FailureReason::SendError];
    a.fsm.last_failure().is_none_or(|reason| silent.contains(&reason))
}

fn in_doubt(a: &AddressEvidence) -> bool {
    a.fsm.is_suspect() || a.fsm.state() == State::Down
}

impl Target {
    /// Whether progress could veto that it is down. The gateway's own state it can't; see [`Health::excuse`].
    fn can_be_vetoed(&self) -> bool {
        let beyond = |a: &AddressEvidence| {
            a.way.as_ref().is_some_and(|w| w.beyond) && !a.echoes.is_alone() && filtered(a)
        };
        let mut routed = self.addresses.iter().filter(|a| a.reach.stands()).peekable();
        self.spec.method == Method::Icmp
            && self.spec.role == Role::Plain
            && routed.peek().is_some()
            && routed.all(beyond)
    }

    /// The veto itself, if there is one. `along` tells the prefixes that acknowledge along a way.
    pub(super) fn veto(&self, along: &dyn Fn(&Way) -> Option<usize>) -> Option<Reason> {
        if !self.can_be_vetoed() {
            return None;
        }
        let routed = self.addresses.iter().filter(|a| a.reach.stands());
        let prefixes = routed.map(|a| along(a.way.as_ref()?)).min().flatten()?;
        let name = &*self.spec.name;
        let detail = format!("{name} answers no echo, but TCP gets through to {prefixes} remote prefixes");
        Some(Reason::new(ReasonCode::IcmpFiltered, name, detail))
    }

    /// Whether it would help to know of progress now.
    pub(super) fn wants_progress(&self, now: Mono) -> bool {
        let routed = || self.addresses.iter().filter(|a| a.reach.stands());
        let suspect = routed().any(|a| a.fsm.is_suspect());
        let lasting = |a: &AddressEvidence| in_doubt(a) && a.echoes.is_lasting(now);
        let doubted = routed().next().is_some() && routed().all(lasting);
        match self.spec.role {
            Role::Gateway => suspect && doubted,
            Role::Plain => doubted && (suspect || self.verdict.state != State::Up) && self.can_be_vetoed(),
        }
    }
}

impl Health {
    /// Whether the agent should look which remote prefixes acknowledge TCP's bytes, once a second, and tell by
    /// [`crate::observation::Evidence::TcpProgress`] (R7): while a target is suspect or down by lost echoes alone.
    pub fn wants_progress(&self) -> bool {
        !self.doubted.is_empty() || self.down_by_probes
    }

    /// The sockets were looked at.
    pub(super) fn tcp_progress(&mut self, now: Moment, at: Mono, report: TcpProgress) {
        let changed = self.progress.report(at.min(now.mono), report, &self.settings);
        self.reviews.set(Review::Progress, self.progress.until(&self.settings));
        if changed {
            self.progress_changed(now);
        }
    }

    /// No report came for too long.
    pub(super) fn progress_is_stale(&mut self, now: Moment) {
        if self.progress.forget() {
            self.progress_changed(now);
        }
    }

    fn progress_changed(&mut self, now: Moment) {
        let concerned = self.targets().filter(|t| t.verdict.state != State::Up).map(|t| t.spec.id);
        for id in concerned.collect::<Vec<_>>() {
            self.judge_target(now, id);
        }
        self.judge_overall(now);
    }

    /// Keeps the deadlines of a target, and whether progress is wanted for it, in step with its addresses.
    pub(super) fn attend(&mut self, now: Mono, id: TargetId) {
        let Some(target) = self.targets.get_mut(&id) else { return };
        for a in &mut target.addresses {
            let doubted = in_doubt(a);
            a.echoes.doubt(now, doubted);
            self.timers.set((id, a.address), a.fsm.deadline());
        }
        match target.wants_progress(now) {
            true => self.doubted.insert(id),
            false => self.doubted.remove(&id),
        };
    }

    /// Silent gateways that TCP gets through behind; the whole is not down for their sake.
    pub(super) fn excuse(&self, now: Mono) -> Option<Reason> {
        if self.links != LinkKnowledge::Known {
            return None;
        }
        self.silent_gateways().find_map(|(target, way)| {
            let prefixes = self.progress.along(now, way, &self.settings)?;
            let name = &*target.spec.name;
            let detail = format!(
                "{name} answers no echo, but TCP gets through to {prefixes} remote prefixes behind it"
            );
            Some(Reason::new(ReasonCode::IcmpFiltered, name, detail))
        })
    }

    /// Gateways that are down for want of an echo alone, while the kernel does not say that they are gone.
    pub(super) fn silent_gateways(&self) -> impl Iterator<Item = (&Target, &Way)> {
        let gone = |a: &AddressEvidence| {
            let mut known = self.network.neighbours.values().filter(|n| n.address == a.address);
            known.any(|n| matches!(n.state, NeighbourState::Failed | NeighbourState::Incomplete))
        };
        let gateways = self.gateways.iter().filter_map(|id| self.targets.get(id));
        let down = gateways.filter(|t| t.verdict.state == State::Down);
        down.flat_map(move |t| {
            let silent = t.addresses.iter().filter(move |a| a.reach.stands() && filtered(a) && !gone(a));
            silent.filter_map(move |a| Some((t, a.way.as_ref()?)))
        })
    }
}
