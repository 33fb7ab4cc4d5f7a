use std::fmt::Write;

use super::record::ConnectionSnapshot;
use crate::wire::ConnectionState;

/// A family: its name without the prefix, its kind, what it tells, and the values it has of a connection.
type Family = (&'static str, &'static str, &'static str, fn(&ConnectionSnapshot) -> Option<f64>);

const PREFIX: &str = "netmon_client_connection_";

const FAMILIES: [Family; 9] = [
    ("attempts_total", "counter", "Attempts to connect.", |s| Some(s.attempts_total as f64)),
    ("losses_total", "counter", "Connections that were lost.", |s| Some(s.losses as f64)),
    ("reconnects_total", "counter", "Connections that were made anew after a loss.", |s| {
        Some(s.reconnects as f64)
    }),
    ("checks_total", "counter", "Health checks.", |s| Some(s.checks as f64)),
    ("failed_checks_total", "counter", "Health checks that failed or took too long.", |s| {
        Some(s.failed_checks as f64)
    }),
    ("check_duration_seconds", "gauge", "How long the last health check took that passed.", |s| {
        s.last_check.map(|d| d.as_secs_f64())
    }),
    ("reconnect_duration_seconds", "gauge", "From the last loss to the connection that followed it.", |s| {
        s.last_reconnect_took.map(|d| d.as_secs_f64())
    }),
    ("paused", "gauge", "1 while no attempt is made because the network is down.", |s| {
        Some(f64::from(u8::from(s.paused)))
    }),
    ("uptime_ratio", "gauge", "Part of the time for which there was a connection, 0 to 1.", |s| {
        Some(s.uptime_ratio())
    }),
];

/// The connections of a program as Prometheus text (format 0.0.4), to be put beside its own metrics. The label `client`
/// is the program's name.
pub fn metrics(client: &str, connections: &[ConnectionSnapshot]) -> String {
    let mut out = String::new();
    if connections.is_empty() {
        return out;
    }
    let labels: Vec<String> = connections
        .iter()
        .map(|c| format!("client=\"{}\",connection=\"{}\"", escaped(client), escaped(&c.name)))
        .collect();
    // Writing to a String can't fail.
    head(&mut out, "state", "gauge", "1 for the state of the connection, 0 for the others.");
    for (connection, labels) in connections.iter().zip(&labels) {
        for state in ConnectionState::ALL {
            let value = u8::from(connection.state == state);
            let _ = writeln!(out, "{PREFIX}state{{{labels},state=\"{state}\"}} {value}");
        }
    }
    for (name, kind, help, value) in FAMILIES {
        let values = connections.iter().zip(&labels).filter_map(|(c, l)| Some((l, value(c)?)));
        for (i, (labels, value)) in values.enumerate() {
            if i == 0 {
                head(&mut out, name, kind, help);
            }
            let _ = writeln!(out, "{PREFIX}{name}{{{labels}}} {value}");
        }
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}");
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_family_has_its_head_once_and_names_are_escaped() {
        let connection = |name: &str| ConnectionSnapshot {
            name: name.to_owned(),
            state: ConnectionState::Error,
            attempts_total: 7,
            supervised_for: Duration::from_secs(10),
            connected_for: Duration::from_secs(5),
            ..ConnectionSnapshot::default()
        };
        let text = metrics("c\\", &[connection("a\"b"), connection("x")]);
        for line in [
            "netmon_client_connection_state{client=\"c\\\\\",connection=\"a\\\"b\",state=\"error\"} 1",
            "netmon_client_connection_state{client=\"c\\\\\",connection=\"x\",state=\"connected\"} 0",
            "netmon_client_connection_attempts_total{client=\"c\\\\\",connection=\"x\"} 7",
            "netmon_client_connection_uptime_ratio{client=\"c\\\\\",connection=\"x\"} 0.5",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}\n{text}");
        }
        // Nothing has been checked, so nothing is told of how long it took.
        assert!(!text.contains("check_duration") && !text.contains("reconnect_duration"));
        assert_eq!(text.matches("# TYPE").count(), FAMILIES.len() - 2 + 1);
        assert_eq!(metrics("c", &[]), "");
    }
}
