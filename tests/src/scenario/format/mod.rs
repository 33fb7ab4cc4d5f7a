//! The scenario files: what they may say, read strictly. `tests/scenarios/README.md` tells it to those who write them.

mod check;
mod fault;
mod step;

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use toml::Spanned;

pub use fault::{Answers, FamilyWord, Fault, Lost, Refusal, WayWord, Wire};
pub use step::{Expectation, Expected, Flap, Span, StateWord, Step, is_reason};

/// Where the scenario files lie.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Every scenario of every file of the folder, in the order of the files' names.
///
/// # Errors
/// At the first file that can't be read or says what can't be; with file and line.
pub fn all() -> Result<Vec<Scenario>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .with_context(|| folder().display().to_string())?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let (mut scenarios, mut names) = (Vec::new(), BTreeSet::new());
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for scenario in parse(&text, &file)? {
            if !names.insert(scenario.name.clone()) {
                bail!("{}: another scenario is called {}", file.display(), scenario.name);
            }
            scenarios.push(scenario);
        }
    }
    Ok(scenarios)
}

/// The scenarios of one text; `file` is for messages.
///
/// # Errors
/// What is no TOML, what is unknown, and what can't be: `file:line:column: why`.
pub fn parse(text: &str, file: &Path) -> Result<Vec<Scenario>> {
    let at = |offset: usize, why: &dyn fmt::Display| {
        let before = &text[..offset.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |i| i + 1) + 1;
        anyhow::anyhow!("{}:{line}:{column}: {why}", file.display())
    };
    let read: File = toml::from_str(text).map_err(|e| at(e.span().map_or(0, |s| s.start), &e.message()))?;
    let mut scenarios = Vec::new();
    for spanned in read.scenario {
        let start = spanned.span().start;
        let scenario = spanned.into_inner();
        scenario.check().map_err(|(offset, why)| at(offset.unwrap_or(start), &why))?;
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Spanned<Scenario>>,
}

/// A world, what happens in it, and what netmon has to say to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Unique; small letters, digits and underscores.
    pub name: String,
    /// What it shows: rules, facts of the kernel, reasons of the numbers.
    pub why: String,
    /// The world.
    #[serde(default)]
    pub world: Ground,
    /// The node's `netmon.toml`; none where empty.
    #[serde(default)]
    pub config: String,
    /// What is broken already when the agent starts.
    #[serde(default)]
    pub before: Vec<Fault>,
    /// What is expected of the start: up within three seconds (R1) where nothing is said.
    #[serde(default = "up_at_first")]
    pub first: Expectation,
    /// Too long to be run in the lab each time.
    #[serde(default)]
    pub slow: bool,
    /// Why the lab can't run it, where it can't.
    pub virtual_only: Option<String>,
    /// What happens, in order.
    pub step: Vec<Spanned<Step>>,
}

/// What kind of world it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ground {
    /// Uplinks of the node, 1 or 2, each with a gateway; the first has the better metric.
    pub uplinks: usize,
    /// Whether the node speaks IPv6.
    pub ipv6: bool,
    /// Whether the IPv6 default route names its gateway by a link-local address.
    pub link_local_gateway: bool,
    /// Round trip to what is beyond the gateway, ±10 %; in virtual time alone, where the lab's is none.
    pub rtt: Option<Span>,
}

impl Default for Ground {
    fn default() -> Self {
        Self { uplinks: 1, ipv6: true, link_local_gateway: false, rtt: None }
    }
}

impl Scenario {
    /// Its steps, each with whether it happens at any moment of an interval.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, bool)> {
        self.step.iter().map(Spanned::get_ref).map(|step| {
            let changes =
                [step.breaks.is_some(), step.mend.is_some(), step.flap.is_some(), step.stop.is_some()];
            (step, changes.contains(&true) && !step.at_once)
        })
    }
}

fn up_at_first() -> Expectation {
    Expectation { state: Some(StateWord::Up), within: Span(Duration::from_secs(3)), ..Expectation::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[[scenario]]\nname = \"a\"\nwhy = \"w\"\n";

    fn objection(text: &str) -> String {
        parse(&format!("{HEAD}{text}"), Path::new("x.toml")).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn durations_have_units_and_may_have_fractions() {
        let text = "[[scenario.step]]\nwait = \"1m30s\"\n[[scenario.step]]\nstop = \"0.5s\"\n";
        let all = parse(&format!("{HEAD}{text}"), Path::new("x.toml")).unwrap();
        let steps: Vec<&Step> = all[0].steps().map(|(step, _)| step).collect();
        assert_eq!(steps[0].wait, Some(Span(Duration::from_secs(90))));
        assert_eq!(steps[1].stop, Some(Span(Duration::from_millis(500))));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let step = "[[scenario.step]]\n";
        for (text, place, words) in [
            (format!("{step}brake = 1\n"), "x.toml:5:1", "unknown field `brake`"),
            (
                format!("{step}break = {{ lose = {{ what = \"everythin\" }} }}\n"),
                "x.toml:5:",
                "unknown variant",
            ),
            (format!("{step}wait = \"5\"\n"), "x.toml:5:8", "bad duration"),
            (format!("{step}mend = \"all\"\n"), "x.toml:4:1", "nothing of the kind"),
            (format!("{step}wait = \"1s\"\n{step}wait = \"1s\"\nstop = \"1s\"\n"), "x.toml:6:1", "one thing"),
            (format!("{step}break = {{ carrier = {{ uplink = 1 }} }}\n"), "x.toml:4:1", "no such uplink"),
            (format!("{step}suspend = \"1h\"\n"), "x.toml:4:1", "virtual_only"),
            (format!("{step}stays = \"up\"\n"), "x.toml:4:1", "belong together"),
            (format!("{step}then = {{ within = \"1s\" }}\n"), "x.toml:4:1", "nothing is expected"),
            (format!("config = \"[helth]\"\n{step}wait = \"1s\"\n"), "x.toml:1:1", "configuration is wrong"),
        ] {
            let said = objection(&text);
            assert!(said.starts_with(place) && said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_reason_is_a_code_or_a_code_with_its_subject() {
        assert!(is_reason("loss", "loss", "a") && is_reason("loss/a", "loss", "a"));
        assert!(!is_reason("loss/b", "loss", "a") && !is_reason("los", "loss", "a"));
    }
}
