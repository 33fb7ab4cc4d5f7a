//! A drawing of a dashboard: each panel where Grafana would put it, of what Prometheus answered.

use std::collections::BTreeSet;

use super::form::{by_threshold, mapped, name, shown};
use super::svg::{Area, Svg};
use super::{Answer, Panel};
use crate::prometheus::Series;

/// Pixels of a column and of a row of Grafana's grid.
const COLUMN: f64 = 64.0;
const ROW: f64 = 34.0;
pub(super) const TEXT: &str = "#ccccdc";
pub(super) const FAINT: &str = "#6e7079";
const BACK: &str = "#181b1f";

/// The time that a drawing is of, seconds since 1970; and the moment that figures and tables are of.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its begin.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// The moment.
    pub at: f64,
}

/// The drawing, as SVG.
pub fn draw(title: &str, panels: &[(Panel, Vec<Answer>)], span: Span) -> String {
    let mut svg = Svg::default();
    svg.text((12.0, 24.0), 18.0, TEXT, 80, title);
    let mut bottom: f64 = 0.0;
    for (panel, answers) in panels {
        let [x, y, w, h] = panel.place();
        let whole = Area { x: x * COLUMN, y: 36.0 + y * ROW, w: w * COLUMN, h: h * ROW };
        bottom = bottom.max(whole.y + whole.h);
        if panel.kind() == "row" {
            svg.text((whole.x + 12.0, whole.y + 22.0), 15.0, TEXT, 100, panel.title());
            continue;
        }
        let area = whole.inner(3.0, 3.0, 3.0, 3.0);
        svg.rectangle(area, BACK);
        let plot = Plot { svg: &mut svg, panel, answers, span };
        plot.panel(area);
    }
    svg.finish(24.0 * COLUMN, bottom + 8.0)
}

/// One panel under way.
pub(super) struct Plot<'a> {
    pub(super) svg: &'a mut Svg,
    pub(super) panel: &'a Panel,
    pub(super) answers: &'a [Answer],
    pub(super) span: Span,
}

impl<'a> Plot<'a> {
    fn panel(mut self, area: Area) {
        let inner = area.inner(8.0, 24.0, 8.0, 6.0);
        match self.panel.kind() {
            "stat" => self.figure(area),
            "timeseries" => self.lines(inner),
            "state-timeline" => self.bands(inner),
            "table" if self.panel.transformation("groupingToMatrix").is_some() => self.matrix(inner),
            "table" => self.table(inner),
            "heatmap" => self.heatmap(inner),
            "bargauge" => self.bars(inner),
            other => self.svg.text((inner.x, inner.y + 20.0), 12.0, FAINT, 60, other),
        }
        let fill = if self.panel.kind() == "stat" { "#ffffff" } else { TEXT };
        self.svg.text((area.x + 8.0, area.y + 16.0), 12.0, fill, (area.w / 7.0) as usize, self.panel.title());
    }

    pub(super) fn unit(&self) -> &str {
        self.panel.defaults()["unit"].as_str().unwrap_or_default()
    }

    /// The word and the colour of a value.
    pub(super) fn meant(&self, value: f64) -> (String, String) {
        let defaults = self.panel.defaults();
        mapped(value, &defaults["mappings"])
            .unwrap_or_else(|| (shown(value, self.unit()), by_threshold(value, &defaults["thresholds"])))
    }

    /// Every series with its name, and its value where one moment counts.
    pub(super) fn named(&self) -> Vec<(String, &'a Series)> {
        let all = self.answers.iter().flat_map(|a| a.series.iter().map(|s| (name(s, &a.legend), s)));
        all.collect()
    }

    pub(super) fn x(&self, area: Area, time: f64) -> f64 {
        area.x + area.w * (time - self.span.from) / (self.span.to - self.span.from)
    }

    fn figure(&mut self, area: Area) {
        let value = self.named().into_iter().find_map(|(_, s)| s.at(self.span.at));
        let none = self.panel.defaults()["noValue"].as_str().unwrap_or("no data").to_owned();
        let (text, fill) = value.map_or_else(|| (none, "#2c3036".to_owned()), |v| self.meant(v));
        self.svg.rectangle(area, &fill);
        self.svg.text((area.x + 14.0, area.y + area.h / 2.0 + 16.0), 26.0, "#ffffff", 14, &text);
    }

