//! `netmon wait`.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::Path, process::ExitCode, thread, time::Duration};

use clap::builder::{OsStringValueParser, TypedValueParser};
use netmon_client::{
    Client, Condition, Error, WaitOptions,
    wire::{Reason, Waited},
};
use nix::unistd::getppid;

use super::{
    again::{LONGEST, Pauses, RESTART},
    busy::Busy,
    text::{duration, failed, reasons, say},
};
use crate::{history::jobs, observation::IfName, output::api::MAX_TIMEOUT, time::Boot};

/// `EX_TEMPFAIL` of sysexits(3): not by the deadline. Schedulers and borgmatic try again later.
const TEMPFAIL: u8 = 75;

/// Wait until the network, a device or a target is in a state
///
/// Exit codes: 0 it is so; 75 not by the deadline; 69 no agent answers; 2 usage, or an unknown device or target.
#[derive(Clone, Debug, clap::Args)]
pub struct WaitArgs {
    /// State to wait for: up, usable (up or degraded), down, degraded
    #[arg(long, default_value = "up", value_parser = str::parse::<Condition>)]
    state: Condition,
    /// Wait for this device instead of the whole network
    #[arg(long, value_parser = OsStringValueParser::new().map(device_name))]
    device: Option<String>,
    /// Wait for this target, by its name or its host, instead of the whole network
    #[arg(long)]
    target: Option<String>,
    /// How long the state must have held, e.g. 5s
    #[arg(long, default_value = "0s", value_parser = of_a_wait)]
    stable: Duration,
    /// Give up after this, e.g. 10m [default: never]
    #[arg(long, value_parser = of_a_wait)]
    timeout: Option<Duration>,
    /// Afterwards pause at random up to this, and up to a tenth of the time waited, so that not all start at once
    #[arg(long, default_value = "0s", value_parser = duration)]
    spread: Duration,
    /// Exit code when it is not so by the deadline
    #[arg(long, default_value_t = TEMPFAIL, value_parser = clap::value_parser!(u8).range(0..=254))]
    timeout_exit_code: u8,
    /// What this wait is called in `netmon history` [default: the name of the process that started it]
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

/// Waits by the agent at `socket`.
///
/// # Errors
/// None; what goes wrong is said on standard error and in the exit code.
pub fn run(args: &WaitArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    let started = Boot::now();
    let busy = (!args.quiet).then(|| Busy::new(&args.words()));
    let waited = wait(args, &Client::new(socket), started);
    drop(busy);
    match waited {
        Ok(waited) if waited.satisfied => {
            // What the agent itself waited is less than this when it was restarted meanwhile.
            let pause = spread(args.spread, Boot::now().since(started), rand::random());
            thread::sleep(pause);
            Ok(ExitCode::SUCCESS)
        }
        Ok(waited) => {
            if !args.quiet {
                let state = waited.state.as_str();
                say(format_args!("netmon: not {}: {state}: {}", args.state, reasons(&waited.blocking)));
            }
            Ok(ExitCode::from(args.timeout_exit_code))
        }
        Err(e) => Ok(failed(&e)),
    }
}

impl WaitArgs {
    /// What is waited for.
    fn words(&self) -> String {
        let what = match (&self.device, &self.target) {
            (None, None) => "the network".to_owned(),
            (Some(device), None) => format!("device {device}"),
            (None, Some(target)) => format!("target {target}"),
            (Some(device), Some(target)) => format!("device {device} and target {target}"),
        };
        format!("waiting for {what} to be {}", self.state)
    }
}

/// Waits, over restarts of the agent. One that was never there is an error at once.
fn wait(args: &WaitArgs, client: &Client, started: Boot) -> Result<Waited, Error> {
    let mut options = WaitOptions {
        condition: args.state,
        device: args.device.clone(),
        target: args.target.clone(),
        stable: args.stable,
        timeout: args.timeout,
        job: Some(args.job.clone().unwrap_or_else(|| jobs::name_of(Some(getppid().as_raw())))),
    };
    let (mut met, mut lost_at, mut pauses) = (false, None, Pauses::new());
    loop {
        let asked = Boot::now();
        let left = args.timeout.map(|t| t.saturating_sub(asked.since(started)));
        options.timeout = left;
        let error = match client.wait(&options) {
            // An agent that just started has no verdict of its own; its wait ends at the same deadline.
            Ok(waited) => return Ok(waited),
            Err(e @ (Error::Busy { .. } | Error::Disconnected | Error::Timeout)) => {
                met = true;
                e
            }
            Err(e @ (Error::NoAgent { .. } | Error::Io(_))) if met => e,
            Err(e) => return Err(e),
        };
        let now = Boot::now();
        // A connection that lasted was a new agent: patience begins anew with its loss.
        if now.since(asked) > LONGEST {
            (lost_at, pauses) = (None, Pauses::new());
        }
        let lost = *lost_at.get_or_insert(now);
        if matches!(error, Error::Busy { .. }) {
            lost_at = None;
        }
        let deadline = args.timeout.map(|t| (started + t).since(now));
        let patience = match error {
            Error::Busy { .. } | Error::Timeout => deadline,
            _ => Some((lost + RESTART).since(now).min(deadline.unwrap_or(Duration::MAX))),
        };
        let left = patience.unwrap_or(Duration::MAX);
        if left.is_zero() {
            return match error {
                // Agents were there all along, only without room: it was not so by the deadline.
                Error::Busy { .. } | Error::Timeout => Ok(unanswered(&error)),
                e => Err(e),
            };
        }
        thread::sleep(pauses.next(rand::random()).min(left));
    }
}

/// What a wait came to whose agent did not say.
fn unanswered(error: &Error) -> Waited {
    let reason = Reason { code: "no_answer".into(), detail: error.to_string(), ..Reason::default() };
    Waited { blocking: vec![reason], ..Waited::default() }
}

/// A duration that the agent takes.
fn of_a_wait(text: &str) -> Result<Duration, String> {
    let most = "is at most 30d; without --timeout a wait has no end";
    duration(text).and_then(|d| if d <= MAX_TIMEOUT { Ok(d) } else { Err(most.to_owned()) })
}

/// The name of a device as the agent writes it. The kernel's names are bytes; what is no UTF-8 reads `\xNN` there.
pub(super) fn device_name(name: OsString) -> String {
    name.into_string().unwrap_or_else(|name| IfName::new(name.as_bytes()).escaped())
}

/// A pause from U(0, min(most, a tenth of the time waited)): those who waited long together must not all start at once,
/// and nobody who did not wait is held up.
fn spread(most: Duration, waited: Duration, random: f64) -> Duration {
    most.min(waited / 10).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_in_the_bytes_of_the_kernel() {
        let bytes = |b: &[u8]| device_name(OsString::from(std::ffi::OsStr::from_bytes(b)));
        assert_eq!((bytes(b"eth0"), bytes(b"d\xff\"q")), ("eth0".to_owned(), "d\\xff\"q".to_owned()));
    }

    #[test]
    fn an_agent_that_is_silent_is_the_reason() {
        let waited = unanswered(&Error::Timeout);
        assert!(!waited.satisfied && reasons(&waited.blocking).starts_with("no_answer: the agent did not"));
    }

    #[test]
    fn a_wait_is_no_longer_than_the_agent_takes() {
        assert_eq!(of_a_wait("30d"), Ok(MAX_TIMEOUT));
        assert!(of_a_wait("31d").unwrap_err().contains("30d"));
        assert!(of_a_wait("5").is_err());
    }

    #[test]
    fn nobody_who_did_not_wait_is_held_up() {
        let s = Duration::from_secs;
        assert_eq!(spread(s(10), Duration::ZERO, 0.99), Duration::ZERO);
        assert_eq!(spread(s(10), s(20), 0.5), s(1));
        assert_eq!(spread(s(10), s(1000), 0.5), s(5));
        assert_eq!(spread(Duration::ZERO, s(1000), 0.5), Duration::ZERO);
    }
}
