//! The lines and objects that `netmon probe` prints.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::IpAddr,
};

use serde_json::{Value, json};

use super::summary::{Summary, millis};
use crate::{
    observation::{Evidence, Observation, ProbeOutcome},
    time::{Mono, Wall},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

/// One host under probe.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    address: IpAddr,
    how: String,
    count: Option<u64>,
    summary: Summary,
    /// When probes left of which it is not yet known what became.
    under_way: HashMap<u64, Mono>,
}

impl Host {
    pub(super) fn new(name: &str, address: IpAddr, how: String, count: Option<u64>) -> Self {
        let name = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        Self { name, address, how, count, summary: Summary::new(), under_way: HashMap::new() }
    }

    fn title(&self) -> String {
        if self.name == self.address.to_string() {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.address)
        }
    }
}

/// Turns observations into output, in the order they come.
#[derive(Debug)]
pub(super) struct Report {
    hosts: Vec<Host>,
    format: Format,
    /// Both clocks at one moment, to tell a person when a probe left.
    clocks: (Mono, Wall),
}

impl Report {
    /// `hosts`: in the order of their target numbers.
    pub(super) fn new(hosts: Vec<Host>, format: Format) -> Self {
        Self { hosts, format, clocks: (Mono::now(), Wall::now()) }
    }

    /// Whether every host has had the probes asked for.
    pub(super) fn is_complete(&self) -> bool {
        self.hosts.iter().all(|h| h.count.is_some_and(|count| h.summary.settled() >= count))
    }

    /// Whether every host answered at least once.
    pub(super) fn all_answered(&self) -> bool {
        self.hosts.iter().all(|h| h.summary.received > 0)
    }

    pub(super) fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        if self.format == Format::Text {
            for host in &self.hosts {
                writeln!(out, "probing {} by {}", host.title(), host.how)?;
            }
        }
        Ok(())
    }

    /// Takes what the engine saw.
    pub(super) fn take(&mut self, observation: &Observation, out: &mut impl Write) -> io::Result<()> {
        let Evidence::Probe(event) = &observation.evidence else { return Ok(()) };
        let clocks = self.clocks;
        let Some(host) = self.hosts.get_mut(event.target.0 as usize) else { return Ok(()) };
        host.summary.take(event.seq, &event.outcome);
        if event.outcome == ProbeOutcome::Sent {
            host.under_way.insert(event.seq, observation.at);
            return Ok(());
        }
        let sent = host.under_way.remove(&event.seq);
        match self.format {
            Format::Text => writeln!(out, "{}: seq={} {}", host.title(), event.seq, words(&event.outcome)),
            Format::Json => {
                let sent_at = wall(sent.unwrap_or(observation.at), clocks);
                match object(host, event.seq, &sent_at, &event.outcome) {
                    Some(object) => writeln!(out, "{object}"),
                    None => Ok(()),
                }
            }
        }
    }

    pub(super) fn end(&self, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Text => {
                for host in &self.hosts {
                    writeln!(out, "\n--- {} by {} ---", host.title(), host.how)?;
                    for line in host.summary.lines() {
                        writeln!(out, "{line}")?;
                    }
                }
                Ok(())
            }
            Format::Json => {
                let hosts: Vec<Value> = self.hosts.iter().map(summary).collect();
                writeln!(out, "{}", json!({"summary": true, "hosts": hosts}))
            }
        }
    }
}

fn words(outcome: &ProbeOutcome) -> String {
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
    }
}

/// One object a probe: what comes after its outcome (late, duplicate) is in the summary alone.
fn object(host: &Host, seq: u64, sent_at: &str, outcome: &ProbeOutcome) -> Option<Value> {
    let mut object = json!({
        "target": host.name, "address": host.address, "seq": seq, "sent_at": sent_at,
        // There in every object; null where no answer was timed.
        "timestamp_source": null,
    });
    match outcome {
        ProbeOutcome::Reply { rtt, stamp, ttl, .. } => {
            object["rtt_ns"] = json!(rtt.as_nanos() as u64);
            object["timestamp_source"] = json!(stamp.as_str());
            if let Some(ttl) = ttl {
                object["ttl"] = json!(ttl);
            }
        }
        ProbeOutcome::Failed { reason, reporter } => {
            object["failure"] = json!(reason.as_str());
            if let Some(reporter) = reporter {
                object["reporter"] = json!(reporter);
            }
        }
        ProbeOutcome::Inconclusive { .. } => object["failure"] = json!("inconclusive"),
        ProbeOutcome::Sent
        | ProbeOutcome::Late { .. }
        | ProbeOutcome::Duplicate
        | ProbeOutcome::Corrupted => return None,
    }
    Some(object)
}

