//! A target that comes as JSON, with the keys of `[[target]]`: written as the file would have it, and read as the file is.

use std::{collections::HashMap, ops::Range};

use serde_json::{Map, Value};

use super::{Config, TargetConfig, error::Fault, file, target};

/// What is wrong with a target, in words that begin with the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

impl Config {
    /// The target `name` with these keys, and what this configuration says of all.
    ///
    /// # Errors
    /// What is wrong with it: the same as in the file.
    pub fn target(&self, name: &str, keys: &Map<String, Value>) -> Result<TargetConfig, KeyError> {
        let mut table = Table::default();
        table.write("name", &Value::from(name))?;
        for (key, value) in keys {
            match (key.as_str(), value) {
                ("name", Value::String(same)) if same == name => {}
                ("name", _) => {
                    let said = format!(
                        "name: it is {name:?} in the path, and {value} in the body; leave it out here"
                    );
                    return Err(KeyError(said));
                }
                _ => table.write(key, value)?,
            }
        }
        self.read(&table.text).map_err(|fault| table.tell(&fault))
    }

    fn read(&self, text: &str) -> Result<TargetConfig, Fault> {
        let file = file::parse(text)?;
        // There is one: its header is what the text begins with.
        let Some(table) = file.target.first() else { return Err(Fault::at(0..0, "no target")) };
        target::target(table, self.interval, self.timeout, &mut HashMap::new())
    }
}

/// A table as text, with the places of its keys.
#[derive(Debug)]
struct Table {
    text: String,
    keys: Vec<(Range<usize>, String)>,
}

impl Default for Table {
    fn default() -> Self {
        Self { text: "[[target]]\n".to_owned(), keys: Vec::new() }
    }
}

