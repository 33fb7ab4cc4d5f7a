//! Snapshot to wire types: the one place where internals become what others rely on.

use std::{net::IpAddr, time::Duration};

use netmon_client::wire;

use crate::{
    health::{Reason, State, Subject, Verdict},
    observation::{ProbeDetail, RetransmitKind, TcpCounters},
    output::{WallOffset, metrics::mac_text, rfc3339},
    state::{AddressView, Board, ChangeEvent, DeviceView, Snapshot, TargetView},
    time::Boot,
};

/// A state.
pub fn state(state: State) -> wire::State {
    match state {
        State::Unknown => wire::State::Unknown,
        State::Up => wire::State::Up,
        State::Degraded => wire::State::Degraded,
        State::Down => wire::State::Down,
    }
}

/// A reason.
pub fn reason(reason: &Reason) -> wire::Reason {
    wire::Reason {
        code: reason.code.as_str().into(),
        subject: reason.subject.clone(),
        detail: reason.detail.clone(),
    }
}

fn reasons(verdict: &Verdict) -> Vec<wire::Reason> {
    verdict.reasons.iter().map(reason).collect()
}

/// The whole state. A stale one says `unknown` over all, with its reason, and keeps the rest for people to read.
pub fn status(snapshot: &Snapshot, board: &Board, now: Boot, walls: WallOffset) -> wire::Status {
    let verdict = &snapshot.verdict;
    let mut status = wire::Status {
        schema: wire::SCHEMA,
        state: state(verdict.state),
        since: walls.rfc3339(verdict.since.boot),
        since_boottime_ns: verdict.since.boot.as_nanos(),
        seq: snapshot.seq,
        boottime_ns: board.last_evaluated().as_nanos(),
        stale_after_ns: board.stale_after().as_nanos() as u64,
        reasons: reasons(verdict),
        devices: snapshot.devices.iter().map(|d| device(d, walls)).collect(),
        targets: snapshot.targets.iter().map(|t| target(t, walls)).collect(),
        agent: wire::Agent {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: now.since(snapshot.started.boot).as_secs_f64(),
            capabilities: snapshot
                .capabilities
                .iter()
                .map(|c| {
                    let (ok, detail, remedy) = (c.ok, c.detail.clone(), c.remedy.clone());
                    (c.name.clone(), wire::Capability { ok, detail, remedy })
                })
                .collect(),
        },
    };
    if board.is_stale(now) {
        status.state = wire::State::Unknown;
        status.reasons.insert(0, stale_reason(board, now));
    }
    status
}

/// Why a stale state says nothing (R15).
pub fn stale_reason(board: &Board, now: Boot) -> wire::Reason {
    let age = now.since(board.last_evaluated());
    wire::Reason {
        code: "stale".into(),
        subject: String::new(),
        detail: format!("not evaluated for {:.1} s", age.as_secs_f64()),
    }
}

fn device(d: &DeviceView, walls: WallOffset) -> wire::Device {
    let families = ["ipv4", "ipv6"].into_iter().zip(d.default_route);
    let stats = &d.link.stats;
    wire::Device {
        name: d.name.clone(),
        ifindex: d.link.index.0,
        state: state(d.verdict.state),
        since: walls.rfc3339(d.verdict.since.boot),
        since_boottime_ns: d.verdict.since.boot.as_nanos(),
        reasons: reasons(&d.verdict),
        admin_up: d.link.admin_up,
        carrier: d.link.carrier,
        oper_state: d.link.oper.as_str().into(),
        mtu: d.link.mtu,
        speed_mbps: d.link.speed_mbps,
        mac: d.link.mac.as_deref().map(mac_text),
        master: d.master.clone(),
        addresses: d.addresses.iter().map(|(address, length)| format!("{address}/{length}")).collect(),
        default_routes: families.filter(|(_, stands)| *stands).map(|(f, _)| f.into()).collect(),
        traffic: wire::Traffic {
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            rx_packets: stats.rx_packets,
            tx_packets: stats.tx_packets,
            rx_errors: stats.rx_errors,
            tx_errors: stats.tx_errors,
            rx_dropped: stats.rx_dropped,
            tx_dropped: stats.tx_dropped,
        },
        tcp: d.tcp.as_ref().map(|counters| tcp(counters, d.retransmit_ratio)),
    }
}

