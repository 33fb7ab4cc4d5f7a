//! `cargo xtask dashboards`: Grafana's dashboards and the reference of metrics, made from the catalogue of families.
//!
//! No Grafana can be run where this is tested. So that what is committed works in one, it is held against Grafana's
//! published types (`--types`), its expressions against the catalogue, and, by a trial in the lab, each against a real
//! Prometheus that scrapes the real agent; `--plot` draws what that trial saw.

mod agent;
#[path = "../../../netmon-agent/src/output/metrics/catalogue.rs"]
mod catalogue;
mod column;
mod fleet;
mod model;
mod names;
mod node;
mod panel;
mod reference;
mod target;
#[cfg(test)]
mod tests;
mod types;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::debian;
use crate::step::{cargo, root, run, target};

/// What is to be done; without options what is made is written.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Options {
    /// Write nothing; fail when what is committed is not what would be written.
    #[arg(long)]
    check: bool,
    /// Check them against Grafana's published TypeScript types (npm, and its registry the first time).
    #[arg(long)]
    types: bool,
    /// Play an outage in the lab and draw every panel as Prometheus answers it, to target/dashboards (root).
    #[arg(long)]
    plot: bool,
}

/// Does what the options say.
///
/// # Errors
/// Where something committed is not what it has to be, names the file and the remedy.
pub fn perform(options: Options) -> Result<()> {
    let files = if options.check { check } else { write };
    files()?;
    if options.types {
        types::check(&dashboards())?;
    }
    if options.plot {
        plot()?;
    }
    Ok(())
}

/// Fails when a committed file is not what would be written.
///
/// # Errors
/// With the files, and what makes them right.
pub fn check() -> Result<()> {
    let files = files()?;
    let stale: Vec<String> = files
        .iter()
        .filter(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| path.strip_prefix(root()).unwrap_or(path).display().to_string())
        .collect();
    ensure!(stale.is_empty(), "not up to date: {}; run: cargo xtask dashboards", stale.join(", "));
    println!("{} files are what the catalogue gives", files.len());
    Ok(())
}

/// Holds the dashboards against Grafana's types where these can be had; where not, says so: neither npm nor its registry is
/// needed for anything else.
///
/// # Errors
/// When a dashboard is not of the types.
pub fn check_types() -> Result<()> {
    if let Err(why) = types::provide() {
        println!("SKIPPED: not held against Grafana's types: {why:#}");
        return Ok(());
    }
    types::check(&dashboards())
}

fn write() -> Result<()> {
    for (path, text) in files()? {
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Name and JSON of each dashboard.
fn dashboards() -> Vec<(&'static str, Value)> {
    let all = [fleet::dashboard(), node::dashboard(), target::dashboard(), agent::dashboard()];
    all.iter().map(|d| (d.name, d.json())).collect()
}

/// Every file that is made, with its text.
fn files() -> Result<Vec<(PathBuf, String)>> {
    let folder = root().join("dashboards");
    let (mut files, mut uses) = (Vec::new(), BTreeMap::<&'static str, Vec<String>>::new());
    for (name, json) in dashboards() {
        let mut families = std::collections::BTreeSet::new();
        for expression in expressions(&json) {
            let used = names::used(expression).map_err(|e| anyhow::anyhow!("{name}: {e}: {expression}"))?;
            families.extend(used);
        }
        for family in families {
            uses.entry(family).or_default().push(name.to_owned());
        }
        files.push((folder.join(format!("{name}.json")), serde_json::to_string_pretty(&json)? + "\n"));
    }
    for (alert, expression) in rules()? {
        for family in names::used(&expression).map_err(|e| anyhow::anyhow!("{alert}: {e}"))? {
            uses.entry(family).or_default().push(alert.clone());
        }
    }
    if let Some(wrong) = reference::examples().find_map(|e| names::used(e).err()) {
        bail!("an example of the reference: {wrong}");
    }
    files.push((folder.join("METRICS.md"), reference::markdown(&uses)));
    Ok(files)
}

/// Every expression of a dashboard: of panels, of variables, of annotations.
fn expressions(json: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut todo = vec![json];
    while let Some(next) = todo.pop() {
        match next {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(text) if key == "expr" || key == "query" => found.push(text.as_str()),
                        other => todo.push(other),
                    }
                }
            }
            Value::Array(all) => todo.extend(all),
            _ => {}
        }
    }
    found
}

/// Name and expression of each alert and each recorded series, as the rule files lay them out: one key a line, longer
/// expressions as blocks.
fn rules() -> Result<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    for file in ["netmon.yml", "recording.yml"] {
        let path = root().join("dashboards/rules").join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut within = false;
        for line in text.lines() {
            let key = line.trim_start().trim_start_matches("- ");
            if let Some((_, name)) = key.split_once(": ").filter(|(k, _)| ["alert", "record"].contains(k)) {
                found.push((format!("`{name}`"), String::new()));
            }
            let expression = key.strip_prefix("expr: ");
            let indent = line.len() - line.trim_start().len();
            within = expression.is_some() || within && indent > 8;
            if let (true, Some((_, all))) = (within, found.last_mut()) {
                all.push_str(expression.unwrap_or(line).trim_end_matches('|'));
                all.push('\n');
            }
        }
    }
    Ok(found)
}

/// The lab's trial of the dashboards, with the drawings that it makes on request.
fn plot() -> Result<()> {
    debian::provide()?;
    let folder = target().join("dashboards");
    let trial = ["test", "--package", "netmon-tests", "--test", "lab", "--", "dashboards::"];
    run(cargo(&trial).env("NETMON_PLOTS", &folder))?;
    println!("drawn: {}/*.svg", folder.display());
    Ok(())
}
