//! Turns what the engine saw into what `netmon probe` prints.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    host::{Host, Known},
    object,
    table::{FEW, table},
    words,
};
use crate::{
    observation::{Evidence, Observation, ProbeOutcome},
    time::{Mono, Wall},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
    Csv,
}

/// Turns observations into output, in the order they come.
#[derive(Debug)]
pub(super) struct Report {
    hosts: Vec<Host>,
    format: Format,
    /// Only sums, nothing of the single probe.
    quiet: bool,
    /// Both clocks at one moment, to tell when a probe left.
    clocks: (Mono, Wall),
}

impl Report {
    /// `hosts`: in the order of their target numbers.
    pub(super) fn new(hosts: Vec<Host>, format: Format, quiet: bool) -> Self {
        Self { hosts, format, quiet, clocks: (Mono::now(), Wall::now()) }
    }

    /// Looks at both clocks anew: the wall's may be set, and the other stands still while the machine is suspended.
    pub(super) fn look_at_clocks(&mut self) {
        self.clocks = (Mono::now(), Wall::now());
    }

    pub(super) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Whether every host has had the probes asked for.
    pub(super) fn is_complete(&self) -> bool {
        self.hosts.iter().all(Host::is_complete)
    }

    /// Whether every host answered at least once.
    pub(super) fn all_answered(&self) -> bool {
        self.hosts.iter().all(|h| h.summary.received > 0)
    }

    pub(super) fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Json => Ok(()),
            Format::Csv => object::write_row(out, &object::COLUMNS),
            Format::Text if self.hosts.len() > FEW => {
                let mut ways: Vec<&str> = self.hosts.iter().map(|h| h.how.as_str()).collect();
                ways.sort_unstable();
                ways.dedup();
                writeln!(out, "probing {} hosts by {}", self.hosts.len(), ways.join(", "))
            }
            Format::Text => self
                .hosts
                .iter()
                .try_for_each(|host| writeln!(out, "probing {} by {}", host.title(), host.how)),
        }
    }

    /// Takes what the engine saw.
    pub(super) fn take(&mut self, observation: &Observation, out: &mut impl Write) -> io::Result<()> {
        let Evidence::Probe(event) = &observation.evidence else { return Ok(()) };
        let Some(host) = self.hosts.get_mut(event.target.0 as usize) else { return Ok(()) };
        let (seq, outcome) = (event.seq, &event.outcome);
        let known = host.take(seq, observation.at, outcome);
        if self.quiet || matches!(outcome, ProbeOutcome::Sent | ProbeOutcome::Detail(_)) {
            return Ok(());
        }
        let sent_at = |known: &Known| wall(known.sent.unwrap_or(observation.at), self.clocks);
        match (self.format, known) {
            (Format::Text, known) => {
                let detail = known.map(|k| words::detail(&k.detail, host.is_dns)).unwrap_or_default();
                writeln!(out, "{}: seq={seq} {}{detail}", host.title(), words::outcome(outcome))
            }
            (_, None) => Ok(()),
            (Format::Json, Some(known)) => {
                writeln!(out, "{}", object::probe(host, seq, &sent_at(&known), outcome, &known))
            }
            (Format::Csv, Some(known)) => {
                object::write_row(out, &object::row(host, seq, &sent_at(&known), outcome, &known))
            }
        }
    }

    /// `aside`: where that goes which a program that reads the rows has no use for.
    pub(super) fn end(&self, out: &mut impl Write, aside: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Text => write_lines(out, &self.summary()),
            Format::Csv => write_lines(aside, &self.summary()),
            Format::Json => {
                let hosts: Vec<Value> = self.hosts.iter().map(object::summary).collect();
                writeln!(out, "{}", json!({"summary": true, "hosts": hosts}))
            }
        }
    }

    /// How things stand, a line a host.
    pub(super) fn interim(&self, aside: &mut impl Write) -> io::Result<()> {
        write_lines(aside, &table(&self.hosts))
    }

    fn summary(&self) -> Vec<String> {
        if self.hosts.len() > FEW {
            return std::iter::once(String::new()).chain(table(&self.hosts)).collect();
        }
        let title = |host: &Host| [String::new(), format!("--- {} by {} ---", host.title(), host.how)];
        self.hosts.iter().flat_map(|host| title(host).into_iter().chain(words::summary(host))).collect()
    }
}

