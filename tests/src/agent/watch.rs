//! `netmon watch --json`, followed.

use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Agent;
use super::log::Log;

/// A running `netmon watch --json`. Ended on drop.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    lines: Log,
}

impl Watch {
    /// Starts it and waits until the agent knows of it: no later change is missed.
    pub fn start(agent: &Agent<'_>, arguments: &[&str]) -> Result<Self> {
        let mut child = agent.cli_spawn(&[&["watch", "--json"], arguments].concat())?;
        let lines = Log::follow(child.stdout.take().context("its standard output")?);
        let watch = Self { child, lines };
        agent.await_followers(1)?;
        Ok(watch)
    }

    /// Waits for a change that satisfies `wanted`; `None` when none came in time.
    pub fn expect(&self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let parsed = |line: &str| serde_json::from_str::<Value>(line).ok();
        let line = self.lines.await_line(within, |line| parsed(line).is_some_and(|v| wanted(&v)))?;
        parsed(&line)
    }

    /// All lines so far, each as JSON.
    pub fn changes(&self) -> Result<Vec<Value>> {
        self.lines
            .lines()
            .iter()
            .map(|l| serde_json::from_str(l).with_context(|| format!("not JSON: {l:?}")))
            .collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
