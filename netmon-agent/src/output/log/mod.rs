//! The log: one line for each change of a verdict, with its reasons; little else. On standard error, in systemd's journal,
//! or in a file that is put aside when it is full.

#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/log.rs"]
pub(crate) mod fuzzing;
mod journal;
mod limit;
mod queue;
mod rolling;
mod settings;
mod writer;

use std::{
    io::{self, IsTerminal},
    sync::atomic::{AtomicBool, Ordering},
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{self, MakeWriter},
    prelude::*,
    registry::LookupSpan,
};

pub use self::{
    limit::RateLimit,
    settings::{FileSettings, LEAST_SIZE, LEVEL, LogFormat, MAX_FILES, MAX_SIZE, MOST_FILES, Settings},
    writer::lost,
};
use self::{rolling::Rolling, settings::Sink};
use crate::{
    diagnosis::Diagnosis,
    health::{State, Subject},
    state::ChangeEvent,
    time::Mono,
};

/// A library that tells hundreds of things a load at debug level, or warns of every odd answer, is asked by name.
const QUIET: &str = "aya=info,aya_obj=info,hickory_proto=error,hickory_net=error,hickory_resolver=error";

/// Whoever reads the journal sees of a line its message alone.
static MESSAGE_ONLY: AtomicBool = AtomicBool::new(false);

/// Why logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter can't be read.
    #[error("log filter {filter:?}: {source}; it reads like info, or info,netmon_agent::source=debug")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a log already.
    #[error("logging was set up twice")]
    Twice,
    /// Two places at once.
    #[error(
        "the log goes to a file or to systemd's journal: leave the file out, or let the format be text or json"
    )]
    Both,
    /// A size and nothing that has one.
    #[error(
        "the log goes to no file that could be too large: name one with --log-file, or leave the size out"
    )]
    NoFile,
    /// The thread that writes can't be had.
    #[error("no thread to write the log: {0}")]
    Thread(#[source] io::Error),
}

/// The log while it is kept. When it goes, what was logged is written; what is logged afterwards is not.
#[derive(Debug)]
pub struct Log {
    writer: Option<writer::Writer>,
    is_file: bool,
}

impl Log {
    /// Starts the thread that writes, where there is to be one. What is logged before waits for it.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn begin(&mut self) -> Result<(), LogError> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.begin().map_err(LogError::Thread))
    }

    /// Whether lines go to a file, where nobody sees them who has just started this.
    pub fn is_file(&self) -> bool {
        self.is_file
    }
}

/// What is let through: `filter` is a level or a list of directives as in `NETMON_LOG`.
fn levels(filter: &str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(format!("{QUIET},{filter}"));
    parsed.map_err(|source| LogError::Filter { filter: filter.into(), source })
}

/// Whether `filter` can be read.
///
/// # Errors
/// It can't.
pub fn check(filter: &str) -> Result<(), LogError> {
    levels(filter).map(drop)
}

/// Sets the process's log up; records of the `log` crate come through as well. A journal or a file that can't be had is
/// said on standard error, which takes its place. No thread is started: [`Log::begin`] does that.
///
/// # Errors
/// A filter that can't be read, a second call.
pub fn init(settings: &Settings) -> Result<Log, LogError> {
    let levels = levels(settings.level.as_deref().unwrap_or(LEVEL))?;
    let (mut log, mut missing) = (Log { writer: None, is_file: false }, None);
    let layer = match settings.sink(journal::is_stderr()) {
        Sink::Stderr { json } => on_stderr(json),
        Sink::Journal => match journal::prepare() {
            Ok((layer, writer)) => {
                log.writer = Some(writer);
                MESSAGE_ONLY.store(true, Ordering::Relaxed);
                layer.boxed()
            }
            Err(error) => {
                missing = Some(error);
                on_stderr(false)
            }
        },
        Sink::File { json, file } => {
            let open = move || Rolling::open(file, io::stderr(), Mono::now());
            let (lines, writer) = writer::prepare(open);
            log = Log { writer: Some(writer), is_file: true };
            written(json, false, lines)
        }
    };
    let registry = tracing_subscriber::registry().with(levels).with(layer);
    tracing::subscriber::set_global_default(registry).map_err(|_| LogError::Twice)?;
    tracing_log::LogTracer::init().map_err(|_| LogError::Twice)?;
    if let Some(error) = missing {
        tracing::warn!(%error, "no journal to log to; standard error takes its place");
    }
    Ok(log)
}

