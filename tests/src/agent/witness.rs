//! Someone who looks at the agent in every way there is, and insists that all of them agree.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use serde_json::Value;

use super::process::await_until;
use super::{Agent, Watch};

/// Follows `netmon watch --json`, and asks `netmon wait`, `netmon status --json`, the socket and the metrics.
#[derive(Debug)]
pub struct Witness<'a> {
    agent: &'a Agent<'a>,
    watch: Watch,
}

impl<'a> Witness<'a> {
    /// Begins to watch; the agent may still be on its way to a first verdict.
    pub fn new(agent: &'a Agent<'a>) -> Result<Self> {
        Ok(Self { agent, watch: Watch::start(agent, &[])? })
    }

    /// Waits until the network is up, as a trial's starting point.
    pub fn up(&self, within: Duration) -> Result<Duration> {
        let before = Mono::now();
        let seconds = format!("{}ms", within.as_millis());
        let code = self.agent.cli_code(&["wait", "--state", "up", "--timeout", &seconds])?;
        ensure!(code == 0, "not up within {within:?}: {}", self.agent.status()?);
        Ok(Mono::now().since(before))
    }

    /// Does `act` and asserts that the network becomes `state` within `within`, seen by all ways alike, with `reasons`:
    /// each a code, or `code/subject`. The first one has to be given with the change itself; the others may join it
    /// later. Returns how long it took until `netmon wait` had ended.
    pub fn after(
        &self,
        state: &str,
        reasons: &[&str],
        within: Duration,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Duration> {
        let seen = self.agent.status()?["seq"].as_u64().context("no seq")?;
        let timeout = format!("{}ms", within.as_millis());
        let mut waiter = self.agent.cli_spawn(&["wait", "--state", state, "--timeout", &timeout])?;
        // One who came too late would be answered too, but would prove no waking.
        self.agent.await_waiters(1)?;
        let start = Mono::now();
        act()?;
        let status = waiter.wait()?;
        let took = Mono::now().since(start);
        ensure!(
            status.code() == Some(0),
            "netmon wait --state {state}: {status} after {took:?}; {}",
            self.agent.status()?
        );

        let change = self.watch.expect(within, |c| {
            c["kind"] == "state" && c["state"] == state && c["seq"].as_u64().is_some_and(|s| s > seen)
        });
        let change = change.with_context(|| format!("netmon watch told of no change to {state}"))?;
        ensure!(
            has(&change, reasons.first().copied()),
            "watch: the change has other reasons than {reasons:?}: {change}"
        );

        let lasting = await_until(within, || {
            let status = self.agent.cli_status()?;
            Ok((status["state"] == state && reasons.iter().all(|r| has(&status, Some(r)))).then_some(()))
        })?;
        ensure!(lasting.is_some(), "status: not {state} with {reasons:?}: {}", self.agent.status()?);

        let metrics = self.agent.metrics()?;
        ensure!(
            metrics.state("netmon_state", &[]) == Some(state),
            "metrics: {:?}",
            metrics.all("netmon_state", &[])
        );
        for reason in reasons {
            let (code, subject) = reason.split_once('/').unwrap_or((reason, ""));
            let labels = [("code", code), ("subject", subject)];
            let labels = if subject.is_empty() { &labels[..1] } else { &labels };
            let value = metrics.value("netmon_state_reason", labels);
            ensure!(value == Some(1.0), "metrics: netmon_state_reason for {reason} is {value:?}");
        }
        Ok(took)
    }

    /// What `netmon watch` tells.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// Whether one of the value's reasons is this one; none asked for is found in anything.
fn has(value: &Value, reason: Option<&str>) -> bool {
    let Some(reason) = reason else { return true };
    let (code, subject) = reason.split_once('/').unwrap_or((reason, ""));
    let fits = |r: &Value| r["code"] == code && (subject.is_empty() || r["subject"] == subject);
    value["reasons"].as_array().is_some_and(|all| all.iter().any(fits))
}
