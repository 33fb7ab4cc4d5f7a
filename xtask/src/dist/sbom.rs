//! The bill of materials, CycloneDX, by cargo-cyclonedx; held against what cargo itself says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::binary::TARGET;
use super::crates::{self, Id};
use super::programs::output;
use super::{VERSION, tools};

/// Makes it in `work`.
///
/// # Errors
/// When it does not list each crate of the program, or lists another.
pub fn make(source: &Path, work: &Path, epoch: u64) -> Result<PathBuf> {
    let name = "netmon-dist-sbom";
    let mut command = tools::subcommand("cyclonedx");
    command.args(["--format", "json", "--spec-version", "1.5", "--target", TARGET, "--no-build-deps"]);
    command
        .args(["--override-filename", name, "--manifest-path"])
        .arg(source.join("netmon-agent/Cargo.toml"));
    output(command.current_dir(source).env("SOURCE_DATE_EPOCH", epoch.to_string()))?;
    // It writes one beside each manifest of the workspace.
    let path = source.join("netmon-agent").join(format!("{name}.json"));
    let found = fs::read_to_string(&path).with_context(|| path.display().to_string());
    for folder in crates::folders(source)? {
        let path = folder.join(format!("{name}.json"));
        if path.exists() {
            fs::remove_file(&path)?;
        }
    }
    // No path of this machine.
    let sources = format!("path+file://{}", source.display());
    let text = found?.replace(&sources, "path+file:///netmon");
    let mut bill: Value = serde_json::from_str(&text)?;
    let wanted: BTreeSet<Id> =
        crates::of_agent(source)?.into_keys().filter(|(name, _)| name != "netmon-agent").collect();
    let others = prune(&mut bill, &wanted)?;
    let listed = components(&bill)?;
    let missing: Vec<_> = wanted.difference(&listed).collect();
    ensure!(missing.is_empty(), "the bill of materials lacks {missing:?}");
    println!(
        "{} crates, those of `cargo tree --edges normal`; {others} left out, of other packages' features alone",
        listed.len()
    );
    let path = work.join(format!("netmon-{VERSION}.cdx.json"));
    fs::write(&path, serde_json::to_string_pretty(&bill)?)?;
    Ok(path)
}

/// Takes out what the program is not made of: cargo-cyclonedx sees the features of the whole workspace, tests included. Tells
/// how many.
fn prune(bill: &mut Value, wanted: &BTreeSet<Id>) -> Result<usize> {
    let listed = bill["components"].as_array_mut().context("no components")?;
    let mut gone = BTreeSet::new();
    listed.retain(|component| {
        let stays = id(component).is_some_and(|id| wanted.contains(&id));
        if !stays {
            gone.extend(component["bom-ref"].as_str().map(str::to_owned));
        }
        stays
    });
    let is_gone = |reference: &Value| reference.as_str().is_some_and(|r| gone.contains(r));
    let edges = bill["dependencies"].as_array_mut().context("no dependencies")?;
    edges.retain(|edge| !is_gone(&edge["ref"]));
    for edge in edges {
        if let Some(on) = edge["dependsOn"].as_array_mut() {
            on.retain(|reference| !is_gone(reference));
        }
    }
    Ok(gone.len())
}

fn id(component: &Value) -> Option<Id> {
    Some((component["name"].as_str()?.to_owned(), component["version"].as_str()?.to_owned()))
}

/// What it lists, by name and version.
fn components(bill: &Value) -> Result<BTreeSet<Id>> {
    let listed = bill["components"].as_array().context("no components")?;
    listed.iter().map(|c| id(c).context("a component without name or version")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_program_is_not_made_of_goes_with_its_edges() {
        let mut bill = json!({
            "components": [{"name": "a", "version": "1.0.0", "bom-ref": "a"}, {"name": "b", "version": "2.0.0", "bom-ref": "b"}],
            "dependencies": [{"ref": "a", "dependsOn": ["b"]}, {"ref": "b"}],
        });
        let wanted = BTreeSet::from([("a".to_owned(), "1.0.0".to_owned())]);
        assert_eq!(prune(&mut bill, &wanted).unwrap(), 1);
        assert_eq!(components(&bill).unwrap(), wanted);
        assert_eq!(bill["dependencies"], json!([{"ref": "a", "dependsOn": []}]));
    }
}
