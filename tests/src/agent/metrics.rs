//! The text format of Prometheus, read back.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name of the series, suffixes included.
    pub name: String,
    /// Its labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The text it was read from.
    pub text: String,
    samples: Vec<Sample>,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Errors
    /// At the first line that is neither a comment nor a sample.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        let samples =
            lines.map(|l| sample(l).with_context(|| format!("no sample: {l:?}"))).collect::<Result<_>>()?;
        Ok(Self { text: text.to_owned(), samples })
    }

    /// All series of `name` whose labels contain `labels`.
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        self.samples.iter().filter(|s| s.is(name, labels)).collect()
    }

    /// The value of the first such series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples.iter().find(|s| s.is(name, labels)).map(|s| s.value)
    }

    /// The sum over all such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).iter().map(|s| s.value).sum()
    }

    /// Which state of the state set `name` is 1, with `labels` to say whose.
    pub fn state(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        self.samples
            .iter()
            .find(|s| s.is(name, labels) && s.value == 1.0)?
            .labels
            .get("state")
            .map(String::as_str)
    }
}

impl Sample {
    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name && labels.iter().all(|(k, v)| self.labels.get(*k).is_some_and(|have| have == v))
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = match line.split_once('{') {
        None => line.split_once(' ').map(|(n, v)| ((n, BTreeMap::new()), v))?,
        Some((name, rest)) => {
            let (labels, rest) = labels(rest)?;
            ((name, labels), rest.trim_start())
        }
    };
    let number = value.split(' ').next()?;
    let value = match number {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => number.parse().ok()?,
    };
    Some(Sample { name: series.0.to_owned(), labels: series.1, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unescaped_and_values_read() {
        let text = "# TYPE a gauge\na{x=\"q\\\"\\n\\\\}\",state=\"up\"} 1\na{x=\"y\",state=\"down\"} 0\nb 2.5e3\nc +Inf\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.value("a", &[("x", "q\"\n\\}")]), Some(1.0));
        assert_eq!(metrics.state("a", &[]), Some("up"));
        assert_eq!(metrics.state("a", &[("x", "y")]), None);
        assert_eq!(metrics.sum("b", &[]), 2500.0);
        assert_eq!(metrics.value("c", &[]), Some(f64::INFINITY));
    }

    #[test]
    fn a_cut_line_is_an_error() {
        for line in ["a{x=\"y\"", "a{x=\"y} 1", "a", "a{x=\"y\"} one"] {
            assert!(Metrics::parse(line).is_err(), "{line}");
        }
    }
}
