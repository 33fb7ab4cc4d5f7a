//! Shapes of SVG.

use std::fmt::Write;

/// A drawing under way.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

/// A rectangle by its corner and size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

impl Area {
    /// What is left within, so far from each side.
    pub(super) fn inner(self, left: f64, top: f64, right: f64, bottom: f64) -> Self {
        Self { x: self.x + left, y: self.y + top, w: self.w - left - right, h: self.h - top - bottom }
    }
}

impl Svg {
    pub(super) fn rectangle(&mut self, a: Area, fill: &str) {
        let Area { x, y, w, h } = a;
        let (w, h) = (w.max(0.0), h.max(0.0));
        let _ =
            writeln!(self.0, r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill="{fill}"/>"#);
    }

    /// Text that begins at a point and is cut to so many characters.
    pub(super) fn text(&mut self, (x, y): (f64, f64), size: f64, fill: &str, most: usize, text: &str) {
        let cut: String = text.chars().take(most).collect();
        let escaped = cut.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.0,
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" fill="{fill}" font-family="sans-serif">{escaped}</text>"#
        );
    }

    pub(super) fn line(&mut self, points: &[(f64, f64)], color: &str, dashed: bool) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dash = if dashed { r#" stroke-dasharray="6 4""# } else { "" };
        let _ = writeln!(
            self.0,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="1.5"{dash}/>"#,
            points.join(" ")
        );
    }

    /// What lies between a line and the height `floor`.
    pub(super) fn filled(&mut self, points: &[(f64, f64)], floor: f64, fill: &str) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let all = points.iter().copied().chain([(last.0, floor), (first.0, floor)]);
        let points: Vec<String> = all.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.0, r#"<polygon points="{}" fill="{fill}"/>"#, points.join(" "));
    }

    /// The whole, of this size.
    pub(super) fn finish(self, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#111217\"/>\n{}</svg>\n",
            self.0
        )
    }
}
