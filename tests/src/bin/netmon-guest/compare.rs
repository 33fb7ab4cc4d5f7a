//! One case: what the kernel's own counters and ours grew by, and whether that is as it should be.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use netmon_tests::lab::{Counters, Netns, growth};

use crate::meter::{Figures, Meter, Reading};
use crate::report::{Case, Line, say};

/// How often the kernel's figures must stay as they are for traffic to be over, and how often they are looked at.
const STILL: u32 = 4;
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: u32 = 150;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Segments sent again.
    Segments,
    /// RST segments sent.
    ResetsSent,
    /// Connects that a RST refused.
    Refused,
    /// Established connections that a peer's RST ended.
    ResetsReceived,
}

/// What a case is and what it should show.
#[derive(Clone, Debug)]
pub struct Expectation {
    pub suite: &'static str,
    pub case: String,
    pub figure: Figure,
    /// The kernel's counter must grow by this much, else the case proves nothing.
    pub least: u64,
    /// By how much ours may be less, and why.
    pub known: Known,
    /// The devices that all of ours must be at.
    pub devices: Vec<String>,
}

/// A difference that the kernel explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// None, beyond events that the recursion guard kept from the programs.
    None,
    /// The growth of another of the kernel's counters.
    Counter(&'static str, &'static str),
    /// So many.
    Count(u64, &'static str),
}

/// A namespace with its two sets of figures.
#[derive(Debug)]
pub struct Subject<'a> {
    netns: &'a Netns,
    pub meter: Meter,
}

impl<'a> Subject<'a> {
    /// Loads and attaches inside `netns`.
    pub fn new(netns: &'a Netns) -> Result<Self> {
        Ok(Self { netns, meter: Meter::start(netns)? })
    }

    /// Does `work`, waits until its traffic is over, and tells the outcome.
    ///
    /// # Errors
    /// When the work fails or never ends; a wrong figure is told, not an error.
    pub fn case(&mut self, expected: &Expectation, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.settled()?;
        work()?;
        let after = self.settled()?;
        say(&Line::Case(expected.judge(&before, &after)));
        Ok(())
    }

    /// Both sets of figures, of one moment: the kernel's are the same before and after ours are read.
    fn settled(&mut self) -> Result<Both> {
        let mut last = Counters::read(self.netns)?;
        let mut still = 0;
        for _ in 0..LOOKS {
            thread::sleep(LOOK);
            let ours = self.meter.read()?;
            let now = Counters::read(self.netns)?;
            still = if Figure::ALL.iter().all(|f| now.get(f.counter()) == last.get(f.counter())) {
                still + 1
            } else {
                0
            };
            last = now;
            if still == STILL {
                return Ok(Both { kernel: last, ours });
            }
        }
        bail!("traffic is not over after {:?}", LOOK * LOOKS)
    }
}

struct Both {
    kernel: Counters,
    ours: Reading,
}

impl Figure {
    const ALL: [Self; 4] = [Self::Segments, Self::ResetsSent, Self::Refused, Self::ResetsReceived];

    /// The kernel's own counter of the same, as nstat names it.
    fn counter(self) -> &'static str {
        match self {
            Self::Segments => "TcpRetransSegs",
            Self::ResetsSent => "TcpOutRsts",
            Self::Refused => "TcpAttemptFails",
            Self::ResetsReceived => "TcpEstabResets",
        }
    }

    fn of(self, figures: &Figures) -> u64 {
        match self {
            Self::Segments => figures.segments,
            Self::ResetsSent => figures.resets_sent,
            Self::Refused => figures.refused,
            Self::ResetsReceived => figures.resets_received,
        }
    }

    /// What the reading itself says is missing; only two figures have that.
    fn unattributed(self, reading: &Reading) -> Option<u64> {
        match self {
            Self::Segments => Some(reading.unattributed_segments),
            Self::ResetsSent => Some(reading.unattributed_resets),
            Self::Refused | Self::ResetsReceived => None,
        }
    }
}

