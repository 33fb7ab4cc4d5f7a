//! Writes one exposition: Prometheus text 0.0.4, OpenMetrics 1.0, or protobuf; compressed, if asked.
//!
//! Ten thousand targets are half a million lines, so a line is put together from pieces that are there already.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::{
    catalogue::{Family, Kind},
    protobuf::Encoder,
    value::Value,
};
use crate::health::NativeHistogram;

/// Which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text exposition format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

impl Format {
    /// Its content type. Prometheus 3 refuses an answer without one.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// A histogram to be written. Counts are not cumulative, the last is above every bound.
#[derive(Clone, Copy, Debug)]
pub struct Buckets<'a> {
    /// Upper bounds, in their order.
    pub bounds: &'a [f64],
    /// One more than there are bounds.
    pub counts: &'a [u64],
    /// Of all values.
    pub sum: f64,
    /// The same values in the buckets of a native histogram, where they are kept.
    pub native: Option<&'a NativeHistogram>,
}

/// Takes families in a form that is no text: of each its samples, then its end.
pub trait Sink: std::fmt::Debug {
    /// One metric of a counter, a gauge or what goes out as one. `labels` are written ([`labels`]), `more` follow them.
    fn sample(&mut self, family: &Family, labels: &str, more: &[(&str, &str)], value: Value);

    /// One histogram, with its native form where there is one.
    fn histogram(&mut self, family: &Family, labels: &str, buckets: &Buckets<'_>);

    /// The family is complete, and goes to `out` if this is an exposition's form. One without any sample does not appear.
    fn end(&mut self, family: &Family, out: &mut Vec<u8>);

    /// All families are.
    fn finish(&mut self) {}
}

/// Takes an exposition in pieces, while it is written.
pub trait Outlet: std::fmt::Debug {
    /// One piece, and after it an empty buffer for the next.
    fn take(&mut self, piece: Vec<u8>) -> Vec<u8>;

    /// The last piece: the exposition is whole.
    fn end(&mut self, piece: Vec<u8>);
}

/// So much is compressed, or handed on, at once: a processor's nearer memory holds it.
const PIECE: usize = 64 << 10;
/// What a piece may have above it: one histogram, most often. More makes its buffer larger.
const MARGIN: usize = 16 << 10;

/// The fastest level of zlib that makes codes of its own for what it compresses; the one below takes fixed ones.
const LEVEL: u32 = 2;

/// The exposition so far. A family's header is written with its first sample: one without series does not appear.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    /// Takes `out` whenever it is a piece, if the exposition is to be compressed.
    packer: Option<GzEncoder<Vec<u8>>>,
    /// Takes what is to be sent whenever it is a piece.
    outlet: Option<Box<dyn Outlet>>,
    /// Takes families, in place of lines.
    sink: Option<Box<dyn Sink>>,
    format: Format,
    family: Option<Family>,
    /// Its name and the brace after it, with which most of its lines begin.
    opening: Vec<u8>,
    headed: bool,
    /// What the lines of one histogram begin with.
    beginning: Vec<u8>,
    bounds: Bounds,
}

impl Writer {
    /// An empty exposition.
    pub fn new(format: Format) -> Self {
        let sink: Option<Box<dyn Sink>> = match format {
            Format::Protobuf => Some(Box::<Encoder>::default()),
            Format::Text | Format::OpenMetrics => None,
        };
        Self {
            out: Vec::with_capacity(PIECE + MARGIN),
            packer: None,
            outlet: None,
            sink,
            format,
            family: None,
            opening: Vec::new(),
            headed: false,
            beginning: Vec::new(),
            bounds: Bounds::default(),
        }
    }

    /// One that is compressed as it is written (RFC 1952), so that its text is never there as a whole, at a fast
    /// level: a scrape's time counts more than its bytes.
    pub fn compressed(format: Format) -> Self {
        Self { packer: Some(GzEncoder::new(Vec::new(), Compression::new(LEVEL))), ..Self::new(format) }
    }

