//! Devices called what no device should be called: every output has them, and none is led astray by them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use html5gum::{DefaultEmitter, Token, Tokenizer};
use netmon_tests::agent::{Agent, Start, Witness, await_until};
use netmon_tests::lab::{World, find_program, run};
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("names::metrics_and_json_have_hostile_names_as_they_are", exposed),
    ("names::a_hostile_name_commands_no_terminal", on_a_terminal),
    ("names::a_hostile_name_is_text_on_the_page", on_the_page),
    ("names::the_log_has_a_hostile_name_in_one_line", in_the_log),
];

const PATIENCE: Duration = Duration::from_secs(20);

/// Names as the kernel has them, which lets any byte pass but `/`, `:` and white space (`dev_valid_name`), and as they are
/// told.
const NAMES: [(&[u8], &str); 10] = [
    (b"-rf", "-rf"),
    (b"$(reboot)", "$(reboot)"),
    (b"a{b}\"c\\", "a{b}\"c\\x5c"),
    (b"\x1b[31m\x07", "\\x1b[31m\\x07"),
    (b"u\xff\xfe", "u\\xff\\xfe"),
    (b"<xmp>&lt;'\"", "<xmp>&lt;'\""),
    ("r\u{202e}evil".as_bytes(), "r\\xe2\\x80\\xaeevil"),
    (b"`id`;#&&!", "`id`;#&&!"),
    (b"\\x41\xc3\xa9", "\\x5cx41\u{e9}"),
    (b"netmon_up}", "netmon_up}"),
];

/// Aliases take line breaks as well.
const ALIASES: [&[u8]; 3] = [
    b"one\ntwo\r\n\x1b[2J\x1b]0;title\x07",
    b"</td></table><script>alert(1)</script><xmp onload=alert(1)>",
    b"\xff\xfe\x80{\"level\":\"INFO\"}",
];

fn world() -> Result<World> {
    let world = World::new()?;
    let ip = |arguments: &[&[u8]]| {
        let mut command = Command::new("ip");
        command.args(["-n", world.node.name()]).args(arguments.iter().map(|a| OsStr::from_bytes(a)));
        run(&mut command, "")
    };
    for (i, (name, told)) in NAMES.iter().enumerate() {
        let peer = format!("peer{i}");
        ip(&[b"link", b"add", b"name", name, b"type", b"veth", b"peer", b"name", peer.as_bytes()])
            .with_context(|| (*told).to_owned())?;
        ip(&[b"link", b"set", b"dev", name, b"alias", ALIASES[i % ALIASES.len()]])?;
    }
    Ok(world)
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

fn told_devices(status: &Value) -> Vec<&str> {
    status["devices"].as_array().into_iter().flatten().filter_map(|d| d["name"].as_str()).collect()
}

fn exposed() -> Result<()> {
    let promtool =
        find_program("promtool").context("promtool is not installed: apt-get install prometheus")?;
    let world = world()?;
    let agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(PATIENCE)?;
    let metrics = agent.metrics()?;
    let output = run(Command::new(&promtool).args(["check", "metrics"]), &metrics.text)?;
    ensure!(output.trim().is_empty(), "{output}");
    let status = agent.status()?;
    let devices = told_devices(&status);
    for (_, told) in NAMES {
        let labels = [("device", told)];
        ensure!(metrics.value("netmon_link_up", &labels).is_some(), "no series of {told:?}");
        ensure!(metrics.state("netmon_device_state", &labels) == Some("down"), "no state of {told:?}");
        ensure!(devices.contains(&told), "{told:?} is none of {devices:?}");
        // What is told is what is asked for.
        let asked = format!("--device={told}");
        let code = agent.cli_code(&["wait", &asked, "--state", "down", "--timeout", "10s"])?;
        ensure!(code == 0, "wait {asked}: exit code {code}");
    }
    ensure!(metrics.text.lines().all(is_plain), "a control character in the metrics");
    for text in
        [agent.get("/v1/status")?.body, run(agent.cli(&["status", "--json"])?.stdin(Stdio::null()), "")?]
    {
        serde_json::from_str::<Value>(&text).context("no JSON")?;
        ensure!(text.lines().all(is_plain), "a control character in the JSON");
        ensure!(!text.contains("alert(1)") && !text.contains("title"), "an alias is told: {text}");
    }
    Ok(())
}

/// Takes off what colours and places text (ECMA-48 `CSI … m` and the like), which the program itself may send.
fn without_sequences(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != 0x1b {
            out.push(*byte);
            continue;
        }
        rest = match rest.split_first() {
            Some((b'[', sequence)) => {
                let end = sequence.iter().position(|b| (0x40..=0x7e).contains(b)).unwrap_or(sequence.len());
                sequence.get(end + 1..).unwrap_or_default()
            }
            Some((_, after)) => after,
            None => &[],
        };
    }
    out
}

