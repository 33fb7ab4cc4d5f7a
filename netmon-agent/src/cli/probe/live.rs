//! The live view: what a terminal shows while probes go out. Pure: hosts in, lines out.

use anstyle::{AnsiColor, Style};

use super::{
    host::{Fate, Host, RECENT},
    table::{Column, NAME, totals},
};
use crate::cli::{bars, text::clipped};

/// As they stand from left to right, with their rank: those of the lowest are shown first where there is little room.
const COLUMNS: [(Column, usize); 10] = [
    (Column::Sent, 3),
    (Column::Received, 2),
    (Column::Loss, 0),
    (Column::Last, 1),
    (Column::Min, 8),
    (Column::P50, 4),
    (Column::P99, 5),
    (Column::Max, 6),
    (Column::Jitter, 7),
    (Column::Stamps, 9),
];
/// Columns of this rank and above are shown only where the last probes have room too.
const BELOW_RECENT: usize = 6;
/// The narrowest that the last probes are shown in.
const LEAST_RECENT: usize = 8;
/// Shorter than this no name gets, unless all are.
const LEAST_NAME: usize = 12;

/// What the terminal is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Characters in a line.
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Whether it shows more than ASCII.
    pub(super) unicode: bool,
}

/// Which columns are shown, and how wide.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    name: usize,
    columns: Vec<Column>,
    /// Characters for the last probes; 0 for none.
    recent: usize,
}

/// The lines of the view, coloured, none longer than the terminal is wide, and fewer than it has rows.
pub(super) fn frame(hosts: &[Host], size: Size) -> Vec<String> {
    // The last row is the cursor's, the first the header.
    let room = size.rows.saturating_sub(2).max(1);
    let all = hosts.len() <= room;
    let shown = if all { hosts.iter().collect() } else { pick(hosts, room.saturating_sub(1).max(1)) };
    let widest = shown.iter().map(|h| h.title().chars().count()).max().unwrap_or(0);
    let layout = Layout::new(size.columns, widest);
    let mut lines = vec![layout.header(size.columns)];
    lines.extend(shown.iter().map(|host| layout.line(host, size)));
    if !all {
        lines.push(clipped(&totals(hosts), size.columns));
    }
    lines
}

/// Those that fail first, each kind in its order.
fn pick(hosts: &[Host], room: usize) -> Vec<&Host> {
    let failing = hosts.iter().filter(|h| h.is_failing());
    failing.chain(hosts.iter().filter(|h| !h.is_failing())).take(room).collect()
}

impl Layout {
    fn new(width: usize, widest: usize) -> Self {
        let least = widest.clamp(4, NAME).min((width / 4).max(LEAST_NAME));
        // A mark and a blank before the name, a blank before each column.
        let mut left = width.saturating_sub(2 + least);
        let mut ranks = Vec::new();
        let mut by_rank = COLUMNS;
        by_rank.sort_unstable_by_key(|(_, rank)| *rank);
        for (column, rank) in by_rank {
            let kept = if rank < BELOW_RECENT { 0 } else { LEAST_RECENT + 1 };
            if left < column.width() + 1 + kept {
                break;
            }
            left -= column.width() + 1;
            ranks.push(rank);
        }
        let more = widest.clamp(4, NAME).saturating_sub(least).min(left.saturating_sub(LEAST_RECENT + 1));
        left -= more;
        let recent = if left > LEAST_RECENT { (left - 1).min(RECENT) } else { 0 };
        let columns = COLUMNS.iter().filter(|(_, rank)| ranks.contains(rank)).map(|(c, _)| *c).collect();
        Self { name: least + more, columns, recent }
    }

    fn header(&self, width: usize) -> String {
        let mut text = format!("  {:1$}", "HOST", self.name);
        for column in &self.columns {
            text += &format!(" {:>1$}", column.title(), column.width());
        }
        if self.recent > 0 {
            text += " RECENT";
        }
        painted(&clipped(&text, width), Style::new().dimmed())
    }

    fn line(&self, host: &Host, size: Size) -> String {
        let name = format!("{:1$}", clipped(&host.title(), self.name), self.name);
        // Where there is hardly room for a name, no line may be longer than the terminal is wide.
        let name = clipped(&name, size.columns.saturating_sub(2));
        let mut text = format!("{} {name}", mark(host, size.unicode));
        for column in &self.columns {
            let cell = format!("{:>1$}", column.cell(host), column.width());
            text += &format!(" {}", painted(&cell, style(*column, host)));
        }
        if self.recent > 0 {
            text += &format!(" {}", recent(host, self.recent, size.unicode));
        }
        text
    }
}

