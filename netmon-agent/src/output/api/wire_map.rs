//! Snapshot to wire types: the one place where internals become what others rely on.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use netmon_client::wire;

use crate::{
    diagnosis::{Diagnosis, SeenHop, Trace},
    health::{Figures, Quantiles, Reason, Span, State, Subject, Verdict},
    observation::{FailureReason, ProbeDetail, RetransmitKind, TcpCounters},
    output::{WallOffset, metrics::mac_text, rfc3339},
    state::{AddressView, Board, ChangeEvent, DeviceView, ProbeCounters, Snapshot, TargetView},
    time::{Boot, Mono},
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
        rule: reason.code.rule().map(str::to_owned),
    }
}

fn reasons(verdict: &Verdict) -> Vec<wire::Reason> {
    verdict.reasons.iter().map(reason).collect()
}

/// Where a fault is.
pub fn diagnosis(d: &Diagnosis, walls: WallOffset) -> wire::Diagnosis {
    let finding = &d.finding;
    let hop = |h: &SeenHop| wire::DiagnosisHop {
        hop: h.hop,
        addresses: h.addresses.iter().map(IpAddr::to_string).collect(),
        rtt_ns: ns(h.rtt),
    };
    let trace = finding.trace.as_ref();
    wire::Diagnosis {
        at: walls.rfc3339(d.at),
        // A look that took less than one is no evidence that was in hand.
        took_ms: finding.took.as_nanos().div_ceil(1_000_000) as u64,
        place: finding.place.as_str().into(),
        detail: finding.detail.clone(),
        target: finding.target.as_deref().map(str::to_owned),
        address: trace.map(|t| t.address.to_string()),
        source: trace.and_then(|t| t.source).map(|source| source.to_string()),
        method: trace.map(|t| t.method.clone()),
        reached: trace.map(|t| t.reached),
        last_hop: trace.and_then(Trace::last_hop).map(hop),
        hops: trace.map(|t| t.hops.iter().map(hop).collect()).unwrap_or_default(),
        path_mtu: trace.and_then(|t| t.path_mtu),
    }
}

/// The whole state. A stale one says `unknown` over all, with its reason, and keeps the rest for people to read.
pub fn status(snapshot: &Snapshot, board: &Board, now: Boot, walls: WallOffset) -> wire::Status {
    let mut reckoner = Reckoner { at: snapshot.at.mono, quantiles: Quantiles::default() };
    let targets = snapshot.targets.iter().map(|t| target(t, walls, &mut reckoner)).collect();
    wire::Status { targets, ..status_of_devices(snapshot, board, now, walls) }
}

/// The same without the targets, whose figures are most of the work where there are many.
pub fn status_of_devices(snapshot: &Snapshot, board: &Board, now: Boot, walls: WallOffset) -> wire::Status {
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
        diagnosis: snapshot.diagnosis.as_ref().map(|d| diagnosis(d, walls)),
        devices: snapshot.devices.iter().map(|d| device(d, walls)).collect(),
        targets: Vec::new(),
        connections: Vec::new(),
        agent: wire::Agent {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: now.since(snapshot.started.boot).as_secs_f64(),
            pid: std::process::id(),
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
        rule: Some("R15".into()),
    }
}

