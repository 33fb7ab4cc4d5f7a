//! The other subcommands, as a script calls them.

use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Agent, binary};

impl Agent<'_> {
    /// A `netmon` command line that talks to this agent, inside the node.
    pub fn cli(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.world.node.command(binary()?);
        command.args(arguments).env("NETMON_SOCKET", &self.socket).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs it to its end.
    pub fn cli_output(&self, arguments: &[&str]) -> Result<Output> {
        self.cli(arguments)?.output().with_context(|| format!("netmon {arguments:?}"))
    }

    /// Its exit code; a death by a signal is an error.
    pub fn cli_code(&self, arguments: &[&str]) -> Result<i32> {
        self.cli_output(arguments)?
            .status
            .code()
            .with_context(|| format!("netmon {arguments:?} died of a signal"))
    }

    /// Starts it and leaves it running; standard output and error are pipes.
    pub fn cli_spawn(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = self.cli(arguments)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().with_context(|| format!("netmon {arguments:?}"))
    }

    /// `netmon status --json`.
    pub fn cli_status(&self) -> Result<Value> {
        let output = self.cli_output(&["status", "--json"])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}
