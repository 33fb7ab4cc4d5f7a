//! The command line of `netmon retry`, and what it comes to.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::Path, time::Duration};

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use netmon_client::{
    Condition, WaitOptions,
    retry::{Jitter, Policy, PolicyError},
};

use super::{
    codes::{Codes, Rules},
    network::Subject,
    profile::{self, Profile},
    report::Format,
};
use crate::cli::{
    text::{duration, printable},
    wait::device_name,
};

/// Longest name of a job, bytes: as much as the agent keeps of one.
const MAX_NAME: usize = 64;

/// Run a command, again when it fails, and pause through outages
///
/// An outage costs no attempt: what the network's failure cut is repeated at no charge (10 times at most), and nothing
/// starts before the network is back for good.
///
/// Tried again: 75, 124, the codes of --retry-on and of the profile, and any other when the network went down within the
/// attempt. Never: 2, 64, 77, 78, 126, 127, a death by SIGINT or SIGTERM, and what ends for a ^C or ^\ typed at it
/// (130, 131, a death by SIGQUIT).
///
/// Exit codes: the command's own (where a signal killed it, by the same signal); 124 --max-time is over, or the last
/// attempt's time was; 75 the network never came, or the machine's retry budget is used up; 69 no agent answers; 125
/// netmon's own error.
///
/// The command's standard input is netmon's own. A file is read from its beginning by each attempt; what one attempt has
/// read from a pipe is gone for the next.
#[derive(Clone, Debug, clap::Args)]
pub struct RetryArgs {
    /// Attempts in all, or `endless`; those refunded do not count
    #[arg(long, default_value = "5", value_parser = attempts, value_name = "N")]
    attempts: Most<u32>,
    /// Delay after the first failure
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "TIME")]
    initial: Duration,
    /// How much longer each further delay is
    #[arg(long, default_value_t = 2.0, value_name = "FACTOR")]
    multiplier: f64,
    /// Longest delay
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    max_delay: Duration,
    /// How delays are scattered: full (from 250 ms to the delay), proportional (up to a quarter more), none
    #[arg(long, default_value = "full", value_parser = jitter, value_name = "KIND")]
    jitter: Jitter,
    /// Time for everything together, outages included, or `endless`
    #[arg(long, default_value = "1h", value_parser = time, value_name = "TIME")]
    max_time: Most<Duration>,
    /// Time for one attempt, that it stands still in an outage (--on-down pause) not counted; then SIGTERM, and SIGKILL
    /// after --kill-after
    #[arg(long, value_parser = duration, value_name = "TIME")]
    attempt_timeout: Option<Duration>,
    /// How long after a SIGTERM of ours what is left of the command is killed
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    kill_after: Duration,
    /// What the network has to be: usable (up or degraded) or up
    #[arg(long, default_value = "usable", value_parser = state)]
    state: Condition,
    /// How long it has to have been so after an outage
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "TIME")]
    stable: Duration,
    /// Heed this device instead of the whole network
    #[arg(long, value_parser = OsStringValueParser::new().map(device_name))]
    device: Option<String>,
    /// Heed this target, by its name or its host, instead of the whole network
    #[arg(long)]
    target: Option<String>,
    /// Exit codes to try again, as in 1,10-12; a death by signal N is 128+N
    #[arg(long, value_parser = str::parse::<Codes>, value_name = "CODES")]
    retry_on: Option<Codes>,
    /// Exit codes never to try again
    #[arg(long, value_parser = str::parse::<Codes>, value_name = "CODES")]
    give_up_on: Option<Codes>,
    /// Take the exit codes as this program means them. Of borg, which is run with BORG_EXIT_CODES=modern unless that is
    /// set, 2 is an error of any kind: tried again for an outage
    #[arg(long, value_parser = PossibleValuesParser::new(profile::ALL.map(|p| p.name)))]
    profile: Option<String>,
    /// What an outage does to a running command: run (nothing); pause (it stands still by SIGSTOP until the network is
    /// back: TLS sessions and locks of others may not last so long); restart (it is ended, and begun anew afterwards at
    /// no charge; needs --idempotent)
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    on_down: OnDown,
    /// The command may be cut at any point and begun anew
    #[arg(long)]
    idempotent: bool,
    /// Go on at once when the network is back, instead of at a random moment of a tenth of the outage
    #[arg(long)]
    no_spread: bool,
    /// Run without an agent where there is none, blind to the network
    #[arg(long)]
    no_agent_ok: bool,
    /// Leave the machine's retry budget alone
    #[arg(long)]
    no_budget: bool,
    /// What the agent and the log call this job [default: the command's name]
    #[arg(long)]
    name: Option<String>,
    /// How the line for each attempt looks, on standard error
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: Format,
    /// Say nothing but errors of netmon's own
    #[arg(short, long)]
    quiet: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A bound that may be none. clap would take an `Option` for an argument that may be absent.