    /// The same, whose pieces go elsewhere: [`Writer::finish`] then gives nothing.
    pub fn through(self, outlet: Box<dyn Outlet>) -> Self {
        Self { outlet: Some(outlet), ..self }
    }

    /// One whose families go elsewhere.
    pub fn to(sink: Box<dyn Sink>) -> Self {
        Self { sink: Some(sink), ..Self::new(Format::Text) }
    }

    /// Samples that follow are of this family. Each family once.
    pub fn family(&mut self, family: &Family) -> &mut Self {
        self.end_family();
        self.family = Some(*family);
        self.opening.clear();
        self.opening.extend_from_slice(family.name.as_bytes());
        self.opening.push(b'{');
        self.headed = false;
        self
    }

    /// One sample. `labels` are written already ([`labels`]); `more` are appended.
    pub fn sample(&mut self, labels: &str, more: &[(&str, &str)], value: impl Into<Value>) {
        // Set with a family's first line; what goes to a sink has none.
        if !self.headed {
            let Some(family) = self.family else { return };
            if let Some(sink) = &mut self.sink {
                return sink.sample(&family, labels, more, value.into());
            }
            self.head(&family);
        }
        if labels.is_empty() && more.is_empty() {
            self.out.extend_from_slice(&self.opening[..self.opening.len() - 1]);
        } else {
            self.out.extend_from_slice(&self.opening);
            self.out.extend_from_slice(labels.as_bytes());
            let mut first = labels.is_empty();
            for (name, value) in more {
                put_label(&mut self.out, &mut first, name, value);
            }
            self.out.push(b'}');
        }
        value.into().put(&mut self.out);
        if self.out.len() >= PIECE {
            self.pack(PIECE);
        }
    }

    /// The same with labels that many samples have: put together once.
    pub fn sample_with(&mut self, labels: &str, more: &More<'_>, value: impl Into<Value>) {
        if !self.headed || labels.is_empty() {
            return self.sample(labels, &[more.pair], value);
        }
        for piece in [&self.opening, labels.as_bytes(), &more.end] {
            self.out.extend_from_slice(piece);
        }
        value.into().put(&mut self.out);
        if self.out.len() >= PIECE {
            self.pack(PIECE);
        }
    }

    /// A histogram of counts per bucket, not cumulative; the last is above every bound.
    pub fn histogram(&mut self, labels: &str, bounds: &[f64], counts: &[u64], sum: impl Into<Value>) {
        self.native_histogram(labels, bounds, counts, sum, None);
    }

    /// The same with a native form of all its values, for the format that has one.
    pub fn native_histogram(
        &mut self,
        labels: &str,
        bounds: &[f64],
        counts: &[u64],
        sum: impl Into<Value>,
        native: Option<&NativeHistogram>,
    ) {
        let Some(family) = self.family else { return };
        let sum = sum.into();
        if let Some(sink) = &mut self.sink {
            return sink.histogram(&family, labels, &Buckets { bounds, counts, sum: sum.as_f64(), native });
        }
        self.head(&family);
        self.begin(&family, "_bucket", labels, "le=\"");
        self.bounds.follow(bounds, self.format);
        let mut total = 0;
        for (count, bound) in counts.iter().zip(self.bounds.written()) {
            total += count;
            self.out.extend_from_slice(&self.beginning);
            self.out.extend_from_slice(bound);
            Value::Int(total).put(&mut self.out);
        }
        for (suffix, value) in [("_sum", sum), ("_count", Value::Int(total))] {
            self.begin(&family, suffix, labels, "");
            self.out.extend_from_slice(&self.beginning);
            value.put(&mut self.out);
        }
        self.pack(PIECE);
    }

