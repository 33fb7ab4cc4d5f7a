//! One row an outage.

use netmon_client::wire::{History, Outage};

/// The first row.
const COLUMNS: [&str; 13] = [
    "start",
    "end",
    "seconds",
    "kind",
    "subject",
    "state",
    "cause",
    "place",
    "detail",
    "start_seen",
    "end_seen",
    "unobserved_seconds",
    "waited",
];

/// The rows, with a line of names before them. What lasts has no end.
pub(super) fn rows(history: &History) -> anyhow::Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(COLUMNS)?;
    for o in &history.outages {
        let diagnosis = o.diagnosis.as_ref();
        out.write_record([
            o.start.as_str(),
            o.end.as_deref().unwrap_or_default(),
            &format!("{:.3}", o.seconds),
            &o.kind,
            &o.subject,
            o.state.as_str(),
            &causes(o),
            diagnosis.map_or("", |d| &d.place),
            diagnosis.map_or("", |d| &d.detail),
            if o.start_seen { "1" } else { "0" },
            if o.end_seen { "1" } else { "0" },
            &format!("{:.3}", o.unobserved_seconds),
            &waited(o),
        ])?;
    }
    Ok(out.into_inner()?)
}

/// `code subject`, joined by `; `.
fn causes(o: &Outage) -> String {
    let all = o.reasons.iter().map(|r| format!("{} {}", r.code, r.subject).trim_end().to_owned());
    all.collect::<Vec<_>>().join("; ")
}

/// `name:uid:count:seconds`, joined by blanks, which names are made to have none of.
fn waited(o: &Outage) -> String {
    let name = |job: &str| job.replace([' ', ':'], "_");
    let named = o.waited.iter().map(|j| format!("{}:{}:{}:{:.3}", name(&j.job), j.uid, j.count, j.seconds));
    let others = o.waited_others.iter().map(|j| format!("others::{}:{:.3}", j.count, j.seconds));
    named.chain(others).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Diagnosis, Job, Reason, State};

    use super::*;

    #[test]
    fn a_row_is_read_back() {
        let reason = |code: &str, subject: &str| Reason {
            code: code.into(),
            subject: subject.into(),
            ..Reason::default()
        };
        let diagnosis = Diagnosis { place: "path".into(), detail: "a, \"b\"".into(), ..Diagnosis::default() };
        let waited = vec![Job { job: "my job".into(), count: 3, seconds: 1.5, ..Job::default() }];
        let outage = Outage {
            kind: "state".into(),
            subject: "network".into(),
            state: State::Down,
            start: "2026-01-01T00:00:00.000Z".into(),
            seconds: 12.3456,
            reasons: vec![reason("no_carrier", "eth0"), reason("scope_down", "")],
            diagnosis: Some(diagnosis),
            waited,
            ..Outage::default()
        };
        let history = History { outages: vec![outage], ..History::default() };
        let rows = rows(&history).unwrap();
        let mut reader = csv::Reader::from_reader(rows.as_slice());
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
        let row = reader.records().next().unwrap().unwrap();
        assert_eq!(&row[2], "12.346");
        assert_eq!((&row[1], &row[6]), ("", "no_carrier eth0; scope_down"));
        assert_eq!((&row[7], &row[8], &row[12]), ("path", "a, \"b\"", "my_job:0:3:1.500"));
    }
}
