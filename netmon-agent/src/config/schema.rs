//! The JSON Schema of the file, from its own structs: keys, types, ranges and words from there, defaults from the
//! configuration that is in effect without a file.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{Config, ConfigError, file::File, otlp::Otlp, show};

/// Where a schema has a range that JSON Schema knows nothing of: first and last duration.
const RANGE: &str = "x-range";

/// The JSON Schema (draft 2020-12) of the configuration file.
///
/// # Errors
/// None, as there is no file to read.
pub fn schema() -> Result<Value, ConfigError> {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    let defaults = Config::parse("", Path::new(super::DEFAULT_PATH))?.to_file();
    let mut defaults = serde_json::to_value(defaults).unwrap_or_default();
    // Also in a build that can't do it.
    defaults["otlp"] = serde_json::to_value(Otlp::usual()).unwrap_or_default();
    finish(&mut schema, &defaults);
    let (target, [command, webhook]) = (usual_target()?, usual_notifiers()?);
    // Of several tables and of one alone.
    for (place, usual) in [
        ("/properties/target/items", &target),
        ("/properties/notify/properties/command/anyOf/0/items", &command),
        ("/properties/notify/properties/command/anyOf/1", &command),
        ("/properties/notify/properties/webhook/anyOf/0/items", &webhook),
        ("/properties/notify/properties/webhook/anyOf/1", &webhook),
    ] {
        if let Some(table) = schema.pointer_mut(place) {
            finish(table, usual);
        }
    }
    for (name, written, own) in [
        ("file_sd", "files = [\"/a.json\"]", "refresh_interval"),
        ("http_sd", "url = \"https://a/\"", "refresh_interval"),
        ("dns_sd", "names = [\"a\"]", "type"),
    ] {
        let place = format!("/properties/discovery/properties/{name}/items");
        if let Some(items) = schema.pointer_mut(&place) {
            finish(items, &usual_source(name, written, own)?);
        }
    }
    Ok(schema)
}

/// What a command's and a webhook's keys are where they leave them out, but for those that every one has to itself.
fn usual_notifiers() -> Result<[Value; 2], ConfigError> {
    const WRITTEN: &str =
        "[[notify.command]]\ncommand = [\"a\"]\n[[notify.webhook]]\nurl = \"https://b/\"\nbody = \"{}\"";
    let config = Config::parse(WRITTEN, Path::new(super::DEFAULT_PATH))?;
    let shown = serde_json::to_value(config.to_file().notify).unwrap_or_default();
    Ok(["command", "webhook"].map(|kind| {
        let mut usual = shown[kind][0].clone();
        if let Some(keys) = usual.as_object_mut() {
            keys.retain(|key, _| !["command", "url", "body", "name"].contains(&key.as_str()));
        }
        usual
    }))
}

/// What a source's keys are where it leaves them out: most are those of its targets.
fn usual_source(name: &str, written: &str, own: &str) -> Result<Value, ConfigError> {
    let text = format!("[[discovery.{name}]]\n{written}\nprobe = \"http\"");
    let shown = Config::parse(&text, Path::new(super::DEFAULT_PATH))?.to_file().discovery;
    let shown = serde_json::to_value(shown).unwrap_or_default();
    let mut usual = usual_target()?;
    for key in [own, "scheme", "path"] {
        usual[key] = shown[name][0][key].clone();
    }
    Ok(usual)
}

/// What a target's keys are where it leaves them out: of each, by the targets to which they belong.
fn usual_target() -> Result<Value, ConfigError> {
    const KEYS: [(&str, &[&str]); 4] = [
        ("host = \"a\"", &["probe", "scope", "mark", "dscp", "dont_fragment"]),
        ("host = \"a\"\nprobe = \"udp\"\nport = 1", &["expect"]),
        ("host = \"a\"\nprobe = \"dns\"", &["transport"]),
        ("url = \"https://a/\"", &["head", "status", "verify"]),
    ];
    let mut usual = Map::new();
    for (written, keys) in KEYS {
        let config = Config::parse(&format!("[[target]]\n{written}"), Path::new(super::DEFAULT_PATH))?;
        let target = config.targets.first().map(show::of_target);
        let target = serde_json::to_value(target).unwrap_or_default();
        usual.extend(keys.iter().filter_map(|key| Some(((*key).to_owned(), target.get(key)?.clone()))));
    }
    Ok(usual.into())
}

/// Fills in the defaults, takes away what TOML does not have, and puts ranges into words as well.
fn finish(schema: &mut Value, default: &Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(Value::String(description)) = schema.get_mut("description") {
        // Comments are wrapped, and these are not.
        *description = description.replace('\n', " ");
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return finish_key(schema, default);
    };
    for (key, property) in properties {
        finish(property, default.get(key).unwrap_or(&Value::Null));
    }
    // A table has no default but those of its keys.
    schema.remove("default");
}

fn finish_key(schema: &mut Map<String, Value>, default: &Value) {
    let is_null = |v: &Value| v == "null" || v.get("type").is_some_and(|t| t == "null");
    for several in ["type", "anyOf"] {
        let Some(Value::Array(all)) = schema.get_mut(several) else { continue };
        all.retain(|v| !is_null(v));
        if all.len() > 1 {
            continue;
        }
        match all.pop() {
            Some(Value::Object(one)) => {
                schema.remove(several);
                one.into_iter().for_each(|(key, value)| _ = schema.entry(key).or_insert(value));
            }
            Some(one) => _ = schema.insert(several.to_owned(), one),
            None => {}
        }
    }
    let said = range(schema).map(|[first, last]| format!(" From {first} to {last}."));
    if let (Some(said), Some(Value::String(description))) = (said, schema.get_mut("description")) {
        description.push_str(&said);
    }
    schema.remove("default");
    if !default.is_null() {
        schema.insert("default".to_owned(), default.clone());
    }
}

/// The range of a duration.
fn range(schema: &Map<String, Value>) -> Option<[&str; 2]> {
    let [first, last] = schema.get(RANGE)?.as_array()?.as_slice() else { return None };
    Some([first.as_str()?, last.as_str()?])
}

#[cfg(test)]
pub(super) use tests::{check, is_table, keys, table, tables};

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
