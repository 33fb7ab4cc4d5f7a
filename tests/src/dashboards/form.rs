//! Values as a panel would show them: units, words, colours, names.

use serde_json::Value;

use crate::prometheus::Series;

/// A value in a unit of Grafana's, about as Grafana writes it.
pub(super) fn shown(value: f64, unit: &str) -> String {
    let scaled = |steps: &[(f64, &str)]| {
        let (factor, name) =
            steps.iter().find(|(f, _)| value.abs() >= *f).copied().unwrap_or(steps[steps.len() - 1]);
        format!("{} {name}", short(value / factor))
    };
    let thousands = |base: &str| -> String {
        let text = scaled(&[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]);
        format!("{}{base}", text.trim_end_matches(base))
    };
    match unit {
        _ if value == 0.0 => "0".to_owned(),
        "s" => {
            scaled(&[(86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")])
        }
        "percentunit" => format!("{} %", short(value * 100.0)),
        "bps" => thousands("b/s"),
        "bytes" => scaled(&[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")]),
        "cps" | "pps" => format!("{} /s", short(value)),
        _ => short(value),
    }
}

/// Three significant digits.
fn short(value: f64) -> String {
    let digits = (2 - value.abs().max(1e-9).log10().floor() as i32).clamp(0, 6);
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The word and the colour that mappings have for a value.
pub(super) fn mapped(value: f64, mappings: &Value) -> Option<(String, String)> {
    let all = mappings.as_array()?.iter().filter(|m| m["type"] == "value");
    let found = all.map(|m| &m["options"][format!("{}", value.round())]).find(|m| m.is_object())?;
    Some((found["text"].as_str()?.to_owned(), color(found["color"].as_str()?)))
}

/// The colour that thresholds have for a value.
pub(super) fn by_threshold(value: f64, thresholds: &Value) -> String {
    let steps = thresholds["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let last = steps.iter().rfind(|s| s["value"].as_f64().is_none_or(|from| value >= from));
    color(last.and_then(|s| s["color"].as_str()).unwrap_or("#808080"))
}

/// Grafana's colours by name.
pub(super) fn color(name: &str) -> String {
    match name {
        "green" => "#73bf69",
        "orange" => "#ff9830",
        "red" => "#f2495c",
        other => other,
    }
    .to_owned()
}

/// The classic palette.
pub(super) fn palette(n: usize) -> &'static str {
    const COLORS: [&str; 10] = [
        "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#fade2a", "#96d98d",
        "#ffb357",
    ];
    COLORS[n % COLORS.len()]
}

/// The name of a series by a legend with `{{label}}`; its labels where there is no legend.
pub(super) fn name(series: &Series, legend: &str) -> String {
    if legend.is_empty() {
        return series.labels.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>().join(" ");
    }
    let named =
        |text: String, (label, value): &(String, String)| text.replace(&format!("{{{{{label}}}}}"), value);
    series.labels.iter().fold(legend.to_owned(), named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_their_units() {
        for (value, unit, text) in [
            (0.000_25, "s", "250 µs"),
            (90.0, "s", "1.5 min"),
            (0.0123, "percentunit", "1.23 %"),
            (1_500_000.0, "bps", "1.5 Mb/s"),
            (2048.0, "bytes", "2 KiB"),
            (1234.0, "short", "1234"),
            (0.0, "s", "0"),
        ] {
            assert_eq!(shown(value, unit), text);
        }
    }

    #[test]
    fn words_colours_and_names() {
        let mappings = json!([{ "type": "value", "options": { "3": { "text": "down", "color": "red" } } }]);
        assert_eq!(mapped(3.0, &mappings).unwrap().0, "down");
        assert!(mapped(1.0, &mappings).is_none());
        let thresholds =
            json!({ "steps": [{ "color": "green", "value": null }, { "color": "red", "value": 5 }] });
        assert_eq!(by_threshold(4.9, &thresholds), color("green"));
        assert_eq!(by_threshold(5.0, &thresholds), color("red"));
        let series = Series { labels: vec![("device".into(), "eth0".into())], points: Vec::new() };
        assert_eq!(name(&series, "{{device}} sent"), "eth0 sent");
        assert_eq!(name(&series, ""), "eth0");
    }
}
