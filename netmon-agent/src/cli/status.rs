//! `netmon status`.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use netmon_client::{
    Client, State,
    wire::{Connection, ConnectionState, Device, Status, Target},
};

use super::{
    busy::Busy,
    text::{WIDTH, clipped, coloured, failed, folded, place, printable, quiet_pipe, reasons, span, style},
};

/// Narrowest and widest that lines are laid out for.
const LEAST: usize = 44;
const MOST: usize = 160;
/// More targets than these are not listed one by one, unless they are not up.
const MANY: usize = 40;

/// Shows the state, its reasons, the devices and the targets.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Print the agent's own JSON instead
    #[arg(long)]
    json: bool,
}

/// Prints the state of the agent at `socket`.
///
/// # Errors
/// When standard output can't be written.
pub fn run(args: &StatusArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    let busy = Busy::new("waiting for the agent");
    let status = Client::new(socket).status();
    drop(busy);
    let status = match status {
        Ok(status) => status,
        Err(e) => return Ok(failed(&e)),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&status)?;
        return quiet_pipe(writeln!(io::stdout().lock(), "{text}"));
    }
    quiet_pipe(anstream::stdout().lock().write_all(screen(&status, width()).as_bytes()))
}

/// Columns to fill: the terminal's, or those of a page.
fn width() -> usize {
    let columns = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    columns.filter(|columns| *columns > 0).map_or(WIDTH, |columns| columns.clamp(LEAST, MOST))
}

fn screen(status: &Status, page: usize) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let age = status.boottime_ns.saturating_sub(status.since_boottime_ns);
    let _ = writeln!(out, "network  {} for {}", coloured(status.state, 0), span(Duration::from_nanos(age)));
    for reason in &status.reasons {
        hanging(&mut out, page, "  ", "    ", &reasons(std::slice::from_ref(reason)));
    }
    if let Some(diagnosis) = &status.diagnosis {
        hanging(&mut out, page, "  where: ", "         ", &place(diagnosis));
    }
    if !status.devices.is_empty() {
        let width = column(status.devices.iter().map(|d| d.name.as_str()));
        let _ = writeln!(out, "\ndevices");
        for device in &status.devices {
            row(&mut out, page, (&device.name, width), device.state, &device_text(device));
        }
    }
    if !status.targets.is_empty() {
        let shown = shown(&status.targets);
        let width = column(shown.iter().map(|t| t.name.as_str()));
        let _ = writeln!(out, "\ntargets");
        for target in &shown {
            row(&mut out, page, (&target.name, width), target.state, &target_text(target));
        }
        if shown.len() < status.targets.len() {
            let _ = writeln!(out, "  {}", the_others(&status.targets, &shown));
        }
    }
    if !status.connections.is_empty() {
        let name = |c: &Connection| format!("{}/{}", c.client, c.name);
        let width = column(status.connections.iter().map(name));
        let _ = writeln!(out, "\nconnections that programs report");
        for connection in &status.connections {
            let text = connection_text(connection, status.boottime_ns);
            connection_row(&mut out, page, (&name(connection), width), connection.state, &text);
        }
    }
    let missing: Vec<&str> =
        status.agent.capabilities.iter().filter(|(_, c)| !c.ok).map(|(name, _)| name.as_str()).collect();
    if !missing.is_empty() {
        let line = format!("missing here: {}; `netmon doctor` says why", missing.join(", "));
        let _ = writeln!(out);
        hanging(&mut out, page, "", "  ", &printable(&line));
    }
    out
}

/// A text in lines of the page, the first after `first` and the others after `rest`, which are as long.
fn hanging(out: &mut String, page: usize, first: &str, rest: &str, text: &str) {
    let mut indent = first;
    for line in folded(text, page.saturating_sub(rest.len().max(first.len()))) {
        let _ = writeln!(out, "{indent}{line}");
        indent = rest;
    }
}

/// The targets that fit a page: all, or of many those that are not up.
fn shown(all: &[Target]) -> Vec<&Target> {
    let worst = all.iter().filter(|t| t.state != State::Up);
    if all.len() <= MANY { all.iter().collect() } else { worst.take(MANY).collect() }
}

