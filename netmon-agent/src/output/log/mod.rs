//! The log, on standard error: one line for each change of a verdict, with its reasons; little else.

mod limit;

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

pub use limit::RateLimit;

use crate::{
    diagnosis::Diagnosis,
    health::{State, Subject},
    state::ChangeEvent,
};

/// A library that tells hundreds of things a load at debug level, or warns of every odd answer, is asked by name.
const QUIET: &str = "aya=info,aya_obj=info,hickory_proto=error,hickory_net=error,hickory_resolver=error";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

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
}

/// Sets the process's log up. `filter` is a level or a list of directives as in `NETMON_LOG`; records of the `log`
/// crate come through as well.
///
/// # Errors
/// A filter that can't be read, or a second call.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let levels = EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(|source| LogError::Filter { filter: filter.into(), source })?;
    let registry = tracing_subscriber::registry().with(levels);
    let done = match format {
        LogFormat::Text => {
            let colour =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
            tracing::subscriber::set_global_default(registry.with(lines))
        }
        LogFormat::Json => {
            let lines = fmt::layer()
                .json()
                .flatten_event(true)
                // A module path under that name would be taken for what netmon calls a target.
                .with_target(false)
                .with_writer(std::io::stderr);
            tracing::subscriber::set_global_default(registry.with(lines))
        }
    };
    done.map_err(|_| LogError::Twice)?;
    tracing_log::LogTracer::init().map_err(|_| LogError::Twice)
}

/// One line for what was found out of a fault after the change that told of it.
pub fn diagnosed(change: &ChangeEvent) {
    let (kind, subject, state, seq) =
        (change.subject.kind(), change.subject.name(), change.state.as_str(), change.seq);
    let location = location(change);
    tracing::info!(kind, subject, state, seq, location, "{} diagnosed", what(&change.subject));
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
    let what = what(&change.subject);
    if matches!(change.state, State::Degraded | State::Down) {
        let location = location(change);
        tracing::warn!(kind, subject, state, previous, seq, reasons, location, "{what} is {state}");
    } else {
        tracing::info!(kind, subject, state, previous, seq, reasons, "{what} is {state}");
    }
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
        let said = init(LogFormat::Text, "info,x=loud").unwrap_err().to_string();
        assert!(said.contains("x=loud"), "{said}");
    }
}