    fn bands(&mut self, area: Area) {
        let named = self.named();
        let rows: Vec<(String, Vec<(f64, f64)>)> =
            named.into_iter().take(20).map(|(name, s)| (name, s.points.clone())).collect();
        let height = (area.h / rows.len().max(1) as f64).min(26.0);
        let label = (area.w / 4.0).min(220.0);
        let plot = area.inner(label, 0.0, 4.0, 0.0);
        for (n, (name, points)) in rows.iter().enumerate() {
            let y = area.y + n as f64 * height;
            self.svg.text((area.x, y + height / 2.0 + 4.0), 10.0, TEXT, (label / 6.0) as usize, name);
            for part in points.chunk_by(|a, b| a.1 == b.1) {
                let (from, to) = (part[0].0, part[part.len() - 1].0 + 1.0);
                let (word, fill) = self.meant(part[0].1);
                let x = self.x(plot, from);
                let band = Area { x, y: y + 1.0, w: self.x(plot, to.min(self.span.to)) - x, h: height - 2.0 };
                self.svg.rectangle(band, &fill);
                if height > 11.0 {
                    self.svg.text(
                        (x + 3.0, y + height / 2.0 + 4.0),
                        10.0,
                        "#111217",
                        (band.w / 6.0) as usize,
                        &word,
                    );
                }
            }
        }
        if rows.is_empty() {
            self.svg.text((area.x + area.w / 2.0 - 24.0, area.y + area.h / 2.0), 13.0, FAINT, 20, "no data");
        }
    }

    fn heatmap(&mut self, area: Area) {
        let mut buckets: Vec<(f64, &'a Series)> = self
            .named()
            .into_iter()
            .map(|(_, s)| (s.label("le").parse().unwrap_or(f64::INFINITY), s))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut cells: Vec<(usize, f64, f64)> = Vec::new();
        for (n, (_, series)) in buckets.iter().enumerate() {
            for (time, value) in &series.points {
                let below =
                    n.checked_sub(1).and_then(|before| buckets[before].1.at(*time)).unwrap_or_default();
                cells.push((n, *time, (value - below).max(0.0)));
            }
        }
        let most = cells.iter().map(|(_, _, count)| *count).fold(1e-9, f64::max);
        let used: BTreeSet<usize> = cells.iter().filter(|(_, _, c)| *c > 0.0).map(|(n, _, _)| *n).collect();
        let (Some(first), Some(last)) = (used.first(), used.last()) else { return };
        let plot = area.inner(64.0, 0.0, 4.0, 10.0);
        let height = plot.h / (last - first + 1) as f64;
        let width = plot.w / (self.span.to - self.span.from);
        for (n, (bound, _)) in buckets.iter().enumerate().take(*last + 1).skip(*first) {
            let y = plot.y + plot.h - (n - first + 1) as f64 * height;
            self.svg.text((area.x, y + height / 2.0 + 4.0), 10.0, FAINT, 12, &shown(*bound, "s"));
        }
        let cells: Vec<_> = cells.into_iter().filter(|(_, _, count)| *count > 0.0).collect();
        for (n, time, count) in cells {
            let light = 22.0 + 48.0 * (count / most).sqrt();
            let y = plot.y + plot.h - (n - first + 1) as f64 * height;
            let cell = Area { x: self.x(plot, time), y, w: width - 1.0, h: height - 1.0 };
            self.svg.rectangle(cell, &format!("hsl(25,90%,{light:.0}%)"));
        }
    }

    fn bars(&mut self, area: Area) {
        let at = self.span.at;
        let rows: Vec<(String, f64)> =
            self.named().into_iter().filter_map(|(name, s)| Some((name, s.at(at)?))).collect();
        let most = rows.iter().map(|(_, v)| *v).fold(1e-9, f64::max);
        for (n, (name, value)) in rows.iter().enumerate() {
            let y = area.y + 4.0 + n as f64 * 22.0;
            let (word, fill) = self.meant(*value);
            self.svg.text((area.x, y + 13.0), 11.0, TEXT, 22, name);
            let bar = Area { x: area.x + 140.0, y, w: (area.w - 190.0) * value / most, h: 18.0 };
            self.svg.rectangle(bar, &fill);
            self.svg.text((bar.x + bar.w + 6.0, y + 13.0), 11.0, TEXT, 10, &word);
        }
    }
}
