//! The verdict over all: rules R1, R2, R2b, R6.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::{Reason, ReasonCode, State};

/// Most reasons that a verdict lists one by one; the rest is counted.
pub const REASONS_LISTED: usize = 16;

/// How the targets of one scope stand. Kept up to date one target at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeTally {
    /// Names of its targets, by state.
    by_state: [BTreeSet<std::sync::Arc<str>>; 4],
}

impl ScopeTally {
    /// Notes a target's state.
    pub fn put(&mut self, name: &std::sync::Arc<str>, state: State) {
        self.take(name);
        self.by_state[state as usize].insert(name.clone());
    }

    /// Forgets a target.
    pub fn take(&mut self, name: &std::sync::Arc<str>) {
        for set in &mut self.by_state {
            set.remove(name);
        }
    }

    /// Targets in this state.
    pub fn count(&self, state: State) -> usize {
        self.by_state[state as usize].len()
    }

    /// Targets in all.
    pub fn total(&self) -> usize {
        self.by_state.iter().map(BTreeSet::len).sum()
    }

    fn names(&self, state: State) -> impl Iterator<Item = &str> {
        self.by_state[state as usize].iter().map(|n| &**n)
    }
}

/// R2's finding over all links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFinding {
    /// Links are not known: no netlink, or a gap in it.
    Unknown(Option<Reason>),
    /// A usable link carries a default route, or a route to a target.
    Usable,
    /// None does, and why.
    Unusable(Vec<Reason>),
}

/// Everything that the verdict over all rests on.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// R1: whether the links are known and every target has had its first verdict, or long enough to get one.
    pub settled: bool,
    /// R2.
    pub links: LinkFinding,
    /// R2b: required devices that are down or missing.
    pub required_down: Vec<Reason>,
    /// R2b, R10, R12: what is wrong with devices in service.
    pub device_faults: Vec<Reason>,
    /// R7: why the whole is not down although every scope is.
    pub excuse: Option<Reason>,
    /// R6: targets by scope.
    pub scopes: &'a BTreeMap<String, ScopeTally>,
    /// R6: how many of a scope's targets make it down; all where none is given.
    pub quorum: &'a BTreeMap<String, usize>,
}

/// The judgement. The first rule that applies decides.
pub fn judge(e: &Evidence<'_>) -> (State, Vec<Reason>) {
    if let LinkFinding::Unusable(reasons) = &e.links {
        return (State::Down, reasons.clone());
    }
    if !e.required_down.is_empty() {
        return (State::Down, e.required_down.clone());
    }
    if let LinkFinding::Unknown(Some(gap)) = &e.links {
        return (State::Unknown, vec![gap.clone()]);
    }
    let count = |state| e.scopes.values().map(|s| s.count(state)).sum::<usize>();
    let known = count(State::Up) + count(State::Degraded) + count(State::Down);
    let unknown = count(State::Unknown);
    if !e.settled || (unknown > 0 && known == 0) {
        let detail = format!("{unknown} of {} targets have no verdict yet", unknown + known);
        return (State::Unknown, vec![Reason::new(ReasonCode::Starting, "", detail)]);
    }
    if known == 0 {
        return match e.links {
            LinkFinding::Usable if e.device_faults.is_empty() => (State::Up, Vec::new()),
            LinkFinding::Usable => (State::Degraded, e.device_faults.clone()),
            _ => {
                let detail = "no target to probe and no links known";
                (State::Unknown, vec![Reason::new(ReasonCode::NoEvidence, "", detail)])
            }
        };
    }
    judge_scopes(e)
}

/// R6: every scope down is down; anything short of all up is degraded.
fn judge_scopes(e: &Evidence<'_>) -> (State, Vec<Reason>) {
    let mut reasons = Vec::new();
    let (mut scopes_down, mut scopes_known) = (0, 0);
    for (scope, tally) in e.scopes {
        let known = tally.total() - tally.count(State::Unknown);
        if known == 0 {
            continue;
        }
        scopes_known += 1;
        let down = tally.count(State::Down);
        let needed = e.quorum.get(scope).map_or(known, |q| (*q).clamp(1, known));
        if down >= needed {
            scopes_down += 1;
            let detail = format!("{down} of {known} targets of scope {scope} are down");
            reasons.push(Reason::new(ReasonCode::ScopeDown, scope, detail));
        }
    }
    for (code, state) in
        [(ReasonCode::TargetDown, State::Down), (ReasonCode::TargetDegraded, State::Degraded)]
    {
        for (scope, tally) in e.scopes {
            for name in tally.names(state) {
                reasons.push(Reason::new(code, name, format!("target {name} of scope {scope} is {state}")));
                if reasons.len() > REASONS_LISTED {
                    break;
                }
            }
        }
    }
    if scopes_down == scopes_known {
        let Some(excuse) = &e.excuse else { return (State::Down, cut(reasons)) };
        reasons.insert(0, excuse.clone());
    }
    reasons.extend(e.device_faults.iter().cloned());
    let state = if reasons.is_empty() { State::Up } else { State::Degraded };
    (state, cut(reasons))
}

