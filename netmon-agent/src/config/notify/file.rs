//! The tables as written.

use std::{borrow::Cow, fmt, marker::PhantomData, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, value::MapAccessDeserializer},
};

use super::MOST;
use crate::{
    config::{span::Span, spanned::Spanned},
    health::State,
};

/// Who is told of changes: programs that are run, and URLs that a notice is sent to; 64 at most. One alone may be written
/// in single brackets.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Notify {
    /// Programs that are run, one table each; a single one may be written with one bracket.
    #[serde(skip_serializing_if = "Tables::is_empty")]
    pub(in crate::config) command: Tables<Command>,
    /// URLs that are sent a POST, one table each; a single one may be written with one bracket.
    #[serde(skip_serializing_if = "Tables::is_empty")]
    pub(in crate::config) webhook: Tables<Hooked>,
}

/// A hook command: a program that is run when a state has changed, once a notice. It has the notice in its arguments, in
/// variables (NETMON_STATE …) and as JSON on its standard input.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Command {
    /// The program, by its name in PATH or its whole path, and its arguments, each as it is: there is no shell. In them
    /// {state}, {previous}, {kind}, {subject}, {reasons}, {location}, {seq}, {at}, {host}, {notifier}, {id} and
    /// {collapsed} are filled in.
    #[schemars(extend("minItems" = 1), example = ["/usr/local/bin/tell", "{subject}", "{state}"])]
    pub(super) command: Spanned<Vec<Spanned<String>>>,
    /// How long it may take; its process group is ended then.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub(super) timeout: Option<Spanned<Span>>,
    // As with webhooks.
    /// Its name in the log and in metrics, unique; without it the name of its program.
    #[schemars(length(min = 1, max = 128), example = &"page")]
    pub(super) name: Option<Spanned<String>>,
    /// Whose states are told: "network", "device:PATTERN" or "target:PATTERN", with patterns as in the shell.
    #[serde(default)]
    #[schemars(schema_with = "subjects")]
    pub(super) subjects: Option<Spanned<Vec<Spanned<String>>>>,
    /// Which states are told when they are reached: "up", "degraded", "down", "unknown".
    #[serde(default)]
    #[schemars(schema_with = "states")]
    pub(super) states: Option<Spanned<Vec<Spanned<String>>>>,
    /// For so long a state holds before it is told; what passes sooner is not.
    #[schemars(extend("x-range" = ["0s", "1d"]))]
    pub(super) after: Option<Spanned<Span>>,
    /// Whether what is up at the agent's start, or when it is first seen, is told as well.
    pub(super) initial: Option<bool>,
    /// Notices that may wait; beyond, those of one subject become its newest.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) queue: Option<Spanned<usize>>,
}

