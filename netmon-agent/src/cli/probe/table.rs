//! Many hosts, a line each.

use std::time::Duration;

use super::{
    host::{Fate, Host},
    words::counted,
};
use crate::{
    cli::text::clipped,
    observation::{FailureReason, StampSource},
};

/// More hosts than this are told as a table.
pub(super) const FEW: usize = 5;
/// The widest a host's name gets.
pub(super) const NAME: usize = 40;

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Sent,
    Received,
    Loss,
    Last,
    Min,
    P50,
    P90,
    P99,
    Max,
    Jitter,
    Burst,
    Stamps,
}

/// Those of a summary.
const COLUMNS: [Column; 10] = [
    Column::Sent,
    Column::Received,
    Column::Loss,
    Column::Min,
    Column::P50,
    Column::P90,
    Column::P99,
    Column::Max,
    Column::Jitter,
    Column::Burst,
];

impl Column {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Sent => "SENT",
            Self::Received => "RECV",
            Self::Loss => "LOSS",
            Self::Last => "LAST",
            Self::Min => "MIN",
            Self::P50 => "P50",
            Self::P90 => "P90",
            Self::P99 => "P99",
            Self::Max => "MAX",
            Self::Jitter => "JITTER",
            Self::Burst => "BURST",
            Self::Stamps => "STAMPS",
        }
    }

    /// What a row takes, in characters.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Sent | Self::Received | Self::Burst => 5,
            Self::Last | Self::Stamps => 8,
            _ => 6,
        }
    }

    pub(super) fn cell(self, host: &Host) -> String {
        let summary = &host.summary;
        let quantile = |i: usize| summary.quantiles().map_or_else(missing, |all| short_millis(all[i]));
        match self {
            Self::Sent => short_count(summary.sent),
            Self::Received => short_count(summary.received),
            Self::Loss if summary.received + summary.lost == 0 => missing(),
            Self::Loss => percent(summary.loss()),
            Self::Last => host.last().map_or_else(missing, last),
            Self::Min => quantile(0),
            Self::P50 => quantile(1),
            Self::P90 => quantile(2),
            Self::P99 => quantile(3),
            Self::Max => quantile(4),
            Self::Jitter => summary.jitter().map_or_else(missing, short_millis),
            Self::Burst => match summary.bursts.counts() {
                (0, _) => missing(),
                (_, longest) => short_count(longest),
            },
            Self::Stamps => stamps(host),
        }
    }
}

fn missing() -> String {
    "-".to_owned()
}

/// Milliseconds in at most six characters.
pub(super) fn short_millis(d: Duration) -> String {
    let ms = d.as_secs_f64() * 1e3;
    match ms {
        ..9.9995 => format!("{ms:.3}"),
        ..99.995 => format!("{ms:.2}"),
        ..999.95 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A number in at most five characters, up to a thousand millions.
fn short_count(n: u64) -> String {
    match n {
        0..=99_999 => n.to_string(),
        100_000..=9_999_999 => format!("{}k", n / 1_000),
        _ => format!("{}M", n / 1_000_000),
    }
}

/// A share of 1 in at most six characters. Little is not nothing, and nearly all not all.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let shown = match percent {
        p if p > 0.0 && p < 0.1 => return "<0.1%".to_owned(),
        p if p < 100.0 => p.min(99.9),
        p => p,
    };
    format!("{shown:.1}%")
}

/// The last probe, in at most eight characters.
fn last(fate: Fate) -> String {
    match fate {
        Fate::Answered(rtt) => short_millis(rtt),
        Fate::Failed(reason) => clipped(short_reason(reason), 8),
        Fate::Inconclusive => missing(),
    }
}

fn short_reason(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::NetUnreachable => "no net",
        FailureReason::HostUnreachable => "no host",
        FailureReason::PortUnreachable => "no port",
        FailureReason::Prohibited => "filtered",
        FailureReason::PacketTooBig => "too big",
        FailureReason::TtlExceeded => "ttl",
        FailureReason::OtherUnreachable => "unreach",
        FailureReason::Status => "status",
        FailureReason::SendError => "not sent",
        other => other.as_str(),
    }
}

/// Who took most of the times; with a `*` where others took some.
fn stamps(host: &Host) -> String {
    let all: Vec<(StampSource, u64)> = host.summary.stamps().collect();
    let Some((most, _)) = all.iter().max_by_key(|(_, n)| *n) else { return missing() };
    let word = match most {
        StampSource::Hardware => "hw",
        other => other.as_str(),
    };
    format!("{word}{}", if all.len() > 1 { "*" } else { "" })
}

/// A line for each host, all columns one below another, and the sums of all.
pub(super) fn table(hosts: &[Host]) -> Vec<String> {
    let name = hosts.iter().map(|h| h.title().chars().count()).max().unwrap_or(0).clamp(4, NAME);
    let mut lines = vec![line("HOST", name, &COLUMNS.map(|c| (c.title().to_owned(), c.width())), "")];
    lines.extend(hosts.iter().map(|host| {
        let cells = COLUMNS.map(|c| (c.cell(host), c.width()));
        line(&clipped(&host.title(), name), name, &cells, &remarks(host))
    }));
    lines.push(String::new());
    lines.push(totals(hosts));
    lines
}

