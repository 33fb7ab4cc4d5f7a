//! `netmon doctor`: each capability, whether it works, why not, and what mends it.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;

use super::{
    busy::Busy,
    text::{printable, quiet_pipe},
};
use crate::{agent::capabilities, capability::Capability, sandbox};

/// Tell what works on this machine.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One JSON object with all capabilities
    #[arg(long)]
    json: bool,
    /// The kernel's types in a file, for a kernel that does not carry them itself
    #[arg(long, env = "NETMON_BTF", value_name = "FILE")]
    btf: Option<PathBuf>,
}

/// Examines this machine as this user, and asks a running agent what it has. Exit code 0: all works here; 1: something
/// is missing. Whether an agent runs is told, and is no fault of the machine's.
pub fn run(args: &DoctorArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    let busy = Busy::new("examining this machine");
    let mut found = capabilities::examine(args.btf.as_deref());
    let all_well = found.iter().all(|c| c.ok);
    busy.say("asking the agent");
    let agent = ask_agent(socket);
    drop(busy);
    found.push(match &agent {
        Ok(status) => Capability::works(
            "agent",
            format!(
                "version {} answers on {}: {}",
                status.agent.version,
                socket.display(),
                status.state.as_str()
            ),
        ),
        Err(e) => Capability::missing("agent", e.to_string(), "start it: netmon run"),
    });
    let threads = agent.as_ref().map(|status| of_threads(status.agent.pid)).unwrap_or_default();
    let of_agent: Vec<Capability> = agent.map(of_agent).unwrap_or_default();
    if args.json {
        let list = |all: &[Capability]| {
            let one =
                |c: &Capability| json!({"name": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy});
            all.iter().map(one).collect::<Vec<_>>()
        };
        let object = json!({"ok": all_well, "here": list(&found), "agent": list(&of_agent), "threads": list(&threads)});
        quiet_pipe(writeln!(io::stdout().lock(), "{object}"))?;
    } else {
        quiet_pipe(anstream::stdout().lock().write_all(screen(&found, &of_agent, &threads).as_bytes()))?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn screen(here: &[Capability], agent: &[Capability], threads: &[Capability]) -> String {
    let mut out = "As this user, here:\n".to_owned();
    list(&mut out, here);
    if !agent.is_empty() {
        out.push_str("\nThe running agent:\n");
        list(&mut out, agent);
    }
    if !threads.is_empty() {
        out.push_str("\nIts threads, as /proc has them:\n");
        list(&mut out, threads);
    }
    out
}

/// What the agent holds by the kernel's word; nothing where it does not say which process it is.
fn of_threads(pid: u32) -> Vec<Capability> {
    if pid == 0 {
        return Vec::new();
    }
    // In another PID namespace the number is somebody else's.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let threads = if name.trim_end() == "netmon" { sandbox::of_process(pid).ok() } else { None };
    match threads.filter(|threads| !threads.is_empty()) {
        Some(threads) => sandbox::Held(threads).tell(),
        None => {
            let detail = format!("/proc does not show the agent's process, {pid}, to this user here");
            let remedy = "see it as root, and in the agent's own container";
            vec![Capability::missing("threads", detail, remedy)]
        }
    }
}

fn ask_agent(socket: &Path) -> Result<netmon_client::wire::Status, netmon_client::Error> {
    netmon_client::Client::new(socket).status()
}

fn of_agent(status: netmon_client::wire::Status) -> Vec<Capability> {
    let one = |(name, c): (String, netmon_client::wire::Capability)| Capability {
        name,
        ok: c.ok,
        detail: c.detail,
        remedy: c.remedy,
    };
    status.agent.capabilities.into_iter().map(one).collect()
}

fn list(out: &mut String, all: &[Capability]) {
    let width = all.iter().map(|c| c.name.len()).max().unwrap_or_default();
    for c in all {
        let (word, color) = if c.ok { ("ok     ", AnsiColor::Green) } else { ("missing", AnsiColor::Red) };
        let style = Style::new().fg_color(Some(color.into()));
        // Writing to a String can't fail.
        let (name, detail) = (printable(&c.name), printable(&c.detail));
        let _ = writeln!(out, "  {style}{word}{style:#} {name:width$}  {detail}");
        if !c.remedy.is_empty() {
            let _ = writeln!(out, "          {:width$}  → {}", "", printable(&c.remedy));
        }
    }
}
