//! Lines of the log.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing_subscriber::{layer::SubscriberExt, registry};

use super::{check, diagnosed, transition, written};
use crate::{
    diagnosis::{Diagnosis, Finding, Place},
    health::{Reason, ReasonCode, State, Subject},
    observation::escape_bytes,
    state::ChangeEvent,
    time::Boot,
};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A change of a device of this name, for a reason in these words, and where its fault is: one line each, as text, and as JSON
/// that has both.
pub fn line(name: &[u8], detail: &str) {
    let subject = escape_bytes(name);
    let finding = Finding {
        place: Place::ALL[name.len() % Place::ALL.len()],
        detail: detail.to_owned(),
        took: Duration::ZERO,
        target: Some(subject.as_str().into()),
        trace: None,
    };
    let diagnosis = Diagnosis { at: Boot::default(), finding: Arc::new(finding) };
    let down = ChangeEvent {
        seq: 7,
        at: Boot::default(),
        subject: Subject::Device(subject.as_str().into()),
        previous: State::Up,
        state: State::Down,
        reasons: vec![Reason::new(ReasonCode::NoCarrier, &*subject, detail)],
        diagnosis: None,
    };
    let found = ChangeEvent { diagnosis: Some(diagnosis), ..down.clone() };
    let whole = ChangeEvent {
        subject: Subject::Network,
        state: State::Up,
        reasons: vec![Reason::new(ReasonCode::NoCarrier, "", detail), down.reasons[0].clone()],
        ..down.clone()
    };
    let of_device = format!("device {subject} is down");
    for json in [false, true] {
        let reasons = format!("no_carrier {subject}: {detail}");
        let told = told(json, &of_device, || transition(&down));
        assert!(told.is_none_or(|told| told["subject"] == *subject && told["reasons"] == reasons));
        self::told(json, &of_device, || transition(&found));
        let told = self::told(json, "network is up", || transition(&whole));
        assert!(told.is_none_or(|told| told["reasons"] == format!("no_carrier: {detail}; {reasons}")));
        let told = self::told(json, &format!("device {subject} diagnosed"), || diagnosed(&found));
        let end = format!(": {detail}");
        assert!(told.is_none_or(|told| told["location"].as_str().is_some_and(|told| told.ends_with(&end))));
    }
}

/// The one line that is written, which has this in it, or as JSON.
fn told(json: bool, has: &str, write: impl FnOnce()) -> Option<serde_json::Value> {
    let memory = Memory::default();
    let writer = memory.clone();
    let lines = registry().with(written(json, false, move || writer.clone()));
    tracing::subscriber::with_default(lines, write);
    let written = std::mem::take(&mut *memory.0.lock().unwrap_or_else(PoisonError::into_inner));
    let text = String::from_utf8(written).expect("a line that is text");
    let line = text.strip_suffix('\n').expect("a line with an end");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    if !json {
        assert!(line.contains(has), "{line:?} does not have {has:?}");
        return None;
    }
    let told: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    assert_eq!(told["message"], *has);
    Some(told)
}

/// Whether this can be a filter.
///
/// # Errors
/// What is said where it can't.
pub fn filter(text: &str) -> Result<(), String> {
    check(text).map_err(|error| error.to_string())
}
