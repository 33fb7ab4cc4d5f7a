use std::{collections::BTreeSet, path::Path, time::Duration};

use regex_automata::meta::Regex;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::Value;

use super::*;
use crate::config::{
    discovery::tables::{Discovery, DnsSd, FileSd, HttpSd},
    file,
    health::Health,
    notify,
    span::Spelled,
};

fn whole() -> Value {
    schema().unwrap()
}

/// The keys of a struct in their order, as serde tells them to whoever reads one.
pub(in crate::config) fn keys<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    struct Listing<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Listing<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("no struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(de::Error::custom("listed"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    let _ = T::deserialize(Listing(&mut fields));
    fields
}

/// Every table with its keys as the parser knows them; one within another by both their names.
pub(in crate::config) fn tables() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("agent", keys::<file::Agent>()),
        ("limits", keys::<file::Limits>()),
        ("defaults", keys::<file::Defaults>()),
        ("devices", keys::<file::Devices>()),
        ("kernel", keys::<file::Kernel>()),
        ("metrics", keys::<file::Metrics>()),
        ("diagnosis", keys::<file::Diagnosis>()),
        ("retry", keys::<file::Retry>()),
        ("history", keys::<file::History>()),
        ("log", keys::<file::Log>()),
        ("notify", keys::<file::Notify>()),
        ("notify.command", keys::<notify::Command>()),
        ("notify.webhook", keys::<notify::Hooked>()),
        ("otlp", keys::<Otlp>()),
        ("health", keys::<Health>()),
        ("discovery", keys::<Discovery>()),
        ("discovery.file_sd", keys::<FileSd>()),
        ("discovery.http_sd", keys::<HttpSd>()),
        ("discovery.dns_sd", keys::<DnsSd>()),
        ("target", keys::<file::Target>()),
    ]
}

/// Whether a key of a table is tables of its own.
pub(in crate::config) fn is_table(table: &str, key: &str) -> bool {
    tables()
        .iter()
        .any(|(name, _)| name.strip_prefix(table).is_some_and(|rest| rest.strip_prefix('.') == Some(key)))
}

/// The schema of a table; of those of which there may be several, that of one.
pub(in crate::config) fn table<'a>(schema: &'a Value, name: &str) -> &'a Value {
    let found = name.split('.').fold(schema, |of, name| &of["properties"][name]);
    let several = found.get("anyOf").map_or(found, |either| &either[0]);
    several.get("items").unwrap_or(found)
}

fn set<'a>(all: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    all.into_iter().collect()
}

fn is_object(value: &Value) -> bool {
    value["type"] == "object"
}

#[test]
fn it_is_of_the_draft_and_closed() {
    let schema = whole();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    assert!(!schema.to_string().contains("null"), "TOML has no null: {schema:#}");
    for (name, _) in tables() {
        assert_eq!(table(&schema, name)["additionalProperties"], false, "{name}");
    }
}

