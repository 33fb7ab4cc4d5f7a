use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{GaveUp, Observer, Report, Statistics};

/// As many operations have series of their own; further ones are `other`.
const MOST: usize = 256;
/// The results of an operation: two successes, and each reason to give up.
const RESULTS: usize = 2 + GaveUp::ALL.len();

/// What a program's operations came to, for Prometheus: hand it to the retryers ([`Retryer::observe`]), and its text to
/// whoever scrapes the program.
///
/// ```
/// use std::{io, sync::Arc};
/// use netmon_client::retry::{Metrics, Policy, Retryer};
///
/// let metrics = Arc::new(Metrics::new());
/// let retryer = Retryer::new(Policy::default())?.name("upload").observe(metrics.clone());
/// retryer.run(|_| Ok::<_, io::Error>(()))?;
/// let text = metrics.render();
/// assert!(text.contains("netmon_client_retry_operations_total{operation=\"upload\",result=\"success\"} 1\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | family | counts |
/// |---|---|
/// | `netmon_client_retry_operations_total{operation,result}` | operations that ended: `success` (at the first attempt), `success_after_retry`, `exhausted`, `max_time`, `permanent`, `no_network`, `no_budget`, `cancelled` |
/// | `netmon_client_retry_attempts_total{operation}` | attempts, those of operations under way once they fail |
/// | `netmon_client_retry_retries_total{operation}` | attempts after the first, of operations that ended |
/// | `netmon_client_retry_refunds_total{operation}` | attempts that an outage cut, at no charge |
/// | `netmon_client_retry_blind_attempts_total{operation}` | attempts begun without knowledge of the network |
/// | `netmon_client_retry_outages_total{operation}` | outages that operations met |
/// | `netmon_client_retry_paused_seconds_total{operation}` | time held back by these |
/// | `netmon_client_retry_backoff_seconds_total{operation}` | time between attempts for other reasons |
/// | `netmon_client_retry_running_seconds_total{operation}` | time within attempts |
///
/// [`Retryer::observe`]: super::Retryer::observe
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<Cow<'static, str>, Totals>>);

#[derive(Clone, Debug, Default)]
struct Totals {
    results: [u64; RESULTS],
    attempts: u64,
    retries: u64,
    refunds: u64,
    blind_attempts: u64,
    outages: u64,
    paused: Duration,
    backed_off: Duration,
    running: Duration,
}

/// A family of one series an operation: name, help, value.
type Family = (&'static str, &'static str, fn(&Totals) -> Value);

enum Value {
    Count(u64),
    Time(Duration),
}

const FAMILIES: [Family; 8] = [
    ("attempts_total", "Attempts of operations that may be tried again.", |t| Value::Count(t.attempts)),
    ("retries_total", "Attempts after the first, of operations that ended.", |t| Value::Count(t.retries)),
    ("refunds_total", "Attempts that an outage cut, at no charge.", |t| Value::Count(t.refunds)),
    (
        "blind_attempts_total",
        "Attempts begun without knowledge of the network: no agent, or no verdict.",
        |t| Value::Count(t.blind_attempts),
    ),
    ("outages_total", "Outages that operations met.", |t| Value::Count(t.outages)),
    ("paused_seconds_total", "Time that outages held operations back.", |t| Value::Time(t.paused)),
    ("backoff_seconds_total", "Time between attempts for other reasons than outages.", |t| {
        Value::Time(t.backed_off)
    }),
    ("running_seconds_total", "Time within attempts.", |t| Value::Time(t.running)),
];

impl Metrics {
    /// Nothing counted.
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Makes an operation's series exist, at 0, before it is first run.
    pub fn declare(&self, operation: &str) {
        self.with(operation, |_| {});
    }

