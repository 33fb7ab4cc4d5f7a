//! The commented sample, `packaging/netmon.toml`: written from the structs, so that it never says anything else than they do.
//! `NETMON_WRITE_SAMPLE=1 cargo test -p netmon-agent --lib sample` writes it anew.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

use super::{
    Config,
    schema::{self, check, is_table, table, tables},
};

const WIDTH: usize = 116;

const HEAD: &str = "\
# The configuration of netmon. None is needed: without a file, and without a key, everything is at its default.
# Copy what you want to change to /etc/netmon/netmon.toml.
#
# Every key is here, commented out: at its default, or at an example where it has none. `netmon config check` tells
# what is wrong with a file, and where; `netmon config show` prints what is in effect; `netmon config schema` prints
# a JSON Schema for editors. SIGHUP (`systemctl reload netmon`) reads the file anew: all of it, or nothing where
# something is wrong.
#
# Durations are a number and a unit, or several: \"250ms\", \"10s\", \"1m30s\", \"90d\". Sizes: \"100MB\", \"64MiB\".
";

fn committed() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/netmon.toml")
}

/// The targets that stand as examples, one a method, with the values that differ from their keys' defaults and examples.
fn examples() -> [Value; 5] {
    let usual = Value::Null;
    [
        json!({ "name": "router", "host": "10.0.0.1", "probe": usual, "scope": usual, "interval": "2s", "timeout": "1s",
                "source": usual, "device": usual, "mark": usual, "ttl": usual, "dscp": usual, "size": usual,
                "dont_fragment": usual }),
        json!({ "name": usual, "host": usual, "probe": "tcp", "port": usual, "vrf": usual }),
        json!({ "name": "echo", "host": "10.0.0.7", "probe": "udp", "port": 7, "expect": usual }),
        json!({ "name": "resolver", "host": "10.0.0.53", "probe": "dns", "query": usual, "record": "A",
                "transport": usual, "accept": ["NOERROR"] }),
        json!({ "name": "website", "url": usual, "head": usual, "status": usual, "verify": usual, "ca_file": usual }),
    ]
}