#[derive(Clone, Copy, Debug)]
struct Most<T>(Option<T>);

/// What an outage does to a running command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnDown {
    /// Nothing.
    #[default]
    Run,
    /// It stands still.
    Pause,
    /// It is ended and begun anew.
    Restart,
}

/// Why a command line can't be followed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum ArgsError {
    #[error("--{}", .0.to_string().replace('_', "-"))]
    Policy(#[from] PolicyError),
    #[error(
        "--on-down restart ends the command at any point of its work; say --idempotent if it may be begun anew"
    )]
    NotIdempotent,
    #[error("--attempt-timeout is longer than --max-time, and would never be reached")]
    AttemptTooLong,
}

/// What was asked for, in the shape it is used in.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Without a time-out of an attempt, which is kept here: the engine does not know of pauses within one.
    pub(super) policy: Policy,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) kill_after: Duration,
    pub(super) subject: Subject,
    pub(super) rules: Rules,
    pub(super) on_down: OnDown,
    pub(super) no_agent_ok: bool,
    pub(super) budget: bool,
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) quiet: bool,
    pub(super) command: Vec<OsString>,
}

impl Settings {
    /// A wait for the network at the agent, which is to know what job waits.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> WaitOptions {
        let mut options = self.subject.wait(self.policy.stable, timeout);
        options.job = Some(self.name.clone()).filter(|name| !name.is_empty());
        options
    }
}

impl RetryArgs {
    /// Checks what clap can't.
    ///
    /// # Errors
    /// Options that rule one another out.
    pub(super) fn settings(&self) -> Result<Settings, ArgsError> {
        let policy = Policy {
            attempts: self.attempts.0,
            initial: self.initial,
            multiplier: self.multiplier,
            max_delay: self.max_delay,
            jitter: self.jitter,
            max_time: self.max_time.0,
            attempt_timeout: self.attempt_timeout,
            spread: !self.no_spread,
            stable: self.stable,
            ..Policy::default()
        };
        policy.validate()?;
        if self.on_down == OnDown::Restart && !self.idempotent {
            return Err(ArgsError::NotIdempotent);
        }
        if self.attempt_timeout.zip(self.max_time.0).is_some_and(|(one, all)| one > all) {
            return Err(ArgsError::AttemptTooLong);
        }
        Ok(Settings {
            policy: Policy { attempt_timeout: None, ..policy },
            attempt_timeout: self.attempt_timeout,
            kill_after: self.kill_after,
            subject: Subject {
                condition: self.state,
                device: self.device.clone(),
                target: self.target.clone(),
            },
            rules: Rules {
                retry_on: self.retry_on.clone().unwrap_or_default(),
                give_up_on: self.give_up_on.clone().unwrap_or_default(),
                profile: self.profile.as_deref().and_then(Profile::named),
            },
            on_down: self.on_down,
            no_agent_ok: self.no_agent_ok,
            budget: !self.no_budget,
            name: self.job(),
            format: self.log_format,
            quiet: self.quiet,
            command: self.command.clone(),
        })
    }

    /// The name given, or the last part of the command's path: printable, and not too long.
    fn job(&self) -> String {
        let of_command = || {
            let path = Path::new(self.command.first().map_or_else(|| "".as_ref(), OsString::as_os_str));
            let name = path.file_name().unwrap_or(path.as_os_str());
            String::from_utf8_lossy(name.as_bytes()).into_owned()
        };
        let mut name = printable(&self.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(of_command));
        while name.len() > MAX_NAME {
            name.pop();
        }
        name
    }
}