fn on_a_terminal() -> Result<()> {
    let world = world()?;
    let agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(PATIENCE)?;
    let script = find_program("script").context("script is not installed: apt-get install bsdutils")?;
    let binary = netmon_tests::agent::binary()?;
    for (command, keys) in [("status", ""), ("top", "jjjjjjjjjjjj")] {
        // The keys come once there is something to be seen, and `q` at last.
        let feed = format!("(sleep 2; printf '{keys}'; sleep 1; printf q; sleep 1)");
        let program = format!("'{}' --socket '{}' {command}", binary.display(), agent.socket.display());
        let line = format!("stty rows 50 cols 120; {program}");
        let line = format!("{feed} | '{}' -qec \"{line}\" /dev/null", script.display());
        let mut shell = world.node.command("sh");
        shell.args(["-c", &line]).env("TERM", "xterm").env("LANG", "C.UTF-8").env("SHELL", "/bin/sh");
        let output = shell.output()?;
        let shown = String::from_utf8(output.stdout).with_context(|| format!("{command}: no UTF-8"))?;
        // An escape that the name began would have been taken off with the program's own.
        ensure!(!shown.contains("\u{1b}[31m\u{7}") && !shown.contains('\u{7}'), "{command}: {shown:?}");
        ensure!(!shown.contains("\u{1b}]0;") && !shown.contains("\u{202e}"), "{command}: {shown:?}");
        let text = String::from_utf8(without_sequences(shown.as_bytes()))?;
        let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r');
        ensure!(!text.contains(odd), "{command}: {:?}", text.chars().filter(|c| odd(*c)).collect::<String>());
        ensure!(text.contains("\\x1b[31m\\x07"), "{command} does not show it: {text}");
    }
    let piped = run(agent.cli(&["status"])?.stdin(Stdio::null()), "")?;
    ensure!(piped.lines().all(is_plain), "{piped:?}");
    for (_, told) in NAMES {
        ensure!(piped.contains(told), "{told:?} is not in {piped}");
    }
    Ok(())
}

fn on_the_page() -> Result<()> {
    let world = world()?;
    let agent = Agent::start(&world)?;
    Witness::new(&agent)?.up(PATIENCE)?;
    let page = agent.get("/")?;
    ensure!(page.status == 200, "{}", page.status);
    let mut text = String::new();
    let (mut scripts, mut handlers) = (Vec::new(), Vec::new());
    let mut within_script = false;
    for token in Tokenizer::new_with_emitter(&page.body, DefaultEmitter::default()) {
        match token? {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                ensure!(name != "xmp", "a name became a tag");
                within_script = name == "script";
                if within_script {
                    scripts.push(name);
                }
                for attribute in tag.attributes.keys() {
                    let attribute = String::from_utf8_lossy(attribute).into_owned();
                    if attribute.starts_with("on") || attribute.contains(['"', '\'', '<', '`']) {
                        handlers.push(attribute);
                    }
                }
            }
            Token::EndTag(_) => within_script = false,
            Token::String(piece) if !within_script => text += &String::from_utf8_lossy(&piece),
            Token::String(_) | Token::Comment(_) | Token::Doctype(_) => {}
            Token::Error(e) => anyhow::bail!("the page is no HTML: {e:?}"),
        }
    }
    ensure!(handlers.is_empty(), "handlers: {handlers:?}");
    ensure!(scripts.len() <= 1 && !page.body.contains("alert(1)"), "scripts: {}", scripts.len());
    for (_, told) in NAMES {
        ensure!(text.contains(told), "{told:?} is no text of the page");
    }
    ensure!(!text.contains(|c: char| c.is_control() && c != '\n'), "a control character on the page");
    Ok(())
}

fn in_the_log() -> Result<()> {
    let world = world()?;
    let file = world.node.folder()?.join("netmon.log");
    let path = file.to_str().context("a path")?;
    for format in ["json", "text"] {
        let _ = std::fs::remove_file(&file);
        let config = format!("[log]\nfile = {path:?}\nformat = {format:?}\n");
        let start = Start::new(&world)?;
        let mut command = start.config(&config).command()?;
        // The command line of the lab names a format, which would go before.
        let arguments: Vec<_> = command.get_args().map(OsStr::to_owned).collect();
        let kept = arguments.iter().filter(|a| *a != "--log-format" && *a != "json");
        let mut without = Command::new(command.get_program());
        without.args(kept).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command = without;
        let mut child = command.spawn()?;
        let all_named = await_until(PATIENCE, || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let named = |told: &str| match format {
                "json" => {
                    let lines = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
                    lines.filter(|l| l["subject"] == told).count() > 0
                }
                _ => text.contains(&format!("device {told} is down")),
            };
            Ok(NAMES.iter().all(|(_, told)| named(told)).then_some(text))
        });
        child.kill()?;
        child.wait()?;
        let text = all_named?.with_context(|| {
            format!("{format}: not every name is in {}", std::fs::read_to_string(&file).unwrap_or_default())
        })?;
        for line in text.lines() {
            ensure!(is_plain(line), "{format}: {line:?}");
            match format {
                "json" => drop(serde_json::from_str::<Value>(line).with_context(|| line.to_owned())?),
                // Every line begins with its time.
                _ => ensure!(line.starts_with("20") && line.contains('T'), "{format}: {line:?}"),
            }
        }
    }
    Ok(())
}
