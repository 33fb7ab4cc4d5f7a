//! Targets that are found in files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::World;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] =
    &[("discovery::a_found_target_is_judged_as_any_other_and_a_bad_file_changes_nothing", by_file)];

const PROBES: Duration = Duration::from_secs(20);

fn by_file() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let file = start.folder().join("backup.yml");
    put(
        &file,
        "# of the backup host\n- targets: ['203.0.113.10:443']\n  labels: {job: backup, __netmon_name: store}\n",
    )?;
    let config = format!(
        "[defaults]\ninterval = \"500ms\"\n[[discovery.file_sd]]\nfiles = [\"{}/*.yml\"]\nprobe = \"tcp\"\n\
         scope = \"backup\"\n",
        start.folder().display()
    );
    let agent = start.config(&config).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    await_target(&agent, "store", "up", "backup")?;

    // Nobody listens at this port: a found target counts as one of the file.
    witness.after("degraded", &["target_down/closed"], PROBES, || {
        put(
            &file,
            "- targets: ['203.0.113.10:443']\n  labels: {__netmon_name: store}\n\
             - targets: ['[2001:db8:113::10]:81']\n  labels: {__netmon_name: closed, __netmon_scope: other}\n",
        )
    })?;
    await_target(&agent, "closed", "down", "other")?;
    put(&file, "- targets: ['203.0.113.10:443'\n")?;
    let said = agent.log.await_line(PROBES, |l| l.contains("backup.yml:2:1: no YAML"));
    ensure!(said.is_some(), "no word on the bad file: {:?}", agent.log.lines().last());
    await_target(&agent, "closed", "down", "other")?;
    witness.after("up", &[], PROBES, || Ok(fs::remove_file(&file)?))?;
    let gone = await_until(PROBES, || {
        Ok(agent.metrics()?.value("netmon_probes_total", &[("target", "store")]).is_none().then_some(()))
    })?;
    ensure!(gone.is_some(), "the series of a target that is gone stay");
    Ok(())
}

fn put(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, file)?)
}

fn await_target(agent: &Agent<'_>, name: &str, state: &str, scope: &str) -> Result<()> {
    let reached = await_until(PROBES, || {
        let status = agent.status()?;
        let all = status["targets"].as_array().into_iter().flatten();
        let is_so = |t: &&serde_json::Value| t["name"] == name && t["state"] == state && t["scope"] == scope;
        Ok(all.into_iter().any(|t| is_so(&t)).then_some(()))
    })?;
    ensure!(reached.is_some(), "{name} of {scope} is not {state}: {}", agent.status()?);
    Ok(())
}
