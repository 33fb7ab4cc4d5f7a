//! Tables, as Grafana's transformations make them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::draw::{FAINT, Plot, TEXT};
use super::form::{by_threshold, mapped, shown};
use super::svg::Area;
use crate::prometheus::Series;

impl Plot<'_> {
    /// The rows of a table: one for each set of the labels that all its queries have, as Grafana's merge makes them.
    pub(super) fn table(&mut self, area: Area) {
        let columns = self.columns();
        let at = self.span.at;
        let present: Vec<Vec<&Series>> =
            self.answers.iter().map(|a| a.series.iter().filter(|s| s.at(at).is_some()).collect()).collect();
        let Some(rows) = present.iter().max_by_key(|all| all.len()).filter(|all| !all.is_empty()) else {
            let none = self.panel.defaults()["noValue"].as_str().unwrap_or("no data").to_owned();
            self.svg.text((area.x, area.y + 20.0), 12.0, FAINT, 40, &none);
            return;
        };
        let rows = rows.clone();
        let key = |s: &Series| {
            let shared = |name: &str| {
                present.iter().flatten().all(|other| other.labels.iter().any(|(n, _)| n == name))
            };
            s.labels.iter().filter(|(n, _)| shared(n)).cloned().collect::<Vec<_>>()
        };
        let width = area.w / columns.len().max(1) as f64;
        for (n, (_, title, _)) in columns.iter().enumerate() {
            self.svg.text(
                (area.x + n as f64 * width, area.y + 12.0),
                11.0,
                "#6e9fff",
                (width / 6.5) as usize,
                title,
            );
        }
        for (row, series) in rows.iter().enumerate() {
            let y = area.y + 30.0 + row as f64 * 17.0;
            if y > area.y + area.h {
                break;
            }
            for (n, (of, _, properties)) in columns.iter().enumerate() {
                let (text, fill) = match of.strip_prefix("Value") {
                    Some(which) => {
                        let query = which.bytes().last().map_or(0, |letter| usize::from(letter - b'A'));
                        let same =
                            present.get(query).and_then(|all| all.iter().find(|s| key(s) == key(series)));
                        same.and_then(|s| s.at(at))
                            .map_or_else(Default::default, |v| of_column(v, properties))
                    }
                    None => {
                        let all = present.iter().flatten().filter(|s| key(s) == key(series));
                        let value = [*series]
                            .into_iter()
                            .chain(all.copied())
                            .map(|s| s.label(of))
                            .find(|v| !v.is_empty());
                        (value.unwrap_or_default().to_owned(), TEXT.to_owned())
                    }
                };
                self.svg.text((area.x + n as f64 * width, y), 11.0, &fill, (width / 6.5) as usize, &text);
            }
        }
    }

    /// What each column is of, its title, and how it is shown.
    fn columns(&self) -> Vec<(String, String, Vec<Value>)> {
        let Some(organized) = self.panel.transformation("organize") else { return Vec::new() };
        let order = |of: &str| organized["indexByName"][of].as_u64();
        let mut columns: Vec<(String, String, Vec<Value>)> = Vec::new();
        for (of, title) in organized["renameByName"].as_object().into_iter().flatten() {
            let title = title.as_str().unwrap_or_default();
            let overrides = self.panel.json["fieldConfig"]["overrides"].as_array().into_iter().flatten();
            let own = overrides.filter(|o| o["matcher"]["options"] == title);
            let properties =
                own.flat_map(|o| o["properties"].as_array().into_iter().flatten().cloned()).collect();
            columns.push((of.clone(), title.to_owned(), properties));
        }
        columns.sort_by_key(|(of, _, _)| order(of));
        columns
    }

    pub(super) fn matrix(&mut self, area: Area) {
        let options = self.panel.transformation("groupingToMatrix").cloned().unwrap_or_default();
        let field = |key: &str| options[key].as_str().unwrap_or_default().to_owned();
        let (row, column) = (field("rowField"), field("columnField"));
        let cells: Vec<(String, String, f64)> = self
            .named()
            .into_iter()
            .filter_map(|(_, s)| {
                Some((s.label(&row).to_owned(), s.label(&column).to_owned(), s.at(self.span.at)?))
            })
            .collect();
        let rows: BTreeSet<&String> = cells.iter().map(|(r, _, _)| r).collect();
        let columns: BTreeSet<&String> = cells.iter().map(|(_, c, _)| c).collect();
        let width = (area.w - 90.0) / columns.len().max(1) as f64;
        for (n, name) in columns.iter().enumerate() {
            self.svg.text((area.x + 90.0 + n as f64 * width, area.y + 12.0), 11.0, "#6e9fff", 20, name);
        }
        for (m, from) in rows.iter().enumerate() {
            let y = area.y + 20.0 + m as f64 * 24.0;
            self.svg.text((area.x, y + 15.0), 11.0, TEXT, 14, from);
            for (n, to) in columns.iter().enumerate() {
                let Some((_, _, value)) = cells.iter().find(|(r, c, _)| r == *from && c == *to) else {
                    continue;
                };
                let (word, fill) = self.meant(*value);
                let x = area.x + 90.0 + n as f64 * width;
                self.svg.rectangle(Area { x, y, w: width - 2.0, h: 22.0 }, &fill);
                self.svg.text((x + 6.0, y + 15.0), 11.0, "#111217", 16, &word);
            }
        }
    }
}

/// The word and the colour of a value in a column.
fn of_column(value: f64, properties: &[Value]) -> (String, String) {
    let of = |id: &str| properties.iter().find(|p| p["id"] == id).map(|p| &p["value"]);
    if let Some(words) = of("mappings").and_then(|m| mapped(value, m)) {
        return words;
    }
    let text = shown(value, of("unit").and_then(Value::as_str).unwrap_or_default());
    let fill = of("thresholds").map_or_else(|| TEXT.to_owned(), |t| by_threshold(value, t));
    (text, fill)
}
