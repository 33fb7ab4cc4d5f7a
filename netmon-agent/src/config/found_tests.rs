use std::path::Path;

use super::*;
use crate::{config::Config, observation::Method};

/// What a source with these settings makes of a document.
fn found(settings: &str, document: &str) -> Result<Vec<TargetConfig>, String> {
    let text = format!("[[discovery.file_sd]]\nfiles = [\"/x/*.json\"]\n{settings}");
    let config = Config::parse(&text, Path::new("t")).map_err(|e| e.one_line())?;
    let read = config.discovery.sources[0].template.read(document, Format::Json, Path::new("x.json"));
    read.map(|found| found.targets).map_err(|e| e.one_line())
}

fn targets(settings: &str, addresses: &[&str]) -> Result<Vec<TargetConfig>, String> {
    found(settings, &serde_json::json!([{"targets": addresses}]).to_string())
}

/// Name, host and port.
fn of(settings: &str, address: &str) -> (String, String, Option<u16>) {
    let all = targets(settings, &[address]).unwrap();
    let port = match &all[0].method {
        Method::Icmp => None,
        Method::Tcp { port } | Method::Udp { port, .. } => Some(*port),
        Method::Dns(query) => Some(query.port),
        Method::Http(request) => Some(request.port),
    };
    (all[0].name.clone(), all[0].host.clone(), port)
}

#[test]
fn an_address_is_a_host_and_a_port_as_the_probe_needs_it() {
    let is = |settings: &str, address: &str, name: &str, host: &str, port: Option<u16>| {
        assert_eq!(of(settings, address), (name.to_owned(), host.to_owned(), port), "{settings} {address}");
    };
    is("", "db1", "db1", "db1", None);
    is("", "db1:9100", "db1", "db1", None);
    is("", "[::1]:9100", "::1", "::1", None);
    is("", "2001:db8::1", "2001:db8::1", "2001:db8::1", None);
    is("probe = \"tcp\"", "db1:9100", "db1:9100", "db1", Some(9100));
    is("probe = \"tcp\"\nport = 22", "db1", "db1:22", "db1", Some(22));
    is("probe = \"tcp\"\nport = 22", "db1:9100", "db1:9100", "db1", Some(9100));
    is("probe = \"tcp\"\nport = 22", "[::1]", "[::1]:22", "::1", Some(22));
    is("probe = \"tcp\"\nport = 22", "::1", "[::1]:22", "::1", Some(22));
    is("probe = \"udp\"", "10.0.0.1:7", "10.0.0.1:7", "10.0.0.1", Some(7));
    is("probe = \"dns\"", "10.0.0.1", "10.0.0.1:53", "10.0.0.1", Some(53));
    is("probe = \"http\"", "db1:8080", "db1:8080", "db1", Some(8080));
    is("probe = \"http\"\nscheme = \"https\"\npath = \"/h\"", "db1", "db1", "db1", Some(443));
    is("probe = \"http\"", "https://db1/x", "https://db1/x", "db1", Some(443));
    is("", "https://[::1]:8443/x", "https://[::1]:8443/x", "::1", Some(8443));
}

#[test]
fn settings_and_labels_say_what_a_target_is_like() {
    let settings =
        "probe = \"tcp\"\nport = 22\nscope = \"rack\"\ninterval = \"10s\"\ntimeout = \"3s\"\nttl = 9\n";
    let document = r#"[
        {"targets": ["a", "b:80"], "labels": {"job": "node", "env": "x"}},
        {"targets": ["c:80"], "labels": {"__netmon_name": "gate", "__netmon_scope": "edge", "__netmon_probe": "icmp"}},
        {"targets": ["d:80"], "labels": {"__netmon_port": "8080", "__netmon_interval": "30s", "__netmon_timeout": "2s"}}
    ]"#;
    let all = found(settings, document).unwrap();
    let names: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a:22", "b:80", "gate", "d:8080"]);
    let scopes: Vec<&str> = all.iter().map(|t| t.scope.as_str()).collect();
    assert_eq!(scopes, ["rack", "rack", "edge", "rack"]);
    assert_eq!((&all[2].method, &all[3].method), (&Method::Icmp, &Method::Tcp { port: 8080 }));
    let seconds: Vec<_> = all.iter().map(|t| (t.interval.as_secs(), t.timeout.as_secs())).collect();
    assert_eq!(seconds, [(10, 3), (10, 3), (10, 3), (30, 2)]);
    assert!(all.iter().all(|t| t.path.ttl == Some(9) && std::sync::Arc::ptr_eq(&t.path, &all[0].path)));
    // What is of the settings' own method is not for another's.
    let dns = "probe = \"dns\"\nquery = \"a.example\"\nport = 5353\n";
    let other = r#"[{"targets": ["a", "b"], "labels": {"__netmon_probe": "tcp"}}]"#;
    assert_eq!(found(dns, other).unwrap()[1].method, Method::Tcp { port: 5353 });
}