    /// The whole exposition; nothing, if it went elsewhere in pieces.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_family();
        if let Some(sink) = &mut self.sink {
            sink.finish();
        }
        if self.format == Format::OpenMetrics {
            self.out.extend_from_slice(b"# EOF\n");
        }
        self.pack(0);
        let last = match self.packer {
            None => self.out,
            Some(packer) => packer.finish().expect(IN_MEMORY),
        };
        match &mut self.outlet {
            None => last,
            Some(outlet) => {
                outlet.end(last);
                Vec::new()
            }
        }
    }

    fn end_family(&mut self) {
        if let (Some(sink), Some(family)) = (&mut self.sink, &self.family) {
            sink.end(family, &mut self.out);
            self.pack(PIECE);
        }
    }

    /// Compresses what there is and hands it on, if it is so much.
    fn pack(&mut self, least: usize) {
        if self.out.len() < least {
            return;
        }
        let ready = match &mut self.packer {
            None => &mut self.out,
            Some(packer) => {
                packer.write_all(&self.out).expect(IN_MEMORY);
                self.out.clear();
                packer.get_mut()
            }
        };
        if let Some(outlet) = self.outlet.as_mut().filter(|_| ready.len() >= PIECE) {
            *ready = outlet.take(std::mem::take(ready));
        }
    }

    /// Sets what a histogram's line begins with, up to `more` of the last label.
    fn begin(&mut self, family: &Family, suffix: &str, labels: &str, more: &str) {
        let Self { beginning, .. } = self;
        beginning.clear();
        let (open, comma, close) = match (labels.is_empty(), more.is_empty()) {
            (true, true) => ("", "", ""),
            (true, false) => ("{", "", ""),
            (false, true) => ("{", "", "}"),
            (false, false) => ("{", ",", ""),
        };
        for piece in [family.name, suffix, open, labels, comma, more, close] {
            beginning.extend_from_slice(piece.as_bytes());
        }
    }

    fn head(&mut self, family: &Family) {
        if std::mem::replace(&mut self.headed, true) {
            return;
        }
        let open = self.format == Format::OpenMetrics;
        let (name, kind) = match family.kind {
            Kind::Counter if open => (family.name.trim_end_matches("_total"), "counter"),
            Kind::Info if open => (family.name.trim_end_matches("_info"), "info"),
            kind => (family.name, kind.as_str()),
        };
        let _ = writeln!(self.out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
        if open && let Some(unit) = family.unit() {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
    }
}

/// These bytes compressed as an exposition is.
#[cfg(any(feature = "otlp", test))]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    packer.write_all(bytes).expect(IN_MEMORY);
    packer.finish().expect(IN_MEMORY)
}

impl From<Format> for Writer {
    fn from(format: Format) -> Self {
        Self::new(format)
    }
}

/// Why neither writing nor compressing fails.
const IN_MEMORY: &str = "there is no writing to memory that fails";

/// The bounds of the last histogram as they are written: the next one mostly has the same.
#[derive(Debug, Default)]
struct Bounds {
    of: Vec<f64>,
    format: Format,
    written: Vec<String>,
}

impl Bounds {
    fn follow(&mut self, bounds: &[f64], format: Format) {
        if self.of == bounds && self.format == format && !self.written.is_empty() {
            return;
        }
        let all = bounds.iter().copied().chain([f64::INFINITY]);
        self.written = all.map(|bound| format!("{}\"}}", written(bound, format))).collect();
        (self.of, self.format) = (bounds.to_vec(), format);
    }

    /// Each with what ends the labels, and +Inf in the place of those that are missing.
    fn written(&self) -> impl Iterator<Item = &[u8]> {
        let last = self.written.last();
        self.written.iter().chain(last.into_iter().cycle()).map(String::as_bytes)
    }
}

/// OpenMetrics wants bounds to look like floats.
fn written(bound: f64, format: Format) -> String {
    if bound == f64::INFINITY {
        return "+Inf".into();
    }
    match format {
        Format::OpenMetrics if bound.fract() == 0.0 => format!("{bound:.1}"),
        _ => bound.to_string(),
    }
}

/// A label that follows others in many samples, and the brace after it.
#[derive(Debug)]
pub struct More<'a> {
    pair: (&'a str, &'a str),
    end: Vec<u8>,
}