fn the_others(all: &[Target], shown: &[&Target]) -> String {
    let of = |state| {
        all.iter().filter(|t| t.state == state).count() - shown.iter().filter(|t| t.state == state).count()
    };
    let counts = State::ALL.iter().map(|state| (of(*state), state.as_str())).filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, state)| format!("{n} {state}")).collect();
    format!("and {}: `netmon top` shows them all", counts.join(", "))
}

fn row(out: &mut String, page: usize, (name, width): (&str, usize), state: State, text: &str) {
    let name = clipped(&printable(name), width);
    let text = clipped(text, page.saturating_sub(width + 13));
    // Blanks after the state only where something follows.
    let filled = if text.is_empty() { 0 } else { 8 };
    let gap = if text.is_empty() { "" } else { " " };
    let _ = writeln!(out, "  {name:width$}  {}{gap}{text}", coloured(state, filled));
}

fn connection_row(
    out: &mut String,
    page: usize,
    (name, width): (&str, usize),
    state: ConnectionState,
    text: &str,
) {
    let name = clipped(&printable(name), width);
    let text = clipped(text, page.saturating_sub(width + 17));
    let colour = match state {
        ConnectionState::Connected => style(State::Up),
        ConnectionState::Connecting => style(State::Degraded),
        ConnectionState::Error => style(State::Down),
        ConnectionState::Disconnected | ConnectionState::Stopped => style(State::Unknown),
    };
    let _ = writeln!(out, "  {name:width$}  {colour}{:12}{colour:#} {text}", state.as_str());
}

fn column(names: impl Iterator<Item = impl AsRef<str>>) -> usize {
    names.map(|n| n.as_ref().chars().count()).max().unwrap_or(0).clamp(4, 24)
}

fn connection_text(c: &Connection, now_ns: u64) -> String {
    let age = Duration::from_nanos(now_ns.saturating_sub(c.since_boottime_ns));
    let mut parts = vec![format!("for {}", span(age))];
    if c.uid != 0 {
        parts.push(format!("user {}", c.uid));
    }
    if c.reconnects > 0 {
        parts.push(format!("{} reconnects", c.reconnects));
    }
    if c.state != ConnectionState::Connected
        && let Some(error) = &c.last_error
    {
        parts.push(error.clone());
    }
    printable(&parts.join(", "))
}

fn device_text(d: &Device) -> String {
    if !d.reasons.is_empty() {
        return reasons(&d.reasons);
    }
    let mut parts: Vec<String> = d.addresses.first().cloned().into_iter().collect();
    if d.addresses.len() > 1 {
        parts[0].push_str(&format!(" +{}", d.addresses.len() - 1));
    }
    if let Some(mbps) = d.speed_mbps {
        parts.push(format!("{mbps} Mb/s"));
    }
    if !d.default_routes.is_empty() {
        parts.push(format!("default {}", d.default_routes.join(" ")));
    }
    if let Some(tcp) = &d.tcp {
        parts.push(format!("{} retransmitted", tcp.retransmitted_segments));
    }
    printable(&parts.join(", "))
}

fn target_text(t: &Target) -> String {
    if let (Some(diagnosis), Some(first)) = (&t.diagnosis, t.reasons.first()) {
        return printable(&format!("{}; {}", first.code, place(diagnosis)));
    }
    if !t.reasons.is_empty() {
        return reasons(&t.reasons);
    }
    let worst_rtt = t.addresses.iter().filter_map(|a| a.rtt.p50_ns).max();
    let worst_loss = t.addresses.iter().filter_map(|a| a.loss_ratio).max_by(f64::total_cmp);
    let mut parts = vec![format!("{} {}", t.probe, t.host)];
    if let Some(ns) = worst_rtt {
        parts.push(round_trip(ns));
    }
    if let Some(loss) = worst_loss {
        parts.push(format!("{:.0} % lost", loss * 100.0));
    }
    printable(&parts.join(", "))
}

