//! The soak itself, for seconds: its load reaches every part of the agent, its samples are whole, and nothing of it is left
//! when it is interrupted.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{await_until, binary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("soak::a_short_soak_has_all_its_figures_and_none_that_is_bad", short),
    ("soak::a_soak_that_is_ended_leaves_its_samples_and_no_namespace", ended),
];

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(120);

fn start(hours: &str, csv: &Path) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netmon-soak"));
    command.args(["--hours", hours, "--every", "1", "--targets", "60", "--csv"]).arg(csv);
    command.arg("--bin").arg(binary()?).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("netmon-soak")
}

/// A folder of this process's own.
fn folder(name: &str) -> Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("netmon-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn short() -> Result<()> {
    let folder = folder("soak-short")?;
    let csv = folder.join("soak.csv");
    let Output { status, stdout, stderr } = start("0.004", &csv)?.wait_with_output()?;
    let (said, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(status.success(), "{status}: {said}\n{errors}");
    // Half a dozen samples and a rest are less than a slope needs; every count is as it has to be.
    let rows: Vec<&str> = said.lines().filter(|line| line.ends_with("as due")).collect();
    ensure!(rows.len() >= 20, "{said}");
    ensure!(said.contains(" 0 bad, 0 open"), "{said}");
    let lines = fs::read_to_string(&csv)?.lines().count();
    ensure!(lines > 4, "{lines} lines of samples");

    let mut judge = Command::new(env!("CARGO_BIN_EXE_netmon-soak"));
    let again = judge.arg("--report").arg(&csv).output()?;
    ensure!(again.status.success() && String::from_utf8_lossy(&again.stdout) == said, "{again:?}\n{said}");
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn ended() -> Result<()> {
    let folder = folder("soak-ended")?;
    let csv = folder.join("soak.csv");
    let mut soak = start("1", &csv)?;
    let ours = format!("nmt-{}-", soak.id());
    let namespaces = || -> Result<usize> {
        let names = fs::read_dir("/run/netns")?.flatten();
        Ok(names.filter(|name| name.file_name().to_string_lossy().starts_with(&ours)).count())
    };
    let sampled = await_until(LONG, || {
        Ok(fs::read_to_string(&csv).is_ok_and(|text| text.lines().count() > 2).then_some(()))
    });
    let stood = namespaces();
    kill(Pid::from_raw(soak.id() as i32), Signal::SIGTERM)?;
    let Output { status, stderr, .. } = {
        let end = await_until(LONG, || Ok(soak.try_wait()?))?;
        ensure!(end.is_some(), "it goes on after SIGTERM");
        soak.wait_with_output()?
    };
    let errors = String::from_utf8_lossy(&stderr);
    ensure!(sampled?.is_some(), "no sample: {errors}");
    ensure!(status.code() == Some(130), "{status}: {errors}");
    ensure!(stood? == 3 && namespaces()? == 0, "{} namespaces are left", namespaces()?);
    let judged = Command::new(env!("CARGO_BIN_EXE_netmon-soak")).arg("--report").arg(&csv).output()?;
    ensure!(String::from_utf8_lossy(&judged.stdout).contains("rss_kib"), "{judged:?}");
    fs::remove_dir_all(folder)?;
    Ok(())
}
