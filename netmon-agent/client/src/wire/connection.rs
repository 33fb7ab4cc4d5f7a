//! Connections that programs hold and report to the agent.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

/// Longest name of a client or of a connection, bytes.
pub const MAX_NAME: usize = 64;
/// Longest error that is told, bytes.
pub const MAX_ERROR: usize = 256;

/// What a supervised connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// There is none and nothing is being done about it: the first attempt has not begun, or the network is down.
    #[default]
    Disconnected,
    /// An attempt is under way.
    Connecting,
    /// It is there, as far as the last look at it told.
    Connected,
    /// It failed, and another attempt comes later, or none any more: the attempts are used up.
    Error,
    /// Nobody keeps it any more.
    Stopped,
}

impl ConnectionState {
    /// Every state, in the order of the metrics' state sets.
    pub const ALL: [Self; 5] =
        [Self::Disconnected, Self::Connecting, Self::Connected, Self::Error, Self::Stopped];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Error => "error",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ConnectionState {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == word).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("no state {word:?} of a connection; there are {all}")
        })
    }
}

/// The body of `PUT /v1/connections/NAME`. Only `client` and `state` have to be there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionReport {
    /// Who holds the connection: the program's name, 1 to [`MAX_NAME`] bytes, printable.
    pub client: String,
    /// What it is.
    pub state: ConnectionState,
    /// For how long, seconds; 0 without: since now.
    #[serde(default)]
    pub state_seconds: f64,
    /// Attempts to connect since it last worked.
    #[serde(default)]
    pub attempts: u32,
    /// How often it was connected anew after it had been lost.
    #[serde(default)]
    pub reconnects: u64,
    /// What went wrong last; clipped to [`MAX_ERROR`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How long ago it last worked, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_seconds: Option<f64>,
    /// Part of the time for which it was there, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ratio: Option<f64>,
}

/// A connection that a program reports, as `connections[]` of a status has it. It says what that program says, and is no
/// evidence of the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Who holds it.
    pub client: String,
    /// The user whose process reports it.
    pub uid: u32,
    /// Its name.
    pub name: String,
    /// What it is. A word this client does not know reads as disconnected.
    #[serde(deserialize_with = "lenient")]
    pub state: ConnectionState,
    /// When it became so, RFC 3339.
    pub since: String,
    /// The same on `CLOCK_BOOTTIME`, nanoseconds.
    pub since_boottime_ns: u64,
    /// Attempts to connect since it last worked.
    pub attempts: u32,
    /// How often it was connected anew after it had been lost.
    pub reconnects: u64,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it last worked, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<String>,
    /// Part of the time for which it was there, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ratio: Option<f64>,
}

/// Data of the events `connection` and `connections`, which `GET /v1/events?connections=1` has besides the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionEvent {
    /// When, RFC 3339.
    pub at: String,
    /// `connection`: one has changed. `connections`: these are all, forget what you knew; at the start of a stream and
    /// where changes were missed.
    pub kind: String,
    /// The one that changed, or all of them.
    pub connections: Vec<Connection>,
    /// Of a change: whether it is gone, with or before its reporter. Then `connections` has it as it was last.
    #[serde(default)]
    pub gone: bool,
}

/// Whether this may be the name of a client or of a connection: 1 to [`MAX_NAME`] bytes without control characters.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ConnectionState, D::Error> {
    Ok(String::deserialize(deserializer)?.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        for good in ["a", "vcenter-1", "backup@db1.service", "\u{e9} {\"x\"}"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a\nb", "\u{1b}[2J", "a\u{9b}", &"x".repeat(65), &"\u{e9}".repeat(33)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_report_is_strict_and_a_status_is_not() {
        let report = |text: &str| serde_json::from_str::<ConnectionReport>(text).map_err(|e| e.to_string());
        let least = report(r#"{"client":"c","state":"error"}"#).unwrap();
        assert_eq!((least.state, least.attempts), (ConnectionState::Error, 0));
        assert!(report(r#"{"client":"c","state":"fine"}"#).unwrap_err().contains("disconnected"));
        assert!(report(r#"{"client":"c","state":"error","attemps":1}"#).unwrap_err().contains("attemps"));
        assert!(report(r#"{"state":"error"}"#).unwrap_err().contains("client"));
        let text = serde_json::to_string(&Connection::default()).unwrap().replace("disconnected", "dreaming");
        assert_eq!(serde_json::from_str::<Connection>(&text).unwrap(), Connection::default());
        for state in ConnectionState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
        assert!("fine".parse::<ConnectionState>().unwrap_err().contains("connecting"));
    }
}