fn cut(mut reasons: Vec<Reason>) -> Vec<Reason> {
    reasons.truncate(REASONS_LISTED);
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(all: &[(&str, &[State])]) -> BTreeMap<String, ScopeTally> {
        let tally = |(scope, states): &(&str, &[State])| {
            let mut t = ScopeTally::default();
            for (i, s) in states.iter().enumerate() {
                t.put(&format!("{scope}{i}").into(), *s);
            }
            (scope.to_string(), t)
        };
        all.iter().map(tally).collect()
    }

    fn state(scopes: &BTreeMap<String, ScopeTally>, change: impl Fn(&mut Evidence<'_>)) -> State {
        let mut e = Evidence {
            settled: true,
            links: LinkFinding::Usable,
            required_down: Vec::new(),
            device_faults: Vec::new(),
            excuse: None,
            scopes,
            quorum: &BTreeMap::new(),
        };
        change(&mut e);
        judge(&e).0
    }

    use State::{Degraded, Down, Unknown, Up};

    #[test]
    fn r6_scopes_decide() {
        let is = |all: &[(&str, &[State])]| state(&scopes(all), |_| {});
        assert_eq!(is(&[("gateway", &[Up]), ("internet", &[Up, Up])]), Up);
        assert_eq!(is(&[("gateway", &[Up]), ("internet", &[Up, Down])]), Degraded);
        assert_eq!(is(&[("gateway", &[Up]), ("internet", &[Down, Down])]), Degraded);
        assert_eq!(is(&[("gateway", &[Down]), ("internet", &[Down, Down])]), Down);
        assert_eq!(is(&[("gateway", &[Unknown]), ("internet", &[Unknown])]), Unknown);
        assert_eq!(
            is(&[("gateway", &[Up]), ("late", &[Unknown])]),
            Up,
            "a target added later does not unsettle"
        );
        assert_eq!(is(&[]), Up, "links alone, when nothing is probed");
    }

    #[test]
    fn r1_nothing_is_up_before_every_target_had_its_first_verdict() {
        let s = scopes(&[("a", &[Up, Unknown])]);
        assert_eq!(state(&s, |e| e.settled = false), Unknown);
    }

    #[test]
    fn r2_links_outrank_targets() {
        let s = scopes(&[("a", &[Up])]);
        assert_eq!(state(&s, |e| e.links = LinkFinding::Unusable(Vec::new())), Down);
        let gap = Reason::new(ReasonCode::Gap, "", "");
        assert_eq!(state(&s, |e| e.links = LinkFinding::Unknown(Some(gap.clone()))), Unknown);
        assert_eq!(state(&s, |e| e.links = LinkFinding::Unknown(None)), Up);
        assert_eq!(state(&s, |e| e.required_down.push(gap.clone())), Down);
        assert_eq!(state(&s, |e| e.device_faults.push(gap.clone())), Degraded);
    }

    #[test]
    fn r7_an_excuse_holds_for_targets_alone() {
        let s = scopes(&[("gateway", &[Down])]);
        let why = Reason::new(ReasonCode::IcmpFiltered, "", "");
        assert_eq!(state(&s, |e| e.excuse = Some(why.clone())), Degraded);
        let without_link = |e: &mut Evidence<'_>| {
            e.excuse = Some(why.clone());
            e.links = LinkFinding::Unusable(Vec::new());
        };
        assert_eq!(state(&s, without_link), Down);
    }

    #[test]
    fn r6_a_quorum_makes_a_scope_down_earlier() {
        let s = scopes(&[("internet", &[Up, Down, Down])]);
        let quorum = BTreeMap::from([("internet".to_owned(), 2)]);
        let mut e = Evidence {
            settled: true,
            links: LinkFinding::Usable,
            required_down: Vec::new(),
            device_faults: Vec::new(),
            excuse: None,
            scopes: &s,
            quorum: &quorum,
        };
        assert_eq!(judge(&e).0, Down);
        e.quorum = const { &BTreeMap::new() };
        assert_eq!(judge(&e).0, Degraded);
    }

    #[test]
    fn r6_a_mass_outage_lists_few_reasons() {
        let s = scopes(&[("a", &[Down; 100])]);
        let e = Evidence {
            settled: true,
            links: LinkFinding::Usable,
            required_down: Vec::new(),
            device_faults: Vec::new(),
            excuse: None,
            scopes: &s,
            quorum: &BTreeMap::new(),
        };
        assert_eq!(judge(&e).1.len(), REASONS_LISTED);
    }
}
