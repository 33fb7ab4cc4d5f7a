//! All about what is selected.

use std::fmt::Write as _;

use netmon_client::wire::{Change, Device, Diagnosis, Reason, Target, TargetAddress};
use ratatui::style::Style;

use super::{
    Line, events, links,
    paint::{Theme, age, percent, round_trip},
};
use crate::cli::{
    bars,
    text::{place, reasons},
    top::{
        model::{Model, Selected},
        track::{Sample, Track},
    },
};

/// The text; the line of the last round trips is as wide as the screen.
pub(super) fn text(model: &Model, theme: &Theme, now: u64, width: usize) -> Vec<Line> {
    match model.selected() {
        Some(Selected::Device(d)) => device(d, theme, now),
        Some(Selected::Target(t)) => target(t, model.store().track(&t.name), theme, now, width),
        Some(Selected::Change(c)) => change(c, theme),
        None => vec![("It is gone.".to_owned(), Style::new())],
    }
}

fn plain(text: impl Into<String>) -> Line {
    (text.into(), Style::new())
}

fn because(why: &[Reason], diagnosis: Option<&Diagnosis>) -> Vec<Line> {
    let mut lines: Vec<Line> =
        why.iter().map(|r| plain(format!("  {}", reasons(std::slice::from_ref(r))))).collect();
    if let Some(d) = diagnosis {
        lines.push(plain(format!("  where: {}", place(d))));
        if let Some(method) = &d.method {
            let hops = d.hops.iter().map(|hop| match hop.addresses.first() {
                Some(address) => format!("{} {address}", hop.hop),
                None => format!("{} ?", hop.hop),
            });
            let hops = hops.collect::<Vec<_>>().join(", ");
            lines.push(plain(format!("  looked at by {method}, {} ms: {hops}", d.took_ms)));
        }
    }
    lines
}

fn device(d: &Device, theme: &Theme, now: u64) -> Vec<Line> {
    let state = format!("device {}: {} for {}", d.name, d.state.as_str(), age(d.since_boottime_ns, now));
    let mut lines = vec![(state, theme.state(d.state))];
    lines.extend(because(&d.reasons, None));
    lines.push(plain(""));
    let changes = d.carrier_changes.map(|n| format!(", which came or went {n} times")).unwrap_or_default();
    lines.push(plain(format!("link       {}{changes}; {}", links::link(d), d.oper_state)));
    let mut is = format!("index {}, MTU {}", d.ifindex, d.mtu);
    // Writing to a String can't fail.
    if let Some(kind) = &d.kind {
        let _ = write!(is, ", {kind}");
    }
    if let Some(mbps) = d.speed_mbps {
        let _ = write!(is, ", {mbps} Mb/s");
    }
    if let Some(mac) = &d.mac {
        let _ = write!(is, ", {mac}");
    }
    lines.push(plain(format!("device     {is}")));
    for (word, list) in [
        ("part of", d.master.iter().cloned().collect()),
        ("stands on", d.lowers.clone()),
        ("addresses", d.addresses.clone()),
        ("default", d.default_routes.clone()),
    ] {
        let list: Vec<String> = list;
        if !list.is_empty() {
            lines.push(plain(format!("{word:10} {}", list.join(" "))));
        }
    }
    let t = &d.traffic;
    for (word, bytes, packets, errors, dropped) in [
        ("received", t.rx_bytes, t.rx_packets, t.rx_errors, t.rx_dropped),
        ("sent", t.tx_bytes, t.tx_packets, t.tx_errors, t.tx_dropped),
    ] {
        let size = bytesize::ByteSize(bytes).display().si();
        lines.push(plain(format!(
            "{word:10} {size} in {packets} packets, {errors} errors, {dropped} dropped"
        )));
    }
    if let Some(tcp) = &d.tcp {
        let ratio = tcp
            .retransmit_ratio
            .map(|_| format!(", {} lately", percent(tcp.retransmit_ratio)))
            .unwrap_or_default();
        let (again, sent) = (tcp.retransmitted_segments, tcp.segments_sent);
        let kinds = tcp.retransmitted_segments_by_kind.iter().filter(|(_, n)| **n > 0);
        let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{kind} {n}")).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        lines.push(plain(format!("TCP        {again} of {sent} segments sent again{kinds}{ratio}")));
        lines.push(plain(format!(
            "           {} connects, {} failed, {} accepted; resets: {} sent, {} received",
            tcp.active_opens, tcp.failed_connects, tcp.passive_opens, tcp.resets_sent, tcp.resets_received
        )));
    }
    lines
}

