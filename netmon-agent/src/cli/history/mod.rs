//! `netmon history`: outages and availability.

mod csv;
mod text;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use jiff::tz::TimeZone;
use netmon_client::{Client, Error, HistoryOptions, wire::History};

use super::{
    busy::Busy,
    text::{failed, quiet_pipe, say},
};
use crate::{
    config::{Config, HISTORY_PATH},
    history::{self, Clocks, LIMITS, Question, Reader, RunId, Stretch, Whose},
    time::{Boot, Wall},
};

/// No more than this may have passed since an agent's last sign of life for it to be taken for one that still looks.
const ALIVE: Duration = Duration::from_secs(40);

/// Show outages and the availability of each day
///
/// Of an outage: when, how long, why, where the fault was, who waited.
///
/// Asks the agent; where none answers, it reads the file. Exit codes: 0; 69 no agent answers and there is no file to read;
/// 2 usage; 1 the history can't be read.
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// Since when: 24h (so long ago), 2026-01-31, 2026-01-31T13:00 or RFC 3339
    #[arg(long, default_value = "24h", value_name = "WHEN")]
    since: String,
    /// Until when
    #[arg(long, default_value = "now", value_name = "WHEN")]
    until: String,
    /// Of this subject alone: network, device:NAME, target:NAME, or a name
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// The latest outages, so many
    #[arg(long, default_value_t = LIMITS.0 as u32, value_parser = clap::value_parser!(u32).range(1..=LIMITS.1 as i64))]
    limit: u32,
    /// One JSON object, as `GET /v1/history` gives it
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// One row an outage
    #[arg(long)]
    csv: bool,
    /// Read this file, and ask no agent
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

/// Prints what the agent at `socket` knows, or the file says.
///
/// # Errors
/// When the history can't be read, or standard output can't be written.
pub fn run(args: &HistoryArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    let zone = TimeZone::system();
    let busy = Busy::new("working out the history");
    let told = match &args.file {
        Some(path) => read(args, path, &zone),
        None => match ask(args, socket, &zone) {
            Err(error @ (Error::NoAgent { .. } | Error::Permission { .. } | Error::Timeout)) => {
                let configured = Config::load(None).ok().and_then(|config| config.history);
                let path = configured.map_or_else(|| PathBuf::from(HISTORY_PATH), |settings| settings.path);
                if !path.exists() {
                    drop(busy);
                    return Ok(failed(&error));
                }
                read(args, &path, &zone)
            }
            Err(error @ Error::NotFound(_)) => Err(Refused::Failed(error.into())),
            Err(error) => {
                drop(busy);
                return Ok(failed(&error));
            }
            Ok(history) => Ok(history),
        },
    };
    drop(busy);
    let history = match told {
        Ok(history) => history,
        Err(Refused::Usage(said)) => {
            say(format_args!("netmon: {said}"));
            return Ok(ExitCode::from(super::text::USAGE));
        }
        Err(Refused::Failed(error)) => return Err(error),
    };
    quiet_pipe(if args.json {
        writeln!(io::stdout().lock(), "{}", serde_json::to_string_pretty(&history)?)
    } else if args.csv {
        io::stdout().lock().write_all(&csv::rows(&history)?)
    } else {
        anstream::stdout().lock().write_all(text::screen(&history, &zone).as_bytes())
    })
}

/// Why there is no answer.
enum Refused {
    /// A time that can't be read.
    Usage(String),
    /// A file that can't be.
    Failed(anyhow::Error),
}

fn ask(args: &HistoryArgs, socket: &Path, zone: &TimeZone) -> Result<History, Error> {
    Client::new(socket).history(&HistoryOptions {
        since: Some(args.since.clone()),
        until: Some(args.until.clone()),
        subject: args.subject.clone(),
        limit: Some(args.limit),
        zone: zone.iana_name().map(str::to_owned),
    })
}

fn read(args: &HistoryArgs, path: &Path, zone: &TimeZone) -> Result<History, Refused> {
    let now = Wall::now();
    let time = |name: &str, text: &str| {
        history::when(text, now, zone).map_err(|said| Refused::Usage(format!("--{name}: {said}")))
    };
    let window = Stretch { from: time("since", &args.since)?, to: time("until", &args.until)? };
    if window.is_empty() || window.length() > history::MAX_PERIOD {
        let said = "--since has to be before --until, and by no more than ten years".to_owned();
        return Err(Refused::Usage(said));
    }
    let reader = Reader::new(path);
    let failed =
        |e| Refused::Failed(anyhow::Error::new(e).context(format!("the history at {}", path.display())));
    let mut records = reader.load_by(window.from, &Clocks::now()).map_err(failed)?;
    let live = still_written(&reader, &mut records);
    let subject = args.subject.as_deref().map(Whose::read);
    let question = Question { window, subject, limit: args.limit as usize, zone: zone.clone() };
    Ok(history::answer(&records, &question, live))
}

/// The run of an agent that writes to the file now, and is taken to have looked just now.
fn still_written(reader: &Reader, records: &mut history::Records) -> Option<RunId> {
    let now = Boot::now();
    let last = records.last_of(&history::boot_id()).filter(|run| now.since(run.seen) <= ALIVE)?.id;
    // Who may not look at the lock goes by the sign of life alone.
    let written = reader.is_written().unwrap_or(true);
    (written && records.keep_alive(last, now)).then_some(last)
}