impl Expectation {
    fn judge(&self, before: &Both, after: &Both) -> Case {
        let figure = self.figure;
        let grown = |of: &dyn Fn(&Both) -> u64| of(after).saturating_sub(of(before));
        let mut devices = BTreeMap::new();
        for (name, figures) in &after.ours.devices {
            let earlier = before.ours.devices.get(name).map_or(0, |f| figure.of(f));
            let more = figure.of(figures).saturating_sub(earlier);
            if more > 0 {
                devices.insert(name.clone(), more);
            }
        }
        let misses = grown(&|both| both.ours.misses);
        let (known, because) = match self.known {
            Known::None => (0, ""),
            Known::Counter(name, because) => (growth(&before.kernel, &after.kernel, name), because),
            Known::Count(count, because) => (count, because),
        };
        let because = match (because, misses) {
            (because, 0) => because.to_owned(),
            ("", _) => "recursion guard".to_owned(),
            (because, _) => format!("{because}; recursion guard"),
        };
        let mut case = Case {
            suite: self.suite,
            case: self.case.clone(),
            figure: figure.counter().trim_start_matches("Tcp"),
            kernel: growth(&before.kernel, &after.kernel, figure.counter()),
            ours: devices.values().sum(),
            unattributed: grown(&|both| figure.unattributed(&both.ours).unwrap_or(0)),
            allowed: known + misses,
            because,
            devices,
            expected: self.devices.clone(),
            wrong: String::new(),
        };
        let reported = figure.unattributed(&after.ours).map(|_| case.unattributed);
        case.wrong = verdict(&case, self.least, reported, grown(&|both| both.ours.dropped));
        case
    }
}

/// What is wrong with a case; empty when nothing is. `reported` is what the reading says is missing.
fn verdict(case: &Case, least: u64, reported: Option<u64>, dropped: u64) -> String {
    let Case { kernel, ours, allowed, .. } = *case;
    let elsewhere =
        case.devices.keys().find(|name| !case.expected.is_empty() && !case.expected.contains(name));
    if kernel < least {
        format!("the kernel counted {kernel} only, {least} at least were to be made")
    } else if ours > kernel {
        format!("{} more than the kernel's", ours - kernel)
    } else if kernel - ours > allowed {
        format!("{} missing, of which {allowed} are explained", kernel - ours)
    } else if reported.is_some_and(|reported| reported != kernel - ours) {
        format!("{} missing, and {} reported as unattributed", kernel - ours, case.unattributed)
    } else if let Some(name) = elsewhere {
        format!("counted at {name} in place of {}", case.expected.join(", "))
    } else if dropped > 0 {
        format!("{dropped} events found a map full")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(kernel: u64, ours: u64, allowed: u64) -> Case {
        let devices = BTreeMap::from([("eth0".to_owned(), ours)]);
        Case { kernel, ours, allowed, devices, unattributed: kernel.saturating_sub(ours), ..Case::default() }
    }

    fn wrong(case: &Case) -> String {
        verdict(case, 1, Some(case.unattributed), 0)
    }

    #[test]
    fn equal_and_explained_figures_pass() {
        assert_eq!(wrong(&case(10, 10, 0)), "");
        assert_eq!(wrong(&case(10, 8, 2)), "");
    }

    #[test]
    fn what_is_missing_too_much_or_unexplained_is_wrong() {
        assert!(wrong(&case(10, 8, 1)).contains("2 missing"));
        assert!(wrong(&case(10, 11, 5)).contains("1 more"));
        assert!(wrong(&case(0, 0, 0)).contains("counted 0 only"));
        assert!(verdict(&case(10, 8, 2), 1, Some(0), 0).contains("reported"));
        assert!(verdict(&case(10, 10, 0), 1, Some(0), 3).contains("map full"));
    }

    #[test]
    fn the_right_sum_at_the_wrong_device_is_wrong() {
        let at = |name: &str| Case { expected: vec![name.to_owned()], ..case(10, 10, 0) };
        assert_eq!(wrong(&at("eth0")), "");
        assert!(wrong(&at("eth1")).contains("counted at eth0"));
    }
}
