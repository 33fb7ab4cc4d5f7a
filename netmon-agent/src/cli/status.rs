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

use super::text::{
    WIDTH, clipped, coloured, failed, folded, place, printable, quiet_pipe, reasons, span, style,
};

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
    let status = match Client::new(socket).status() {
        Ok(status) => status,
        Err(e) => return Ok(failed(&e)),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&status)?;
        return quiet_pipe(writeln!(io::stdout().lock(), "{text}"));
    }
    quiet_pipe(anstream::stdout().lock().write_all(screen(&status).as_bytes()))
}

fn screen(status: &Status) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let age = status.boottime_ns.saturating_sub(status.since_boottime_ns);
    let _ = writeln!(out, "network  {} for {}", coloured(status.state, 0), span(Duration::from_nanos(age)));
    for reason in &status.reasons {
        let _ = writeln!(out, "  {}", clipped(&reasons(std::slice::from_ref(reason)), WIDTH - 2));
    }
    if let Some(diagnosis) = &status.diagnosis {
        let mut indent = "  where: ";
        for line in folded(&place(diagnosis), WIDTH - indent.len()) {
            let _ = writeln!(out, "{indent}{line}");
            indent = "         ";
        }
    }
    if !status.devices.is_empty() {
        let width = column(status.devices.iter().map(|d| d.name.as_str()));
        let _ = writeln!(out, "\ndevices");
        for device in &status.devices {
            row(&mut out, &device.name, width, device.state, &device_text(device));
        }
    }
    if !status.targets.is_empty() {
        let width = column(status.targets.iter().map(|t| t.name.as_str()));
        let _ = writeln!(out, "\ntargets");
        for target in &status.targets {
            row(&mut out, &target.name, width, target.state, &target_text(target));
        }
    }
    if !status.connections.is_empty() {
        let name = |c: &Connection| format!("{}/{}", c.client, c.name);
        let width = column(status.connections.iter().map(name));
        let _ = writeln!(out, "\nconnections that programs report");
        for connection in &status.connections {
            let text = connection_text(connection, status.boottime_ns);
            connection_row(&mut out, &name(connection), width, connection.state, &text);
        }
    }
    let missing: Vec<&str> =
        status.agent.capabilities.iter().filter(|(_, c)| !c.ok).map(|(name, _)| name.as_str()).collect();
    if !missing.is_empty() {
        let line = format!("missing here: {}; `netmon doctor` says why", missing.join(", "));
        let _ = writeln!(out, "\n{}", clipped(&printable(&line), WIDTH));
    }
    out
}

fn row(out: &mut String, name: &str, width: usize, state: State, text: &str) {
    let name = clipped(&printable(name), width);
    let text = clipped(text, WIDTH - width - 13);
    // Blanks after the state only where something follows.
    let filled = if text.is_empty() { 0 } else { 8 };
    let gap = if text.is_empty() { "" } else { " " };
    let _ = writeln!(out, "  {name:width$}  {}{gap}{text}", coloured(state, filled));
}

fn connection_row(out: &mut String, name: &str, width: usize, state: ConnectionState, text: &str) {
    let name = clipped(&printable(name), width);
    let text = clipped(text, WIDTH - width - 17);
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
        let text = anstream::adapter::strip_str(&screen(&status)).to_string();
        assert!(text.starts_with("network  degraded for 1d 1h\n"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH && !line.contains('\x1b'), "{line}");
            assert_eq!(line, line.trim_end());
        }
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