fn attempts(text: &str) -> Result<Most<u32>, String> {
    match text {
        "endless" => Ok(Most(None)),
        _ => {
            text.parse().map(|n| Most(Some(n))).map_err(|_| "is a number of 1 or more, or endless".to_owned())
        }
    }
}

fn time(text: &str) -> Result<Most<Duration>, String> {
    if text == "endless" { Ok(Most(None)) } else { duration(text).map(|d| Most(Some(d))) }
}

fn jitter(text: &str) -> Result<Jitter, String> {
    match text {
        "full" => Ok(Jitter::Full),
        "proportional" => Ok(Jitter::Proportional),
        "none" => Ok(Jitter::None),
        _ => Err("is one of full, proportional, none".to_owned()),
    }
}

fn state(text: &str) -> Result<Condition, String> {
    match text.parse()? {
        condition @ (Condition::Usable | Condition::Up) => Ok(condition),
        other => Err(format!("a command is not run for a network that is {other}: usable or up")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RetryArgs,
    }

    fn parsed(line: &str) -> Result<RetryArgs, clap::Error> {
        let words = std::iter::once("retry").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = parsed("-- restic backup").unwrap().settings().unwrap();
        assert_eq!(settings.policy, Policy::default());
        assert_eq!(settings.subject.condition, Condition::Usable);
        assert_eq!((settings.on_down, settings.name.as_str()), (OnDown::Run, "restic"));
        assert_eq!(settings.command, ["restic", "backup"]);
        assert!(settings.budget && !settings.no_agent_ok && !settings.quiet);
        assert_eq!(settings.wait(None).job.as_deref(), Some("restic"));
    }

    #[test]
    fn options_go_before_the_command_and_its_own_stay_its_own() {
        let settings = parsed("--attempts endless --max-time endless -q /usr/bin/curl -q --attempts 3")
            .unwrap()
            .settings()
            .unwrap();
        assert_eq!(settings.command, ["/usr/bin/curl", "-q", "--attempts", "3"]);
        assert_eq!((settings.policy.attempts, settings.policy.max_time), (None, None));
        assert_eq!(settings.name, "curl");
        let named = parsed("--name a\u{1b}b -- x").unwrap().settings().unwrap();
        assert_eq!(named.name, "a\u{fffd}b");
        let long = format!("--name {} -- x", "ä".repeat(100));
        assert_eq!(parsed(&long).unwrap().settings().unwrap().name, "ä".repeat(32));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_remedy() {
        for (line, words) in [
            ("", "required"),
            ("--", "required"),
            ("--attempts many x", "endless"),
            ("--jitter some x", "proportional"),
            ("--state down x", "usable or up"),
            ("--state fine x", "usable"),
            ("--retry-on 300 x", "1 to 255"),
            ("--profile scp x", "possible values: rclone, restic, borg, rsync, ssh, curl"),
            ("--on-down stop x", "possible values: run, pause, restart"),
            ("--initial 1 x", "10s"),
            ("--no-such x", "unexpected argument"),
        ] {
            let said = parsed(line).unwrap_err().to_string();
            assert!(said.contains(words), "{line}: {said}");
        }
        for (line, words) in [
            ("--attempts 0 x", "--attempts: 0 would"),
            ("--max-time 0s x", "--max-time: 0 leaves"),
            ("--multiplier 0.5 x", "--multiplier: 0.5"),
            ("--on-down restart x", "--idempotent"),
            ("--attempt-timeout 2h x", "--max-time"),
        ] {
            let said = parsed(line).unwrap().settings().unwrap_err().to_string();
            assert!(said.contains(words), "{line}: {said}");
        }
        assert!(parsed("--on-down restart --idempotent x").unwrap().settings().is_ok());
        assert!(parsed("--attempt-timeout 2h --max-time endless x").unwrap().settings().is_ok());
    }
}
