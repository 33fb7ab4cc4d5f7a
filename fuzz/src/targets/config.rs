//! The configuration, which people write.

use std::{cell::LazyCell, path::Path};

use arbitrary::{Result, Unstructured};
use netmon_agent::config::{Config, ConfigError, schema};
use serde_json::{Map, Value};

use super::RAW;

thread_local! {
    static SCHEMA: LazyCell<Value> = LazyCell::new(|| schema().expect("the schema"));
}

const PATH: &str = "netmon.toml";

/// A file as it stands, or one made by the schema: what is valid is shown as what is read as the very same, and what is not
/// is told with its place, in one line where that is wanted.
pub fn config(bytes: &[u8]) {
    let text = match bytes.split_first() {
        Some((&RAW, raw)) => String::from_utf8_lossy(raw).into_owned(),
        _ => {
            let made = SCHEMA.with(|schema| made(schema, &mut Unstructured::new(bytes), 0));
            // What is no table is no file.
            let Some(text) = made.ok().and_then(|made| toml::to_string(&made).ok()) else { return };
            text
        }
    };
    match Config::parse(&text, Path::new(PATH)) {
        Ok(config) => {
            let shown = config.to_toml().expect("a configuration of text");
            let again = Config::parse(&shown, Path::new(PATH));
            let again =
                again.unwrap_or_else(|e| panic!("{e}\nis what becomes of\n{text}\nshown as\n{shown}"));
            same(&again, &config, &shown);
            assert_eq!(again.to_toml().expect("as before"), shown, "shown otherwise the second time");
            assert!(config.to_json().expect("as before").is_object());
            assert!(
                config.rate() <= f64::from(config.max_probes) * 1.000_001,
                "more probes than are allowed"
            );
            for target in &config.targets {
                assert!(!target.name.chars().any(char::is_control), "{:?} is not printable", target.name);
            }
        }
        Err(error) => told(&error, &text),
    }
}

/// That two configurations are one, but for what is said nowhere: the level of a log that is usual, and which bounds grow
/// with the number of targets.
fn same(again: &Config, config: &Config, shown: &str) {
    macro_rules! same {
        ($($part:ident)*) => {
            $(assert!(again.$part == config.$part, "{} is another in\n{shown}", stringify!($part));)*
        };
    }
    same!(listen socket interval timeout auto_targets netlink max_probes limits watch kernel metrics diagnosis);
    same!(retry history ledger notifiers otlp health targets discovery);
}

pub(super) fn told(error: &ConfigError, text: &str) {
    let (shown, line) = (error.to_string(), error.one_line());
    assert!(shown.contains(PATH) || shown.contains("sd."), "{shown}");
    assert!(!line.contains('\n'), "{line:?}");
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(shown.len() <= 4096 + 16 * text.len(), "{} bytes are said of {}", shown.len(), text.len());
}

/// A value of this schema, or one near to it.
fn made(schema: &Value, u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    for word in ["anyOf", "oneOf"] {
        if let Some(all) = schema.get(word).and_then(Value::as_array) {
            let all: Vec<_> = all.iter().filter(|one| one["type"] != "null").collect();
            return made(u.choose(&all)?, u, depth);
        }
    }
    // Now and then what does not belong there.
    if u.ratio(1, 64)? {
        return Ok(if u.arbitrary()? { Value::from(u.arbitrary::<i32>()?) } else { text(u)?.into() });
    }
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        return Ok(u.choose(all)?.clone());
    }
    if u.ratio(1, 2)? {
        for word in ["examples", "default"] {
            match schema.get(word) {
                Some(Value::Array(all)) if word == "examples" && !all.is_empty() => {
                    return Ok(u.choose(all)?.clone());
                }
                Some(usual) if word == "default" && is_toml(usual) => return Ok(usual.clone()),
                _ => {}
            }
        }
    }
    let kind = match &schema["type"] {
        Value::Array(all) => all.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        other => other.as_str(),
    };
    Ok(match kind {
        Some("object") => {
            let mut map = Map::new();
            let properties = schema.get("properties").and_then(Value::as_object);
            for (key, of) in properties.into_iter().flatten() {
                let needed =
                    schema["required"].as_array().is_some_and(|all| all.contains(&Value::from(key.as_str())));
                let of_ten = if depth == 0 { 3 } else { 4 };
                if needed && !u.ratio(1, 16)? || u.ratio(of_ten, 10)? {
                    let value = made(of, u, depth + 1)?;
                    if is_toml(&value) {
                        map.insert(key.clone(), value);
                    }
                }
            }
            if let Some(of) = schema.get("additionalProperties").filter(|of| of.is_object()) {
                for _ in 0..u.int_in_range(0..=2)? {
                    map.insert(text(u)?, made(of, u, depth + 1)?);
                }
            }
            Value::Object(map)
        }
        Some("array") => {
            let count = u.int_in_range(0..=3)?;
            let all: Result<Vec<_>> = (0..count).map(|_| made(&schema["items"], u, depth + 1)).collect();
            Value::Array(all?.into_iter().filter(is_toml).collect())
        }
        Some("integer") => {
            let bound = |word: &str, other| schema.get(word).and_then(Value::as_i64).unwrap_or(other);
            let (low, high) = (bound("minimum", 0), bound("maximum", 1 << 20));
            u.int_in_range(low.saturating_sub(1)..=high.saturating_add(1).max(low))?.into()
        }
        Some("number") => match u.int_in_range(0..=3)? {
            0 => Value::from(f64::from(u.arbitrary::<u8>()?) / 255.0),
            1 => Value::from(u.arbitrary::<u8>()?),
            2 => Value::from(0.01),
            _ => Value::from(f64::from(u.arbitrary::<u16>()?) / 7.0),
        },
        Some("boolean") => u.arbitrary::<bool>()?.into(),
        _ => text(u)?.into(),
    })
}

/// TOML has no null.
fn is_toml(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(all) => all.iter().all(is_toml),
        Value::Object(map) => map.values().all(is_toml),
        Value::Number(number) => number.is_i64() || number.is_f64(),
        _ => true,
    }
}

const WORDS: [&str; 32] = [
    "10s",
    "2s",
    "500ms",
    "1h 30m",
    "1w",
    "0s",
    "internet",
    "192.0.2.1",
    "2001:db8::1",
    "fe80::1%eth0",
    "https://example.org:8443/a?b=c#d",
    "http://user:secret@[::1]/",
    "example.org",
    "eth*",
    "target:*",
    "device:a\"b",
    "/var/lib/netmon/x",
    "/etc/../x",
    "tcp",
    "dns",
    "http",
    "udp",
    "icmp",
    "AF41",
    "46",
    "2xx",
    "NXDOMAIN",
    "64 KiB",
    "off",
    "{state}",
    "a\u{202e}b\u{1b}[31m",
    "",
];

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(3, 4)? { Ok((*u.choose(&WORDS)?).to_owned()) } else { u.arbitrary() }
}
