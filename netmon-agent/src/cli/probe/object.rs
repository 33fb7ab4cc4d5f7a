//! What a program reads: a JSON object or a row a probe.

use std::{collections::BTreeMap, io, io::Write, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    host::{Host, Known},
    words::timestamp,
};
use crate::observation::{ProbeOutcome, StampSource};

fn nanos(d: Duration) -> u64 {
    d.as_nanos() as u64
}

/// One object a probe: what comes after its outcome (late, duplicate) is in the summary alone.
pub(super) fn probe(host: &Host, seq: u64, sent_at: &str, outcome: &ProbeOutcome, known: &Known) -> Value {
    let mut object = json!({
        "target": host.name, "address": host.address, "seq": seq, "sent_at": sent_at,
        // There in every object; null where no answer was timed.
        "timestamp_source": null,
    });
    match outcome {
        ProbeOutcome::Reply { rtt, stamp, ttl, .. } => {
            object["rtt_ns"] = json!(nanos(*rtt));
            object["timestamp_source"] = json!(stamp.as_str());
            if let Some(ttl) = ttl {
                object["ttl"] = json!(ttl);
            }
        }
        ProbeOutcome::Failed { reporter: Some(reporter), .. } => object["reporter"] = json!(reporter),
        _ => {}
    }
    if let Some(failure) = failure(outcome) {
        object["failure"] = json!(failure);
    }
    let detail = &known.detail;
    for (key, took) in
        [("connect_ns", detail.connect), ("tls_ns", detail.tls), ("request_ns", detail.request)]
    {
        if let Some(took) = took {
            object[key] = json!(nanos(took));
        }
    }
    if let Some(status) = detail.status {
        object["status"] = json!(status);
    }
    if let Some(at) = detail.certificate_expires {
        object["certificate_expires"] = json!(timestamp(at));
    }
    object
}

fn failure(outcome: &ProbeOutcome) -> Option<&'static str> {
    match outcome {
        ProbeOutcome::Failed { reason, .. } => Some(reason.as_str()),
        ProbeOutcome::Inconclusive { .. } => Some("inconclusive"),
        _ => None,
    }
}

/// The columns of [`row`].
pub(super) const COLUMNS: [&str; 12] = [
    "target",
    "address",
    "seq",
    "sent_at",
    "rtt_ns",
    "failure",
    "ttl",
    "timestamp_source",
    "connect_ns",
    "tls_ns",
    "request_ns",
    "status",
];

/// The same as a row; what is not known is empty.
pub(super) fn row(
    host: &Host,
    seq: u64,
    sent_at: &str,
    outcome: &ProbeOutcome,
    known: &Known,
) -> [String; COLUMNS.len()] {
    let (rtt, stamp, ttl) = match outcome {
        ProbeOutcome::Reply { rtt, stamp, ttl, .. } => (Some(*rtt), stamp.as_str(), *ttl),
        _ => (None, "", None),
    };
    let time = |took: Option<Duration>| took.map(|d| nanos(d).to_string()).unwrap_or_default();
    let detail = &known.detail;
    [
        host.name.clone(),
        host.address.to_string(),
        seq.to_string(),
        sent_at.to_owned(),
        time(rtt),
        failure(outcome).unwrap_or_default().to_owned(),
        ttl.map(|ttl| ttl.to_string()).unwrap_or_default(),
        stamp.to_owned(),
        time(detail.connect),
        time(detail.tls),
        time(detail.request),
        detail.status.map(|status| status.to_string()).unwrap_or_default(),
    ]
}

/// A line of comma-separated values (RFC 4180), ended by a newline alone as other tools expect.
pub(super) fn write_row<T: AsRef<[u8]>>(out: &mut impl Write, cells: &[T]) -> io::Result<()> {
    let mut line = Vec::new();
    {
        // Into memory first: an error on the way through the writer would no longer say that the reader has gone.
        let mut writer = csv::WriterBuilder::new().buffer_capacity(256).from_writer(&mut line);
        writer.write_record(cells)?;
        writer.flush()?;
    }
    out.write_all(&line)
}

