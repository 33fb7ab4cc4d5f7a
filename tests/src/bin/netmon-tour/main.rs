//! The tour of README.md, played: from the package to an alert that fires and resolves, in a world of namespaces and a root
//! of its own, with a real Prometheus. Each step's commands are README's, and are shown with what they say and their time.

mod root;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use netmon_agent::time::Mono;
use netmon_tests::agent::await_until;
use netmon_tests::lab::{self, World, find_program};
use netmon_tests::prometheus::Prometheus;

use root::Root;

/// Plays the tour of README.md. Needs root.
#[derive(Parser)]
struct Arguments {
    /// The alert fires after two seconds and not after two minutes.
    #[arg(long)]
    short: bool,
    /// The package [default: the newest in target/dist; without one the program is put in place as INSTALL.md says]
    #[arg(long, value_name = "FILE")]
    deb: Option<PathBuf>,
}

/// Far longer than any step may take, even on a loaded machine.
const LONG: Duration = Duration::from_secs(300);
const ALERT: &str = "ALERTS{alertname=\"NetmonNetworkDown\",alertstate=\"firing\"}";

/// README's commands, in their order.
const DOCTOR: &str = "netmon doctor";
const STATUS: &str = "netmon status";
const BREAK: &str = "ip link set eth0 down";
const WAIT: &str = "netmon wait --state usable --stable 5s --timeout 10m && echo back";
const SCRAPE: &str = "curl -s http://127.0.0.1:9817/metrics | grep ^netmon_state";
const QUERY: &str = "promtool query instant http://127.0.0.1:9090 'ALERTS{alertname=\"NetmonNetworkDown\"}'";
const MEND: &str = "ip link set eth0 up";
const HISTORY: &str = "netmon history --since 1h";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(why) = lab::obstacle() {
        eprintln!("netmon-tour: {why}");
        return ExitCode::FAILURE;
    }
    match tour(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("netmon-tour: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn tour(arguments: &Arguments) -> Result<()> {
    lab::clean_up_on_signals()?;
    let world = World::new()?;
    let stage = Stage { root: Root::new(&world.node)?, started: Mono::now() };

    stage.title("1. Install it");
    let package = arguments.deb.clone().or_else(newest_package);
    match &package {
        Some(deb) => stage.root.install(deb)?,
        None => stage.root.put_in_place()?,
    }
    let how =
        package.map_or("put in place as INSTALL.md says".to_owned(), |deb| format!("from {}", deb.display()));
    stage.say(&format!("installed in a root of its own, {how}"));
    let _agent = stage.root.start_agent()?;
    stage.say("no systemd runs here: `netmon run` is started with what netmon.service gives it");

    stage.title("2. What works here?");
    stage.show(DOCTOR, &[0, 1])?;

    stage.title("3. How is the network?");
    stage.quiet("netmon wait --state up --timeout 60s")?;
    stage.show(STATUS, &[0])?;

    stage.title("4. Let Prometheus see it");
    let prometheus = prometheus(&world, arguments.short)?;
    prometheus.await_one("up{job=\"netmon\"} == 1", LONG)?;
    stage.say("it scrapes, and has the rules of dashboards/rules/netmon.yml");

    stage.title("5. Break it, and let something wait for its end");
    let broken = Mono::now();
    stage.show(BREAK, &[0])?;
    stage.quiet("netmon wait --state down --timeout 60s")?;
    stage.say(&format!("down, {} after it", spoken(Mono::now().since(broken))));
    let mut waiter = stage.begin(WAIT)?;

    stage.title("6. What does it say?");
    stage.show(STATUS, &[0])?;
    stage.show(SCRAPE, &[0])?;
    prometheus.await_one(ALERT, LONG)?;
    stage.say(&format!("NetmonNetworkDown fires, {} after the break", spoken(Mono::now().since(broken))));
    stage.show_in_node(&world, QUERY)?;
    ensure!(waiter.try_wait()?.is_none(), "who waits has gone on during the outage");

    stage.title("7. Mend it");
    let mended = Mono::now();
    stage.show(MEND, &[0])?;
    // The kernel took the routes away with the link; a network manager brings them back.
    world.configure_uplink(0)?;
    ended(&mut waiter, "who waited")?;
    stage.say(&format!(
        "who waited has gone on, {} after it: five seconds of them steady",
        spoken(Mono::now().since(mended))
    ));
    prometheus.await_none(ALERT, LONG)?;
    stage.say(&format!("NetmonNetworkDown has resolved, {} after it", spoken(Mono::now().since(mended))));
    stage.show(HISTORY, &[0])?;
    stage.title("That is all; nothing of it is left");
    Ok(())
}

/// What is shown, and where its commands run.
struct Stage {
    root: Root,
    started: Mono,
}

impl Stage {
    fn title(&self, title: &str) {
        println!("\n── {:>6.1} s  {title}", Mono::now().since(self.started).as_secs_f64());
    }

    fn say(&self, text: &str) {
        println!("   ({text})");
    }

    /// Runs a command line, and shows it with what it says.
    fn show(&self, line: &str, codes: &[i32]) -> Result<()> {
        println!("   $ {line}");
        let began = Mono::now();
        let output = self.root.command(line).stdin(Stdio::null()).output()?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("   | {line}");
        }
        let code = output.status.code();
        if !code.is_some_and(|code| codes.contains(&code)) {
            bail!("{line}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        println!("   # {}", spoken(Mono::now().since(began)));
        Ok(())
    }

    fn quiet(&self, line: &str) -> Result<()> {
        let output = self.root.command(line).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Runs one that is Prometheus' own, which is no part of what was installed.
    fn show_in_node(&self, world: &World, line: &str) -> Result<()> {
        println!("   $ {line}");
        let program =
            find_program("promtool").context("promtool is not installed: apt-get install prometheus")?;
        let shell = line.replacen("promtool", &program.display().to_string(), 1);
        let output = world.node.command("sh").args(["-c", &shell]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().for_each(|line| println!("   | {line}"));
        ensure!(output.status.success() && said.contains("NetmonNetworkDown"), "{line}: {}", output.status);
        Ok(())
    }

    /// Begins a command line that goes on beside.
    fn begin(&self, line: &str) -> Result<Child> {
        println!("   $ {line} &");
        self.root.command(line).stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting it")
    }
}

fn ended(child: &mut Child, who: &str) -> Result<()> {
    let status =
        await_until(LONG, || Ok(child.try_wait()?))?.with_context(|| format!("{who} waits forever"))?;
    ensure!(status.success(), "{who} ended with {status}");
    Ok(())
}

/// With the committed rules.
fn prometheus(world: &World, short: bool) -> Result<Prometheus<'_>> {
    let folder = world.node.folder()?;
    let rules = workspace().join("dashboards/rules/netmon.yml");
    let text = fs::read_to_string(&rules).with_context(|| rules.display().to_string())?;
    let one = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) if short && indent.trim().is_empty() => format!("{indent}for: 2s\n"),
        _ => format!("{line}\n"),
    };
    fs::write(folder.join("netmon.yml"), text.lines().map(one).collect::<String>())?;
    let config = format!(
        "global: {{scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 5s}}\nrule_files: [{}]\n\
         scrape_configs:\n- job_name: netmon\n  static_configs: [{{targets: ['127.0.0.1:9817']}}]\n",
        folder.join("netmon.yml").display()
    );
    Prometheus::start(&world.node, &folder, &config)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn newest_package() -> Option<PathBuf> {
    let files = fs::read_dir(workspace().join("target/dist")).ok()?.flatten().map(|entry| entry.path());
    let packages = files.filter(|file| file.extension().is_some_and(|e| e == "deb"));
    packages.max_by_key(|file| file.metadata().and_then(|m| m.modified()).ok())
}

fn spoken(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s => format!("{s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_those_of_the_readme() {
        let readme = include_str!("../../../../README.md");
        let mut rest = readme.split_once("## Five minutes").unwrap().1.split_once("\n## ").unwrap().0;
        for step in [DOCTOR, STATUS, BREAK, WAIT, STATUS, SCRAPE, QUERY, MEND, HISTORY] {
            let line = format!("\n    {step}\n");
            let at = rest.find(&line).unwrap_or_else(|| panic!("not there, or not in this order: {step}"));
            rest = &rest[at + line.len() - 1..];
        }
    }
}
