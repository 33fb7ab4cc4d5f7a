//! When a waiter is released: a pure decision.

use std::time::Duration;

use netmon_client::{Condition as Wanted, wire};

use super::wire_map;
use crate::{
    health::{ReasonCode, State, Verdict},
    observation::IfIndex,
    state::{Snapshot, TargetView},
    time::Boot,
};

/// How soon a stale state is looked at again: evaluations that change nothing are not announced.
pub(super) const STALE_RETRY: Duration = Duration::from_millis(250);

/// What somebody waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The state.
    pub wanted: Wanted,
    /// How long it must have held.
    pub stable: Duration,
    /// Of this device.
    pub device: Option<String>,
    /// Of this target. With a device: of both. With neither: of the whole network.
    pub target: Option<String>,
}

/// What a condition has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It holds: release.
    Satisfied {
        /// The state of what was waited for.
        state: State,
    },
    /// It does not.
    Blocked {
        /// The state of what is in the way; unknown when stale.
        state: State,
        /// What is in the way; never empty.
        reasons: Vec<wire::Reason>,
        /// When to look again even if nothing is published.
        retry_at: Option<Boot>,
    },
    /// There is no such device or target: which, and what there is.
    NoSuch(String),
}

/// Since when a condition has held without a break. `up` and `degraded` are both usable, so a verdict's own `since` is
/// not enough for that: it starts anew when one turns into the other.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    device: Option<Held>,
    target: Option<Held>,
    network: Option<Held>,
    /// The device, if it was there once: then it is gone, not unknown. One of the same name may come in its place, and has
    /// held nothing yet.
    seen_device: Option<IfIndex>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    breaks: u64,
    since: Boot,
}

impl Memory {
    /// Takes from another memory of the same condition what this one can't find out any more.
    pub fn learn(&mut self, other: &Memory) {
        self.seen_device = self.seen_device.or(other.seen_device);
    }
}

impl Condition {
    /// Judges a snapshot. `stale`: whether the core has fallen silent (R15). `memory` is of this condition alone, and
    /// may be shared by all who wait for it.
    pub fn check(&self, snapshot: &Snapshot, now: Boot, stale: bool, memory: &mut Memory) -> Outcome {
        let mut outcome = None;
        let mut parts: Vec<(&Verdict, &str, &mut Option<Held>)> = Vec::with_capacity(2);
        if let Some(name) = &self.device {
            match snapshot
                .devices
                .iter()
                .find(|d| d.name == *name || d.link.name.as_bytes() == name.as_bytes())
            {
                Some(device) => {
                    if memory.seen_device.replace(device.index()) != Some(device.index()) {
                        memory.device = None;
                    }
                    parts.push((&device.verdict, name, &mut memory.device));
                }
                None if memory.seen_device.is_some() => {
                    memory.device = None;
                    outcome = Some(blocked(
                        State::Down,
                        ReasonCode::DeviceGone.as_str(),
                        name,
                        "the device is gone",
                    ));
                }
                None if is_starting(snapshot) => {
                    outcome = Some(blocked(State::Unknown, "starting", name, "devices are not read yet"));
                }
                None => {
                    let names = snapshot.devices.iter().map(|d| d.name.as_str());
                    return Outcome::NoSuch(no_such("device", name, names));
                }
            }
        }
        if let Some(name) = &self.target {
            match find_target(snapshot, name) {
                Ok(Some(target)) => parts.push((&target.verdict, name, &mut memory.target)),
                Err(several) => return Outcome::NoSuch(several),
                Ok(None) if is_starting(snapshot) => {
                    outcome = Some(blocked(State::Unknown, "starting", name, "targets are not made yet"));
                }
                Ok(None) => {
                    let names = snapshot.targets.iter().map(|t| &*t.name);
                    return Outcome::NoSuch(no_such("target", name, names));
                }
            }
        }
        if self.device.is_none() && self.target.is_none() {
            parts.push((&snapshot.verdict, "", &mut memory.network));
        }
        if stale {
            return Outcome::Blocked {
                state: State::Unknown,
                reasons: vec![reason("stale", "", "the agent has not looked at its evidence for too long")],
                retry_at: Some(now + STALE_RETRY),
            };
        }
        let mut state = State::Unknown;
        // Every part is looked at, even when one already blocks: each has a memory to keep.
        for (verdict, subject, held) in parts {
            state = state.max(verdict.state);
            if let Some(block) = self.check_one(verdict, subject, now, held) {
                outcome.get_or_insert(block);
            }
        }
        outcome.unwrap_or(Outcome::Satisfied { state })
    }

