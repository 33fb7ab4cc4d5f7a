//! A disk without room, under the log and the targets that are kept. That under the history is `history::full_disk`'s.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{Options, SERVER_V4, World};
use netmon_tests::promise;

use super::{LONG, SOON, STEADY};
use crate::history::Disk;

/// One that is kept: with its description it takes a page of the disk.
const TARGET: [&str; 8] =
    ["--host", "203.0.113.10", "--probe", "tcp", "--port", "443", "--persist", "--scope=kept"];

pub fn full() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let start = Start::new(&world)?;
    let disk = Disk::new(start.folder().join("disk"), "1m")?;
    let (log, history) = (disk.path().join("netmon.log"), disk.path().join("history.db"));
    let config = format!(
        "{STEADY}[history]\npath = \"{}\"\n[log]\nfile = \"{}\"\n[[target]]\nname = \"own\"\nhost = \"{SERVER_V4}\"\n",
        history.display(),
        log.display()
    );
    let mut agent = start.config(&config).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let add =
        |agent: &Agent<'_>, name: &str| agent.cli_output(&[&["target", "add", name][..], &TARGET].concat());
    ensure!(add(&agent, "before")?.status.success(), "not added: {:?}", agent.log.lines());
    let logged = fs::metadata(&log)?.len();
    ensure!(logged > 0, "nothing is logged");

    disk.fill()?;
    let refused = add(&agent, "without-room")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("make room"), "{}: {said}", refused.status);
    let mut flaps = 0;
    // Each tells of itself in the log, which takes what is left of its last page first.
    let elsewhere =
        |l: &str| l.contains("netmon.log can't be written") && l.contains("standard error takes its place");
    let failing = await_until(LONG, || {
        flaps += 1;
        witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
        witness.after("up", &[], SOON, || world.carrier_up(0))?;
        Ok(agent.log.lines().iter().any(|l| elsewhere(l)).then_some(()))
    })?;
    failing.with_context(|| format!("{flaps} flaps are no word: {:?}", agent.log.lines()))?;
    // What the file does not take, standard error has.
    witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
    let down = |l: &str| l.contains("no_carrier") || l.contains("down");
    ensure!(agent.log.await_line(SOON, down).is_some(), "no line of it: {:?}", agent.log.lines());
    witness.after("up", &[], SOON, || world.carrier_up(0))?;
    let names = agent.status()?["targets"].to_string();
    ensure!(names.contains("\"before\"") && !names.contains("\"without-room\""), "{names}");
    ensure!(agent.metrics()?.value("netmon_log_lines_lost_total", &[]) == Some(0.0), "lines are lost");

    fs::remove_file(disk.path().join("ballast"))?;
    let added = await_until(SOON, || Ok(add(&agent, "after")?.status.success().then_some(())))?;
    added.context("nothing can be added with room again")?;
    // A file that failed is left alone for ten seconds, and the next line after that tries it.
    let again = |l: &str| l.contains("netmon.log is written again; lines above that are not in it: ");
    let recovered = await_until(LONG, || {
        thread::sleep(Duration::from_secs(2));
        witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
        witness.after("up", &[], SOON, || world.carrier_up(0))?;
        Ok(agent.log.lines().into_iter().find(|l| again(l)))
    })?;
    let recovered =
        recovered.with_context(|| format!("the log does not recover: {:?}", agent.log.lines()))?;
    let once = agent.log.lines().iter().filter(|l| elsewhere(l)).count();
    ensure!(once == 1, "{once} warnings of one thing");
    ensure!(fs::metadata(&log)?.len() > logged, "nothing more is logged");
    let kept = |agent: &Agent<'_>| -> Result<String> {
        Ok(String::from_utf8(agent.cli_output(&["target", "list", "--json"])?.stdout)?)
    };
    agent.stop()?;
    let next = Start::new(&world)?.config(&config).start()?;
    let list = kept(&next)?;
    ensure!(
        list.contains("\"before\"") && list.contains("\"after\"") && !list.contains("without-room"),
        "another list than what was accepted: {list}"
    );
    let lines = recovered.rsplit(": ").next().unwrap_or_default().to_owned();
    promise(
        "disk-full",
        format_args!(
            "0 lines lost ({lines} on standard error), {once} warning, 0 targets half kept, every verdict told; all as before \
             once there was room"
        ),
    );
    drop(next);
    Ok(())
}