/// Whether it answers.
fn mark(host: &Host, unicode: bool) -> String {
    let (sign, ascii, colour) = match host.last() {
        Some(Fate::Answered(_)) => ("●", "+", AnsiColor::Green),
        Some(_) => ("✗", "x", AnsiColor::Red),
        None => ("·", "?", AnsiColor::BrightBlack),
    };
    painted(if unicode { sign } else { ascii }, colour.on_default())
}

fn style(column: Column, host: &Host) -> Style {
    let loss = host.summary.loss();
    match column {
        Column::Loss if loss >= 0.5 => AnsiColor::Red.on_default(),
        Column::Loss if loss > 0.0 => AnsiColor::Yellow.on_default(),
        Column::Last if host.is_failing() => AnsiColor::Red.on_default(),
        _ => Style::new(),
    }
}

/// The last probes, a character each: how long each took among them, or that it failed.
fn recent(host: &Host, room: usize, unicode: bool) -> String {
    let shown: Vec<Fate> = host.recent.iter().skip(host.recent.len().saturating_sub(room)).copied().collect();
    let rtts = shown.iter().filter_map(|fate| match fate {
        Fate::Answered(rtt) => Some(*rtt),
        _ => None,
    });
    let (low, high) = (rtts.clone().min().unwrap_or_default(), rtts.max().unwrap_or_default());
    let lost = painted(&bars::lost(unicode).to_string(), AnsiColor::Red.on_default());
    shown
        .iter()
        .map(|fate| match fate {
            Fate::Answered(rtt) => bars::bar(*rtt, low, high, unicode).to_string(),
            Fate::Failed(_) => lost.clone(),
            Fate::Inconclusive => "?".to_owned(),
        })
        .collect()
}

fn painted(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            summary::tests::{failed, reply},
            table::tests::host,
        },
        *,
    };
    use crate::observation::{FailureReason, ProbeOutcome};

    fn size(columns: usize, rows: usize) -> Size {
        Size { columns, rows, unicode: true }
    }

    fn plain(hosts: &[Host], size: Size) -> Vec<String> {
        frame(hosts, size).iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    fn hosts() -> [Host; 3] {
        let timeout = failed(FailureReason::Timeout);
        let inconclusive = ProbeOutcome::Inconclusive { lag: Duration::ZERO };
        [
            host("192.0.2.1", &[reply(10), reply(10), timeout, reply(20), inconclusive]),
            host("b.example", &[reply(1), failed(FailureReason::HostUnreachable)]),
            host("c.example", &[]),
        ]
    }

    #[test]
    fn a_host_is_a_line() {
        assert_eq!(
            plain(&hosts(), size(80, 24)),
            [
                "  HOST                  SENT  RECV   LOSS     LAST    P50    P99    MAX RECENT",
                "● 192.0.2.1                5     3  25.0%    20.00  10.00  20.00  20.00 ▁▁×█?",
                "✗ b.example (192.0.2.…     2     1  50.0%  no host  1.000  1.000  1.000 ▁×",
                "· c.example (192.0.2.…     0     0      -        -      -      -      - ",
            ]
        );
        let ascii = Size { unicode: false, ..size(80, 24) };
        assert!(plain(&hosts(), ascii)[1..].iter().all(|line| line.replace('…', "").is_ascii()));
    }

    #[test]
    fn more_room_shows_more_and_less_the_most_needed() {
        let header = |columns| plain(&hosts(), size(columns, 24))[0].clone();
        assert_eq!(
            header(130).trim_end(),
            "  HOST                   SENT  RECV   LOSS     LAST    MIN    P50    P99    MAX JITTER   STAMPS RECENT"
        );
        assert_eq!(header(40).trim_end(), "  HOST          RECV   LOSS     LAST");
        assert_eq!(header(24).trim_end(), "  HOST           LOSS");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_is_wide() {
        for columns in 1..200 {
            for line in plain(&hosts(), size(columns, 24)) {
                assert!(line.chars().count() <= columns.max(3), "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn hosts_that_find_no_row_are_summed_up_and_failing_ones_shown() {
        let mut all: Vec<Host> = (0..100).map(|i| host(&format!("h{i}"), &[reply(1)])).collect();
        all.push(host("bad", &[failed(FailureReason::Timeout)]));
        let lines = plain(&all, size(80, 10));
        assert_eq!(lines.len(), 9);
        assert!(lines[1].starts_with("✗ bad") && lines[2].starts_with("● h0"), "{lines:#?}");
        assert!(lines[8].starts_with("101 hosts, 1 failing, 1 without any answer"), "{lines:#?}");
        for rows in 0..4 {
            assert!(plain(&all, size(80, rows)).len() >= 2);
        }
    }
}