/// What a host's probes add up to.
pub(super) fn summary(host: &Host) -> Value {
    let summary = &host.summary;
    let (count, longest) = summary.bursts.counts();
    let rtt = summary.quantiles().map(|quantiles| {
        let [min, p50, p90, p99, max] = quantiles.map(nanos);
        json!({"min_ns": min, "p50_ns": p50, "p90_ns": p90, "p99_ns": p99, "max_ns": max})
    });
    let stamps: Map<String, Value> = StampSource::ALL
        .iter()
        .zip(summary.stamps)
        .map(|(source, n)| (source.as_str().to_owned(), n.into()))
        .collect();
    let phases: Map<String, Value> =
        summary.phases.medians().map(|(name, d)| (format!("{name}_p50_ns"), nanos(d).into())).collect();
    json!({
        "target": host.name, "address": host.address, "probe": host.how,
        "sent": summary.sent, "received": summary.received, "lost": summary.lost,
        // What nothing was heard of is null, and not 0.
        "loss_ratio": (summary.received + summary.lost > 0).then(|| summary.loss()),
        "late": summary.late, "duplicates": summary.duplicates, "reordered": summary.reordered,
        "corrupted": summary.corrupted, "inconclusive": summary.inconclusive, "send_errors": summary.send_errors,
        "failures": keyed(&summary.failures),
        "rtt": rtt, "jitter_ns": summary.jitter().map(nanos),
        "loss_bursts": {"count": count, "longest": longest, "lengths": keyed(&summary.bursts.lengths())},
        "ttl": {"seen": keyed(&summary.ttl.seen), "changes": summary.ttl.changes},
        "timestamps": stamps, "phases": phases, "statuses": keyed(&summary.statuses),
        "certificate_expires": summary.certificate_expires.map(timestamp),
    })
}

fn keyed<K: ToString>(counts: &BTreeMap<K, u64>) -> Map<String, Value> {
    counts.iter().map(|(key, n)| (key.to_string(), (*n).into())).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{super::summary::tests::failed, *};
    use crate::{
        observation::{FailureReason, Method, ProbeDetail},
        time::Wall,
    };

    fn host(name: &str) -> Host {
        let method = Method::Http(std::sync::Arc::default());
        Host::new(name, IpAddr::from([192, 0, 2, 1]), (&method, "https".to_owned()), None, 3)
    }

    fn known() -> Known {
        let ms = |n| Some(Duration::from_millis(n));
        let detail = ProbeDetail {
            connect: ms(1),
            tls: ms(2),
            request: ms(3),
            status: Some(503),
            certificate_expires: Some(Wall::from_nanos(1_800_000_000_000_000_000)),
        };
        Known { sent: None, detail }
    }

    #[test]
    fn phases_stand_beside_the_outcome() {
        let object = probe(&host("a"), 7, "then", &failed(FailureReason::Status), &known());
        assert_eq!(
            object,
            json!({
                "target": "a", "address": "192.0.2.1", "seq": 7, "sent_at": "then", "failure": "http_status",
                "timestamp_source": null, "connect_ns": 1_000_000, "tls_ns": 2_000_000, "request_ns": 3_000_000,
                "status": 503, "certificate_expires": "2027-01-15T08:00:00Z"
            })
        );
    }

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let mut out = Vec::new();
        write_row(&mut out, &COLUMNS).unwrap();
        let row = row(&host("a,b"), 7, "then", &failed(FailureReason::Status), &known());
        write_row(&mut out, &row).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "target,address,seq,sent_at,rtt_ns,failure,ttl,timestamp_source,connect_ns,tls_ns,request_ns,status\n\
             \"a,b\",192.0.2.1,7,then,,http_status,,,1000000,2000000,3000000,503\n"
        );
    }

    #[test]
    fn a_summary_has_no_round_trip_of_its_own() {
        let mut host = host("a");
        host.summary.take(1, &failed(FailureReason::Timeout));
        let object = summary(&host);
        assert_eq!((object.get("rtt_ns"), &object["rtt"]), (None, &Value::Null));
        assert_eq!((&object["jitter_ns"], &object["loss_ratio"]), (&Value::Null, &json!(1.0)));
        assert_eq!(object["failures"], json!({"timeout": 1}));
        assert_eq!(object["loss_bursts"], json!({"count": 1, "longest": 1, "lengths": {"1": 1}}));
    }
}