/// A webhook: a POST when a state has changed, sent again until it is taken.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Hooked {
    /// Where it is sent. A user and a password in it are refused: see `authorization_file`. Logs show no more of it than
    /// its host, for a path may be a secret; `netmon config show` has it whole, as this file.
    #[schemars(extend("pattern" = "^[Hh][Tt][Tt][Pp][Ss]?://"), example = &"https://hooks.example.com/netmon")]
    pub(super) url: Spanned<String>,
    /// Whether it may be http, which everybody on the way can read and change.
    pub(super) insecure: Option<bool>,
    /// What is sent, with fields in braces as a command's arguments; without it, the whole notice as JSON.
    #[schemars(example = &r#"{"text": "{host}: {subject} is {state}: {reasons}"}"#)]
    pub(super) body: Option<Spanned<String>>,
    /// What a `body` is. In JSON, what is filled in is escaped as within a string.
    #[schemars(length(min = 1))]
    pub(super) content_type: Option<Spanned<String>>,
    /// File with the secret that the body is signed with (Netmon-Signature), an absolute path. Not readable by
    /// everybody.
    #[schemars(extend("pattern" = "^/"), example = &"/etc/netmon/webhook.secret")]
    pub(super) secret_file: Option<Spanned<PathBuf>>,
    /// The agent's environment variable that has this secret, in place of a file.
    #[schemars(length(min = 1), example = &"NETMON_WEBHOOK_SECRET")]
    pub(super) secret_env: Option<Spanned<String>>,
    /// File with the value of the header Authorization, an absolute path. Not readable by everybody.
    #[schemars(extend("pattern" = "^/"), example = &"/etc/netmon/webhook.authorization")]
    pub(super) authorization_file: Option<Spanned<PathBuf>>,
    /// Certificates of the authorities to trust, PEM, instead of the system's; an absolute path.
    #[schemars(extend("pattern" = "^/"), example = &"/etc/ssl/own-ca.pem")]
    pub(super) ca_file: Option<Spanned<PathBuf>>,
    /// Whether it may go to private networks and to this machine's loopback, beside the public Internet.
    pub(super) allow_private: Option<bool>,
    /// Networks and addresses that it may go to besides, whatever they are.
    #[schemars(example = ["10.1.0.0/16", "2001:db8::1"])]
    pub(super) allow: Option<Vec<Spanned<String>>>,
    /// How long an attempt may take, from the name to the answer.
    #[schemars(extend("x-range" = ["1s", "1m"]))]
    pub(super) timeout: Option<Spanned<Span>>,
    /// For so long a notice is sent again, outages of the network not counted.
    #[schemars(extend("x-range" = ["1s", "7d"]))]
    pub(super) max_age: Option<Spanned<Span>>,
    // As with commands.
    /// Its name in the log and in metrics, unique; without it the host of its URL.
    #[schemars(length(min = 1, max = 128), example = &"chat")]
    pub(super) name: Option<Spanned<String>>,
    /// Whose states are told: "network", "device:PATTERN" or "target:PATTERN", with patterns as in the shell.
    #[serde(default)]
    #[schemars(schema_with = "subjects")]
    pub(super) subjects: Option<Spanned<Vec<Spanned<String>>>>,
    /// Which states are told when they are reached: "up", "degraded", "down", "unknown".
    #[serde(default)]
    #[schemars(schema_with = "states")]
    pub(super) states: Option<Spanned<Vec<Spanned<String>>>>,
    /// For so long a state holds before it is told; what passes sooner is not.
    #[schemars(extend("x-range" = ["0s", "1d"]))]
    pub(super) after: Option<Spanned<Span>>,
    /// Whether what is up at the agent's start, or when it is first seen, is told as well.
    pub(super) initial: Option<bool>,
    /// Notices that may wait; beyond, those of one subject become its newest.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) queue: Option<Spanned<usize>>,
}

fn subjects(_: &mut SchemaGenerator) -> Schema {
    let subject = json_schema!({ "type": "string", "pattern": "^(network|(device|target):[^\n]+)$" });
    json_schema!({ "type": "array", "minItems": 1, "items": subject })
}

fn states(_: &mut SchemaGenerator) -> Schema {
    let words = State::ALL.map(State::as_str);
    json_schema!({ "type": "array", "minItems": 1, "items": { "enum": words } })
}

/// `[[notify.webhook]]`, or `[notify.webhook]` where there is one alone.
#[derive(Debug)]
pub(in crate::config) struct Tables<T>(pub(super) Vec<T>);

impl<T> Tables<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tables<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Tables<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one table, or several with two brackets each")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut tables = Vec::new();
                while let Some(table) = all.next_element()? {
                    tables.push(table);
                }
                Ok(Tables(tables))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, one: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(one)).map(|table| Tables(vec![table]))
            }
        }
        d.deserialize_any(Visitor(PhantomData))
    }
}

impl<T: Serialize> Serialize for Tables<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<T: JsonSchema> JsonSchema for Tables<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}s", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "array", "maxItems": MOST, "items": table }, table] })
    }
}
