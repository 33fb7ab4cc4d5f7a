//! Which text a scraper wants (RFC 9110, sections 12.5.1 and 12.5.3).

use super::Format;

/// OpenMetrics where `Accept` ranks it at least as high as plain text, as Prometheus does; else text.
pub fn format(accept: &str) -> Format {
    let mut best = [0.0f32; 2];
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut weight, mut version) = (1.0f32, None);
        for part in parts {
            match part.split_once('=') {
                Some(("q", q)) => weight = q.trim().parse().unwrap_or(0.0),
                Some(("version", v)) => version = Some(v.trim().to_owned()),
                _ => {}
            }
        }
        match kind.as_str() {
            "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                best[0] = weight.max(best[0]);
            }
            "text/plain" | "text/*" => best[1] = weight.max(best[1]),
            _ => {}
        }
    }
    if best[0] > 0.0 && best[0] >= best[1] { Format::OpenMetrics } else { Format::Text }
}

/// Whether `Accept-Encoding` allows gzip.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let refused = parts.filter_map(|p| p.strip_prefix("q=")).any(|q| q.trim().parse() == Ok(0.0f32));
        (coding.eq_ignore_ascii_case("gzip") || coding == "*") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_open_metrics_and_curl_gets_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(format(prometheus), Format::OpenMetrics);
        assert_eq!(format("*/*"), Format::Text);
        assert_eq!(format(""), Format::Text);
        assert_eq!(format("text/plain;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5"), Format::Text);
        assert_eq!(format("application/openmetrics-text;version=2.0.0"), Format::Text);
        assert_eq!(format("application/openmetrics-text;q=0"), Format::Text);
    }

    #[test]
    fn gzip_is_for_those_who_ask() {
        assert!(accepts_gzip("gzip") && accepts_gzip("deflate, gzip;q=0.5") && accepts_gzip("*"));
        assert!(!accepts_gzip("") && !accepts_gzip("gzip;q=0") && !accepts_gzip("identity"));
    }
}
