//! Graphs over time.

use super::draw::{FAINT, Plot, TEXT};
use super::form::{by_threshold, color, palette, shown};
use super::svg::Area;

impl Plot<'_> {
    pub(super) fn lines(&mut self, area: Area) {
        let custom = &self.panel.defaults()["custom"];
        let stacked = custom["stacking"]["mode"] == "normal";
        let strokes = custom["drawStyle"] == "bars";
        let mut series: Vec<(String, Vec<(f64, f64)>)> =
            self.named().into_iter().map(|(name, s)| (name, s.points.clone())).collect();
        for (name, points) in &mut series {
            if self.is_below(name) {
                points.iter_mut().for_each(|(_, v)| *v = -*v);
            }
        }
        if stacked {
            stack(&mut series);
        }
        let values = || series.iter().flat_map(|(_, points)| points.iter().map(|(_, v)| *v));
        let floor = self.panel.defaults()["min"].as_f64().unwrap_or(f64::INFINITY);
        let (low, mut high) = (values().fold(floor, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        if !high.is_finite() {
            self.svg.text((area.x + area.w / 2.0 - 24.0, area.y + area.h / 2.0), 13.0, FAINT, 20, "no data");
            return;
        }
        if high <= low {
            high = low + low.abs().max(1.0);
        }
        let plot = area.inner(64.0, 2.0, 4.0, 34.0);
        let logarithmic = custom["scaleDistribution"]["type"] == "log" && low > 0.0;
        let scale = |value: f64| if logarithmic { value.log10() } else { value };
        let y = |value: f64| plot.y + plot.h * (scale(high) - scale(value)) / (scale(high) - scale(low));
        for part in [0.0, 0.5, 1.0] {
            let value = if logarithmic { low * (high / low).powf(part) } else { low + (high - low) * part };
            self.svg.line(&[(plot.x, y(value)), (plot.x + plot.w, y(value))], "#2c3036", false);
            self.svg.text((area.x, y(value) + 4.0), 10.0, FAINT, 12, &shown(value, self.unit()));
        }
        let steps = self.panel.defaults()["thresholds"]["steps"].as_array();
        for step in steps.into_iter().flatten() {
            if let Some(from) = step["value"].as_f64().filter(|from| (low..high).contains(from)) {
                let color = by_threshold(from, &self.panel.defaults()["thresholds"]);
                self.svg.line(&[(plot.x, y(from)), (plot.x + plot.w, y(from))], &color, true);
            }
        }
        // Those above first: what lies below covers them down to the axis.
        for (n, (name, points)) in series.iter().enumerate().rev() {
            let color = self.color(n, name);
            if strokes {
                for (time, value) in points.iter().filter(|(_, v)| *v != 0.0) {
                    let h = y(low.max(0.0)) - y(*value);
                    self.svg.rectangle(Area { x: self.x(plot, *time), y: y(*value), w: 5.0, h }, &color);
                }
                continue;
            }
            let at: Vec<(f64, f64)> = points.iter().map(|(t, v)| (self.x(plot, *t), y(*v))).collect();
            // What was missing for a while is a gap.
            for part in at.chunk_by(|a, b| b.0 - a.0 < 3.0 * plot.w / (self.span.to - self.span.from)) {
                if stacked {
                    self.svg.filled(part, plot.y + plot.h, &color);
                } else {
                    self.svg.line(part, &color, false);
                }
            }
        }
        let names: Vec<String> = series.into_iter().map(|(name, _)| name).collect();
        self.legend(area, &names);
    }

    fn legend(&mut self, area: Area, names: &[String]) {
        let (mut x, mut y) = (area.x, area.y + area.h - 16.0);
        for (n, name) in names.iter().enumerate() {
            let width = 14.0 + 6.2 * name.chars().count() as f64;
            if x + width > area.x + area.w && x > area.x {
                (x, y) = (area.x, y + 14.0);
            }
            if y > area.y + area.h {
                return;
            }
            let color = self.color(n, name);
            self.svg.rectangle(Area { x, y: y - 7.0, w: 8.0, h: 3.0 }, &color);
            self.svg.text((x + 11.0, y), 10.0, TEXT, 40, name);
            x += width + 8.0;
        }
    }

    /// Whether an override draws the series below the axis. Our expressions end in `/ word$/`.
    fn is_below(&self, name: &str) -> bool {
        let overrides = self.panel.json["fieldConfig"]["overrides"].as_array();
        overrides.into_iter().flatten().any(|o| {
            let regex = o["matcher"]["options"].as_str().unwrap_or_default();
            o["properties"][0]["value"] == "negative-Y" && name.ends_with(regex.trim_matches(['/', '$']))
        })
    }

    /// The colour of the `n`th series: that of an override by its name, else of the palette.
    fn color(&self, n: usize, name: &str) -> String {
        let mut overrides = self.panel.json["fieldConfig"]["overrides"].as_array().into_iter().flatten();
        let own = overrides.find(|o| o["matcher"]["options"] == name);
        let fixed = own.and_then(|o| o["properties"][0]["value"]["fixedColor"].as_str());
        fixed.map_or_else(|| palette(n).to_owned(), color)
    }
}

/// Each series upon those before it.
fn stack(series: &mut [(String, Vec<(f64, f64)>)]) {
    let mut below: Vec<(f64, f64)> = Vec::new();
    for (_, points) in series {
        for (time, value) in points.iter_mut() {
            let at = time.to_bits();
            match below.iter_mut().find(|(t, _)| t.to_bits() == at) {
                Some((_, sum)) => {
                    *sum += *value;
                    *value = *sum;
                }
                None => below.push((*time, *value)),
            }
        }
    }
}