fn on_stderr<S: Subscriber + for<'a> LookupSpan<'a>>(json: bool) -> Box<dyn Layer<S> + Send + Sync> {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    written(json, colour, io::stderr)
}

/// Lines for people or for programs.
fn written<S, W>(json: bool, colour: bool, to: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A module path as `target` would be taken for what netmon calls a target.
    if json {
        fmt::layer().json().flatten_event(true).with_target(false).with_writer(to).boxed()
    } else {
        fmt::layer().with_writer(to).with_ansi(colour).with_target(false).boxed()
    }
}

/// One line for what was found out of a fault after the change that told of it.
pub fn diagnosed(change: &ChangeEvent) {
    let (kind, subject, state, seq) =
        (change.subject.kind(), change.subject.name(), change.state.as_str(), change.seq);
    let location = location(change);
    let message = message(format!("{} diagnosed", what(&change.subject)), &location);
    tracing::info!(kind, subject, state, seq, location, "{message}");
}

/// Where the fault is; empty where that is not known.
fn location(change: &ChangeEvent) -> String {
    let said = |d: &Diagnosis| format!("{}: {}", d.finding.place, d.finding.detail);
    change.diagnosis.as_ref().map(said).unwrap_or_default()
}

fn what(subject: &Subject) -> String {
    match subject {
        Subject::Network => "network".to_owned(),
        _ => format!("{} {}", subject.kind(), subject.name()),
    }
}

/// One line for a change: `warn` where something got worse, else `info`.
pub fn transition(change: &ChangeEvent) {
    let reasons: Vec<String> = change
        .reasons
        .iter()
        .map(|r| match r.subject.as_str() {
            "" => format!("{}: {}", r.code, r.detail),
            subject => format!("{} {subject}: {}", r.code, r.detail),
        })
        .collect();
    let (reasons, kind) = (reasons.join("; "), change.subject.kind());
    let (subject, state, previous, seq) =
        (change.subject.name(), change.state.as_str(), change.previous.as_str(), change.seq);
    let message = message(format!("{} is {state}", what(&change.subject)), &reasons);
    if matches!(change.state, State::Degraded | State::Down) {
        let location = location(change);
        tracing::warn!(kind, subject, state, previous, seq, reasons, location, "{message}");
    } else {
        tracing::info!(kind, subject, state, previous, seq, reasons, "{message}");
    }
}

/// With the reason, where the fields beside it are not seen.
fn message(what: String, why: &str) -> String {
    if why.is_empty() || !MESSAGE_ONLY.load(Ordering::Relaxed) { what } else { format!("{what}: {why}") }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::{
        diagnosis::{Finding, Place},
        health::{Reason, ReasonCode},
        time::Boot,
    };

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_change_is_one_line_of_json_with_its_reasons() {
        let memory = Memory::default();
        let writer = memory.clone();
        let lines = fmt::layer().json().flatten_event(true).with_writer(move || writer.clone());
        let change = ChangeEvent {
            seq: 7,
            at: Boot::default(),
            subject: Subject::Device("eth\n0".into()),
            previous: State::Up,
            state: State::Down,
            reasons: vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier")],
            diagnosis: Some(Diagnosis {
                at: Boot::default(),
                finding: Arc::new(Finding::in_hand(Place::Link, "eth0 has no carrier")),
            }),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || transition(&change));
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["level"], &line["state"], &line["previous"]),
            (&"WARN".into(), &"down".into(), &"up".into())
        );
        assert_eq!(line["reasons"], "no_carrier eth0: no carrier");
        assert_eq!(line["location"], "link: eth0 has no carrier");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let settings = Settings { level: Some("info,x=loud".to_owned()), ..Settings::default() };
        let said = init(&settings).unwrap_err().to_string();
        assert!(said.contains("x=loud"), "{said}");
    }
}
