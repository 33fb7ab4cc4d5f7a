//! For people: eighty columns, their own time zone.

use std::{fmt::Write as _, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use netmon_client::wire::{History, Job, Others, Outage};

use crate::cli::text::{WIDTH, clipped, coloured, folded, place, printable, reasons, span};

/// Lines of who waited, for one outage.
const JOBS: usize = 3;

pub(super) fn screen(history: &History, zone: &TimeZone) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let (since, until) = (local(&history.since, zone), local(&history.until, zone));
    let _ = writeln!(out, "from {since} to {until}");
    if history.omitted > 0 {
        let _ =
            writeln!(out, "{} earlier outages are not shown: --limit, --since, --subject", history.omitted);
    }
    if history.outages.is_empty() {
        let _ = writeln!(out, "\nno outages");
    }
    for outage in &history.outages {
        one(&mut out, outage, zone);
    }
    let s = &history.summary;
    let _ = writeln!(out, "\navailability of {}", clipped(&printable(&s.subject), 40));
    let _ = writeln!(
        out,
        "  {:10}  {:>9}  {:>10}  {:>10}  {:>10}  {:>7}",
        "", "", "down", "degraded", "unobserved", "outages"
    );
    for day in &history.days {
        let _ = writeln!(out, "{}", row(&day.date, &day.times, Some(day.outages)));
    }
    if history.days.len() != 1 {
        let _ = writeln!(out, "{}", row("together", &s.times, Some(s.outages)));
    }
    let figure = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), length);
    if s.outages > 0 {
        let (longest, recover) = (length(s.longest_seconds), figure(s.mean_time_to_recover_seconds));
        let between = figure(s.mean_time_between_failures_seconds);
        let _ =
            writeln!(out, "\nlongest {longest}; mean time to recover {recover}, between failures {between}");
    }
    out
}

fn one(out: &mut String, o: &Outage, zone: &TimeZone) {
    let subject = if o.kind == "state" { o.subject.clone() } else { format!("{} {}", o.kind, o.subject) };
    let began = if o.start_seen { "" } else { "≤ " };
    let head = format!("{began}{}  {:>7}  {}", local(&o.start, zone), lasted(o), coloured(o.state, 8));
    // The colours take no columns.
    let taken = anstream::adapter::strip_str(&head).to_string().chars().count() + 1;
    let subject = clipped(&printable(&subject), WIDTH.saturating_sub(taken).max(8));
    let _ = writeln!(out, "\n{head} {subject}");
    for reason in &o.reasons {
        let _ = writeln!(out, "  {}", clipped(&reasons(std::slice::from_ref(reason)), WIDTH - 2));
    }
    if let Some(diagnosis) = &o.diagnosis {
        lines(out, "  where: ", &place(diagnosis));
    }
    if let Some(told) = &o.start_told {
        let _ = writeln!(out, "  the clock showed {} then, and was stepped since", local(told, zone));
    }
    match &o.end {
        None => _ = writeln!(out, "  it lasts"),
        Some(end) if !o.end_seen => {
            let _ = writeln!(out, "  last seen {}; nobody saw it end", local(end, zone));
        }
        Some(_) => {}
    }
    if o.unobserved_seconds >= 1.0 {
        let _ = writeln!(out, "  of it nobody looked for {}", length(o.unobserved_seconds));
    }
    if let Some(text) = waited(o) {
        lines(out, "  waited: ", &text);
    }
}

fn lines(out: &mut String, first: &str, text: &str) {
    let mut indent = first.to_owned();
    for line in folded(text, WIDTH - first.chars().count()) {
        let _ = writeln!(out, "{indent}{line}");
        indent = " ".repeat(first.chars().count());
    }
}

