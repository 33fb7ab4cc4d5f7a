//! What a person reads: a line for a probe, a few for a host.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use super::{host::Host, summary::Summary};
use crate::{
    observation::{ProbeDetail, ProbeOutcome},
    time::Wall,
};

/// Milliseconds with three decimals, as ping prints them.
pub(in crate::cli) fn millis(d: Duration) -> String {
    format!("{:.3}", d.as_secs_f64() * 1e3)
}

/// RFC 3339.
pub(super) fn timestamp(at: Wall) -> String {
    let parsed = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos()));
    parsed.map(|t| t.to_string()).unwrap_or_default()
}

/// The word for a DNS response code (RFC 1035 section 4.1.1), the number of any other status.
pub(super) fn status(status: u16, is_dns: bool) -> String {
    const CODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    match CODES.get(usize::from(status)) {
        Some(word) if is_dns => (*word).to_owned(),
        _ => status.to_string(),
    }
}

/// What became of a probe.
pub(super) fn outcome(outcome: &ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Sent => "sent".to_owned(),
        ProbeOutcome::Reply { rtt, stamp, ttl, reordered } => {
            let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
            let reordered = if *reordered { " reordered" } else { "" };
            format!("rtt={} ms{ttl} stamp={}{reordered}", millis(*rtt), stamp.as_str())
        }
        ProbeOutcome::Failed { reason, reporter } => {
            let from = reporter.map(|a| format!(" from {a}")).unwrap_or_default();
            format!("{reason}{from}")
        }
        ProbeOutcome::Inconclusive { lag } => {
            format!("inconclusive: this machine was busy ({} ms late)", millis(*lag))
        }
        ProbeOutcome::Late { rtt } => format!("late rtt={} ms", millis(*rtt)),
        ProbeOutcome::Duplicate => "duplicate".to_owned(),
        ProbeOutcome::Corrupted => "corrupted".to_owned(),
        ProbeOutcome::Detail(_) => String::new(),
    }
}

/// What else was learnt of it, with a blank before each part.
pub(super) fn detail(detail: &ProbeDetail, is_dns: bool) -> String {
    let phases = [("connect", detail.connect), ("tls", detail.tls)]
        .into_iter()
        // Of DNS over UDP the request is all there is to the round trip.
        .chain([("request", detail.request.filter(|_| !is_dns || detail.connect.is_some()))]);
    let mut text: String =
        phases.filter_map(|(name, took)| took.map(|took| format!(" {name}={} ms", millis(took)))).collect();
    if let Some(code) = detail.status {
        text += &format!(" status={}", status(code, is_dns));
    }
    text
}

/// What a host's probes add up to.
pub(super) fn summary(host: &Host) -> Vec<String> {
    let summary = &host.summary;
    let mut lines = vec![format!(
        "{} sent, {} received, {} lost ({:.1} %){}",
        summary.sent,
        summary.received,
        summary.lost,
        summary.loss() * 100.0,
        oddities(summary)
    )];
    if let Some(quantiles) = summary.quantiles() {
        let [min, p50, p90, p99, max] = quantiles.map(millis);
        let jitter = millis(summary.jitter().unwrap_or_default());
        lines.push(format!("rtt min/p50/p90/p99/max {min}/{p50}/{p90}/{p99}/{max} ms, jitter {jitter} ms"));
    }
    lines.extend(phases(summary));
    if !summary.failures.is_empty() {
        lines.push(format!("failures: {}", counted(&summary.failures)));
    }
    if summary.lost > 0 {
        lines.push(bursts(summary));
    }
    lines.extend(answers(host));
    lines
}