fn write_lines(out: &mut impl Write, lines: &[String]) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// A moment for people to read (RFC 3339).
fn wall(at: Mono, (mono, wall): (Mono, Wall)) -> String {
    let passed = i128::from(at.as_nanos()) - i128::from(mono.as_nanos());
    words::timestamp(Wall::from_nanos((i128::from(wall.as_nanos()) + passed) as u64))
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;
    use crate::observation::{FailureReason, Method, ProbeDetail, ProbeEvent, StampSource, TargetId};

    fn report(format: Format, count: u64) -> Report {
        let how = || (&Method::Icmp, "icmp".to_owned());
        let host = |name: &str| Host::new(name, IpAddr::from([192, 0, 2, 1]), how(), Some(count), 3);
        let mut report = Report::new(vec![host("a"), host("192.0.2.1")], format, false);
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
        report.end(&mut out, &mut io::sink()).unwrap();
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

    #[test]
    fn a_table_reads_one_row_a_probe_and_the_summary_goes_aside() {
        let mut report = report(Format::Csv, 1);
        let text = printed(&mut report, &life());
        let expected = "\
target,address,seq,sent_at,rtt_ns,failure,ttl,timestamp_source,connect_ns,tls_ns,request_ns,status
a,192.0.2.1,1,2023-11-14T22:13:20Z,1234000,,57,kernel,,,,
192.0.2.1,192.0.2.1,1,2023-11-14T22:13:20.5Z,,host_unreachable,,,,,,
";
        assert_eq!(text, expected);
        let mut aside = Vec::new();
        report.end(&mut io::sink(), &mut aside).unwrap();
        assert!(String::from_utf8(aside).unwrap().contains("--- a (192.0.2.1) by icmp ---"));
    }

    #[test]
    fn details_and_damage_leave_a_probe_under_way() {
        let detail = ProbeDetail { status: Some(200), ..ProbeDetail::default() };
        let events = [
            event(0, 1, 0, ProbeOutcome::Sent),
            event(0, 1, 1, ProbeOutcome::Corrupted),
            event(0, 1, 2, ProbeOutcome::Detail(Box::new(detail))),
            event(0, 1, 2, reply()),
        ];
        let text = printed(&mut report(Format::Text, 1), &events);
        assert!(text.contains("a (192.0.2.1): seq=1 corrupted\na (192.0.2.1): seq=1 rtt=1.234 ms"), "{text}");
        assert!(text.contains("stamp=kernel status=200\n"), "{text}");
        let text = printed(&mut report(Format::Json, 1), &events);
        let object: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&object["sent_at"], &object["status"]), (&json!("2023-11-14T22:13:20Z"), &json!(200)));
    }

    #[test]
    fn quietly_there_is_but_the_summary() {
        for format in [Format::Json, Format::Text] {
            let mut report = report(format, 1);
            report.quiet = true;
            let text = printed(&mut report, &life());
            assert!(!text.contains("seq"), "{text}");
            assert!(text.contains("100.0 %") || text.contains("\"summary\":true"), "{text}");
        }
    }

    #[test]
    fn many_hosts_are_a_table() {
        let host = |i: usize| {
            let method = (&Method::Icmp, ["icmp", "tcp in place of icmp"][i % 2].to_owned());
            Host::new(&format!("h{i}"), IpAddr::from([192, 0, 2, 1]), method, None, 2)
        };
        let mut report = Report::new((0..6).map(host).collect(), Format::Text, true);
        let text = printed(&mut report, &life());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "probing 6 hosts by icmp, tcp in place of icmp");
        assert!(lines[3].starts_with("h0 (192.0.2.1)     1     1   0.0%  1.234"), "{text}");
        assert_eq!(lines.len(), 11);
        let mut aside = Vec::new();
        report.interim(&mut aside).unwrap();
        assert!(text.ends_with(std::str::from_utf8(&aside).unwrap()));
    }
}
