//! Targets that are added to a running agent: probed, judged, kept if asked, and gone when they are removed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, binary};
use netmon_tests::lab::World;
use nix::sys::signal::Signal;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("added::a_target_over_the_socket_is_judged_kept_if_asked_and_removed", added),
    ("added::who_may_not_changes_no_target", others),
];

const PROBES: Duration = Duration::from_secs(20);

fn added() -> Result<()> {
    let world = World::new()?;
    let folder = world.node.folder()?;
    let config = format!(
        "[defaults]\ninterval = \"500ms\"\nauto_targets = false\n[history]\npath = \"{}\"\n\
         [[target]]\nname = \"own\"\nhost = \"203.0.113.10\"\n",
        folder.join("history.db").display()
    );
    let mut agent = Start::new(&world)?.config(&config).start()?;
    let body = r#"{"host":"203.0.113.10","probe":"tcp","port":443,"scope":"backup","persist":true}"#;
    let answer = put(&agent.socket, "kept", body)?;
    ensure!(answer.contains(" 200 ") && answer.contains("\"change\":\"added\""), "{answer}");
    // It is there for whoever was told so.
    ensure!(names(&agent)? == ["kept", "own"], "{}", agent.status()?);
    ensure!(agent.cli_code(&["wait", "--target", "kept", "--timeout", "20s"])? == 0, "{}", agent.status()?);
    let add = ["target", "add", "gone", "--host", "2001:db8:113::10", "--probe", "tcp", "--port", "81"];
    ensure!(agent.cli_code(&add)? == 0, "{:?}", agent.log.lines());
    let down = ["wait", "--target", "gone", "--state", "down", "--timeout", "20s"];
    ensure!(agent.cli_code(&down)? == 0, "{}", agent.status()?);

    let probes =
        |name: &str| -> Result<f64> { Ok(agent.metrics()?.sum("netmon_probes_total", &[("target", name)])) };
    let before = (probes("own")?, probes("kept")?);
    ensure!(before.0 > 0.0 && before.1 > 0.0 && probes("gone")? > 0.0, "{before:?}");
    let again = put(&agent.socket, "kept", body)?;
    ensure!(again.contains("\"change\":\"unchanged\""), "{again}");
    // A reload takes nothing away that was added, and a bad one nothing at all.
    agent.signal(Signal::SIGHUP)?;
    ensure!(agent.log.await_line(PROBES, |l| l.contains("configuration read anew")).is_some(), "no reload");
    let file = agent.folder().join("netmon.toml");
    fs::write(&file, config.replace("interval", "intervall"))?;
    agent.signal(Signal::SIGHUP)?;
    ensure!(agent.log.await_line(PROBES, |l| l.contains("intervall")).is_some(), "no word of the bad file");
    fs::write(&file, &config)?;
    ensure!(names(&agent)? == ["gone", "kept", "own"], "{}", agent.status()?);
    ensure!(probes("own")? >= before.0 && probes("kept")? >= before.1, "counters were lost");

    ensure!(agent.cli_code(&["target", "remove", "gone"])? == 0, "not removed");
    ensure!(agent.cli_code(&["target", "remove", "gone"])? == 2, "removed twice");
    ensure!(agent.cli_code(&["target", "remove", "own"])? == 1, "removed from the file");
    ensure!(names(&agent)? == ["kept", "own"], "{}", agent.status()?);
    let series = agent.get("/metrics")?.body;
    ensure!(!series.contains("target=\"gone\"") && series.contains("target=\"kept\""), "its series stay");

    ensure!(agent.cli_code(&["target", "add", "until-the-end", "--host", "203.0.113.10"])? == 0, "not added");
    agent.stop()?;
    let next = Start::new(&world)?.config(&config).start()?;
    let listed = next.cli_output(&["target", "list", "--json"])?.stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed)?;
    ensure!(listed.as_array().map(Vec::len) == Some(1) && listed[0]["name"] == "kept", "{listed}");
    ensure!(next.cli_code(&["wait", "--target", "kept", "--timeout", "20s"])? == 0, "{}", next.status()?);
    ensure!(names(&next)? == ["kept", "own"], "{}", next.status()?);
    Ok(())
}

/// Somebody who may open the socket, but is neither root nor the agent's user nor of its group.
fn others() -> Result<()> {
    let world = World::new()?;
    let agent = Start::new(&world)?.config("[defaults]\nauto_targets = false\n").start()?;
    let mut command = world.node.command("setpriv");
    // The one capability that opens every file; the kernel tells the agent the user all the same.
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
    command.arg(binary()?).args(["target", "add", "a", "--host", "127.0.0.1"]);
    let output = command.env("NETMON_SOCKET", &agent.socket).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(said.contains("usermod -aG netmon"), "no remedy: {said}");
    ensure!(names(&agent)?.is_empty(), "{}", agent.status()?);
    Ok(())
}

/// `PUT /v1/targets/NAME` as it stands, and the whole answer.
fn put(socket: &Path, name: &str, body: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PROBES))?;
    let length = body.len();
    write!(
        stream,
        "PUT /v1/targets/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The names of all targets, sorted.
fn names(agent: &Agent<'_>) -> Result<Vec<String>> {
    let status = agent.status()?;
    let targets = status["targets"].as_array().context("no targets")?;
    let mut names: Vec<String> =
        targets.iter().filter_map(|t| Some(t["name"].as_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}