#[test]
fn what_cannot_be_probed_is_told_with_its_place_and_its_remedy() {
    for (settings, address, message) in [
        ("probe = \"tcp\"", "db1", "x.json:1:14: a tcp target needs a port"),
        ("probe = \"tcp\"", "db1:0", "x.json:1:14: \"db1:0\" has no port in \"0\""),
        ("probe = \"tcp\"", "db1:x", "x.json:1:14: \"db1:x\" has no port in \"x\""),
        ("probe = \"tcp\"", "db1:", "x.json:1:14: \"db1:\" has no port in \"\""),
        ("", "[::1", "x.json:1:14: a bracket is not closed"),
        ("", "[::1]x", "x.json:1:14: after the bracket comes a colon and a port, or nothing"),
        ("", "[a]:1", "x.json:1:14: \"a\" is no IPv6 address"),
        ("", "", "x.json:1:14: \"\" is no host name and no address"),
        ("", "a b", "x.json:1:14: \"a b\" is no host name and no address"),
        ("", "0.0.0.0", "x.json:1:14: 0.0.0.0 is the address of no host, or of many"),
        ("", "ftp://a/", "x.json:1:14: \"ftp://a/\" begins with neither http:// nor https://"),
        (
            "probe = \"tcp\"",
            "http://a/",
            "x.json:1:14: `url` is of http targets, and this one's probe is tcp",
        ),
    ] {
        let said = targets(settings, &[address]).unwrap_err();
        assert!(said.starts_with(message), "{address}: {said}");
    }
    for (labels, message) in [
        (r#"{"__netmon_nome": "x"}"#, "unknown label `__netmon_nome`; did you mean `__netmon_name`?"),
        (r#"{"__netmon_probe": "ping"}"#, "unknown probe \"ping\""),
        (r#"{"__netmon_port": "0"}"#, "\"0\" is no port"),
        (r#"{"__netmon_interval": "2"}"#, "bad duration \"2\""),
        (r#"{"__netmon_interval": "1ms"}"#, "an interval is between 20ms and 1h"),
        (r#"{"__netmon_name": "x"}"#, "one name for a group of 2 targets"),
        (r#"{"__netmon_scope": ""}"#, "a scope is a short word"),
    ] {
        let document = format!("[{{\"targets\": [\"a\", \"b\"], \"labels\": {labels}}}]");
        let said = found("", &document).unwrap_err();
        assert!(said.contains(message), "{labels}: {said}");
    }
}

#[test]
fn settings_are_checked_before_anything_is_found() {
    for (settings, message) in [
        ("probe = \"ping\"", "t:3:9: unknown probe \"ping\""),
        ("port = 80", "t:3:8: an icmp target has no port"),
        ("probe = \"tcp\"\nport = 0", "t:4:8: port 0 can't be probed"),
        ("query = \"a\"", "t:3:9: `query` is of dns targets"),
        ("path = \"/x\"", "t:3:8: `scheme` and `path` are of http targets"),
        ("probe = \"http\"\npath = \"x\"", "t:4:8: a path begins with a slash"),
        ("probe = \"http\"\nscheme = \"ftp\"", "t:4:10: scheme is \"http\" or \"https\""),
        ("interval = \"1ms\"", "t:3:12: an interval is between"),
        ("host = \"a\"", "t:3:1: unknown key `host`"),
        ("name = \"\"", "t:3:8: a source's name has 1 to 64 bytes"),
        ("refresh_interval = \"1ms\"", "t:3:20: refresh_interval is between 1s and 1day"),
    ] {
        let said = found(settings, "[]").unwrap_err();
        assert!(said.starts_with(message), "{settings}: {said}");
    }
    assert!(found("source = \"::1\"\nprobe = \"tcp\"", "[]").is_ok());
}
