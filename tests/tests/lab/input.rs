//! Bad input and missing means: a clear line with the remedy, and on where it can go on.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, Witness, binary};
use netmon_tests::lab::{Options, Place, Way, What, World};
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("input::an_unknown_key_names_its_line_and_the_nearest_key", unknown_key),
    ("input::a_bad_duration_names_its_line_and_shows_a_good_one", bad_duration),
    ("input::the_commented_sample_and_what_is_shown_pass_the_check", shown),
    ("input::an_unknown_device_or_target_is_exit_code_2", unknown_subject),
    ("input::bad_arguments_are_exit_code_2", bad_arguments),
    ("input::without_an_agent_it_is_exit_code_69", no_agent),
    ("input::a_wait_past_its_deadline_is_exit_code_75", deadline),
    ("input::a_busy_port_stops_nothing_else", busy_port),
    ("input::a_regular_file_in_the_sockets_place_is_left_alone", regular_file),
    ("input::without_bpf_it_goes_on", without_bpf),
    ("input::without_btf_it_goes_on", without_btf),
    ("input::without_ping_sockets_it_uses_raw_ones", without_ping_sockets),
    ("input::without_any_icmp_it_uses_tcp", without_icmp),
    ("input::without_ipv6_it_goes_on", without_ipv6),
    ("input::doctor_tells_what_is_missing", doctor),
];

const PROBES: Duration = Duration::from_secs(20);

fn unknown_key() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?.config("[agent]\nlisten = []\n\n[defaults]\nintervall = \"2s\"\n");
    let (status, said) = start.fail()?;
    ensure!(status.code().is_some_and(|c| c != 0), "{status}");
    for wanted in ["netmon.toml:5:1", "intervall", "did you mean `interval`?"] {
        ensure!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
    Ok(())
}

fn bad_duration() -> Result<()> {
    let world = World::new()?;
    for bad in ["2 parsecs", "", "-1s"] {
        let (status, said) =
            Start::new(&world)?.config(&format!("[defaults]\ninterval = \"{bad}\"\n")).fail()?;
        ensure!(status.code().is_some_and(|c| c != 0), "{bad:?}: {status}");
        ensure!(said.contains("netmon.toml:2:") && said.contains("1m30s"), "{bad:?}: {said}");
    }
    Ok(())
}

fn shown() -> Result<()> {
    let world = World::new()?;
    let netmon = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = world.node.command(binary()?).arg("config").args(arguments).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    };
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../netmon-agent/packaging/netmon.toml");
    let (code, said) = netmon(&["check", sample])?;
    ensure!(code == Some(0) && said.contains("targets configured: 0"), "{said}");
    let shown = world.node.folder()?.join("shown.toml");
    let shown = shown.to_str().context("a path")?;
    fs::write(shown, netmon(&["show", sample])?.1)?;
    let (code, said) = netmon(&["check", shown])?;
    ensure!(code == Some(0), "{said}");
    ensure!(netmon(&["show", shown])?.1 == fs::read_to_string(shown)?, "shown otherwise the second time");
    let schema: Value = serde_json::from_str(&netmon(&["schema"])?.1)?;
    ensure!(schema["properties"]["defaults"]["properties"]["interval"]["default"] == "2s", "{schema}");
    let (code, said) = netmon(&["check", world.node.folder()?.to_str().context("a path")?])?;
    ensure!(code == Some(1) && said.contains("name the file in it"), "{code:?}: {said}");
    Ok(())
}

fn unknown_subject() -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    for arguments in [["--device", "eth9"], ["--target", "nowhere"]] {
        let output = agent.cli_output(&[&["wait", "--timeout", "5s"], &arguments[..]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{arguments:?}: {}: {said}", output.status);
        ensure!(said.contains(arguments[1]), "{said:?} does not name {}", arguments[1]);
    }
    let answer = agent.get("/v1/wait?device=eth9")?;
    ensure!(answer.status == 404, "{}: {}", answer.status, answer.body);
    for bad in ["state=better", "stable=soon", "timeout=-1s", "colour=red"] {
        let answer = agent.get(&format!("/v1/wait?{bad}"))?;
        ensure!(answer.status == 400, "{bad}: {}: {}", answer.status, answer.body);
    }
    Ok(())
}

fn bad_arguments() -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    for arguments in [
        &["wait", "--state", "better"][..],
        &["wait", "--stable", "soon"],
        &["nonsense"],
        &["wait", "--fast"],
    ] {
        let output = agent.cli_output(arguments)?;
        ensure!(output.status.code() == Some(2), "{arguments:?}: {}", output.status);
        ensure!(!output.stderr.is_empty(), "{arguments:?}: no word");
    }
    Ok(())
}

fn no_agent() -> Result<()> {
    let world = World::new()?;
    let mut agent = Agent::start(&world)?;
    agent.stop()?;
    for arguments in [&["wait", "--timeout", "1s"][..], &["status"], &["status", "--json"]] {
        let output = agent.cli_output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(69), "{arguments:?}: {}: {said}", output.status);
        ensure!(said.contains("netmon run"), "{arguments:?}: no remedy in {said:?}");
    }
    Ok(())
}

fn deadline() -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(PROBES)?;
    let output = agent.cli_output(&["wait", "--state", "down", "--timeout", "300ms"])?;
    ensure!(output.status.code() == Some(75), "{}", output.status);
    let answer = agent.get("/v1/wait?state=down&timeout=100ms")?;
    let json = answer.json()?;
    ensure!(
        answer.status == 409 && json["satisfied"] == false && json["state"] == "up",
        "{}: {json}",
        answer.status
    );
    Ok(())
}