fn summary(host: &Host) -> Value {
    let mut object = host.summary.json();
    object["target"] = json!(host.name);
    object["address"] = json!(host.address);
    object["probe"] = json!(host.how);
    object
}

/// A moment for people to read (RFC 3339).
fn wall(at: Mono, (mono, wall): (Mono, Wall)) -> String {
    let nanos = i128::from(wall.as_nanos()) + i128::from(at.as_nanos()) - i128::from(mono.as_nanos());
    jiff::Timestamp::from_nanosecond(nanos).map(|t| t.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observation::{FailureReason, ProbeEvent, StampSource, TargetId};

    fn report(format: Format, count: u64) -> Report {
        let host = |name: &str| Host::new(name, IpAddr::from([192, 0, 2, 1]), "icmp".to_owned(), Some(count));
        let mut report = Report::new(vec![host("a"), host("192.0.2.1")], format);
        report.clocks = (Mono::from_nanos(0), Wall::from_nanos(1_700_000_000_000_000_000));
        report
    }

    fn event(target: u32, seq: u64, ms: u64, outcome: ProbeOutcome) -> Observation {
        let address = IpAddr::from([192, 0, 2, 1]);
        let evidence = Evidence::Probe(ProbeEvent { target: TargetId(target), address, seq, outcome });
        Observation { at: Mono::from_nanos(ms * 1_000_000), evidence }
    }

    fn reply() -> ProbeOutcome {
        ProbeOutcome::Reply {
            rtt: Duration::from_micros(1234),
            stamp: StampSource::Kernel,
            ttl: Some(57),
            reordered: false,
        }
    }

    fn failed() -> ProbeOutcome {
        ProbeOutcome::Failed {
            reason: FailureReason::HostUnreachable,
            reporter: Some(IpAddr::from([192, 0, 2, 9])),
        }
    }

    fn printed(report: &mut Report, events: &[Observation]) -> String {
        let mut out = Vec::new();
        report.begin(&mut out).unwrap();
        for event in events {
            report.take(event, &mut out).unwrap();
        }
        report.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn life() -> [Observation; 6] {
        [
            event(0, 1, 0, ProbeOutcome::Sent),
            event(1, 1, 500, ProbeOutcome::Sent),
            event(0, 1, 2, reply()),
            event(0, 1, 3, ProbeOutcome::Duplicate),
            event(1, 1, 1500, failed()),
            event(1, 1, 1600, ProbeOutcome::Late { rtt: Duration::from_millis(1100) }),
        ]
    }

    #[test]
    fn a_person_reads_one_line_a_step() {
        let mut report = report(Format::Text, 1);
        let text = printed(&mut report, &life());
        for line in [
            "probing a (192.0.2.1) by icmp",
            "a (192.0.2.1): seq=1 rtt=1.234 ms ttl=57 stamp=kernel",
            "a (192.0.2.1): seq=1 duplicate",
            "192.0.2.1: seq=1 host_unreachable from 192.0.2.9",
            "192.0.2.1: seq=1 late rtt=1100.000 ms",
            "--- a (192.0.2.1) by icmp ---",
            "1 sent, 1 received, 0 lost (0.0 %), 1 duplicate",
            "1 sent, 0 received, 1 lost (100.0 %), 1 late",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
        assert!(report.is_complete() && !report.all_answered());
    }

    #[test]
    fn a_program_reads_one_object_a_probe_and_a_summary_last() {
        let mut report = report(Format::Json, 1);
        let objects: Vec<Value> =
            printed(&mut report, &life()).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            objects[0],
            json!({
                "target": "a", "address": "192.0.2.1", "seq": 1, "sent_at": "2023-11-14T22:13:20Z",
                "rtt_ns": 1_234_000, "timestamp_source": "kernel", "ttl": 57
            })
        );
        assert_eq!(
            objects[1],
            json!({
                "target": "192.0.2.1", "address": "192.0.2.1", "seq": 1, "sent_at": "2023-11-14T22:13:20.5Z",
                "failure": "host_unreachable", "reporter": "192.0.2.9", "timestamp_source": null
            })
        );
        assert_eq!(objects.len(), 3);
        assert_eq!((&objects[2]["summary"], objects[2].get("rtt_ns")), (&json!(true), None));
        assert_eq!(objects[2]["hosts"][0]["duplicates"], json!(1));
        assert_eq!(objects[2]["hosts"][1]["lost"], json!(1));
    }

    #[test]
    fn it_is_complete_only_when_every_host_is() {
        let mut report = report(Format::Json, 1);
        let mut out = Vec::new();
        for event in &life()[..4] {
            report.take(event, &mut out).unwrap();
        }
        assert!(!report.is_complete());
    }
}