#[test]
fn it_has_the_keys_that_the_parser_knows_and_no_others() {
    let schema = whole();
    let of = |value: &Value| -> BTreeSet<String> {
        value["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let names = set(keys::<File>().iter().copied());
    let outer = tables().into_iter().map(|(name, _)| name).filter(|name| !name.contains('.'));
    assert_eq!(names, set(outer), "a table is missing in this test");
    assert_eq!(of(&schema), names.iter().map(|n| (*n).to_owned()).collect());
    for (name, keys) in tables() {
        let expected: BTreeSet<String> = keys.iter().map(|k| (*k).to_owned()).collect();
        assert!(!expected.is_empty());
        assert_eq!(of(table(&schema, name)), expected, "{name}");
    }
}

#[test]
fn every_key_says_what_it_is() {
    let schema = whole();
    for (name, keys) in tables() {
        assert!(table(&schema, name)["description"].is_string(), "{name}");
        for key in keys.iter().filter(|key| !is_table(name, key)) {
            let property = &table(&schema, name)["properties"][key];
            assert!(property["description"].as_str().is_some_and(|d| d.ends_with('.')), "{name}.{key}");
            let typed = ["type", "anyOf", "enum"].iter().any(|word| property.get(word).is_some());
            assert!(typed, "{name}.{key}: {property:#}");
            // Where a value is missing there is an example of one.
            let exempt = [
                "target.interval",
                "target.timeout",
                "target.record",
                "target.accept",
                // Tables of their own, in this loop.
                "notify.command",
                "notify.webhook",
            ];
            let shown = property.get("default").is_some() || property.get("examples").is_some();
            // A source has them for its targets.
            let of_target = format!("target.{key}");
            let is_exempt = (name == "target" || name.contains('.')) && exempt.contains(&&*of_target);
            assert!(shown || is_exempt, "{name}.{key}");
        }
    }
}

/// The line that says how targets are probed to which a key belongs.
fn probe_of(key: &str) -> &'static str {
    match key {
        "port" => "probe = \"tcp\"\n",
        "size" => "probe = \"udp\"\n",
        _ => "",
    }
}

/// What a value of a key means to the parser: nothing wrong, or the words.
fn tried(table: &str, key: &str, value: &str) -> Result<(), String> {
    let text = match (table, key) {
        ("target", "port") => format!("[[target]]\nhost = \"a\"\nprobe = \"tcp\"\nport = {value}"),
        ("target", "size") => format!("[[target]]\nhost = \"a\"\nprobe = \"udp\"\nport = 1\nsize = {value}"),
        ("target", _) => format!("[[target]]\nhost = \"a\"\n{key} = {value}"),
        ("notify.command", _) => format!("[[notify.command]]\ncommand = [\"a\"]\n{key} = {value}"),
        ("notify.webhook", _) => format!("[[notify.webhook]]\nurl = \"https://a/\"\n{key} = {value}"),
        ("log", "max_size" | "max_files") => format!("[log]\nfile = \"/n.log\"\n{key} = {value}"),
        ("discovery.file_sd", "files") => format!("[[discovery.file_sd]]\nfiles = {value}"),
        ("discovery.file_sd", _) => {
            format!("[[discovery.file_sd]]\nfiles = [\"/a.json\"]\n{}{key} = {value}", probe_of(key))
        }
        ("discovery.http_sd", "url") => format!("[[discovery.http_sd]]\nurl = {value}"),
        ("discovery.http_sd", _) => {
            format!("[[discovery.http_sd]]\nurl = \"https://a/\"\n{}{key} = {value}", probe_of(key))
        }
        ("discovery.dns_sd", "type") => {
            format!("[[discovery.dns_sd]]\nnames = [\"a\"]\ntype = {value}")
        }
        ("discovery.dns_sd", _) => {
            let more = if key == "size" { "port = 1\n" } else { "" };
            let own = format!("names = [\"a\"]\ntype = \"A\"\n{more}{}", probe_of(key));
            format!("[[discovery.dns_sd]]\n{own}{key} = {value}")
        }
        ("otlp", _) if key != "endpoint" => {
            format!("[otlp]\nendpoint = \"https://a/\"\n{key} = {value}")
        }
        ("health", "quorum") => format!("[health.quorum]\na = {value}"),
        _ => format!("[{table}]\n{key} = {value}"),
    };
    Config::parse(&text, Path::new("t")).map(drop).map_err(|e| e.one_line())
}

/// Values at the edges of a range are taken, or refused on account of another key; those beyond are refused on account
/// of the range.
#[test]
fn ranges_are_those_of_the_parser() {
    let is_of_range = |said: &str| {
        let words = ["is between", "invalid value", "expected", "1 to 255", "at least 1"];
        let words = [
            &words[..],
            &["would probe nothing", "port 0", "has 16 to 65507", "part of a core", "bad duration"],
        ];
        words.concat().iter().any(|word| said.contains(word))
    };
    let schema = whole();
    let mut ranges = 0;
    for (name, keys) in tables() {
        for key in keys {
            let property = &table(&schema, name)["properties"][key];
            let (mut inside, mut beyond) = (Vec::new(), Vec::new());
            for (word, step) in [("minimum", -1.0), ("maximum", 1.0)] {
                let Some(edge) = property.get(word) else { continue };
                inside.push(edge.to_string());
                let further = match (edge.as_i64(), edge.as_f64()) {
                    (Some(edge), _) if property["type"] == "integer" => (edge + step as i64).to_string(),
                    (_, edge) => format!("{:?}", edge.unwrap() + step * 0.0001),
                };
                beyond.push(further);
            }
            if let Some(range) = property.get(RANGE) {
                let [first, last] =
                    [0, 1].map(|i| humantime::parse_duration(range[i].as_str().unwrap()).unwrap());
                let quoted = |d: Duration| format!("\"{}\"", Spelled(d));
                inside.extend([quoted(first), quoted(last)]);
                let tick = Duration::from_micros(1);
                beyond.extend(first.checked_sub(tick).map(quoted));
                beyond.push(quoted(last + tick));
            }
            ranges += inside.len();
            for value in inside {
                if let Err(said) = tried(name, key, &value) {
                    assert!(!is_of_range(&said), "{name}.{key} = {value}: {said}");
                }
            }
            for value in beyond {
                let said = tried(name, key, &value).expect_err(&format!("{name}.{key} = {value}"));
                assert!(is_of_range(&said), "{name}.{key} = {value}: {said}");
            }
        }
    }
    assert!(ranges > 80, "{ranges}");
}

#[test]
fn words_of_a_list_are_taken_and_others_are_not() {
    let schema = whole();
    let mut lists = 0;
    for (name, keys) in tables() {
        for key in keys {
            let Some(words) = table(&schema, name)["properties"][key].get("enum") else { continue };
            lists += 1;
            for word in words.as_array().unwrap() {
                let said = match tried(name, key, &word.to_string()) {
                    Ok(()) => continue,
                    Err(said) => said,
                };
                // It is known, and something else is missing.
                assert!(
                    !said.contains("unknown") && !said.contains("neither"),
                    "{name}.{key} = {word}: {said}"
                );
            }
            assert!(tried(name, key, "\"no such word\"").is_err(), "{name}.{key}");
        }
    }
    // Each source has five of its targets', and names of DNS have their records'.
    assert_eq!(lists, 7 + 3 * 4 + 1);
}

#[test]
fn one_table_alone_is_described_as_each_of_several() {
    let schema = whole();
    for kind in ["command", "webhook"] {
        let either = &schema["properties"]["notify"]["properties"][kind]["anyOf"];
        assert_eq!(either[0]["items"], either[1], "{kind}");
        assert_eq!(either.as_array().unwrap().len(), 2);
        assert_eq!(
            either[1]["properties"]["timeout"]["default"],
            ["30s", "10s"][usize::from(kind == "webhook")]
        );
    }
}

#[test]
fn it_accepts_what_is_valid_and_refuses_what_is_not() {
    let schema = whole();
    let pages = [
        include_str!("../../../docs/CONFIGURATION.md"),
        include_str!("../../../docs/TARGETS.md"),
        include_str!("../../../docs/NOTIFY.md"),
    ];
    let samples = pages.iter().flat_map(|page| page.split("```toml\n").skip(1));
    let samples: Vec<&str> = samples.map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(samples.len() > 2);
    for valid in [
        "",
        "[limits]\ncpu = \"off\"\nmemory = 5",
        "[[discovery.file_sd]]\nfiles = [\"/a/*.yml\"]\nprobe = \"dns\"\naccept = [\"REFUSED\"]",
        "[discovery]\nmax_targets = 7\n[[discovery.dns_sd]]\nnames = [\"a\"]\ntype = \"AAAA\"",
        "[history]\nmax_size = \"2.5 GiB\"\nretention = \"1w 2d\"",
        "[[notify.command]]\ncommand = [\"a\", \"{state}\"]\nsubjects = [\"target:*\"]\nstates = [\"up\"]",
        "[notify.webhook]\nurl = \"HTTP://127.0.0.1/\"\ninsecure = true\nallow_private = true\nqueue = 1",
    ]
    .into_iter()
    .chain(samples)
    {
        Config::parse(valid, Path::new("t")).unwrap();
        let value: Value = toml::from_str(valid).unwrap();
        assert_eq!(check(&schema, &value, "$"), Ok(()), "{valid}");
    }
    for invalid in [
        "[agent]\nlissten = []",
        "[agent]\nsocket = 5",
        "[defaults]\ninterval = 2",
        "[defaults]\ninterval = \"2 parsecs\"",
        "[health]\nloss_ratio = 1.5",
        "[health.quorum]\ninternet = 0",
        "[history]\nmax_size = \"much\"",
        "[[target]]\nname = \"a\"",
        "[[target]]\nhost = \"a\"\nprobe = \"smtp\"",
        "[[target]]\nhost = \"a\"\ndscp = 64",
        "[[target]]\nurl = \"https://a/\"\nstatus = [\"9\"]",
        "[target]\nhost = \"a\"",
        "[[notify.command]]\nname = \"a\"",
        "[notify.command]\ncommand = []",
        "[notify.command]\ncommand = [\"a\"]\nstates = [\"usable\"]",
        "[notify.command]\ncommand = [\"a\"]\nsubjects = [\"overall\"]",
        "[notify.command]\ncommand = [\"a\"]\nurl = \"https://a/\"",
        "[[notify.webhook]]\nurl = \"https://a/\"\nqueue = 0",
        "[[notify.webhook]]\nurl = \"https://a/\"\nsecret = \"a\"",
        "[[notify.webhook]]\nurl = \"https://a/\"\nca_file = \"a\"",
        "[notify]\nwebhook = 5",
        "[discovery.file_sd]\nfiles = [\"/a.json\"]",
        "[[discovery.file_sd]]\nprobe = \"tcp\"",
        "[[discovery.file_sd]]\nfiles = [\"/a.json\"]\nhost = \"a\"",
        "[[discovery.dns_sd]]\nnames = [\"a\"]\ntype = \"MX\"",
        "[[discovery.http_sd]]\nurl = \"https://a/\"\nrefresh_interval = 5",
    ] {
        assert!(Config::parse(invalid, Path::new("t")).is_err(), "{invalid}");
        let value: Value = toml::from_str(invalid).unwrap();
        assert!(check(&schema, &value, "$").is_err(), "{invalid}");
    }
}

/// As much of a validator as the schema needs; a keyword it does not know is an error.
pub(in crate::config) fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let no = |what: &str| Err(format!("{at}: {what}: {value}"));
    for (word, rule) in schema.as_object().unwrap() {
        let number = |v: &Value| v.as_f64().unwrap_or(0.0);
        let length = value.as_str().map(|s| s.chars().count() as f64);
        let items = value.as_array().map(|a| a.len() as f64);
        let fits = match word.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" | "format" | RANGE => true,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                other => panic!("{other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "minimum" => !value.is_number() || number(value) >= number(rule),
            "maximum" => !value.is_number() || number(value) <= number(rule),
            "minLength" => length.is_none_or(|n| n >= number(rule)),
            "maxLength" => length.is_none_or(|n| n <= number(rule)),
            "minItems" => items.is_none_or(|n| n >= number(rule)),
            "maxItems" => items.is_none_or(|n| n <= number(rule)),
            "pattern" => {
                let pattern = Regex::new(rule.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "required" => {
                let all = rule.as_array().unwrap().iter();
                all.filter_map(Value::as_str).all(|key| value.get(key).is_some())
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|one| check(one, value, at).is_ok()),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{at}[{i}]"))?;
                }
                true
            }
            "properties" | "additionalProperties" => {
                let known = schema.get("properties");
                for (key, inner) in value.as_object().into_iter().flatten() {
                    let place = format!("{at}.{key}");
                    match (known.and_then(|k| k.get(key)), schema.get("additionalProperties")) {
                        (Some(rule), _) => check(rule, inner, &place)?,
                        (None, Some(Value::Bool(false))) => return Err(format!("{place}: no such key")),
                        (None, Some(rule)) if is_object(rule) || rule.get("type").is_some() => {
                            check(rule, inner, &place)?;
                        }
                        (None, _) => {}
                    }
                }
                true
            }
            other => panic!("{at}: {other} is not known here"),
        };
        if !fits {
            return no(word);
        }
    }
    Ok(())
}
