//! The same series as vectors of the `prometheus` crate, as most exporters keep them.

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, Result, bail};
use prometheus::{CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

pub(crate) struct Peer(Registry);

impl Peer {
    /// Has the series of a text, with their values; of histograms the counts, and not the sum.
    pub(crate) fn of(text: &str) -> Result<Self> {
        let registry = Registry::new();
        for family in text.split("# HELP ").skip(1) {
            let mut lines = family.lines();
            let (name, help) = lines.next().and_then(|l| l.split_once(' ')).context("a family's help")?;
            let kind = lines.next().and_then(|l| l.rsplit_once(' ')).context("a family's type")?.1;
            let samples = lines.map(Sample::read).collect::<Result<Vec<_>>>()?;
            let opts = Opts::new(name, help);
            match kind {
                "counter" => {
                    let vec = CounterVec::new(opts, &samples.first().context(name.to_owned())?.names(""))?;
                    samples.iter().try_for_each(|s| -> Result<()> {
                        vec.get_metric_with_label_values(&s.values(""))?.inc_by(s.value);
                        Ok(())
                    })?;
                    registry.register(Box::new(vec))?;
                }
                "gauge" | "summary" => {
                    let vec = GaugeVec::new(opts, &samples.first().context(name.to_owned())?.names(""))?;
                    samples.iter().try_for_each(|s| -> Result<()> {
                        vec.get_metric_with_label_values(&s.values(""))?.set(s.value);
                        Ok(())
                    })?;
                    registry.register(Box::new(vec))?;
                }
                "histogram" => registry.register(Box::new(histogram(opts, &samples)?))?,
                other => bail!("{name} is a {other}"),
            }
        }
        Ok(Self(registry))
    }

    /// One scrape.
    pub(crate) fn render(&self, to: &mut impl Write) -> Result<()> {
        Ok(TextEncoder::new().encode(&self.0.gather(), to)?)
    }
}

fn histogram(opts: Opts, samples: &[Sample<'_>]) -> Result<HistogramVec> {
    let buckets = || samples.iter().filter_map(|s| Some((s, s.label("le")?)));
    let first = buckets().next().context("a histogram without buckets")?.0;
    let of_first = buckets().take_while(|(s, _)| s.values("le") == first.values("le"));
    let bounds: Vec<f64> = of_first.map(|(_, le)| le.parse()).collect::<Result<_, _>>()?;
    let finite: Vec<f64> = bounds.iter().copied().filter(|b| b.is_finite()).collect();
    let beyond = finite.last().copied().unwrap_or(1.0) * 2.0;
    let vec = HistogramVec::new(HistogramOpts::from(opts).buckets(finite), &first.names("le"))?;
    let mut before: BTreeMap<Vec<&str>, f64> = BTreeMap::new();
    for (sample, le) in buckets() {
        let labels = sample.values("le");
        let one = vec.get_metric_with_label_values(&labels)?;
        // A bucket's own bound is in it.
        let at = Some(le.parse()?).filter(|bound: &f64| bound.is_finite()).unwrap_or(beyond);
        let before = before.entry(labels).or_default();
        (0..(sample.value - *before) as u64).for_each(|_| one.observe(at));
        *before = sample.value;
    }
    Ok(vec)
}

/// A line. No value of this bench has to be escaped.
struct Sample<'a> {
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Result<Self> {
        let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        let labels = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
        let pairs = labels.split(',').filter(|pair| !pair.is_empty());
        let pair = |pair: &'a str| pair.strip_suffix('"')?.split_once("=\"");
        let labels = pairs.map(|p| pair(p).with_context(|| line.to_owned())).collect::<Result<_>>()?;
        Ok(Self { labels, value: value.parse()? })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    fn names(&self, but: &str) -> Vec<&'a str> {
        self.labels.iter().map(|(name, _)| *name).filter(|name| *name != but).collect()
    }

    fn values(&self, but: &str) -> Vec<&'a str> {
        self.labels.iter().filter(|(name, _)| *name != but).map(|(_, value)| *value).collect()
    }
}
