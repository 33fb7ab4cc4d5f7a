//! From what is known to what is expected: targets, devices, and the whole.

use std::collections::BTreeMap;

use super::{
    Core, Dev, Links, Model, Tgt,
    codes::{Codes, Expect},
    net::{Net, Reach, Way},
    tcp,
};
use crate::{
    health::{ReasonCode, Role, Settings, State},
    observation::{FailureReason, IfIndex, Method},
    time::Mono,
};

impl Model {
    /// R1: whether the links were ever told of, so that R3 speaks.
    fn routes_are_known(&self) -> bool {
        matches!(self.links, Links::Known | Links::Gap)
    }

    pub(super) fn judge(&mut self, now: Mono, core: &dyn Core) -> Result<(), String> {
        for i in 0..self.targets.len() {
            for a in &self.targets[i].addresses {
                let (alone, _) = core.word(self.targets[i].spec.id, a.address);
                if alone && !a.lonely.may || !alone && a.lonely.must {
                    return Err(format!(
                        "R7, {}: alone in its silence: {alone}, but {:?}",
                        a.address, a.lonely
                    ));
                }
            }
            let (mut expect, own) = self.target(now, &self.targets[i], core);
            let settings = &self.settings;
            let t = &mut self.targets[i];
            t.judged.say(now, expect.state, own);
            damp(&mut expect, t.judged.suppressed(now, settings));
            t.expect = expect;
        }
        let served: Vec<IfIndex> =
            self.devices.iter().filter(|(_, d)| d.in_service).map(|(index, _)| *index).collect();
        for (index, d) in &mut self.devices {
            if self.links != Links::Known {
                d.expect = Expect::new(State::Unknown, Codes::of(&[ReasonCode::Gap]));
                continue;
            }
            let Some(link) = self.net.link(*index) else { continue };
            let mut expect = match self.net.fault(link) {
                Some((code, codes)) => Expect::led_by(State::Down, code, codes),
                None => {
                    let lost = self.net.lost_ports(link).iter().any(|port| served.contains(port));
                    device_in_service(d, now, lost, &self.settings)
                }
            };
            d.judged.say(now, expect.state, true);
            damp(&mut expect, d.judged.suppressed(now, &self.settings));
            d.expect = expect;
        }
        Ok(())
    }

    /// One target before damping, and whether a fault is its own.
    fn target(&self, now: Mono, t: &Tgt, core: &dyn Core) -> (Expect, bool) {
        let only = |state, code| Expect::new(state, Codes::of(&[code]));
        if t.addresses.is_empty() {
            return match t.unresolved {
                // R3: who could resolve it is out of reach.
                true if self.routes_are_known() && !self.any_way() => {
                    let dns = Codes::of(&[ReasonCode::Dns]);
                    (Expect::led_by(State::Down, ReasonCode::ExplainedByLink, dns), false)
                }
                true => (only(State::Down, ReasonCode::Dns), true),
                false => (only(State::Unknown, ReasonCode::Starting), true),
            };
        }
        let known = self.routes_are_known();
        let on = t.spec.link;
        if known && !t.addresses.iter().any(|a| a.reach.stands()) {
            return (only(State::Down, ReasonCode::ExplainedByLink), false);
        }
        let gateway = t.spec.role == Role::Gateway;
        if known && gateway && !t.addresses.iter().any(|a| self.net.is_gateway(a.address, on)) {
            return (only(State::Down, ReasonCode::NoRoute), false);
        }
        let mut codes = Codes::default();
        let (mut states, mut first) = (Vec::new(), None);
        let routed: Vec<_> = t.addresses.iter().filter(|a| !known || a.reach.stands()).collect();
        for a in &routed {
            let answers_for_it = gateway && self.net.neighbour(a.address, on).is_some_and(|n| n.is_valid());
            states.push(match a.seen.state {
                State::Down if answers_for_it && !a.seen.ever_up => {
                    codes = codes.with(ReasonCode::GatewaySilent);
                    State::Up
                }
                State::Down => {
                    let code = why(a.seen.failure);
                    first = first.or(Some(code));
                    codes = codes.with(code);
                    State::Down
                }
                state => state,
            });
        }
        let is = |state: State| states.contains(&state);
        let mut expect = match first {
            // All are down.
            Some(code) if !is(State::Up) && !is(State::Unknown) => match self.vetoed(now, t, core) {
                true => Expect::led_by(State::Degraded, ReasonCode::IcmpFiltered, codes),
                false => Expect { main: Codes::of(&[code]), ..Expect::new(State::Down, codes) },
            },
            _ if !is(State::Up) => Expect::new(State::Unknown, codes.with(ReasonCode::Starting)),
            Some(_) => Expect::led_by(State::Degraded, ReasonCode::AddressDown, codes),
            None => Expect::new(State::Up, codes),
        };
        if matches!(expect.state, State::Up | State::Degraded) {
            let up = || routed.iter().filter(|a| a.seen.state == State::Up);
            let faults = [
                (up().any(|a| a.seen.lossy), ReasonCode::Loss),
                (up().any(|a| a.latency.is_slow()), ReasonCode::Latency),
            ];
            let faults: Vec<_> = faults.into_iter().filter(|(is, _)| *is).map(|(_, code)| code).collect();
            faults.iter().for_each(|code| add(&mut expect, *code));
            if !faults.is_empty() {
                expect.state = State::Degraded;
            }
        }
        if t.unresolved {
            add(&mut expect, ReasonCode::Dns);
        }
        (expect, true)
    }

