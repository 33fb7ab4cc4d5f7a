//! A notice in words. Pure.

use netmon_client::wire;
use serde::Serialize;

use super::{
    hold::Notice,
    template::{Field, Words},
};
use crate::output::{WallOffset, api::wire_map};

/// Version of the JSON text: another one when a key changes or goes, not when one comes.
pub const VERSION: u32 = 1;

/// Longest list of reasons in one line, bytes. All of them are in the JSON text.
const LINE: usize = 4096;

/// A notice as it is told.
#[derive(Clone, Debug)]
pub struct Message {
    /// The values for templates and the environment.
    pub words: Words,
    /// The whole as JSON, one line.
    pub json: String,
}

/// What a message says beside its notice.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The notifier's name.
    pub notifier: &'a str,
    /// This machine's name.
    pub host: &'a str,
    /// The notice's own name.
    pub id: &'a str,
}

#[derive(Serialize)]
struct Json<'a> {
    version: u32,
    id: &'a str,
    notifier: &'a str,
    host: &'a str,
    collapsed: u64,
    #[serde(flatten)]
    change: &'a wire::Change,
}

impl Message {
    /// In the words of the API: keys and values are those of `netmon watch --json`, and some more.
    pub fn new(notice: &Notice, sender: Sender<'_>, walls: WallOffset) -> Self {
        let mut change = wire_map::change(&notice.change, walls);
        change.previous = wire_map::state(notice.previous);
        let Sender { notifier, host, id } = sender;
        let json =
            Json { version: VERSION, id, notifier, host, collapsed: notice.collapsed, change: &change };
        let json = serde_json::to_string(&json).expect("strings and numbers only");
        let words = Words::new(|field| match field {
            Field::State => change.state.as_str().to_owned(),
            Field::Previous => change.previous.as_str().to_owned(),
            Field::Kind => change.kind.clone(),
            Field::Subject => change.subject.clone(),
            Field::Reasons => reasons(&change.reasons),
            Field::Location => change.diagnosis.as_ref().map(location).unwrap_or_default(),
            Field::Seq => change.seq.to_string(),
            Field::At => change.at.clone(),
            Field::Host => host.to_owned(),
            Field::Collapsed => notice.collapsed.to_string(),
            Field::Id => id.to_owned(),
            Field::Notifier => notifier.to_owned(),
        });
        Self { words, json }
    }

    /// The environment variable of each field, `NETMON_STATE` and so on.
    pub fn environment(&self) -> impl Iterator<Item = (String, &str)> {
        let variable = |f: Field| format!("NETMON_{}", f.as_str().to_ascii_uppercase());
        Field::ALL.into_iter().map(move |f| (variable(f), self.words.get(f)))
    }
}

fn reasons(all: &[wire::Reason]) -> String {
    let mut line = String::new();
    for (i, reason) in all.iter().enumerate() {
        let wire::Reason { code, subject, detail, .. } = reason;
        let subject = if subject.is_empty() { String::new() } else { format!(" {subject}") };
        let one = format!("{}{code}{subject}: {detail}", if i > 0 { "; " } else { "" });
        if line.len() + one.len() > LINE {
            let left = all.len() - i;
            line.push_str(&format!("{}{left} more", if i > 0 { "; " } else { "" }));
            break;
        }
        line.push_str(&one);
    }
    line
}

fn location(d: &wire::Diagnosis) -> String {
    format!("{}: {}", d.place, d.detail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        diagnosis::{Diagnosis, Finding, Place},
        health::{Reason, ReasonCode, State, Subject},
        state::ChangeEvent,
        time::{Boot, Mono},
    };

    fn message(reasons: Vec<Reason>) -> Message {
        let finding = Arc::new(Finding::in_hand(Place::Link, "eth0 has no carrier"));
        let change = ChangeEvent {
            seq: 7,
            at: Boot::default(),
            subject: Subject::Device("et\"h0".into()),
            previous: State::Degraded,
            state: State::Down,
            reasons,
            diagnosis: Some(Diagnosis { at: Boot::default(), finding }),
        };
        let notice =
            Notice { change: Arc::new(change), previous: State::Up, due: Mono::default(), collapsed: 2 };
        let sender = Sender { notifier: "pager", host: "node1", id: "abc" };
        Message::new(&notice, sender, WallOffset::default())
    }

    #[test]
    fn the_json_has_the_keys_of_the_api_and_what_was_told_before() {
        let message = message(vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier")]);
        let json: serde_json::Value = serde_json::from_str(&message.json).unwrap();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "at",
                "boottime_ns",
                "collapsed",
                "diagnosis",
                "host",
                "id",
                "kind",
                "notifier",
                "previous",
                "reasons",
                "seq",
                "state",
                "subject",
                "version"
            ]
        );
        assert_eq!(json["version"], 1);
        assert_eq!((&json["state"], &json["previous"]), (&"down".into(), &"up".into()));
        assert_eq!((&json["subject"], &json["kind"]), (&"et\"h0".into(), &"device".into()));
        assert_eq!(json["reasons"][0]["code"], "no_carrier");
        assert!(!message.json.contains('\n'));
        let change: wire::Change = serde_json::from_str(&message.json).unwrap();
        assert_eq!((change.seq, change.state), (7, wire::State::Down));
    }

    #[test]
    fn each_field_is_an_environment_variable() {
        let message = message(vec![
            Reason::new(ReasonCode::NoCarrier, "eth0", "no carrier"),
            Reason::new(ReasonCode::NoRoute, "", "no default route"),
        ]);
        let all: Vec<(String, &str)> = message.environment().collect();
        let value = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        assert_eq!(all.len(), Field::ALL.len());
        assert_eq!(value("NETMON_STATE"), Some("down"));
        assert_eq!(value("NETMON_REASONS"), Some("no_carrier eth0: no carrier; no_route: no default route"));
        assert_eq!(value("NETMON_LOCATION"), Some("link: eth0 has no carrier"));
        assert_eq!((value("NETMON_COLLAPSED"), value("NETMON_ID")), (Some("2"), Some("abc")));
    }

    #[test]
    fn a_line_of_reasons_is_bounded_and_the_json_has_them_all() {
        let many = (0..1000).map(|i| Reason::new(ReasonCode::TargetDown, format!("t{i}"), "no reply"));
        let message = message(many.collect());
        let line = message.words.get(Field::Reasons);
        assert!(line.len() <= LINE + 20 && line.ends_with(" more"), "{}", line.len());
        let json: serde_json::Value = serde_json::from_str(&message.json).unwrap();
        assert_eq!(json["reasons"].as_array().unwrap().len(), 1000);
        let huge = reasons(&[wire::Reason { detail: "x".repeat(LINE), ..Default::default() }]);
        assert_eq!(huge, "1 more");
    }
}