/// `3 restic (uid 0, longest 2m 9s), 1 rclone (…) and 12 more`.
fn waited(o: &Outage) -> Option<String> {
    let one = |j: &Job| {
        format!("{} {} (uid {}, longest {})", j.count, printable(&j.job), j.uid, length(j.longest_seconds))
    };
    let shown = o.waited.iter().take(JOBS).map(one).collect::<Vec<_>>().join(", ");
    let more = o.waited.iter().skip(JOBS).map(|j| j.count).sum::<u64>()
        + o.waited_others.map_or(0, |others: Others| others.count);
    match (shown.is_empty(), more) {
        (true, 0) => None,
        (true, more) => Some(format!("{more}")),
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

fn row(name: &str, t: &netmon_client::wire::Times, outages: Option<u64>) -> String {
    let share = t.availability.map_or_else(|| "–".to_owned(), percent);
    let time = |seconds: f64| if seconds < 0.0005 { "–".to_owned() } else { length(seconds) };
    let outages = outages.map_or_else(String::new, |n| n.to_string());
    format!(
        "  {name:10}  {share:>9}  {:>10}  {:>10}  {:>10}  {outages:>7}",
        time(t.down_seconds),
        time(t.degraded_seconds),
        time(t.unobserved_seconds)
    )
}

/// Never 100 % of what was down for a moment.
fn percent(share: f64) -> String {
    if share == 1.0 { "100 %".to_owned() } else { format!("{:.3} %", (share * 1e5).floor() / 1e3) }
}

fn lasted(o: &Outage) -> String {
    length(o.seconds)
}

/// Two units, or tenths of a second.
fn length(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{s:.1}s"),
        s => span(Duration::from_secs_f64(s.min(1e12))),
    }
}

/// A time of the wire as the clock on the wall shows it; as it came, where it is none.
fn local(text: &str, zone: &TimeZone) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
        Err(_) => printable(text),
    }
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Day, Diagnosis, Reason, State, Summary, Times};

    use super::*;

    fn plain(history: &History, zone: &TimeZone) -> String {
        anstream::adapter::strip_str(&screen(history, zone)).to_string()
    }

    #[test]
    fn a_screen_is_eighty_columns_wide_and_harmless() {
        let long = "w\x1b[2J ".repeat(60);
        let outage = Outage {
            kind: "target".into(),
            subject: long.clone(),
            state: State::Degraded,
            start: "2026-01-31T12:00:00.000Z".into(),
            start_told: Some("2026-01-31T11:00:00.000Z".into()),
            end: Some("2026-01-31T12:00:00.000Z".into()),
            seconds: 90_061.0,
            unobserved_seconds: 30.0,
            reasons: vec![Reason { code: "loss".into(), detail: long.clone(), ..Reason::default() }],
            diagnosis: Some(Diagnosis { place: "path".into(), detail: long.clone(), ..Diagnosis::default() }),
            waited: (0..9).map(|_| Job { job: long.clone(), count: 2, ..Job::default() }).collect(),
            waited_others: Some(Others { count: 5, ..Others::default() }),
            ..Outage::default()
        };
        let day = Day { date: "2026-01-31".into(), ..Day::default() };
        let history = History {
            since: "2026-01-31T00:00:00Z".into(),
            until: "nonsense\x1b".into(),
            outages: vec![outage],
            omitted: 7,
            summary: Summary { subject: long, ..Summary::default() },
            days: vec![day],
            ..History::default()
        };
        let text = plain(&history, &TimeZone::UTC);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH && !line.contains('\x1b'), "{line}");
            assert_eq!(line, line.trim_end());
        }
        assert!(text.contains("and 17 more") && text.contains("nobody saw it end"), "{text}");
    }

    #[test]
    fn times_are_those_of_the_wall() {
        let outage = Outage {
            kind: "state".into(),
            subject: "network".into(),
            state: State::Down,
            start: "2026-01-31T23:30:00.000Z".into(),
            start_seen: true,
            seconds: 131.0,
            reasons: vec![Reason { code: "no_carrier".into(), subject: "eth0".into(), ..Reason::default() }],
            waited: vec![Job { job: "restic".into(), count: 3, longest_seconds: 129.0, ..Job::default() }],
            ..Outage::default()
        };
        let times = Times {
            up_seconds: 86_269.0,
            down_seconds: 131.0,
            availability: Some(0.998_484),
            ..Times::default()
        };
        let summary = Summary {
            subject: "network".into(),
            times,
            outages: 1,
            longest_seconds: 131.0,
            mean_time_to_recover_seconds: Some(131.0),
            mean_time_between_failures_seconds: Some(86_269.0),
            ..Summary::default()
        };
        let days = vec![Day { date: "2026-02-01".into(), times, outages: 1, ..Day::default() }];
        let history = History { outages: vec![outage], summary, days, ..History::default() };
        let text = plain(&history, &TimeZone::fixed(jiff::tz::offset(1)));
        for line in [
            "2026-02-01 00:30:00+01:00   2m 11s  down     network",
            "  no_carrier eth0",
            "  it lasts",
            "  waited: 3 restic (uid 0, longest 2m 9s)",
            "  2026-02-01   99.848 %      2m 11s           –           –        1",
            "longest 2m 11s; mean time to recover 2m 11s, between failures 23h 57m",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} in {text}");
        }
    }

    #[test]
    fn what_was_down_is_never_wholly_available() {
        assert_eq!([1.0, 0.999_999_9, 0.5, 0.0].map(percent), ["100 %", "99.999 %", "50.000 %", "0.000 %"]);
    }
}