    /// R7: whether TCP says that a filter swallows the echoes.
    fn vetoed(&self, now: Mono, t: &Tgt, core: &dyn Core) -> bool {
        let mut routed = t.addresses.iter().filter(|a| a.reach.stands());
        self.routes_are_known()
            && t.spec.method == Method::Icmp
            && t.spec.role == Role::Plain
            && routed.all(|a| {
                let (alone, _) = core.word(t.spec.id, a.address);
                let carried = |w: &Way| self.reports.speak_for(now, w, &self.settings);
                !alone && filtered(a.seen.failure) && a.way.as_ref().is_some_and(|w| w.beyond && carried(w))
            })
    }

    /// R7: a silent gateway that TCP gets through behind.
    fn excused(&self, now: Mono) -> bool {
        let down =
            self.targets.iter().filter(|t| t.spec.role == Role::Gateway && t.expect.state == State::Down);
        self.links == Links::Known
            && down.flat_map(|t| &t.addresses).any(|a| {
                let carried = |w: &Way| self.reports.speak_for(now, w, &self.settings);
                let silent = a.reach.stands() && filtered(a.seen.failure) && !self.net.is_dead(a.address);
                silent && a.way.as_ref().is_some_and(carried)
            })
    }

    /// R1: whether the verdict over all has waited long enough for a first verdict of every target.
    pub(super) fn waited_long(&self, now: Mono) -> bool {
        now.since(self.started) > self.settings.settle
    }

    /// The verdict over all, as it may be now: two ways where it has waited long enough, and no tick has come since.
    pub fn overall(&self, now: Mono) -> Vec<Expect> {
        let unread = self.first_read || matches!(self.links, Links::Starting | Links::Gap);
        let all_told = self.targets.iter().all(|t| t.expect.state != State::Unknown);
        let settled = self.settled || !unread && all_told;
        let mut ways = vec![self.whole(now, settled)];
        if !settled && self.waited_long(now) {
            ways.push(self.whole(now, true));
        }
        // Nothing has made the core look at the whole yet.
        if !self.weighed {
            ways.push(Expect::new(State::Unknown, Codes::of(&[ReasonCode::Starting])));
        }
        if self.throttled {
            ways.iter_mut().for_each(|e| add(e, ReasonCode::Throttled));
        }
        ways
    }

    /// The core has given this verdict over all.
    pub fn given(&mut self, now: Mono, state: State) {
        let unread = self.first_read || matches!(self.links, Links::Starting | Links::Gap);
        let all_told = self.targets.iter().all(|t| t.expect.state != State::Unknown);
        self.settled |= self.weighed && !unread && all_told || state == State::Down;
        self.settled |= self.waited_long(now) && state != State::Unknown;
        if state != State::Unknown {
            self.interrupted = None;
        }
    }