/// Three digits are as much as a round trip tells.
fn round_trip(ns: u64) -> String {
    match ns as f64 / 1e6 {
        ms if ms < 0.9995 => format!("{:.0} µs", ms * 1e3),
        ms if ms < 9.995 => format!("{ms:.2} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Diagnosis, Reason};

    use super::*;

    fn plain(status: &Status, page: usize) -> String {
        anstream::adapter::strip_str(&screen(status, page)).to_string()
    }

    #[test]
    fn a_long_reason_is_read_to_its_end() {
        let detail = format!("{}the end", "long words ".repeat(12));
        let reason = Reason { code: "loss".into(), detail, ..Reason::default() };
        let text = plain(&Status { reasons: vec![reason], ..Status::default() }, WIDTH);
        assert!(text.contains("\n  loss: long words") && text.contains("\n    words long"), "{text}");
        assert!(text.trim_end().ends_with("the end"), "{text}");
    }

    #[test]
    fn of_many_targets_those_are_shown_that_are_not_up() {
        let target = |i: usize| {
            let state = if i % 100 == 7 { State::Down } else { State::Up };
            Target { name: format!("t{i}"), state, ..Target::default() }
        };
        let of =
            |n: usize| plain(&Status { targets: (0..n).map(target).collect(), ..Status::default() }, WIDTH);
        assert_eq!(of(MANY).lines().count(), MANY + 3);
        let text = of(1000);
        assert!(text.contains("\n  t907  down") && !text.contains("t908"), "{text}");
        assert!(text.ends_with("  and 990 up: `netmon top` shows them all\n"), "{text}");
        assert!(of(10_000).ends_with("  and 9900 up, 60 down: `netmon top` shows them all\n"));
    }

    #[test]
    fn a_screen_is_eighty_columns_wide_and_harmless() {
        let (subject, rule) = ("x".repeat(90), Some("R9".to_owned()));
        let reason = Reason { code: "loss".into(), subject, detail: "\x1b[2J".into(), rule };
        let device = Device {
            name: "e\x1b".repeat(20),
            state: State::Degraded,
            reasons: vec![reason.clone()],
            ..Device::default()
        };
        let target = Target { name: "internet".into(), host: "h".repeat(90), ..Target::default() };
        let diagnosis = Diagnosis {
            place: "path".into(),
            detail: format!("{} \x1b[2J {}", "long words ".repeat(20), "w".repeat(100)),
            ..Diagnosis::default()
        };
        let down = Target {
            name: "far".into(),
            reasons: vec![reason.clone()],
            diagnosis: Some(diagnosis.clone()),
            ..Target::default()
        };
        let status = Status {
            state: State::Degraded,
            boottime_ns: 90_061_000_000_000,
            since_boottime_ns: 0,
            reasons: vec![reason],
            diagnosis: Some(diagnosis),
            devices: vec![device, Device { name: "lan0".into(), state: State::Up, ..Device::default() }],
            targets: vec![target, down],
            connections: vec![Connection {
                client: "exporter".into(),
                name: "vcenter\u{1b}".into(),
                uid: 1000,
                state: ConnectionState::Error,
                since_boottime_ns: 90_000_000_000_000,
                last_error: Some("long words ".repeat(20)),
                ..Connection::default()
            }],
            ..Status::default()
        };
        for page in [LEAST, 66, MOST, WIDTH] {
            let text = plain(&status, page);
            for line in text.lines() {
                assert!(line.chars().count() <= page && !line.contains('\x1b'), "{page}: {line}");
                assert_eq!(line, line.trim_end());
            }
        }
        let text = plain(&status, WIDTH);
        assert!(text.starts_with("network  degraded for 1d 1h\n  loss\n    xx"), "{text}");
        assert!(
            text.contains("\n  exporter/vcenter\u{fffd}  error        for 1m 1s, user 1000, long"),
            "{text}"
        );
        assert!(text.contains("\n  lan0"));
        assert!(text.contains("\n  where: path: long words") && text.contains("loss; path: long"), "{text}");
    }

    #[test]
    fn a_short_round_trip_is_not_zero() {
        let texts = [36_100, 999_400, 999_600, 4_321_000, 9_996_000, 123_456_000].map(round_trip);
        assert_eq!(texts, ["36 µs", "999 µs", "1.00 ms", "4.32 ms", "10.0 ms", "123.5 ms"]);
    }
}