fn target(t: &Target, track: Option<&Track>, theme: &Theme, now: u64, width: usize) -> Vec<Line> {
    let state = format!("target {}: {} for {}", t.name, t.state.as_str(), age(t.since_boottime_ns, now));
    let mut lines = vec![(state, theme.state(t.state))];
    lines.extend(because(&t.reasons, t.diagnosis.as_ref()));
    lines.push(plain(""));
    let looked_up =
        t.resolve_ns.map(|ns| format!("; its name took {} to look up", round_trip(Some(ns), theme)));
    lines.push(plain(format!("{} {}, scope {}{}", t.probe, t.host, t.scope, looked_up.unwrap_or_default())));
    if let Some(track) = track {
        lines.extend(trips(track, theme, width));
    }
    for a in &t.addresses {
        lines.push(plain(""));
        lines.extend(address(a, theme));
    }
    lines
}

/// The last round trips as a line of bars, and what the lowest and the highest are.
fn trips(track: &Track, theme: &Theme, width: usize) -> Vec<Line> {
    let samples: Vec<Sample> = track.last(width).collect();
    let micros = samples.iter().filter_map(|s| s.micros());
    let (Some(low), Some(high)) = (micros.clone().min(), micros.max()) else { return Vec::new() };
    let time = |micros: u32| std::time::Duration::from_micros(micros.into());
    let mark = |sample: &Sample| match sample.micros() {
        Some(micros) => bars::bar(time(micros), time(low), time(high), theme.unicode),
        None => bars::lost(theme.unicode),
    };
    let trip = |micros: u32| round_trip(Some(u64::from(micros) * 1000), theme);
    vec![
        plain(samples.iter().map(mark).collect::<String>()),
        (format!("{} to {}, seen by netmon top", trip(low), trip(high)), theme.dim()),
    ]
}

fn address(a: &TargetAddress, theme: &Theme) -> Vec<Line> {
    let trip = |ns| round_trip(ns, theme);
    let mut lines = vec![plain(format!(
        "{} ({}): last {}, jitter {}, {} answered, {} lost",
        a.address,
        a.family,
        trip(a.rtt.last_ns),
        trip(a.jitter_ns),
        a.replies,
        a.lost
    ))];
    if !a.windows.is_empty() {
        let head = format!(
            "  {:4} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8}",
            "", "probes", "loss", "p50", "p90", "p99", "max"
        );
        lines.push((head, theme.dim()));
    }
    // As time runs, not as words are ordered.
    for (name, w) in ["1m", "5m", "1h"].iter().filter_map(|name| a.windows.get_key_value(*name)) {
        lines.push(plain(format!(
            "  {name:4} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8}",
            w.probes,
            percent(w.loss_ratio),
            trip(w.p50_ns),
            trip(w.p90_ns),
            trip(w.p99_ns),
            trip(w.max_ns)
        )));
    }
    let counted = [
        ("late", a.late),
        ("duplicate", a.duplicates),
        ("reordered", a.reordered),
        ("corrupted", a.corrupted),
    ];
    let mut odd: Vec<String> = a.lost_by_reason.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    odd.extend(counted.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{word} {n}")));
    if !odd.is_empty() {
        lines.push(plain(format!("  {}", odd.join(", "))));
    }
    let mut more = Vec::new();
    if let Some(ttl) = a.ttl {
        more.push(format!("TTL {ttl}, changed {} times", a.ttl_changes));
    }
    if let Some(p) = &a.phases {
        let phases = [("connect", p.connect_ns), ("TLS", p.tls_ns), ("request", p.request_ns)];
        more.extend(
            phases.iter().filter(|(_, ns)| ns.is_some()).map(|(word, ns)| format!("{word} {}", trip(*ns))),
        );
    }
    more.extend(a.status.map(|status| format!("status {status}")));
    more.extend(a.certificate_expires.iter().map(|at| format!("certificate until {at}")));
    if !more.is_empty() {
        lines.push(plain(format!("  {}", more.join(", "))));
    }
    lines
}

fn change(c: &Change, theme: &Theme) -> Vec<Line> {
    let mut lines = vec![
        (format!("{} {}", c.at, events::words(c)), theme.state(c.state)),
        plain(format!("  {}, before it {}; number {}", c.state.as_str(), c.previous.as_str(), c.seq)),
    ];
    lines.extend(because(&c.reasons, c.diagnosis.as_ref()));
    lines
}