fn tcp(counters: &TcpCounters, retransmit_ratio: Option<f64>) -> wire::Tcp {
    let kinds = RetransmitKind::ALL.into_iter().map(|k| k.as_str().to_owned());
    wire::Tcp {
        retransmitted_segments: counters.retransmitted_segments.iter().sum(),
        retransmitted_segments_by_kind: kinds.zip(counters.retransmitted_segments).collect(),
        resets_sent: counters.resets_sent,
        resets_received: counters.resets_received,
        segments_sent: counters.segments_sent,
        active_opens: counters.active_opens,
        passive_opens: counters.passive_opens,
        failed_connects: counters.failed_connects,
        retransmit_ratio,
    }
}

fn target(t: &TargetView, walls: WallOffset) -> wire::Target {
    wire::Target {
        name: (*t.name).into(),
        host: t.host.clone(),
        scope: t.scope.clone(),
        probe: t.method.into(),
        state: state(t.verdict.state),
        since: walls.rfc3339(t.verdict.since.boot),
        since_boottime_ns: t.verdict.since.boot.as_nanos(),
        reasons: reasons(&t.verdict),
        addresses: t.addresses.iter().map(address).collect(),
    }
}

fn address(a: &AddressView) -> wire::TargetAddress {
    let ns = |d: Option<Duration>| d.map(|d| d.as_nanos() as u64);
    wire::TargetAddress {
        address: a.address.to_string(),
        family: family(a.address).into(),
        loss_ratio: a.loss_ratio,
        rtt: wire::Rtt { last_ns: ns(a.rtt_last), p50_ns: ns(a.rtt_p50), p99_ns: ns(a.rtt_p99) },
        jitter_ns: ns(a.jitter),
        phases: phases(&a.detail),
        status: a.detail.status,
        certificate_expires: a.detail.certificate_expires.map(rfc3339),
    }
}

fn phases(detail: &ProbeDetail) -> Option<wire::Phases> {
    let ns = |d: Option<Duration>| d.map(|d| d.as_nanos() as u64);
    let phases = wire::Phases {
        connect_ns: ns(detail.connect),
        tls_ns: ns(detail.tls),
        request_ns: ns(detail.request),
    };
    (phases != wire::Phases::default()).then_some(phases)
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// A change.
pub fn change(c: &ChangeEvent, walls: WallOffset) -> wire::Change {
    wire::Change {
        seq: c.seq,
        at: walls.rfc3339(c.at),
        kind: c.subject.kind().into(),
        subject: c.subject.name().into(),
        state: state(c.state),
        previous: state(c.previous),
        reasons: c.reasons.iter().map(reason).collect(),
    }
}

/// The state as it is, as an event of this kind (`state`, `update`, `gap`).
pub fn as_it_is(
    kind: &str,
    snapshot: &Snapshot,
    board: &Board,
    now: Boot,
    walls: WallOffset,
) -> wire::Change {
    let stale = board.is_stale(now);
    let state = if stale { wire::State::Unknown } else { state(snapshot.verdict.state) };
    wire::Change {
        seq: snapshot.seq,
        at: walls.rfc3339(if kind == "state" { snapshot.verdict.since.boot } else { now }),
        kind: kind.into(),
        subject: Subject::Network.name().into(),
        state,
        previous: state,
        reasons: if stale { vec![stale_reason(board, now)] } else { reasons(&snapshot.verdict) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    fn view(detail: ProbeDetail) -> AddressView {
        AddressView {
            address: "2001:db8::1".parse().unwrap(),
            state: State::Up,
            counters: crate::state::ProbeCounters::default(),
            loss_ratio: None,
            rtt_last: None,
            rtt_p50: None,
            rtt_p90: None,
            rtt_p99: None,
            jitter: None,
            detail,
        }
    }

    #[test]
    fn what_a_probe_told_beside_is_there_as_far_as_it_is_known() {
        let json = |detail| serde_json::to_value(address(&view(detail))).unwrap();
        let none = json(ProbeDetail::default());
        for key in ["phases", "status", "certificate_expires"] {
            assert!(none.get(key).is_none(), "{none}");
        }
        let detail = ProbeDetail {
            connect: Some(Duration::from_micros(1_500)),
            tls: None,
            request: Some(Duration::from_nanos(7)),
            status: Some(503),
            certificate_expires: Some(Wall::from_nanos(1_900_000_000_500_000_000)),
        };
        let told = json(detail);
        assert_eq!(told["phases"], serde_json::json!({"connect_ns": 1_500_000, "request_ns": 7}));
        assert_eq!(
            (&told["status"], &told["certificate_expires"]),
            (&503.into(), &"2030-03-17T17:46:40.500Z".into())
        );
    }
}
