//! A world in which a history happens, step by step, to the core and to the oracle beside it.
//!
//! Time is in milliseconds. Probes leave every two seconds ±10 % and when the core asks; what becomes of each is drawn
//! from the history's seed and the probe's own number, so that it does not hang on what else happens.

use std::collections::BTreeMap;

use super::{
    super::*,
    catalogue,
    coverage::Coverage,
    invariants::Watcher,
    model::{Core, Links, Model},
    step::Step,
    tell::Truth,
};
use crate::observation::TcpTimeout;

/// How often a probe that draws nothing else is sent, and how long its answer may take.
pub const INTERVAL: u64 = 2000;
pub const TIMEOUT: u64 = 1000;

/// The longest that a history may be; the base of R11 forgets nothing in it.
const LONGEST: u64 = 1_500_000;

/// What becomes of an address's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// How they fail; none when they are answered.
    pub failure: Option<FailureReason>,
    /// Milliseconds until an answer.
    pub rtt: u64,
    /// Of a hundred: those lost all the same, without proof, answered late, answered twice.
    pub lost: u8,
    pub unproven: u8,
    pub late: u8,
    pub twice: u8,
    /// Since when it is so, and nothing has disturbed it.
    pub since: u64,
}

impl Default for Fate {
    fn default() -> Self {
        Self { failure: None, rtt: 5, lost: 0, unproven: 0, late: 0, twice: 0, since: START }
    }
}

impl Fate {
    /// Whether all of its probes go the same way.
    pub fn is_plain(&self) -> bool {
        self.lost == 0 && self.unproven == 0 && self.late == 0
    }
}

struct Word<'a>(&'a Health);

impl Core for Word<'_> {
    fn word(&self, target: TargetId, address: IpAddr) -> (bool, bool) {
        let of_target = self.0.targets.get(&target);
        let a = of_target.and_then(|t| t.addresses.iter().find(|a| a.address == address));
        a.map_or((false, false), |a| (a.echoes.is_alone(), a.latency.is_degraded()))
    }
}

/// The core, the oracle, and the world around both.
pub struct Play {
    pub now: u64,
    pub boot_ahead: u64,
    pub seed: u64,
    pub health: Health,
    pub model: Model,
    pub watcher: Watcher,
    pub truth: Truth,
    pub fates: HashMap<IpAddr, Fate>,
    pub resolved: HashMap<TargetId, Vec<IpAddr>>,
    /// Next regular probe and last number, by target and address.
    pub regular: BTreeMap<(TargetId, IpAddr), (u64, u64)>,
    /// What is still to be heard of probes: when, and what.
    pub pending: Vec<(u64, ProbeEvent)>,
    /// Probes that a history sent by hand, and that are still under way.
    pub open: Vec<((TargetId, IpAddr), u64)>,
    /// Prefixes that acknowledge, by device.
    pub acknowledge: BTreeMap<u32, u32>,
    pub last_look: Option<u64>,
    pub blind: bool,
    /// Targets are given in the opposite order.
    pub reversed: bool,
    pub coverage: Coverage,
}

impl Play {
    /// A world before anything happened in it.
    pub fn new(seed: u64, netlink: bool, reversed: bool, thorough: bool) -> Self {
        let now = moment(START, 0);
        let (settings, unwatched) = catalogue::settings(0, seed);
        let health = Health::new(now, settings.clone(), catalogue::watch(&unwatched), netlink);
        Self {
            now: START,
            boot_ahead: 0,
            seed,
            health,
            model: Model::new(now, settings, unwatched, netlink),
            watcher: Watcher::new(thorough),
            truth: Truth::default(),
            fates: HashMap::new(),
            resolved: HashMap::new(),
            regular: BTreeMap::new(),
            pending: Vec::new(),
            open: Vec::new(),
            acknowledge: BTreeMap::new(),
            last_look: None,
            blind: false,
            reversed,
            coverage: Coverage::default(),
        }
    }

    pub fn moment(&self) -> Moment {
        moment(self.now, self.boot_ahead)
    }

    /// Lets the whole history happen; what went wrong, and at which step.
    pub fn all(&mut self, steps: &[Step]) -> Result<(), String> {
        for (i, step) in steps.iter().enumerate() {
            self.step(step).and_then(|()| self.settle()).map_err(|e| format!("step {i}, {step:?}: {e}"))?;
            self.coverage.steps += 1;
            if self.now > START + LONGEST {
                break;
            }
        }
        self.watcher.end(&self.health)
    }

    /// Hands one observation to both.
    pub fn tell(&mut self, at: u64, evidence: Evidence) -> Result<(), String> {
        self.coverage.observations += 1;
        let now = self.moment();
        let o = Observation { at: moment(at, 0).mono, evidence };
        let examined = match &o.evidence {
            Evidence::TcpTimeout(timeout) => self.examinable(*timeout),
            _ => Vec::new(),
        };
        let by_time_out = matches!(o.evidence, Evidence::TcpTimeout(_));
        let before = if by_time_out { self.suspects() } else { 0 };
        self.health.handle(now, o.clone());
        self.model.observe(now, &o, &Word(&self.health), examined)?;
        if by_time_out && self.model.to_probe.is_empty() && self.suspects() > before {
            return Err("R5: a burst without its reason".into());
        }
        Ok(())
    }

    fn suspects(&self) -> usize {
        self.health.targets().flat_map(|t| &t.addresses).filter(|a| a.fsm.is_suspect()).count()
    }

    /// Hands the oracle something that the core has been told by another door.
    pub fn with_core(
        &mut self,
        tell: impl FnOnce(&mut Model, Moment, &dyn Core) -> Result<(), String>,
    ) -> Result<(), String> {
        let now = self.moment();
        tell(&mut self.model, now, &Word(&self.health))
    }