fn line(name: &str, width: usize, cells: &[(String, usize)], remarks: &str) -> String {
    let cells: String = cells.iter().map(|(cell, width)| format!(" {cell:>width$}")).collect();
    format!("{name:width$}{cells}  {remarks}").trim_end().to_owned()
}

fn remarks(host: &Host) -> String {
    let summary = &host.summary;
    let odd = [
        (summary.late, "late"),
        (summary.duplicates, "duplicate"),
        (summary.reordered, "reordered"),
        (summary.corrupted, "corrupted"),
        (summary.inconclusive, "inconclusive"),
        (summary.ttl.changes, "changes of ttl"),
    ];
    let failures = counted(&summary.failures);
    let odd = odd.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    Some(failures).filter(|f| !f.is_empty()).into_iter().chain(odd).collect::<Vec<_>>().join(", ")
}

/// The sums of all hosts, in a line.
pub(super) fn totals(hosts: &[Host]) -> String {
    let sum = |of: fn(&Host) -> u64| hosts.iter().map(of).sum::<u64>();
    let (received, lost) = (sum(|h| h.summary.received), sum(|h| h.summary.lost));
    let loss = lost as f64 / (received + lost).max(1) as f64;
    let failing = hosts.iter().filter(|h| h.is_failing()).count();
    let silent = hosts.iter().filter(|h| h.summary.received == 0).count();
    format!(
        "{} hosts, {failing} failing, {silent} without any answer; {} sent, {received} received, {lost} lost ({})",
        hosts.len(),
        sum(|h| h.summary.sent),
        percent(loss)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::IpAddr;

    use super::{
        super::summary::tests::{failed, reply},
        *,
    };
    use crate::{
        observation::{Method, ProbeOutcome},
        time::Mono,
    };

    /// A host with a name, and what its probes came to.
    pub(in super::super) fn host(name: &str, outcomes: &[ProbeOutcome]) -> Host {
        let method = (&Method::Icmp, "icmp".to_owned());
        let mut host = Host::new(name, IpAddr::from([192, 0, 2, 1]), method, None, 3);
        for (i, outcome) in outcomes.iter().enumerate() {
            host.take(i as u64 + 1, Mono::from_nanos(0), &ProbeOutcome::Sent);
            host.take(i as u64 + 1, Mono::from_nanos(0), outcome);
        }
        host
    }

    #[test]
    fn columns_stand_one_below_another() {
        let timeout = failed(FailureReason::Timeout);
        let hosts = [
            host("192.0.2.1", &[reply(1), reply(20), timeout.clone(), timeout.clone()]),
            host("a.example.com", &[timeout, ProbeOutcome::Duplicate]),
            host("b", &[]),
        ];
        let lines = table(&hosts);
        assert_eq!(
            lines,
            [
                "HOST                       SENT  RECV   LOSS    MIN    P50    P90    P99    MAX JITTER BURST",
                "192.0.2.1                     4     2  50.0%  1.000  1.000  20.00  20.00  20.00  1.188     2  timeout ×2",
                "a.example.com (192.0.2.1)     2     0 100.0%      -      -      -      -      -      -     1  \
                 timeout ×1, 1 duplicate",
                "b (192.0.2.1)                 0     0      -      -      -      -      -      -      -     -",
                "",
                "3 hosts, 2 failing, 2 without any answer; 6 sent, 2 received, 3 lost (60.0%)",
            ]
        );
    }

    #[test]
    fn figures_keep_to_their_width() {
        for (nanos, text) in [
            (0, "0.000"),
            (1_234, "0.001"),
            (9_999_400, "9.999"),
            (9_999_600, "10.00"),
            (99_996_000, "100.0"),
            (999_960_000, "1000"),
            (60_000_000_000, "60000"),
        ] {
            assert_eq!(short_millis(Duration::from_nanos(nanos)), text);
        }
        assert_eq!([99_999, 100_000, 12_345_678].map(short_count), ["99999", "100k", "12M"]);
        assert_eq!([0.0, 0.0001, 0.9999, 1.0].map(percent), ["0.0%", "<0.1%", "99.9%", "100.0%"]);
        for reason in FailureReason::ALL {
            assert!(last(Fate::Failed(reason)).chars().count() <= 8, "{reason}");
        }
    }

    #[test]
    fn stamps_of_several_sources_are_marked() {
        let user = ProbeOutcome::Reply {
            rtt: Duration::from_millis(1),
            stamp: StampSource::User,
            ttl: None,
            reordered: false,
        };
        assert_eq!(Column::Stamps.cell(&host("a", &[reply(1), reply(1), user])), "kernel*");
        assert_eq!(Column::Stamps.cell(&host("a", &[reply(1)])), "kernel");
        assert_eq!(Column::Stamps.cell(&host("a", &[])), "-");
    }
}
