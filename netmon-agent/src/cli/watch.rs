//! `netmon watch`.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
    process::{self, ExitCode},
    thread,
};

use netmon_client::{Client, Error, EventOptions, State, wire::Change};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde::Serialize;

use super::text::{coloured, failed, place, printable, quiet_pipe, reasons, say};

/// Prints one line for each change, until it is interrupted.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Also a line for each update that changes nothing
    #[arg(long)]
    all: bool,
}

/// Follows the agent at `socket`, over its restarts. Returns when nobody reads any more, or no agent is there at first.
///
/// # Errors
/// When standard output can't be written.
pub fn run(args: &WatchArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    let mut events = Client::new(socket).events(EventOptions { last_id: None, all: args.all });
    end_with_the_reader();
    let (mut met, mut told) = (false, false);
    loop {
        match events.next() {
            Some(Ok(change)) => {
                (met, told) = (true, false);
                if let Err(e) = print(args, &change) {
                    return quiet_pipe(Err(e));
                }
            }
            Some(Err(e)) if !met || !e.is_transient() && !matches!(e, Error::Permission { .. }) => {
                return Ok(failed(&e));
            }
            Some(Err(e)) => {
                if !std::mem::replace(&mut told, true) {
                    say(format_args!(
                        "netmon: {}; watching on when an agent is back",
                        printable(&e.to_string())
                    ));
                }
            }
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Ends the process when whoever read its output has gone (`netmon watch | head -1`): the next change, which would show
/// it, may be hours away.
fn end_with_the_reader() {
    let spawned = thread::Builder::new().name("reader".to_owned()).spawn(|| {
        // An error is told of without being asked for: poll(2). A file or a terminal never has one.
        let stdout = io::stdout();
        let mut out = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while matches!(poll(&mut out, PollTimeout::NONE), Ok(_) | Err(Errno::EINTR)) {
            if out[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLERR)) {
                process::exit(0);
            }
        }
    });
    // Without the thread the next line shows it.
    drop(spawned);
}

/// What stands in a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: &'a str,
    kind: &'a str,
    subject: &'a str,
    state: State,
    previous: State,
    reasons: &'a [netmon_client::wire::Reason],
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnosis: Option<&'a netmon_client::wire::Diagnosis>,
}

fn print(args: &WatchArgs, change: &Change) -> io::Result<()> {
    // The first event of a connection tells the state as it is; a program that reads changes was promised changes. What
    // was found out of a fault is one.
    let is_change = change.state != change.previous
        || change.diagnosis.is_some()
        || change.kind == "gap"
        || change.kind == "update";
    if args.json {
        if !is_change && !args.all {
            return Ok(());
        }
        // A line outlives the boot, whose time it would be.
        let Change { seq, at, kind, subject, state, previous, reasons, diagnosis, boottime_ns: _ } = change;
        let (seq, state, previous, diagnosis) = (*seq, *state, *previous, diagnosis.as_ref());
        let line = Line { seq, at, kind, subject, state, previous, reasons, diagnosis };
        let mut out = io::stdout().lock();
        return writeln!(out, "{}", serde_json::to_string(&line)?).and_then(|()| out.flush());
    }
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", text_line(change)).and_then(|()| out.flush())
}

/// What changed.
pub(super) fn what(change: &Change) -> String {
    match change.kind.as_str() {
        "state" | "update" => change.subject.clone(),
        "gap" => "network (changes were missed)".to_owned(),
        kind => format!("{kind} {}", change.subject),
    }
}

/// Why, and where the fault is.
pub(super) fn why(change: &Change) -> String {
    // One more word on a fault need not repeat the others.
    let found_later = change.state == change.previous && change.diagnosis.is_some();
    let mut why = if found_later { "diagnosed".to_owned() } else { reasons(&change.reasons) };
    if let Some(diagnosis) = &change.diagnosis {
        let said = if why.is_empty() { place(diagnosis) } else { format!("  {}", place(diagnosis)) };
        why.push_str(&said);
    }
    why
}

fn text_line(change: &Change) -> String {
    let (at, what, why) = (printable(&change.at), printable(&what(change)), why(change));
    let gap = if why.is_empty() { "" } else { "  " };
    format!("{at} {} {what}{gap}{why}", coloured(change.state, 8))
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Diagnosis, Reason};

    use super::*;

    #[test]
    fn a_line_says_when_what_and_why() {
        let change = Change {
            at: "2026-01-01T00:00:00.000Z".into(),
            kind: "device".into(),
            subject: "eth0".into(),
            state: State::Down,
            reasons: vec![Reason {
                code: "no_carrier".into(),
                subject: "eth0".into(),
                rule: Some("R2".into()),
                ..Reason::default()
            }],
            ..Change::default()
        };
        let line = anstream::adapter::strip_str(&text_line(&change)).to_string();
        assert_eq!(line, "2026-01-01T00:00:00.000Z down     device eth0  no_carrier eth0 (R2)");
    }

    #[test]
    fn a_place_stands_behind_the_reasons_and_one_found_later_alone() {
        let line = |previous| {
            let change = Change {
                kind: "target".into(),
                subject: "t".into(),
                state: State::Down,
                previous,
                reasons: vec![Reason { code: "no_reply".into(), ..Reason::default() }],
                diagnosis: Some(Diagnosis {
                    place: "path".into(),
                    detail: "x\u{1b}".into(),
                    ..Diagnosis::default()
                }),
                ..Change::default()
            };
            anstream::adapter::strip_str(&text_line(&change)).to_string()
        };
        assert_eq!(line(State::Up), " down     target t  no_reply  path: x\u{fffd}");
        assert_eq!(line(State::Down), " down     target t  diagnosed  path: x\u{fffd}");
    }
}