fn device(d: &DeviceView, walls: WallOffset) -> wire::Device {
    let families = ["ipv4", "ipv6"].into_iter().zip(d.default_route);
    let stats = &d.link.stats;
    wire::Device {
        name: d.name.clone(),
        ifindex: d.link.index.0,
        kind: d.link.kind.clone(),
        state: state(d.verdict.state),
        since: walls.rfc3339(d.verdict.since.boot),
        since_boottime_ns: d.verdict.since.boot.as_nanos(),
        reasons: reasons(&d.verdict),
        admin_up: d.link.admin_up,
        carrier: d.link.carrier,
        carrier_changes: Some(d.link.carrier_changes),
        oper_state: d.link.oper.as_str().into(),
        mtu: d.link.mtu,
        speed_mbps: d.link.speed_mbps,
        mac: d.link.mac.as_deref().map(mac_text),
        master: d.master.clone(),
        lowers: d.lowers.clone(),
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

fn target(t: &TargetView, walls: WallOffset, reckoner: &mut Reckoner) -> wire::Target {
    wire::Target {
        name: (*t.name).into(),
        host: t.host.clone(),
        scope: t.scope.clone(),
        probe: t.method.into(),
        state: state(t.verdict.state),
        since: walls.rfc3339(t.verdict.since.boot),
        since_boottime_ns: t.verdict.since.boot.as_nanos(),
        reasons: reasons(&t.verdict),
        diagnosis: t.diagnosis.as_ref().map(|d| diagnosis(d, walls)),
        resolve_ns: ns(t.look_up),
        addresses: t.addresses.iter().map(|a| address(a, reckoner)).collect(),
    }
}

/// Works out the windows of addresses at one time.
struct Reckoner {
    at: Mono,
    quantiles: Quantiles,
}

fn address(a: &AddressView, reckoner: &mut Reckoner) -> wire::TargetAddress {
    let (stats, counters) = (&a.stats, &a.stats.counters);
    let all = Span::ALL.map(|span| (span, stats.figures(span, reckoner.at, &mut reckoner.quantiles)));
    let (_, minute) = all[0];
    wire::TargetAddress {
        address: a.address.to_string(),
        family: family(a.address).into(),
        loss_ratio: minute.loss_ratio(),
        rtt: wire::Rtt { last_ns: ns(stats.last_rtt()), p50_ns: ns(minute.p50), p99_ns: ns(minute.p99) },
        jitter_ns: ns(stats.jitter()),
        replies: counters.replies,
        lost: counters.lost(),
        lost_by_reason: lost_by_reason(counters),
        late: counters.late,
        duplicates: counters.duplicates,
        reordered: counters.reordered,
        corrupted: counters.corrupted,
        ttl: stats.ttl(),
        ttl_changes: counters.ttl_changes,
        windows: all.iter().map(|(span, figures)| (span.as_str().into(), window(figures))).collect(),
        phases: phases(&a.detail),
        status: a.detail.status,
        certificate_expires: a.detail.certificate_expires.map(rfc3339),
    }
}

fn lost_by_reason(counters: &ProbeCounters) -> BTreeMap<String, u64> {
    let lost = FailureReason::ALL.into_iter().zip(counters.failures);
    lost.filter(|(reason, n)| *reason != FailureReason::SendError && *n > 0)
        .map(|(reason, n)| (reason.as_str().into(), n))
        .collect()
}

fn window(f: &Figures) -> wire::Window {
    wire::Window {
        probes: f.probes(),
        lost: f.lost,
        loss_ratio: f.loss_ratio(),
        p50_ns: ns(f.p50),
        p90_ns: ns(f.p90),
        p99_ns: ns(f.p99),
        max_ns: ns(f.max),
    }
}

fn ns(d: Option<Duration>) -> Option<u64> {
    d.map(|d| d.as_nanos() as u64)
}

fn phases(detail: &ProbeDetail) -> Option<wire::Phases> {
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
        boottime_ns: Some(c.at.as_nanos()),
        kind: c.subject.kind().into(),
        subject: c.subject.name().into(),
        state: state(c.state),
        previous: state(c.previous),
        reasons: c.reasons.iter().map(reason).collect(),
        diagnosis: c.diagnosis.as_ref().map(|d| diagnosis(d, walls)),
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
    let at = if kind == "state" { snapshot.verdict.since.boot } else { now };
    wire::Change {
        seq: snapshot.seq,
        at: walls.rfc3339(at),
        boottime_ns: Some(at.as_nanos()),
        kind: kind.into(),
        subject: Subject::Network.name().into(),
        state,
        previous: state,
        reasons: if stale { vec![stale_reason(board, now)] } else { reasons(&snapshot.verdict) },
        // With one, this would read as one more word on a fault. Whoever comes in the middle of one asks for the status.
        diagnosis: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        diagnosis::{Finding, Place},
        health::AddressStats,
        observation::{ProbeOutcome, StampSource},
        time::{Moment, Wall},
    };

    #[test]
    fn an_address_tells_its_windows_as_of_the_snapshot() {
        let s = |t: u64| Mono::from_nanos(t * 1_000_000_000);
        let mut stats = AddressStats::default();
        let (failed, rtt) =
            (|reason| ProbeOutcome::Failed { reason, reporter: None }, Duration::from_millis(8));
        stats.record(s(60), &failed(FailureReason::Refused));
        stats.record(s(600), &failed(FailureReason::SendError));
        stats.record(
            s(601),
            &ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(63), reordered: true },
        );
        stats.record(s(602), &ProbeOutcome::Corrupted);
        let view = AddressView {
            address: [10, 0, 0, 1].into(),
            state: State::Up,
            stats: Arc::new(stats),
            detail: ProbeDetail::default(),
        };
        let target = TargetView { addresses: vec![view], ..TargetView::default() };
        let at = Moment { mono: s(650), ..Moment::default() };
        let snapshot = Snapshot { at, targets: vec![Arc::new(target)], ..Snapshot::default() };
        let board = Board::new(snapshot.clone(), Duration::from_secs(6));
        let told = status(&snapshot, &board, Boot::default(), WallOffset::default());
        let address = &told.targets[0].addresses[0];
        assert_eq!((address.loss_ratio, address.rtt.last_ns), (Some(0.0), Some(8_000_000)));
        assert_eq!((address.replies, address.lost, address.reordered, address.corrupted), (1, 1, 1, 1));
        assert_eq!(address.lost_by_reason, BTreeMap::from([("refused".to_owned(), 1)]));
        assert_eq!((address.ttl, address.ttl_changes), (Some(63), 0));
        let window = |name: &str| address.windows[name];
        assert_eq!(["1m", "5m", "1h"].map(|name| window(name).probes), [1, 1, 2]);
        assert_eq!((window("1h").lost, window("1h").loss_ratio), (1, Some(0.5)));
        assert_eq!(window("5m").max_ns, Some(8_000_000));
        assert!(window("1h").p50_ns.unwrap().abs_diff(8_000_000) < 100_000);
    }

    #[test]
    fn a_diagnosis_says_where_and_what_was_seen_of_the_way_if_anything_was() {
        let told = |finding| {
            let d = Diagnosis { at: Boot::default(), finding: Arc::new(finding) };
            serde_json::to_value(diagnosis(&d, WallOffset::default())).unwrap()
        };
        let in_hand = told(Finding::in_hand(Place::Link, "eth0 has no carrier"));
        let at = in_hand["at"].clone();
        let expected = serde_json::json!({
            "at": at, "took_ms": 0, "where": "link", "detail": "eth0 has no carrier",
        });
        assert_eq!(in_hand, expected);
        let hop = |hop, addresses: &[&str], rtt| SeenHop {
            hop,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            rtt,
        };
        let trace = Trace {
            address: "2001:db8::9".parse().unwrap(),
            source: Some("2001:db8::2".parse().unwrap()),
            method: "icmp".to_owned(),
            hops: vec![
                hop(1, &[], None),
                hop(2, &["2001:db8::1"], Some(Duration::from_nanos(7))),
                hop(3, &[], None),
            ],
            reached: false,
            path_mtu: Some(1280),
        };
        let (took, target) = (Duration::from_micros(1), Some("t".into()));
        let looked = told(Finding { took, target, trace: Some(trace), ..Finding::in_hand(Place::Path, "x") });
        assert_eq!(
            (&looked["took_ms"], &looked["target"]),
            (&1.into(), &"t".into()),
            "a look takes some time"
        );
        let last = serde_json::json!({"hop": 2, "addresses": ["2001:db8::1"], "rtt_ns": 7});
        assert_eq!((&looked["last_hop"], &looked["hops"][1]), (&last, &last));
        assert_eq!(looked["hops"][0], serde_json::json!({"hop": 1, "addresses": []}));
        assert_eq!((&looked["reached"], &looked["path_mtu"]), (&false.into(), &1280.into()));
        assert_eq!((&looked["address"], &looked["source"]), (&"2001:db8::9".into(), &"2001:db8::2".into()));
    }

    fn view(detail: ProbeDetail) -> AddressView {
        let address = "2001:db8::1".parse().unwrap();
        AddressView { address, state: State::Up, stats: Arc::default(), detail }
    }

    #[test]
    fn what_a_probe_told_beside_is_there_as_far_as_it_is_known() {
        let json = |detail| {
            let mut reckoner = Reckoner { at: Mono::default(), quantiles: Quantiles::default() };
            serde_json::to_value(address(&view(detail), &mut reckoner)).unwrap()
        };
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