fn busy_port() -> Result<()> {
    let world = World::new()?;
    let _holder = world.node.run(|| TcpListener::bind("127.0.0.1:9817"))??;
    let agent = Agent::start(&world)?;
    let said = agent.log.await_line(PROBES, |l| l.contains("127.0.0.1:9817"));
    ensure!(said.is_some(), "no word on the busy port: {:?}", agent.log.lines());
    Witness::new(&agent)?.up(PROBES)?;
    let by_v6 = world.node.run(|| std::net::TcpStream::connect("[::1]:9817").map(drop))?;
    ensure!(by_v6.is_ok(), "the other listener did not open: {by_v6:?}");
    Ok(())
}

fn regular_file() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let socket = start.socket().to_owned();
    fs::write(&socket, "precious")?;
    let (status, said) = start.fail()?;
    ensure!(status.code().is_some_and(|c| c != 0), "{status}");
    ensure!(said.contains(&socket.display().to_string()), "it does not say which file: {said}");
    ensure!(fs::read_to_string(&socket)? == "precious", "the file was touched");
    Ok(())
}

fn without_bpf() -> Result<()> {
    goes_on_without_bpf(&["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", "--inh-caps=-all"])
}

fn without_btf() -> Result<()> {
    // `ip netns exec` gives every program a mount namespace and a sysfs of its own.
    goes_on_without_bpf(&["sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\""])
}

fn goes_on_without_bpf(without: &[&str]) -> Result<()> {
    let world = World::new()?;
    let agent = Start::new(&world)?.behind(without).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let missing = missing(&agent, "bpf")?;
    ensure!(!missing.is_empty(), "no BPF, and no word of it: {}", agent.status()?["agent"]);
    let metrics = agent.metrics()?;
    for name in &missing {
        ensure!(metrics.value("netmon_capability", &[("name", name)]) == Some(0.0), "{name} in the metrics");
    }
    witness.after("down", &["no_carrier/eth0"], Duration::from_secs(3), || world.carrier_down(0))?;
    Ok(())
}

fn without_ping_sockets() -> Result<()> {
    let world = World::with(Options { ping_sockets: false, ..Options::default() })?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    ensure!(target(&agent, "8.8.8.8")?["probe"] == "icmp", "{}", target(&agent, "8.8.8.8")?);
    // Only ICMP is lost: had it probed by TCP, it would not notice.
    let fault = world.lose(Place::Wan(0), Way::Both, What::Echo)?;
    ensure!(
        agent.cli_code(&["wait", "--target", "8.8.8.8", "--state", "down", "--timeout", "20s"])? == 0,
        "not by ICMP"
    );
    fault.mend()
}

fn without_icmp() -> Result<()> {
    let world = World::with(Options { ping_sockets: false, ..Options::default() })?;
    let without = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-all"];
    let agent = Start::new(&world)?.behind(&without).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    let missing = missing(&agent, "icmp")?;
    ensure!(!missing.is_empty(), "no ICMP, and no word of it: {}", agent.status()?["agent"]);
    let remedy = agent.status()?["agent"]["capabilities"][&missing[0]]["remedy"].clone();
    ensure!(remedy.as_str().is_some_and(|r| r.contains("ping_group_range")), "{remedy}");
    // Only TCP is lost: had it probed by ICMP, it would not notice.
    let fault = world.lose(Place::Wan(0), Way::Both, What::Tcp)?;
    ensure!(
        agent.cli_code(&["wait", "--target", "8.8.8.8", "--state", "down", "--timeout", "20s"])? == 0,
        "not by TCP"
    );
    fault.mend()?;
    witness.up(PROBES)?;
    Ok(())
}

fn without_ipv6() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(PROBES)?;
    ensure!(agent.get_tcp("/healthz")?.status == 200, "no metrics over IPv4");
    witness.after("down", &["no_carrier/eth0"], Duration::from_secs(3), || world.carrier_down(0))?;
    Ok(())
}

fn doctor() -> Result<()> {
    let world = World::with(Options { ping_sockets: false, ..Options::default() })?;
    let agent = Agent::start(&world)?;
    let all = agent.cli_output(&["doctor"])?;
    let text = String::from_utf8_lossy(&all.stdout).into_owned();
    ensure!(text.contains("ping_group_range"), "no word on ping sockets: {text}");
    let mut bare = world.node.command("setpriv");
    bare.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(binary()?).arg("doctor");
    let bare = bare.env("NETMON_SOCKET", &agent.socket).output()?;
    let text = String::from_utf8_lossy(&bare.stdout).into_owned();
    ensure!(text.to_lowercase().contains("cap_bpf"), "no word on BPF: {text}");
    Ok(())
}

/// Names of capabilities that begin so and are missing, each with a remedy.
fn missing(agent: &Agent<'_>, prefix: &str) -> Result<Vec<String>> {
    let status = agent.status()?;
    let all = status["agent"]["capabilities"].as_object().context("no capabilities")?;
    let lost = all.iter().filter(|(name, c)| name.starts_with(prefix) && c["ok"] == false);
    lost.map(|(name, c)| {
        ensure!(c["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{name} has no remedy: {c}");
        Ok(name.clone())
    })
    .collect()
}

fn target(agent: &Agent<'_>, host: &str) -> Result<Value> {
    let status = agent.status()?;
    let mut targets = status["targets"].as_array().into_iter().flatten();
    targets.find(|t| t["host"] == host).cloned().with_context(|| format!("{host} is no target"))
}