    fn check_one(
        &self,
        verdict: &Verdict,
        subject: &str,
        now: Boot,
        held: &mut Option<Held>,
    ) -> Option<Outcome> {
        let state = verdict.state;
        if !self.wanted.holds(wire_map::state(state)) {
            *held = None;
            let mut reasons: Vec<_> = verdict.reasons.iter().map(wire_map::reason).collect();
            if reasons.is_empty() {
                reasons.push(reason("state", subject, &format!("is {state}, not {}", self.wanted)));
            }
            return Some(Outcome::Blocked { state, reasons, retry_at: None });
        }
        // A change to a state that does not meet the condition, even one that passed between two looks.
        let breaks = State::ALL
            .into_iter()
            .filter(|s| !self.wanted.holds(wire_map::state(*s)))
            .map(|s| verdict.transitions[s as usize])
            .sum();
        let since = match *held {
            Some(held) if held.breaks == breaks => held.since.min(verdict.since.boot),
            _ => verdict.since.boot,
        };
        *held = Some(Held { breaks, since });
        let age = now.since(since);
        if age >= self.stable {
            return None;
        }
        let detail = format!("{} for {:.1?} of {:.1?}", state, age, self.stable);
        Some(Outcome::Blocked {
            state,
            reasons: vec![reason("not_stable", subject, &detail)],
            retry_at: Some(since + self.stable),
        })
    }
}

/// The target of this name; else the one whose host it is. Who waits for `8.8.8.8` or a gateway's address need not know
/// what the agent calls it; two targets of one host must be told apart by name.
fn find_target<'a>(snapshot: &'a Snapshot, name: &str) -> Result<Option<&'a TargetView>, String> {
    let targets = || snapshot.targets.iter().map(|t| &**t);
    if let Some(target) = targets().find(|t| &*t.name == name) {
        return Ok(Some(target));
    }
    let same: Vec<&TargetView> = targets().filter(|t| t.host == name).collect();
    match same[..] {
        [] => Ok(None),
        [target] => Ok(Some(target)),
        _ => {
            let names: Vec<&str> = same.iter().map(|t| &*t.name).collect();
            Err(format!("{name:?} is the host of several targets; name one of them: {}", some_of(&names)))
        }
    }
}

/// Whether names mean nothing yet.
fn is_starting(snapshot: &Snapshot) -> bool {
    snapshot.verdict.state == State::Unknown
        && (snapshot.verdict.reasons.is_empty()
            || snapshot
                .verdict
                .reasons
                .iter()
                .any(|r| matches!(r.code, ReasonCode::Starting | ReasonCode::Gap)))
}

fn blocked(state: State, code: &str, subject: &str, detail: &str) -> Outcome {
    Outcome::Blocked { state, reasons: vec![reason(code, subject, detail)], retry_at: None }
}

fn reason(code: &str, subject: &str, detail: &str) -> wire::Reason {
    let rule = (code == "stale").then(|| "R15".to_owned());
    wire::Reason { code: code.into(), subject: subject.into(), detail: detail.into(), rule }
}

fn no_such<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let known = if names.is_empty() { "none".to_owned() } else { some_of(&names) };
    let nearest = names
        .iter()
        .map(|n| (strsim::osa_distance(n, name), n))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, n)| format!("; did you mean {n}?"));
    format!("no {what} {name:?}{}; there are: {known}", nearest.unwrap_or_default())
}