    /// All of it in the text format of Prometheus (`text/plain; version=0.0.4`).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // A string takes all that is written to it.
        let _ = self.write(&mut text);
        text
    }

    /// As [`render`](Self::render), to the end of a text of the program's own.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: &mut impl Write) -> fmt::Result {
        let operations = self.lock();
        let head = |out: &mut dyn Write, name: &str, help: &str| {
            writeln!(
                out,
                "# HELP netmon_client_retry_{name} {help}\n# TYPE netmon_client_retry_{name} counter"
            )
        };
        head(out, "operations_total", "Operations that ended, by result.")?;
        for (operation, totals) in &*operations {
            for (result, count) in results().zip(totals.results) {
                let operation = Escaped(operation);
                writeln!(
                    out,
                    "netmon_client_retry_operations_total{{operation=\"{operation}\",result=\"{result}\"}} {count}"
                )?;
            }
        }
        for (name, help, value) in FAMILIES {
            head(out, name, help)?;
            for (operation, totals) in &*operations {
                write!(out, "netmon_client_retry_{name}{{operation=\"{}\"}} ", Escaped(operation))?;
                match value(totals) {
                    Value::Count(count) => writeln!(out, "{count}")?,
                    Value::Time(time) => writeln!(out, "{}", time.as_secs_f64())?,
                }
            }
        }
        Ok(())
    }

    fn with(&self, operation: &str, change: impl FnOnce(&mut Totals)) {
        let mut operations = self.lock();
        if let Some(totals) = operations.get_mut(operation) {
            return change(totals);
        }
        let name = if operations.len() < MOST { Cow::Owned(operation.to_owned()) } else { "other".into() };
        change(operations.entry(name).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Totals>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Metrics {
    fn progressed(&self, operation: &str, added: &Statistics) {
        self.with(operation, |totals| {
            totals.attempts += u64::from(added.attempts);
            totals.refunds += u64::from(added.refunds);
            totals.blind_attempts += u64::from(added.blind_attempts);
            totals.outages += u64::from(added.outages);
            totals.paused += added.paused;
            totals.backed_off += added.backed_off;
            totals.running += added.running;
        });
    }

    fn finished(&self, report: &Report<'_>) {
        let place = match report.result {
            Ok(()) => usize::from(report.statistics.retries() > 0),
            Err(why) => 2 + why as usize,
        };
        self.with(report.operation, |totals| {
            totals.results[place] += 1;
            totals.retries += u64::from(report.statistics.retries());
        });
    }
}

/// The results, in the order of [`Totals::results`].
fn results() -> impl Iterator<Item = &'static str> {
    ["success", "success_after_retry"].into_iter().chain(GaveUp::ALL.map(GaveUp::as_str))
}

/// A label's value, as the format has it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    fn report(operation: &str, result: Result<(), GaveUp>, attempts: u32) -> Report<'_> {
        Report { operation, result, statistics: Statistics { attempts, ..Statistics::default() } }
    }

    fn filled() -> Metrics {
        let metrics = Metrics::new();
        metrics.declare("a\\b\"c\nd");
        for result in [Ok(()), Err(GaveUp::NoNetwork), Err(GaveUp::Cancelled)] {
            metrics.finished(&report("upload", result, 1));
        }
        metrics.finished(&report("upload", Ok(()), 2));
        metrics.finished(&report("upload", Err(GaveUp::NoNetwork), 0));
        let paused = Duration::from_millis(1500);
        metrics
            .progressed("upload", &Statistics { attempts: 5, refunds: 1, paused, ..Statistics::default() });
        metrics
    }

    #[test]
    fn counts_by_operation_and_result() {
        let text = filled().render();
        let has =
            |line: &str| assert!(text.lines().any(|l| l == format!("netmon_client_retry_{line}")), "{text}");
        for (result, count) in
            [("success", 1), ("success_after_retry", 1), ("no_network", 2), ("exhausted", 0)]
        {
            has(&format!("operations_total{{operation=\"upload\",result=\"{result}\"}} {count}"));
        }
        has("attempts_total{operation=\"upload\"} 5");
        has("retries_total{operation=\"upload\"} 1");
        has("paused_seconds_total{operation=\"upload\"} 1.5");
        has("refunds_total{operation=\"a\\\\b\\\"c\\nd\"} 0");
    }

    #[test]
    fn each_result_has_its_place() {
        let metrics = Metrics::new();
        for (n, why) in GaveUp::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| metrics.finished(&report("x", Err(why), 1)));
        }
        let text = metrics.render();
        for (n, why) in GaveUp::ALL.into_iter().enumerate() {
            assert!(text.contains(&format!("result=\"{}\"}} {}\n", why.as_str(), n + 1)), "{text}");
        }
    }

    #[test]
    fn names_without_end_are_bounded() {
        let metrics = Metrics::new();
        for n in 0..10_000 {
            metrics.finished(&report(&format!("job-{n}"), Ok(()), 1));
        }
        assert_eq!(metrics.lock().len(), MOST + 1);
        assert_eq!(metrics.lock()["other"].results[0], 10_000 - MOST as u64);
    }

    #[test]
    fn prometheus_takes_it() {
        let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
        let mut promtool = match promtool {
            Ok(child) => child,
            Err(e) => {
                eprintln!("SKIPPED: promtool: {e}; it is in Debian's package prometheus");
                assert!(std::env::var_os("CI").is_none(), "promtool is needed in CI");
                return;
            }
        };
        promtool.stdin.take().unwrap().write_all(filled().render().as_bytes()).unwrap();
        assert!(promtool.wait().unwrap().success());
    }
}