    /// R5: addresses that are up and not examined yet, and leave by the device of this time-out.
    fn examinable(&self, timeout: TcpTimeout) -> Vec<(TargetId, IpAddr)> {
        let known = self.model.links == Links::Known && timeout.device.0 != 0;
        let mut all = Vec::new();
        for t in &self.model.targets {
            let core = &self.health.targets[&t.spec.id];
            for (a, of_core) in t.addresses.iter().zip(&core.addresses) {
                let by_it = a.way.as_ref().is_some_and(|w| w.links.contains(&timeout.device));
                let leaves = if known { by_it } else { !a.address.is_loopback() };
                if leaves && a.seen.state == State::Up && !of_core.fsm.is_suspect() {
                    all.push((t.spec.id, a.address));
                }
            }
        }
        all
    }

    /// Takes what the core wants until it wants nothing more.
    pub fn drain(&mut self) -> Result<(), String> {
        while let Some(event) = self.health.poll_event() {
            let now = self.moment();
            match &event {
                Event::Probe { target, address } => {
                    self.model.to_probe.retain(|wanted| *wanted != (*target, *address));
                    self.send(self.now, *target, *address)?;
                }
                Event::TimeoutScale(factor) => {
                    if self.model.scale.to_tell.first() != Some(factor) {
                        return Err(format!("R13: scaled by {factor}, not {:?}", self.model.scale.to_tell));
                    }
                    self.model.scale.to_tell.remove(0);
                }
                Event::Changed { .. } | Event::RoutesChanged => {}
            }
            self.watcher.event(now, &event, &self.health)?;
        }
        self.watcher.drained(&self.health);
        self.model.given(self.moment().mono, self.health.verdict().state);
        Ok(())
    }

    /// Does what the agent does after each batch, and compares.
    pub fn settle(&mut self) -> Result<(), String> {
        self.drain()?;
        let mut rounds = 0;
        while self.health.poll_timeout() <= self.moment().mono {
            let (now, due) = (self.moment(), self.health.poll_timeout());
            self.health.handle_timeout(now);
            self.model.tick(now, due, &Word(&self.health))?;
            self.drain()?;
            rounds += 1;
            if rounds > 4 {
                return Err("time does not go on: a deadline is always due".into());
            }
        }
        if let [first, ..] = self.model.to_probe[..] {
            return Err(format!("not probed at once (R14, R5): {first:?}"));
        }
        if let [factor, ..] = self.model.scale.to_tell[..] {
            return Err(format!("R13: not scaled by {factor}"));
        }
        self.coverage.note(&self.health);
        let moment = self.moment();
        self.watcher.check(self.now, moment, &mut self.health, &self.model, &self.fates)
    }

    /// A probe leaves; what becomes of it is decided.
    pub fn send(&mut self, at: u64, target: TargetId, address: IpAddr) -> Result<(), String> {
        let entry = self.regular.entry((target, address)).or_insert((at + INTERVAL, 0));
        entry.1 += 1;
        let seq = entry.1;
        let fate = self.fates.get(&address).copied().unwrap_or_default();
        let event = |outcome| ProbeEvent { target, address, seq, outcome };
        let reply = |rtt| ProbeOutcome::Reply {
            rtt: Duration::from_millis(rtt),
            stamp: StampSource::Kernel,
            ttl: Some(64),
            reordered: false,
        };
        let failed = |reason| event(ProbeOutcome::Failed { reason, reporter: None });
        let dice = |of: u64| (mix(self.seed, of ^ seq << 8 ^ u64::from(target.0) << 40) % 100) as u8;
        if fate.failure == Some(FailureReason::SendError) {
            return self.tell(at, Evidence::Probe(failed(FailureReason::SendError)));
        }
        let unproven = dice(1) < fate.unproven;
        let answered = fate.failure.is_none() && dice(2) >= fate.lost && fate.rtt < TIMEOUT;
        let late = !answered && dice(3) < fate.late;
        let mut after = |ms: u64, event| self.pending.push((at + ms, event));
        if unproven {
            let lag = Duration::from_millis(if dice(4) < 50 { 50 } else { 150 });
            after(TIMEOUT, event(ProbeOutcome::Inconclusive { lag }));
        } else if answered {
            after(fate.rtt, event(reply(fate.rtt)));
            if dice(5) < fate.twice {
                after(fate.rtt + 3, event(ProbeOutcome::Duplicate));
            }
        } else {
            let reason = fate.failure.unwrap_or(FailureReason::Timeout);
            let ms = if reason == FailureReason::Timeout { TIMEOUT } else { 2 };
            after(ms, failed(reason));
            if late {
                after(ms + 500, event(ProbeOutcome::Late { rtt: Duration::from_millis(ms + 500) }));
            }
        }
        self.tell(at, Evidence::Probe(event(ProbeOutcome::Sent)))
    }

    /// When a target's next regular probe leaves after one at `at`.
    pub fn next_regular(&self, at: u64, key: (TargetId, IpAddr), seq: u64) -> u64 {
        at + 1800 + mix(self.seed, seq << 16 ^ u64::from(key.0.0) << 3 ^ 7) % 401
    }

    /// Whatever was going on steadily is disturbed: the bounds of R4 and R8 count anew.
    pub fn disturb(&mut self) {
        let now = self.now;
        self.fates.values_mut().for_each(|f| f.since = now);
        self.watcher.disturbed = now;
    }
}

/// A number that looks like chance, of two others (splitmix64).
pub fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