/// Names for a person to choose from; thousands of them would bury the message.
fn some_of(names: &[&str]) -> String {
    const MOST: usize = 20;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        health::Reason,
        observation::{IfName, Link},
        state::DeviceView,
        time::{Moment, Mono},
    };

    fn at(s: u64) -> Moment {
        Moment { mono: Mono::from_nanos(s * 1_000_000_000), boot: Boot::from_nanos(s * 1_000_000_000) }
    }

    fn verdict(changes: &[(u64, State)]) -> Verdict {
        let mut v = Verdict::default();
        for &(s, state) in changes {
            v.update(at(s), state, vec![]);
        }
        v
    }

    fn snapshot(network: Verdict) -> Snapshot {
        let device =
            DeviceView { name: "eth0".into(), verdict: verdict(&[(1, State::Up)]), ..Default::default() };
        let target =
            TargetView { name: "gw".into(), verdict: verdict(&[(1, State::Down)]), ..Default::default() };
        Snapshot {
            verdict: network,
            devices: vec![Arc::new(device)],
            targets: vec![Arc::new(target)],
            ..Default::default()
        }
    }

    fn check(c: &Condition, s: &Snapshot, now: u64) -> Outcome {
        c.check(s, at(now).boot, false, &mut Memory::default())
    }

    fn want(wanted: Wanted) -> Condition {
        Condition { wanted, ..Condition::default() }
    }

    #[test]
    fn every_state_against_every_wish() {
        for state in State::ALL {
            let s = snapshot(verdict(&[(1, state)]));
            for wanted in Wanted::ALL {
                let met = match wanted {
                    Wanted::Up => state == State::Up,
                    Wanted::Usable => state == State::Up || state == State::Degraded,
                    Wanted::Down => state == State::Down,
                    Wanted::Degraded => state == State::Degraded,
                };
                let outcome = check(&want(wanted), &s, 2);
                assert_eq!(matches!(outcome, Outcome::Satisfied { .. }), met, "{state} for {wanted}");
                if let Outcome::Blocked { reasons, .. } = outcome {
                    assert!(!reasons.is_empty());
                }
                let stale = want(wanted).check(&s, at(2).boot, true, &mut Memory::default());
                assert!(matches!(stale, Outcome::Blocked { state: State::Unknown, retry_at: Some(_), .. }));
            }
        }
    }

    #[test]
    fn stable_counts_from_the_change() {
        let condition = Condition { stable: Duration::from_secs(5), ..want(Wanted::Up) };
        let s = snapshot(verdict(&[(10, State::Up)]));
        let retry_at = Some(at(15).boot);
        assert!(matches!(check(&condition, &s, 14), Outcome::Blocked { retry_at: r, .. } if r == retry_at));
        assert_eq!(check(&condition, &s, 15), Outcome::Satisfied { state: State::Up });
    }

    #[test]
    fn usable_holds_through_degraded_but_not_through_an_unseen_outage() {
        let condition = Condition { stable: Duration::from_secs(5), ..want(Wanted::Usable) };
        let mut memory = Memory::default();
        let mut look = |changes: &[(u64, State)], now| {
            condition.check(&snapshot(verdict(changes)), at(now).boot, false, &mut memory)
        };
        let up = (10, State::Up);
        assert!(matches!(look(&[up], 11), Outcome::Blocked { .. }));
        let degraded = (12, State::Degraded);
        assert!(matches!(look(&[up, degraded], 14), Outcome::Blocked { .. }));
        let unseen = [up, degraded, (14, State::Down), (15, State::Up)];
        assert!(matches!(look(&unseen, 16), Outcome::Blocked { .. }));
        assert!(matches!(look(&unseen, 19), Outcome::Blocked { .. }));
        assert!(matches!(look(&unseen, 20), Outcome::Satisfied { .. }));

        let mut memory = Memory::default();
        let mut look = |changes: &[(u64, State)], now| {
            condition.check(&snapshot(verdict(changes)), at(now).boot, false, &mut memory)
        };
        look(&[up], 11);
        assert_eq!(look(&[up, degraded], 15), Outcome::Satisfied { state: State::Degraded });
    }

    #[test]
    fn a_device_and_a_target_must_both_agree() {
        let s = snapshot(verdict(&[(1, State::Up)]));
        let both =
            |wanted| Condition { device: Some("eth0".into()), target: Some("gw".into()), ..want(wanted) };
        assert!(matches!(check(&both(Wanted::Up), &s, 2), Outcome::Blocked { state: State::Down, .. }));
        assert!(matches!(check(&both(Wanted::Down), &s, 2), Outcome::Blocked { state: State::Up, .. }));
        let device = Condition { device: Some("eth0".into()), ..want(Wanted::Up) };
        assert_eq!(check(&device, &s, 2), Outcome::Satisfied { state: State::Up });
    }

    #[test]
    fn unknown_names_are_refused_once_names_mean_something() {
        let device = Condition { device: Some("eth1".into()), ..want(Wanted::Up) };
        let s = snapshot(verdict(&[(1, State::Down)]));
        let Outcome::NoSuch(said) = check(&device, &s, 2) else { panic!() };
        assert_eq!(said, "no device \"eth1\"; did you mean eth0?; there are: eth0");
        let target = Condition { target: Some("x".into()), ..want(Wanted::Up) };
        assert!(matches!(check(&target, &s, 2), Outcome::NoSuch(_)));

        let mut starting = Snapshot::default();
        starting.verdict.reasons = vec![Reason::new(ReasonCode::Starting, "", "")];
        assert!(matches!(check(&device, &starting, 2), Outcome::Blocked { state: State::Unknown, .. }));
    }

    #[test]
    fn a_target_is_known_by_its_host_too_unless_several_have_it() {
        let mut s = snapshot(verdict(&[(1, State::Up)]));
        let target = |name: &str, state| {
            let (name, host) = (name.into(), "10.0.0.1".to_owned());
            Arc::new(TargetView { name, host, verdict: verdict(&[(1, state)]), ..Default::default() })
        };
        s.targets.push(target("gateway-10.0.0.1", State::Up));
        let host = Condition { target: Some("10.0.0.1".into()), ..want(Wanted::Up) };
        assert_eq!(check(&host, &s, 2), Outcome::Satisfied { state: State::Up });
        s.targets.push(target("web", State::Up));
        let Outcome::NoSuch(said) = check(&host, &s, 2) else { panic!() };
        assert!(said.ends_with("several targets; name one of them: gateway-10.0.0.1, web"), "{said}");
        // A name goes before a host.
        s.targets.push(target("10.0.0.1", State::Down));
        assert!(matches!(check(&host, &s, 2), Outcome::Blocked { state: State::Down, .. }));
    }

    #[test]
    fn a_device_is_known_by_the_kernels_name_and_by_the_printed_one() {
        let mut s = snapshot(verdict(&[(1, State::Up)]));
        let link = Link { name: IfName::new(*b"e\\x"), ..Link::default() };
        let name = link.name.escaped();
        let view = DeviceView { name, link, verdict: verdict(&[(1, State::Up)]), ..Default::default() };
        s.devices.push(Arc::new(view));
        for name in ["e\\x", "e\\x5cx"] {
            let device = Condition { device: Some(name.into()), ..want(Wanted::Up) };
            assert_eq!(check(&device, &s, 2), Outcome::Satisfied { state: State::Up }, "{name}");
        }
    }

    #[test]
    fn a_message_names_twenty_at_most() {
        let names: Vec<String> = (1..=300).map(|n| format!("t{n}")).collect();
        let said = no_such("target", "t3000", names.iter().map(String::as_str));
        assert!(said.contains("did you mean t300?") && said.ends_with("t20 and 280 more"), "{said}");
    }

    #[test]
    fn a_device_that_goes_is_waited_for() {
        let condition = Condition { device: Some("eth0".into()), ..want(Wanted::Down) };
        let mut memory = Memory::default();
        let mut s = snapshot(verdict(&[(1, State::Up)]));
        condition.check(&s, at(2).boot, false, &mut memory);
        s.devices.clear();
        let gone = condition.check(&s, at(3).boot, false, &mut memory);
        assert!(matches!(gone, Outcome::Blocked { reasons, .. } if reasons[0].code == "device_gone"));
    }
}