/// The same for commands and webhooks.
fn notifiers() -> [(&'static str, Value); 3] {
    let usual = Value::Null;
    [
        (
            "notify.command",
            json!({ "command": usual, "timeout": usual, "name": "tell", "subjects": usual, "states": usual, "after": usual,
                 "initial": usual, "queue": usual }),
        ),
        (
            "notify.webhook",
            json!({ "url": usual, "body": usual, "content_type": usual, "secret_file": usual,
                 "authorization_file": usual, "ca_file": usual, "allow": usual, "timeout": usual, "max_age": usual,
                 "name": usual, "subjects": ["network", "device:eth*", "target:*"], "states": ["down", "up"],
                 "after": "1m", "initial": false, "queue": usual }),
        ),
        (
            "notify.webhook",
            json!({ "name": "here", "url": "http://127.0.0.1:8080/netmon", "insecure": true, "allow_private": true,
                 "secret_env": usual }),
        ),
    ]
}

/// Sources that stand as examples: each kind, with targets of each method.
fn sources() -> [(&'static str, Value); 5] {
    let usual = Value::Null;
    [
        (
            "file_sd",
            json!({ "name": usual, "files": usual, "refresh_interval": usual, "probe": usual, "scope": usual,
                            "interval": "10s", "timeout": "1s", "source": usual, "device": usual, "mark": usual,
                            "ttl": usual, "dscp": usual, "size": usual, "dont_fragment": usual }),
        ),
        (
            "http_sd",
            json!({ "url": usual, "refresh_interval": usual, "bearer_token_file": usual, "url_ca_file": usual,
                            "probe": "http", "scheme": "https", "path": "/health", "head": usual, "status": usual,
                            "verify": usual, "ca_file": usual }),
        ),
        (
            "http_sd",
            json!({ "url": "https://cmdb.example.com/targets", "username": usual, "password_file": usual,
                            "probe": "udp", "port": 7, "vrf": usual, "expect": usual }),
        ),
        ("dns_sd", json!({ "names": usual, "type": usual, "probe": "tcp" })),
        (
            "dns_sd",
            json!({ "names": ["resolvers.example.com"], "type": "A", "probe": "dns", "query": usual,
                           "record": "A", "transport": usual, "accept": ["NOERROR"] }),
        ),
    ]
}

/// What is said of something is said once.
#[derive(Default)]
struct Told(BTreeSet<String>);

impl Told {
    fn example(&mut self, table: &str, of: &Value, keys: &[&str], example: &Value) -> String {
        let mut text = format!("#[[{table}]]\n");
        for key in keys.iter().filter(|key| example.get(key).is_some()) {
            let property = &of["properties"][key];
            let about = self.0.insert(format!("{key} {}", property["description"]));
            text.push_str(&line(key, property, &example[key], about));
        }
        text + "\n"
    }
}

fn sample() -> String {
    let schema = schema::schema().unwrap();
    let mut text = HEAD.to_owned();
    // What is of all sources is told at the first, and what is of all notifiers.
    let (mut notified, mut found) = (Told::default(), Told::default());
    for (name, keys) in tables() {
        let of = table(&schema, name);
        if !text.ends_with("\n\n") {
            text.push('\n');
        }
        text.push_str(&comment(of["description"].as_str().unwrap()));
        if name == "target" {
            let mut told = Told::default();
            examples().iter().for_each(|one| text.push_str(&told.example(name, of, keys, one)));
            continue;
        }
        if name.contains('.') {
            let told = if name.starts_with("notify.") { &mut notified } else { &mut found };
            let own = name.strip_prefix("discovery.").unwrap_or(name);
            for (_, example) in notifiers().iter().chain(&sources()).filter(|(table, _)| *table == own) {
                text.push_str(&told.example(name, of, keys, example));
            }
            continue;
        }
        if name == "notify" {
            continue;
        }
        text.push_str(&format!("[{name}]\n"));
        for key in keys.iter().filter(|key| **key != "quorum" && !is_table(name, key)) {
            text.push_str(&line(key, &of["properties"][key], &Value::Null, true));
        }
        if keys.contains(&"quorum") {
            let quorum = &of["properties"]["quorum"];
            text.push_str(&format!(
                "\n{}[{name}.quorum]\n",
                comment(quorum["description"].as_str().unwrap())
            ));
            for (scope, n) in quorum["examples"][0].as_object().unwrap() {
                text.push_str(&format!("#{scope} = {n}\n"));
            }
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// A key with what it is: at this value, or else its default, or else an example.
fn line(key: &str, of: &Value, value: &Value, about: bool) -> String {
    let default = of.get("default");
    let value = Some(value).filter(|v| !v.is_null()).or(default).unwrap_or(&of["examples"][0]);
    let value = toml::Value::try_from(value).unwrap_or_else(|e| panic!("{key}: {e}"));
    let mut text = String::new();
    if about {
        let mut said = of["description"].as_str().unwrap().to_owned();
        match (of.get("minimum"), of.get("maximum")) {
            (Some(first), Some(last)) => said.push_str(&format!(" From {first} to {last}.")),
            (Some(first), None) if first != 0 => said.push_str(&format!(" At least {first}.")),
            _ => {}
        }
        if let Some(words) = of.get("enum").and_then(Value::as_array) {
            let words: Vec<String> = words.iter().map(Value::to_string).collect();
            said.push_str(&format!(" One of {}.", words.join(", ")));
        }
        text = comment(&said);
    }
    format!("{text}#{key} = {value}\n")
}

fn comment(said: &str) -> String {
    let (mut text, mut line) = (String::new(), String::from("#"));
    for word in said.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    format!("{text}{line}\n")
}

/// The same with every key in effect: what is commented out has no blank behind its mark.
fn uncommented(text: &str) -> String {
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| bare(line) + "\n").collect()
}

#[test]
fn the_sample_is_what_the_structs_say() {
    let sample = sample();
    if std::env::var_os("NETMON_WRITE_SAMPLE").is_some() {
        std::fs::write(committed(), &sample).unwrap();
    }
    let there = std::fs::read_to_string(committed()).unwrap_or_default();
    let first = sample.lines().zip(there.lines()).position(|(a, b)| a != b);
    assert_eq!(there, sample, "from line {first:?} on; write it anew with NETMON_WRITE_SAMPLE=1");
}

#[test]
fn the_sample_as_it_is_changes_nothing_and_uncommented_it_loads_with_every_key() {
    let text = std::fs::read_to_string(committed()).unwrap();
    let parse = |text: &str| Config::parse(text, Path::new("netmon.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(parse(&text), parse(""));

    let text = uncommented(&text);
    let mut all = parse(&text).to_json().unwrap();
    assert_eq!(parse(&text).targets.len(), examples().len());
    assert_eq!(parse(&text).discovery.sources.len(), sources().len());
    let usual = parse("").to_json().unwrap();
    // Examples that stand for no default.
    let of_log = ["format", "file", "max_size", "max_files"].map(|key| ("log", key));
    let of_agent = [("agent", "web_config_file"), ("agent", "socket")];
    for (table, key) in of_agent.into_iter().chain([("kernel", "btf")]).chain(of_log) {
        all[table].as_object_mut().unwrap().remove(key).unwrap();
    }
    for (table, key) in [("devices", "required"), ("devices", "preferred"), ("kernel", "drop_reasons")] {
        assert_eq!(all[table][key], usual[table][key], "{table}.{key} is shown at its default");
    }
    all.as_object_mut().unwrap().remove("otlp").unwrap();
    all["health"]["quorum"] = usual["health"]["quorum"].clone();
    all.as_object_mut().unwrap().remove("target").unwrap();
    let told = all["notify"].as_object().unwrap();
    let told: usize = told.values().map(|tables| tables.as_array().unwrap().len()).sum();
    assert_eq!(told, notifiers().len());
    all["notify"] = usual["notify"].clone();
    for (kind, _) in sources() {
        all["discovery"].as_object_mut().unwrap().remove(kind);
    }
    assert_eq!(all, usual);

    let written: Value = toml::from_str(&text).unwrap();
    for (table, keys) in tables() {
        let own = match table.split_once('.') {
            None => vec![&written[table]],
            // A key of their targets may be at any of the sources.
            Some((outer, _)) => written[outer].as_object().unwrap().values().collect(),
        };
        for key in keys {
            let is_there = own.iter().any(|value| match value {
                Value::Array(all) => all.iter().any(|one| one.get(key).is_some()),
                one => one.get(key).is_some(),
            });
            assert!(is_there, "{table}.{key}");
        }
    }
    assert_eq!(check(&schema::schema().unwrap(), &written, "$"), Ok(()));
    assert!(text.lines().all(|line| line.chars().count() <= 120));
}