impl Table {
    fn write(&mut self, key: &str, value: &Value) -> Result<(), KeyError> {
        // What would have to be quoted is no key of a target, whatever follows.
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(KeyError(format!("unknown key {key:?}")));
        }
        let value = match value {
            Value::Null => return Err(KeyError(format!("{key}: null says nothing; leave the key out"))),
            Value::Object(_) => {
                return Err(KeyError(format!("{key}: no key of a target has keys of its own")));
            }
            value => toml::Value::try_from(value),
        };
        let value = value.map_err(|e| KeyError(format!("{key}: {e}")))?;
        let start = self.text.len();
        self.text.push_str(&format!("{key} = {value}\n"));
        self.keys.push((start..self.text.len(), key.to_owned()));
        Ok(())
    }

    /// A fault by the key it is about, instead of its place in a text that nobody has seen.
    fn tell(&self, fault: &Fault) -> KeyError {
        let at = fault.span.as_ref().map(|span| span.start);
        let key = self.keys.iter().find(|(place, _)| at.is_some_and(|at| place.contains(&at)));
        let mut said = fault.message.replace('\n', " ");
        if let Some((_, key)) = key.filter(|(_, key)| !said.contains(&format!("`{key}`"))) {
            said = format!("{key}: {said}");
        }
        if let Some(hint) = &fault.hint {
            said.push_str(&format!("; {hint}"));
        }
        KeyError(said)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path, time::Duration};

    use netmon_client::wire;
    use serde_json::json;

    use super::*;
    use crate::{config::schema, observation::Method};

    fn config() -> Config {
        Config::parse("[defaults]\ninterval = \"5s\"\ntimeout = \"2s\"", Path::new("t")).unwrap()
    }

    fn target(keys: &Value) -> Result<TargetConfig, String> {
        config().target("t", keys.as_object().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_target_is_read_as_the_file_would_be() {
        let keys = json!({ "host": "a\"b\n", "name": "t" });
        assert!(target(&keys).unwrap_err().starts_with("host: \"a\\\"b\\n\" is no host name"));
        let keys =
            json!({ "host": "192.0.2.1", "probe": "tcp", "port": 443, "interval": "1m30s", "dscp": "EF" });
        let read = target(&keys).unwrap();
        let written = "[defaults]\ninterval = \"5s\"\ntimeout = \"2s\"\n[[target]]\nname = \"t\"\nhost = \"192.0.2.1\"\n\
                       probe = \"tcp\"\nport = 443\ninterval = \"1m30s\"\ndscp = \"EF\"";
        assert_eq!(read, Config::parse(written, Path::new("t")).unwrap().targets[0]);
        let usual = target(&json!({ "host": "h" })).unwrap();
        assert_eq!((usual.interval, usual.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
        assert_eq!((usual.method, usual.scope.as_str()), (Method::Icmp, "custom"));
        let lists = json!({ "url": "https://h/", "status": ["2xx", "404"], "verify": false });
        assert_eq!(target(&lists).unwrap().method.as_str(), "http");
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        for (keys, words) in [
            (json!({}), "missing key `host`"),
            (json!({ "host": "a", "intervall": "1s" }), "unknown key `intervall`; did you mean `interval`?"),
            (json!({ "host": "a", "\n[agent]": 1 }), "unknown key \"\\n[agent]\""),
            (json!({ "host": "a", "interval": "1ms" }), "interval: an interval is between 20ms and 1h"),
            (
                json!({ "host": "a", "interval": 5 }),
                "interval: invalid type: integer `5`, expected a duration",
            ),
            (json!({ "host": "a", "port": "443", "probe": "tcp" }), "port: invalid type: string"),
            (json!({ "host": "a", "port": 70000, "probe": "tcp" }), "port: invalid value: integer `70000`"),
            (json!({ "host": "a", "mark": u64::MAX }), "mark: "),
            (json!({ "host": "a", "probe": "smtp" }), "probe: unknown probe \"smtp\"; known: \"icmp\""),
            (json!({ "host": "a", "probe": "tcp" }), "host: a tcp target needs a port; add `port = 443`"),
            (json!({ "host": "a", "query": "b" }), "`query` is of dns targets"),
            (json!({ "host": null }), "host: null says nothing"),
            (json!({ "host": { "a": 1 } }), "host: no key of a target has keys"),
            (json!({ "host": ["a"] }), "host: invalid type: "),
            (json!({ "host": "a", "name": "b" }), "name: it is \"t\" in the path"),
            (json!({ "host": "0.0.0.0" }), "host: 0.0.0.0 is the address of no host"),
        ] {
            let said = target(&keys).unwrap_err();
            assert!(said.starts_with(words), "{keys}: {said}");
        }
        for name in ["", "a\u{7}", &"x".repeat(129)] {
            let keys = json!({ "host": "a" });
            let said = config().target(name, keys.as_object().unwrap()).unwrap_err().to_string();
            assert!(said.contains("name has 1 to 128 bytes"), "{name:?}: {said}");
        }
    }

    /// A program in Rust can say all that the file can.
    #[test]
    fn the_client_has_the_keys_that_the_file_has() {
        let word = || Some("w".to_owned());
        let full = wire::TargetSpec {
            host: word(),
            probe: word(),
            port: Some(1),
            scope: word(),
            interval: word(),
            timeout: word(),
            source: word(),
            device: word(),
            vrf: word(),
            mark: Some(1),
            ttl: Some(1),
            dscp: word(),
            size: Some(1),
            dont_fragment: Some(true),
            expect: word(),
            query: word(),
            record: word(),
            transport: word(),
            accept: Some(vec![]),
            url: word(),
            head: Some(true),
            status: Some(vec![]),
            verify: Some(true),
            ca_file: word(),
            persist: true,
        };
        let said = serde_json::to_value(full).unwrap();
        let said: BTreeSet<&str> = said.as_object().unwrap().keys().map(String::as_str).collect();
        let known = schema::keys::<file::Target>().iter().copied();
        assert_eq!(said, known.filter(|key| *key != "name").chain(["persist"]).collect());
    }
}
