//! Lines of the log.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{layer::SubscriberExt, registry};

use super::{transition, written};
use crate::{
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

/// A change of a device of this name, for a reason in these words: one line as text, and one of JSON that has both.
pub fn line(name: &[u8], detail: &str) {
    let subject = escape_bytes(name);
    for json in [false, true] {
        let memory = Memory::default();
        let writer = memory.clone();
        let change = ChangeEvent {
            seq: 7,
            at: Boot::default(),
            subject: Subject::Device(subject.as_str().into()),
            previous: State::Up,
            state: State::Down,
            reasons: vec![Reason::new(ReasonCode::NoCarrier, &*subject, detail)],
            diagnosis: None,
        };
        let lines = registry().with(written(json, false, move || writer.clone()));
        tracing::subscriber::with_default(lines, || transition(&change));
        let written = std::mem::take(&mut *memory.0.lock().unwrap_or_else(PoisonError::into_inner));
        let text = String::from_utf8(written).expect("a line that is text");
        let line = text.strip_suffix('\n').expect("a line with an end");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        if json {
            let told: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            assert_eq!(told["subject"], *subject);
            assert_eq!(told["reasons"], format!("no_carrier {subject}: {detail}"));
        } else {
            assert!(
                line.contains(&format!("device {subject} is down")),
                "{line:?} does not name {subject:?}"
            );
        }
    }
}