    /// R2: a default route or a route to a target stands on a usable link, or none of the targets needs one.
    fn any_way(&self) -> bool {
        let reaches = || self.targets.iter().flat_map(|t| &t.addresses).map(|a| a.reach);
        let all_local = reaches().next().is_some() && reaches().all(|r| r == Reach::Local);
        let routed = reaches().any(|r| r == Reach::Routed);
        self.net.default_route(&self.settings.preferred) || routed || all_local
    }

    /// By the first rule that applies.
    fn whole(&self, now: Mono, settled: bool) -> Expect {
        let known = self.links == Links::Known;
        if known && !self.any_way() {
            return unusable(&self.net);
        }
        if known && self.settings.required.iter().any(|name| self.is_missed(name)) {
            return self.required();
        }
        let unknown = |code| {
            let codes = Codes::of(&[code]);
            let led = self.interrupted.map(|why| Expect::led_by(State::Unknown, why, codes));
            led.unwrap_or(Expect::new(State::Unknown, codes))
        };
        match self.links {
            Links::Starting => return unknown(ReasonCode::Starting),
            Links::Gap => return unknown(ReasonCode::Gap),
            Links::Absent | Links::Known => {}
        }
        let told = self.targets.iter().filter(|t| t.expect.state != State::Unknown).count();
        if !settled || told == 0 && !self.targets.is_empty() {
            return unknown(ReasonCode::Starting);
        }
        let faults = self.device_faults();
        if self.targets.is_empty() {
            return match known {
                true if faults.is_empty() => Expect::new(State::Up, faults),
                true => Expect::new(State::Degraded, faults),
                false => unknown(ReasonCode::NoEvidence),
            };
        }
        self.scopes(now, faults)
    }

    /// R6.
    fn scopes(&self, now: Mono, faults: Codes) -> Expect {
        let mut by_scope: BTreeMap<&str, Vec<State>> = BTreeMap::new();
        for t in self.targets.iter().filter(|t| t.expect.state != State::Unknown) {
            by_scope.entry(&t.spec.scope).or_default().push(t.expect.state);
        }
        let is_down = |scope: &str, states: &[State]| {
            let quorum = self.settings.quorum.get(scope).copied().unwrap_or(states.len());
            let down = states.iter().filter(|s| **s == State::Down).count();
            down >= quorum.clamp(1, states.len())
        };
        let down = by_scope.iter().filter(|(scope, states)| is_down(scope, states)).count();
        let any = |state| by_scope.values().flatten().any(|s| *s == state);
        let ranked = [
            (down > 0, ReasonCode::ScopeDown),
            (any(State::Down), ReasonCode::TargetDown),
            (any(State::Degraded), ReasonCode::TargetDegraded),
        ];
        let ranked: Vec<_> = ranked.into_iter().filter(|(is, _)| *is).map(|(_, code)| code).collect();
        let codes = Codes::of(&ranked);
        let whole = down == by_scope.len();
        let mut expect = match ranked.first() {
            Some(main) if whole && !self.excused(now) => Expect::led_by(State::Down, *main, codes),
            _ if whole => Expect::led_by(State::Degraded, ReasonCode::IcmpFiltered, codes.and(faults)),
            Some(main) => Expect::led_by(State::Degraded, *main, codes.and(faults)),
            None if faults.is_empty() => Expect::new(State::Up, codes),
            None => Expect::new(State::Degraded, faults),
        };
        // A verdict lists sixteen reasons; these are few codes, but of many subjects.
        expect.some = self.targets.len() > 6;
        expect
    }

