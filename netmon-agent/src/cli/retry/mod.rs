//! `netmon retry`: runs a command, again when it fails, and pauses through outages.
//!
//! The engine of `netmon-client` decides; [`driver`] is the loop around it.
//!
//! | file | what |
//! |---|---|
//! | `args`, `codes`, `profile` | the command line; what an exit code says (pure) |
//! | `driver/` | the loop: the child, signals, news of the network, what an attempt came to |
//! | `attempt`, `group`, `stdin` | one attempt, from its start until nothing of its process group is left |
//! | `signals`, `terminal` | what is passed on; job control |
//! | `network` | what the agent says, by a thread of its own |
//! | `tell`, `report`, `progress` | lines for a log, the line on a terminal |

mod args;
mod attempt;
mod codes;
mod driver;
#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/retry.rs"]
pub(crate) mod fuzzing;
mod group;
mod network;
mod profile;
mod progress;
mod report;
mod signals;
mod stdin;
mod tell;
mod terminal;

use std::{path::Path, process::ExitCode, thread, time::Duration};

use netmon_client::{Client, Error, State, retry::Network, wire::Waited};
use nix::sys::signal::Signal;

pub use args::RetryArgs;

use self::{
    args::Settings,
    codes::Exit,
    driver::{Driver, End, Known},
    network::Watcher,
    signals::Signals,
};
use super::{
    again::RESTART,
    text::{UNAVAILABLE, printable, reasons, say},
};
use crate::time::Boot;

/// netmon's own error, as with timeout(1), nohup(1) and env(1): no code that a command means something by.
pub(super) const OWN_ERROR: u8 = 125;

/// Runs the command by the agent at `socket`.
///
/// # Errors
/// None; what goes wrong is said on standard error and in the exit code.
pub fn run(args: &RetryArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    let result = args.settings().map_err(anyhow::Error::from).and_then(|settings| {
        for code in settings.rules.retry_on.in_vain() {
            say(format_args!("netmon: --retry-on {code}: wrong usage and the like are never tried again"));
        }
        retry(&settings, &Client::new(socket))
    });
    Ok(result.unwrap_or_else(|error| {
        say(format_args!("netmon: {}", printable(&super::told(&error))));
        ExitCode::from(OWN_ERROR)
    }))
}

fn retry(settings: &Settings, client: &Client) -> anyhow::Result<ExitCode> {
    // Before there is a second thread, which would be sent what this one blocks.
    let signals = Signals::block()?;
    let origin = Boot::now();
    let look = match first_look(settings, client) {
        Ok(waited) => seen(settings, &waited),
        // A device or a target that does not exist, or an agent that speaks another language.
        Err(e @ (Error::NotFound(_) | Error::BadRequest(_) | Error::Protocol(_))) => return Err(e.into()),
        Err(e) => {
            let words = printable(&e.to_string());
            if !settings.no_agent_ok {
                say(format_args!("netmon: {words}; --no-agent-ok runs the command without"));
                return Ok(ExitCode::from(UNAVAILABLE));
            }
            if !settings.quiet {
                say(format_args!("netmon: {words}; retrying blind to the network"));
            }
            unseen()
        }
    };
    let watcher = Watcher::start(client.clone(), settings.subject.clone())?;
    let driver = Driver::new(settings, client.clone(), origin, look, watcher, signals);
    let (end, signals) = driver.run()?;
    Ok(match end {
        End::Code(code) => ExitCode::from(code),
        End::Signal { signal, all } => {
            if let Ok(signal) = Signal::try_from(signal) {
                signals.die_of(signal, all);
            }
            ExitCode::from(Exit::Signal(signal).code())
        }
    })
}

/// Whether the network is as asked for, and has been for long enough, by the agent's own judgement.
fn first_look(settings: &Settings, client: &Client) -> Result<Waited, Error> {
    let options = settings.wait(Some(Duration::ZERO));
    let deadline = Boot::now() + RESTART;
    loop {
        match client.wait(&options) {
            Err(Error::Busy { .. } | Error::Disconnected) if Boot::now() < deadline => {
                thread::sleep(Duration::from_millis(100));
            }
            looked => return looked,
        }
    }
}

fn seen(settings: &Settings, waited: &Waited) -> (Known, bool) {
    let known = Known {
        state: waited.state,
        network: settings.subject.network(waited.state),
        since: Duration::ZERO,
        why: reasons(&waited.blocking),
        met: true,
        judged: waited.state != State::Unknown,
        lost: false,
    };
    (known, waited.satisfied)
}

fn unseen() -> (Known, bool) {
    let known = Known {
        state: State::Unknown,
        network: Network::Unknown,
        since: Duration::ZERO,
        why: String::new(),
        met: false,
        judged: false,
        lost: false,
    };
    (known, true)
}
