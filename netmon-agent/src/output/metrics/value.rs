//! A sample's value, and how it is written in the texts.

use std::{io::Write, time::Duration};

/// A sample's value.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A count.
    Int(u64),
    /// A time in seconds, told exactly.
    Time(Duration),
    /// Anything else.
    Float(f64),
}

impl Value {
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            // The float nearest to it, as whoever reads the text has it, up to a quarter of a year.
            Self::Time(t) => t.as_nanos() as f64 / 1e9,
            Self::Float(x) => x,
        }
    }

    /// A space, the value and the end of the line.
    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(b' ');
        let mut digits = itoa::Buffer::new();
        match self {
            // Most are: not worth a call for each.
            Self::Int(n @ 0..10) => out.push(b'0' + n as u8),
            Self::Int(n @ 10..100) => out.extend([b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]),
            Self::Int(n) => out.extend_from_slice(digits.format(n).as_bytes()),
            Self::Time(t) => {
                out.extend_from_slice(digits.format(t.as_secs()).as_bytes());
                put_fraction(out, t.subsec_nanos());
            }
            Self::Float(x) if x == f64::INFINITY => out.extend_from_slice(b"+Inf"),
            // Writing to memory can't fail.
            Self::Float(x) => _ = write!(out, "{x}"),
        }
        out.push(b'\n');
    }
}

/// Billionths as a decimal fraction, without zeros at its end.
fn put_fraction(out: &mut Vec<u8>, nanos: u32) {
    if nanos == 0 {
        return;
    }
    let (mut rest, mut fraction) = (nanos, *b".000000000");
    for digit in fraction[1..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let end = fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(&fraction[..end]);
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Int(n)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Int(b.into())
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::Float(x)
    }
}

impl From<Duration> for Value {
    fn from(t: Duration) -> Self {
        Self::Time(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_the_nanosecond() {
        let told = |nanos| {
            let (mut out, value) = (Vec::new(), Value::from(Duration::from_nanos(nanos)));
            value.put(&mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.trim().parse::<f64>().unwrap(), value.as_f64(), "{text}");
            text
        };
        assert_eq!(told(0), " 0\n");
        assert_eq!(told(1), " 0.000000001\n");
        assert_eq!(told(20_050_000_000), " 20.05\n");
        assert_eq!(told(3_600_000_000_123), " 3600.000000123\n");
    }

    #[test]
    fn a_count_has_all_its_digits() {
        for n in [0, 5, 9, 10, 47, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            Value::from(n).put(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!(" {n}\n"));
        }
    }
}
