//! `netmon probe`: probes now, without an agent, by the agent's own engine.
//!
//! | file | what |
//! |---|---|
//! | `args`, `parse` | the command line |
//! | `hosts` | who is probed: names, files, addresses |
//! | `check` | what is found out before the first probe |
//! | `host`, `summary`, `quantiles`, `bursts` | what is known of a host (pure) |
//! | `report` | events in, output out (pure) |
//! | `words`, `object`, `table` | lines for people, objects and rows for programs, a line a host (pure) |
//! | `live`, `screen` | the view on a terminal (pure), and how it gets there |
//! | `follow` | prints until the end |

mod args;
mod bursts;
mod check;
mod follow;
mod host;
mod hosts;
mod live;
mod object;
mod parse;
mod quantiles;
mod report;
mod screen;
mod summary;
mod table;
mod words;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use tokio::sync::mpsc;

pub use self::args::{Expect, ProbeArgs};
pub use self::parse::{Query, Source, Url};
use self::{
    check::FALLBACK_PORTS,
    follow::{follow, is_live},
    host::Host,
    hosts::{Choice, Wanted, resolve, wanted},
    report::{Format, Report},
    table::FEW,
};
pub(super) use self::{hosts::address_of, parse::duration, words::millis};
use super::{
    busy::Busy,
    text::{printable, say},
};
use crate::{
    observation::{Method, PathOptions, TargetId},
    source::probe::{Engine, Options, Sockets, TargetSpec},
};

/// Unknown host, no permission, too fast.
const EXIT_ERROR: u8 = 2;
/// Turns of the engine that may wait to be printed.
const BATCHES: usize = 4096;
/// From so many hosts on memory is worth more than a third digit of percentiles.
const MANY: usize = 100;

/// An address that is probed.
#[derive(Debug)]
struct Subject {
    title: String,
    address: SocketAddr,
    method: Method,
}

/// Runs the subcommand, until the last probe is settled, the deadline or Ctrl-C. What went wrong is said.
///
/// # Errors
/// None is left to the caller.
pub fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    Ok(probe(args).unwrap_or_else(|error| {
        say(format_args!("netmon probe: {}", super::told(&error)));
        ExitCode::from(EXIT_ERROR)
    }))
}

fn probe(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let path = args.path()?;
    check::check_path(&path)?;
    let wanted = wanted(args)?;
    check::check_rate(wanted.len(), args.interval)?;
    let (subjects, unknown) = subjects(wanted, Choice::new(args, &path));
    if subjects.is_empty() {
        return Ok(ExitCode::from(EXIT_ERROR));
    }
    check::check_rate(subjects.len(), args.interval)?;
    check::raise_descriptor_limit();
    let sockets = Sockets::open();
    let pinged: Vec<IpAddr> =
        subjects.iter().filter(|s| s.method == Method::Icmp).map(|s| s.address.ip()).collect();
    check::check_icmp(sockets.capabilities(), &pinged, args.icmp)?;
    if subjects.len() <= FEW {
        warn(&subjects, &path);
    }
    let live = !(args.json || args.csv || args.plain || args.quiet) && is_live();
    let report = report(args, &subjects, &sockets, live);
    let report = match watch(args, &subjects, path, sockets, report, live) {
        // Whoever read the output has gone: as with other tools, that is the end, and no error.
        Err(e) if is_broken_pipe(&e) => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    Ok(match (unknown, report.all_answered()) {
        (true, _) => ExitCode::from(EXIT_ERROR),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
    })
}

/// What can be probed, and whether something could not. Says which.
fn subjects(wanted: Vec<Wanted>, choice: Choice<'_>) -> (Vec<Subject>, bool) {
    let busy = Busy::new(&match wanted.as_slice() {
        [one] => format!("looking up {}", one.name),
        all => format!("looking up {} names", all.len()),
    });
    let found = resolve(&wanted, choice);
    drop(busy);
    let (mut subjects, mut unknown) = (Vec::new(), false);
    for (Wanted { title, name, method }, found) in wanted.into_iter().zip(found) {
        match found {
            Ok(addresses) => subjects.extend(addresses.into_iter().map(|address| Subject {
                title: title.clone(),
                address,
                method: method.clone(),
            })),
            Err(e) => {
                say(format_args!("netmon probe: {}: {}", printable(&name), super::told(&e)));
                unknown = true;
            }
        }
    }
    (subjects, unknown)
}

/// Says of whom nothing will come, and why: what the engine tells is only that it could not be sent. Routes may appear, so
/// they are probed all the same.
fn warn(subjects: &[Subject], path: &PathOptions) {
    for subject in subjects {
        if let Err(e) = check::check_route(path, subject.address) {
            say(format_args!("netmon probe: {}: {}", printable(&subject.title), super::told(&e)));
        }
    }
}

fn report(args: &ProbeArgs, subjects: &[Subject], sockets: &Sockets, live: bool) -> Report {
    let digits = if subjects.len() < MANY { 3 } else { 2 };
    let host = |Subject { title, address, method }: &Subject| {
        let how = check::how(method, &address.ip(), sockets.capabilities());
        Host::new(title, address.ip(), (method, how), args.count, digits)
    };
    let format = match (args.json, args.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Text,
    };
    Report::new(subjects.iter().map(host).collect(), format, args.quiet || live)
}

/// Probes, and prints what comes of it.
fn watch(
    args: &ProbeArgs,
    subjects: &[Subject],
    path: PathOptions,
    sockets: Sockets,
    report: Report,
    live: bool,
) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let (sender, mut observations) = mpsc::channel(BATCHES);
    let engine = Engine::start(sockets, Options { jitter: 0.0 }, move |seen| {
        // Whoever stops our output pauses the probes: they are not to be kept for him in memory. The receiver goes only
        // when the command is over.
        let _ = sender.blocking_send(seen);
    })?;
    // Who wants nothing but the summary is to see that it is under way.
    let busy = args.quiet.then(|| Busy::new(&format!("probing, addresses: {}", subjects.len())));
    let path = Arc::new(path);
    engine.set_targets(subjects.iter().enumerate().map(|(i, s)| args.target(i, s, &path)).collect());
    let followed = runtime.block_on(follow(report, &mut observations, live, args.deadline));
    drop(busy);
    // Else an engine that is paused would never stop.
    drop(observations);
    engine.stop();
    followed.context("cannot write the report")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

impl ProbeArgs {
    fn target(&self, i: usize, subject: &Subject, path: &Arc<PathOptions>) -> TargetSpec {
        TargetSpec {
            fallback_ports: if self.icmp { Vec::new() } else { FALLBACK_PORTS.to_vec() },
            interval: self.interval,
            timeout: self.timeout,
            count: self.count,
            path: path.clone(),
            scope: match subject.address {
                SocketAddr::V6(a) => a.scope_id(),
                SocketAddr::V4(_) => 0,
            },
            ..TargetSpec::new(TargetId(i as u32), vec![subject.address.ip()], subject.method.clone())
        }
    }
}
