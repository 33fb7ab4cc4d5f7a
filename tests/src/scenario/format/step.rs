//! What happens in a step, and what is expected of it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use netmon_agent::health::State;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::Fault;

/// One thing that happens, at most, and what is expected of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// This breaks.
    #[serde(rename = "break")]
    pub breaks: Option<Fault>,
    /// Every fault of this kind, or `all`, is mended.
    pub mend: Option<String>,
    /// Right at the end of the step before. What breaks or is mended otherwise does so at any moment of an interval after
    /// it.
    pub at_once: bool,
    /// Time passes.
    pub wait: Option<Span>,
    /// The agent stands still for so long (SIGSTOP, SIGCONT).
    pub stop: Option<Span>,
    /// The machine sleeps for so long.
    pub suspend: Option<Span>,
    /// A link comes and goes.
    pub flap: Option<Flap>,
    /// From now on the node sends to these, without end, by TCP; to nobody where empty.
    pub upload: Option<Vec<IpAddr>>,
    /// What has to be said then.
    pub then: Option<Expectation>,
    /// The verdict over all is this from the step's beginning, and for `for` after what happens.
    pub stays: Option<StateWord>,
    /// See `stays`.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
    /// With `stays`: no device and no target changes its state either.
    pub quiet: bool,
    /// What the verdict over all never is during the step.
    pub never: Vec<StateWord>,
}

/// The link of an uplink loses its carrier and has it again, evenly.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// Which uplink.
    #[serde(default)]
    pub uplink: usize,
    /// How often a second.
    pub hz: f64,
    /// For how long.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// What is to be said, and by when.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Over all.
    #[serde(default)]
    pub state: Option<StateWord>,
    /// With these reasons among others: a code, or `code/subject`. The first comes with the change of state itself.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// With none of these.
    #[serde(default)]
    pub without: Vec<String>,
    /// The latest, from the end of what happened.
    pub within: Span,
    /// The same in the lab, where it is not three times as long and three seconds.
    #[serde(default)]
    pub lab_within: Option<Span>,
    /// The state passes so soon that only those who follow the changes see it.
    #[serde(default)]
    pub passing: bool,
    /// Of targets, by name.
    #[serde(default)]
    pub targets: BTreeMap<String, Expected>,
    /// Of devices, by name.
    #[serde(default)]
    pub devices: BTreeMap<String, Expected>,
}

/// What is to be said of one target or device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Its state.
    pub state: StateWord,
    /// Codes of reasons that it has to have, among others.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// A state, or that there is no such thing any more.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum StateWord {
    /// Not enough evidence.
    Unknown,
    /// Healthy.
    Up,
    /// Works, with faults.
    Degraded,
    /// Does not work.
    Down,
    /// There is no such target or device.
    Gone,
}

impl StateWord {
    /// The state; none for what is gone.
    pub fn state(self) -> Option<State> {
        match self {
            Self::Unknown => Some(State::Unknown),
            Self::Up => Some(State::Up),
            Self::Degraded => Some(State::Degraded),
            Self::Down => Some(State::Down),
            Self::Gone => None,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.state().map_or("gone", State::as_str)
    }
}

impl Step {
    /// How long that what happens takes by itself.
    pub fn lasting(&self) -> Duration {
        let flap = self.flap.map(|f| f.lasts);
        [self.wait, self.stop, self.suspend, flap].into_iter().flatten().map(|s| s.0).sum()
    }

    /// What happens, in a few words.
    pub fn title(&self) -> String {
        let spoken = |what: &str, span: &Option<Span>| span.map(|s| format!("{what} {:?}", s.0));
        self.breaks
            .as_ref()
            .map(|f| format!("break {}", f.kind()))
            .or_else(|| self.mend.as_ref().map(|m| format!("mend {m}")))
            .or_else(|| spoken("wait", &self.wait))
            .or_else(|| spoken("stop", &self.stop))
            .or_else(|| spoken("suspend", &self.suspend))
            .or_else(|| self.flap.map(|f| format!("flap {} Hz", f.hz)))
            .or_else(|| self.upload.as_ref().map(|_| "upload".to_owned()))
            .unwrap_or_else(|| "then".to_owned())
    }
}

impl Expectation {
    /// The latest in the lab: other trials run beside, and R13 stretches what a late agent sees.
    pub fn lab_deadline(&self) -> Duration {
        self.lab_within.map_or(self.within.0 * 3 + Duration::from_secs(3), |s| s.0)
    }
}

/// Whether `code` and `subject` are what is asked for: a code, or `code/subject`.
pub fn is_reason(wanted: &str, code: &str, subject: &str) -> bool {
    match wanted.split_once('/') {
        Some((c, s)) => c == code && s == subject,
        None => wanted == code,
    }
}

/// A duration with its unit: `250ms`, `5.2s`, `1m30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        // `humantime` knows no fractions, and bounds such as 5.2 s are best written as they are.
        let seconds = text.strip_suffix('s').and_then(|s| s.parse::<f64>().ok());
        if let Some(seconds) = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()) {
            return Ok(Self(seconds));
        }
        let bad = |e| D::Error::custom(format!("bad duration \"{text}\": {e}; write \"250ms\" or \"5.2s\""));
        humantime::parse_duration(&text).map(Self).map_err(bad)
    }
}