    /// R2b: what is wrong with devices that have been in service, of the preferred ones if there are any; and that an
    /// uplink is missed.
    fn device_faults(&self) -> Codes {
        let preferred = &self.settings.preferred;
        let counts =
            |(_, d): &(&IfIndex, &Dev)| d.in_service && (preferred.is_empty() || preferred.contains(&d.name));
        let faulty = self.devices.iter().filter(counts);
        let faulty = faulty.filter(|(_, d)| matches!(d.expect.state, State::Down | State::Degraded));
        let told = faulty.filter(|(index, d)| {
            // A lost port is for its master to tell, if that is watched.
            let master = self.net.link(**index).and_then(|link| link.master);
            d.expect.state != State::Down || !master.is_some_and(|m| self.devices.contains_key(&m))
        });
        let devices = told.fold(Codes::default(), |all, (_, d)| all.and(d.expect.codes));
        let missed = self.links == Links::Known && self.uplink_missed;
        if missed { devices.with(ReasonCode::UplinkLost) } else { devices }
    }

    fn is_missed(&self, name: &str) -> bool {
        let link = self.net.links.iter().find(|l| l.name.as_bytes() == name.as_bytes());
        link.is_none_or(|l| self.net.fault(l).is_some())
    }

    /// R2b: some required device is down or missing.
    fn required(&self) -> Expect {
        let main = Codes::of(&[ReasonCode::RequiredDeviceDown, ReasonCode::DeviceGone]);
        let faults = self.net.links.iter().filter_map(|l| self.net.fault(l));
        let codes = faults.fold(main, |all, (_, codes)| all.and(codes));
        Expect { state: State::Down, codes, main, some: true }
    }
}

/// R2: no usable link. Which of the links is blamed the rules do not say.
fn unusable(net: &Net) -> Expect {
    let faults = net.links.iter().filter_map(|l| net.fault(l));
    let codes = faults
        .fold(Codes::of(&[ReasonCode::NoRoute, ReasonCode::NoUsableLink]), |all, (_, codes)| all.and(codes));
    Expect { state: State::Down, codes, main: codes, some: true }
}

/// R10, and R2b: whether it is a bridge that has lost a port.
fn device_in_service(d: &mut Dev, now: Mono, port_lost: bool, settings: &Settings) -> Expect {
    d.in_service = true;
    let faults =
        [(port_lost, ReasonCode::PortDown), (tcp::still(d.resends, now, settings), ReasonCode::Retransmits)];
    let faults: Vec<_> = faults.into_iter().filter(|(is, _)| *is).map(|(_, code)| code).collect();
    let state = if faults.is_empty() { State::Up } else { State::Degraded };
    Expect::new(state, Codes::of(&faults))
}

/// R12: what was lost too often in short reads degraded; down is never hidden.
fn damp(expect: &mut Expect, suppressed: bool) {
    if suppressed && matches!(expect.state, State::Up | State::Degraded) {
        add(expect, ReasonCode::Flapping);
        expect.state = State::Degraded;
    }
}

/// A reason beside the others; the first where there are none.
fn add(expect: &mut Expect, code: ReasonCode) {
    expect.codes = expect.codes.with(code);
    if expect.main.is_empty() || expect.state == State::Up {
        expect.main = expect.main.with(code);
    }
}

/// Whether what became of the last failed probe may be a filter's doing.
fn filtered(failure: Option<FailureReason>) -> bool {
    use FailureReason::{Prohibited, SendError, Timeout};
    failure.is_none_or(|reason| matches!(reason, Timeout | Prohibited | SendError))
}

/// The code of a down by probes.
fn why(failure: Option<FailureReason>) -> ReasonCode {
    use FailureReason as F;
    match failure {
        None | Some(F::Timeout) => ReasonCode::NoReply,
        Some(F::Refused) => ReasonCode::Refused,
        Some(F::ServFail | F::NxDomain) => ReasonCode::DnsError,
        Some(F::Status | F::Tls | F::Protocol) => ReasonCode::ServiceError,
        Some(F::SendError) => ReasonCode::SendFailed,
        Some(
            F::NetUnreachable
            | F::HostUnreachable
            | F::PortUnreachable
            | F::Prohibited
            | F::PacketTooBig
            | F::TtlExceeded
            | F::OtherUnreachable,
        ) => ReasonCode::Unreachable,
    }
}