impl<'a> More<'a> {
    /// The label of this name and value.
    pub fn new(name: &'a str, value: &'a str) -> Self {
        let (mut end, mut first) = (Vec::new(), false);
        put_label(&mut end, &mut first, name, value);
        end.push(b'}');
        Self { pair: (name, value), end }
    }
}

/// Label pairs as text, to be used for many samples.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let (mut out, mut first) = (Vec::new(), true);
    for (name, value) in pairs {
        put_label(&mut out, &mut first, name, value);
    }
    String::from_utf8(out).expect("strings, cut where a character is one byte")
}

fn put_label(out: &mut Vec<u8>, first: &mut bool, name: &str, value: &str) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    let is_odd = |b: &u8| matches!(b, b'\\' | b'"' | b'\n');
    let mut rest = value.as_bytes();
    // All but a few have nothing to escape, which is seen without a branch for each byte.
    if rest.iter().fold(false, |any, b| any | is_odd(b)) {
        while let Some(at) = rest.iter().position(is_odd) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(match rest[at] {
                b'\n' => b"\\n",
                b'"' => b"\\\"",
                _ => b"\\\\",
            });
            rest = &rest[at + 1..];
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::metrics::catalogue;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", "x\"y\\z\n{},="), ("b", "é")]), "a=\"x\\\"y\\\\z\\n{},=\",b=\"é\"");
    }

    #[test]
    fn the_two_formats_differ_where_they_must() {
        let write = |format| {
            let mut w = Writer::new(format);
            w.family(&catalogue::LINK_RX_BYTES).sample("device=\"e\"", &[], 7);
            w.family(&catalogue::BUILD_INFO).sample("", &[("version", "1")], true);
            w.family(&catalogue::CAPABILITY);
            w.family(&catalogue::PROBE_BURST).histogram("", &[1.0, 2.5], &[1, 0, 2], 9.5);
            String::from_utf8(w.finish()).unwrap()
        };
        let text = write(Format::Text);
        let expected = "# TYPE netmon_link_receive_bytes_total counter\nnetmon_link_receive_bytes_total{device=\"e\"} 7\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("# TYPE netmon_build_info gauge\nnetmon_build_info{version=\"1\"} 1\n"));
        assert!(!text.contains("capability") && !text.contains("EOF"));
        let buckets: Vec<&str> =
            text.lines().filter(|l| l.contains("burst_length") && !l.starts_with('#')).collect();
        let name = "netmon_probe_loss_burst_length";
        assert_eq!(
            buckets[..3],
            [1, 1, 3]
                .map(|n| n)
                .iter()
                .zip(["1", "2.5", "+Inf"])
                .map(|(n, le)| format!("{name}_bucket{{le=\"{le}\"}} {n}"))
                .collect::<Vec<_>>()[..]
        );
        assert_eq!(buckets[3..], [format!("{name}_sum 9.5"), format!("{name}_count 3")]);

        let open = write(Format::OpenMetrics);
        assert!(
            open.contains(
                "# TYPE netmon_link_receive_bytes counter\n# UNIT netmon_link_receive_bytes bytes\n"
            )
        );
        assert!(
            open.contains("# TYPE netmon_build info\n")
                && open.contains("le=\"1.0\"")
                && open.contains("le=\"2.5\"")
        );
        assert!(open.ends_with("\n# EOF\n"));
    }

    #[test]
    fn fewer_bounds_than_the_last_time_are_other_bounds() {
        let mut w = Writer::new(Format::Text);
        w.family(&catalogue::PROBE_BURST).histogram("", &[1.0, 2.0], &[1, 1, 1], 3.0);
        w.histogram("a=\"b\"", &[], &[3], 4.5);
        let text = String::from_utf8(w.finish()).unwrap();
        let name = "netmon_probe_loss_burst_length";
        let expected = format!(
            "{name}_bucket{{a=\"b\",le=\"+Inf\"}} 3\n{name}_sum{{a=\"b\"}} 4.5\n{name}_count{{a=\"b\"}} 3\n"
        );
        assert!(text.ends_with(&expected), "{text}");
    }
}
