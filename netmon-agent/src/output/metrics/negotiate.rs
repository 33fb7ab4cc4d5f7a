//! Which form a scraper wants (RFC 9110, sections 12.5.1 and 12.5.3).

use super::Format;

/// Protobuf where that is on offer (for `native` histograms alone) and `Accept` ranks it first; else OpenMetrics where it
/// is ranked at least as high as plain text, as Prometheus does; else text.
pub fn format(accept: &str, native: bool) -> Format {
    let [mut protobuf, mut open, mut text] = [0.0f32; 3];
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut weight, mut version, mut proto, mut encoding) = (1.0f32, None, None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("q", q)) => weight = q.trim().parse().unwrap_or(0.0),
                Some(("version", v)) => version = Some(v.trim()),
                Some(("proto", p)) => proto = Some(p.trim()),
                Some(("encoding", e)) => encoding = Some(e.trim()),
                _ => {}
            }
        }
        match kind.as_str() {
            "application/vnd.google.protobuf"
                if proto == Some("io.prometheus.client.MetricFamily") && encoding == Some("delimited") =>
            {
                protobuf = weight.max(protobuf);
            }
            "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                open = weight.max(open);
            }
            "text/plain" | "text/*" => text = weight.max(text),
            _ => {}
        }
    }
    if native && protobuf > 0.0 && protobuf >= open.max(text) {
        Format::Protobuf
    } else if open > 0.0 && open >= text {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// Whether `Accept-Encoding` allows gzip: by name, or else by `*`.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let (mut named, mut others) = (None, false);
    for range in accept_encoding.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let refused = parts.filter_map(|p| p.strip_prefix("q=")).any(|q| q.trim().parse() == Ok(0.0f32));
        if coding.eq_ignore_ascii_case("gzip") {
            named = Some(!refused);
        } else if coding == "*" {
            others = !refused;
        }
    }
    named.unwrap_or(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(accept: &str) -> Format {
        super::format(accept, true)
    }

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
    fn protobuf_is_for_those_who_rank_it_first_where_it_is_offered() {
        // Prometheus 2.42 with native histograms.
        let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                          application/openmetrics-text;version=1.0.0;q=0.8,\
                          application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(super::format(prometheus, true), Format::Protobuf);
        assert_eq!(super::format(prometheus, false), Format::OpenMetrics);
        let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily";
        assert_eq!(format(&format!("{kind}; encoding=delimited;q=0.5, text/plain;q=0.6")), Format::Text);
        assert_eq!(format(&format!("{kind}; encoding=text")), Format::Text);
        assert_eq!(format("application/vnd.google.protobuf;encoding=delimited"), Format::Text);
    }

    #[test]
    fn gzip_is_for_those_who_ask() {
        assert!(accepts_gzip("gzip") && accepts_gzip("deflate, gzip;q=0.5") && accepts_gzip("*"));
        assert!(!accepts_gzip("") && !accepts_gzip("gzip;q=0") && !accepts_gzip("identity"));
        assert!(!accepts_gzip("gzip;q=0, *") && accepts_gzip("gzip, *;q=0"));
    }
}