fn oddities(summary: &Summary) -> String {
    [
        (summary.late, "late"),
        (summary.duplicates, "duplicate"),
        (summary.reordered, "reordered"),
        (summary.corrupted, "corrupted"),
        (summary.inconclusive, "inconclusive"),
        (summary.send_errors, "not sent"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!(", {n} {what}"))
    .collect()
}

fn phases(summary: &Summary) -> Option<String> {
    let medians: Vec<(&str, Duration)> = summary.phases.medians().collect();
    let names: Vec<&str> = medians.iter().map(|(name, _)| *name).collect();
    let values: Vec<String> = medians.iter().map(|(_, median)| millis(*median)).collect();
    let (names, values) = (names.join("/"), values.join("/"));
    // The request alone is the round trip once more.
    (!names.is_empty() && names != "request").then(|| format!("{names} p50 {values} ms"))
}

fn bursts(summary: &Summary) -> String {
    let (count, longest) = summary.bursts.counts();
    let mut text = format!("loss in {count} {}, the longest {longest}", plural(count, "burst"));
    if longest > 1 && count > 1 {
        text += &format!(" (length and number: {})", counted(&summary.bursts.lengths()));
    }
    text
}

/// What the answers said of themselves.
fn answers(host: &Host) -> Vec<String> {
    let summary = &host.summary;
    let mut parts = Vec::new();
    let stamps: Vec<String> =
        summary.stamps().map(|(source, n)| format!("{} {n}", source.as_str())).collect();
    if !stamps.is_empty() {
        parts.push(format!("stamps: {}", stamps.join(", ")));
    }
    match summary.ttl.changes {
        _ if summary.ttl.seen.is_empty() => {}
        0 => parts.push(format!("ttl: {}", counted(&summary.ttl.seen))),
        n => parts.push(format!("ttl: {}, changed {n} {}", counted(&summary.ttl.seen), plural(n, "time"))),
    }
    if !summary.statuses.is_empty() {
        let named = summary.statuses.iter().map(|(code, n)| (status(*code, host.is_dns), *n));
        parts.push(format!("status: {}", counted(&named.collect::<BTreeMap<_, _>>())));
    }
    if let Some(at) = summary.certificate_expires {
        parts.push(format!("certificate expires: {}", timestamp(at)));
    }
    parts
}

fn plural(n: u64, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Each with its number, and commas between.
pub(super) fn counted<K: Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(what, n)| format!("{what} ×{n}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{
        super::summary::tests::{failed, reply},
        *,
    };
    use crate::{
        observation::{FailureReason, Method},
        time::Mono,
    };

    fn host(method: &Method, outcomes: &[ProbeOutcome]) -> Host {
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut host = Host::new("a", address, (method, "by hand".to_owned()), None, 3);
        for (i, outcome) in outcomes.iter().enumerate() {
            host.take(i as u64 + 1, Mono::from_nanos(0), &ProbeOutcome::Sent);
            host.take(i as u64 + 1, Mono::from_nanos(0), outcome);
        }
        host
    }

    #[test]
    fn a_summary_has_a_line_for_what_there_is() {
        let (timeout, refused) = (failed(FailureReason::Timeout), failed(FailureReason::Refused));
        let all = [
            reply(1),
            timeout.clone(),
            reply(2),
            refused,
            timeout,
            failed(FailureReason::SendError),
            ProbeOutcome::Inconclusive { lag: Duration::ZERO },
        ];
        assert_eq!(
            summary(&host(&Method::Icmp, &all)),
            [
                "7 sent, 2 received, 3 lost (60.0 %), 1 inconclusive, 1 not sent",
                "rtt min/p50/p90/p99/max 1.000/1.000/2.000/2.000/2.000 ms, jitter 0.062 ms",
                "failures: timeout ×2, refused ×1, send_error ×1",
                "loss in 2 bursts, the longest 2 (length and number: 1 ×1, 2 ×1)",
                "stamps: kernel 2",
                "ttl: 64 ×2",
            ]
        );
        assert_eq!(summary(&host(&Method::Icmp, &[])), ["0 sent, 0 received, 0 lost (0.0 %)"]);
    }

    #[test]
    fn phases_and_status_are_told() {
        let ms = |n| Some(Duration::from_millis(n));
        let told = ProbeDetail {
            connect: ms(1),
            tls: ms(2),
            request: ms(3),
            status: Some(204),
            certificate_expires: Some(Wall::from_nanos(1_800_000_000_000_000_000)),
        };
        assert_eq!(detail(&told, false), " connect=1.000 ms tls=2.000 ms request=3.000 ms status=204");
        let method = Method::Http(std::sync::Arc::default());
        let lines = summary(&host(&method, &[ProbeOutcome::Detail(Box::new(told))]));
        assert_eq!(
            lines[1..],
            [
                "connect/tls/request p50 1.000/2.000/3.000 ms",
                "status: 204 ×1",
                "certificate expires: 2027-01-15T08:00:00Z"
            ]
        );
        let dns = ProbeDetail { request: ms(3), status: Some(3), ..ProbeDetail::default() };
        assert_eq!(detail(&dns, true), " status=NXDOMAIN");
        let lines = summary(&host(&Method::dns(53), &[ProbeOutcome::Detail(Box::new(dns))]));
        assert_eq!(lines[1..], ["status: NXDOMAIN ×1"]);
    }
}
