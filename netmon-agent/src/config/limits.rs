//! What probing and the agent itself may take: the cap on probes a second, and the limits of CPU and memory.

use std::{fmt, ops::Range, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de};

use super::error::Fault;

/// Probes a second that a configuration may ask for when it does not say otherwise: 10,000 targets every two seconds
/// take half of it. A hundred thousand are somebody's decision.
pub const MAX_PROBES: u32 = 10_000;

/// CPU of the whole agent for one probe, amply: 8 to 15 µs from 1,000 probes a second on (`cargo xtask bench targets`).
pub const CPU_A_PROBE: Duration = Duration::from_micros(20);

/// Memory of the whole agent for one target: 5 to 8 KB beside the 20 MB that it takes without any (likewise).
pub const MEMORY_A_TARGET: u64 = 8 << 10;

/// Part of one core that the agent may take at ordinary sizes.
pub const CPU: f64 = 0.05;

/// Bytes that it may have resident at ordinary sizes.
pub const MEMORY: u64 = 100_000_000;

/// What the agent may take; above it, it probes more slowly. None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Part of one core, averaged over half a minute. The kernel programs run in the kernel, in other programs' time.
    pub cpu: Option<f64>,
    /// Resident bytes.
    pub memory: Option<u64>,
}

impl Limits {
    /// Those of a configuration that names none: 5 % of a core and 100 MB, or where so much is configured that it takes
    /// more, three times the CPU and twice the memory that it is known to take.
    pub fn of(targets: usize, probes_a_second: f64) -> Self {
        let cpu = probes_a_second * CPU_A_PROBE.as_secs_f64() * 3.0;
        let memory = targets as u64 * MEMORY_A_TARGET * 2;
        Self { cpu: Some(cpu.max(CPU)), memory: Some(memory.max(MEMORY)) }
    }
}

/// Limits as the file has them, each absent where it follows from what is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Open {
    pub(super) cpu: Option<Written<f64>>,
    pub(super) memory: Option<Written<u64>>,
}

impl Open {
    /// With what is open as usual for so much.
    pub(super) fn close(self, targets: usize, probes_a_second: f64) -> Limits {
        let usual = Limits::of(targets, probes_a_second);
        Limits {
            cpu: self.cpu.map_or(usual.cpu, |written| written.0),
            memory: self.memory.map_or(usual.memory, |written| written.0),
        }
    }
}

/// Refuses targets that ask for more than `max` probes a second together: at the one that is too many. One with a name
/// counts once, however many addresses the name has; the agent keeps to the cap in any case.
pub(super) fn check_rate(
    max: u32,
    targets: impl Iterator<Item = (Duration, Range<usize>)>,
) -> Result<f64, Fault> {
    let (mut sum, mut beyond) = (0.0, None);
    for (interval, span) in targets {
        sum += 1.0 / interval.as_secs_f64();
        // The sum of many inexact shares is not exact.
        if beyond.is_none() && sum > f64::from(max) * (1.0 + 1e-6) {
            beyond = Some(span);
        }
    }
    let Some(span) = beyond else { return Ok(sum) };
    let message = format!(
        "the targets up to here ask for more than max_probes_per_second = {max}, and all of them for {sum:.0}"
    );
    Err(Fault::at(span, message).hint(format!(
        "lengthen `interval`, leave targets out, or set `max_probes_per_second = {:.0}` in [agent]",
        sum.ceil()
    )))
}

/// A limit as written: a number with or without a unit, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Written<T>(pub(super) Option<T>);

impl Written<f64> {
    fn share<E: de::Error>(share: f64) -> Result<Self, E> {
        match share {
            0.0 => Ok(Self(None)),
            s if s > 0.0 && s <= 1024.0 => Ok(Self(Some(s))),
            s => Err(E::custom(format!("{s} is no part of a core; 0.05 is 5 %, 0 or \"off\" is no limit"))),
        }
    }
}

impl<'de> Deserialize<'de> for Written<f64> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Written<f64>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part of a core, such as 0.05, or \"off\"")
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Self::Value, E> {
                Written::share(n)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                Written::share(n as f64)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "off" => Ok(Written(None)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Written<u64> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Written<u64>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as \"100MB\" or \"64MiB\", or \"off\"")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
                let bytes =
                    u64::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))?;
                Ok(Written(Some(bytes).filter(|n| *n > 0)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "off" {
                    return Ok(Written(None));
                }
                let size: ByteSize =
                    text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Written(Some(size.as_u64()).filter(|n| *n > 0)))
            }
        }
        d.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_grow_with_what_is_configured() {
        let ordinary = Limits { cpu: Some(0.05), memory: Some(100_000_000) };
        assert_eq!(Limits::of(0, 0.0), ordinary);
        assert_eq!(Limits::of(1_000, 500.0), ordinary);
        let many = Limits::of(100_000, 10_000.0);
        assert!(many.cpu.is_some_and(|cpu| (0.5..0.7).contains(&cpu)), "{many:?}");
        assert_eq!(many.memory, Some(100_000 * MEMORY_A_TARGET * 2));
    }

    #[test]
    fn a_sum_of_inexact_shares_is_not_refused_for_its_last_digit() {
        let tenth = (0..100_000).map(|_| (Duration::from_secs(10), 0..0));
        assert!(check_rate(10_000, tenth).is_ok());
        let more = (0..100_001).map(|i| (Duration::from_secs(10), i..i + 1));
        assert_eq!(check_rate(10_000, more).unwrap_err().span, Some(100_000..100_001));
    }
}
