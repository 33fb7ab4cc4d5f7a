use std::path::Path;

use super::*;
use crate::config::Config;

fn sources(text: &str) -> Result<Vec<Source>, String> {
    Config::parse(text, Path::new("t")).map(|c| c.discovery.sources).map_err(|e| e.one_line())
}

#[test]
fn every_source_has_a_name_its_own_or_a_numbers() {
    let text = "
        [[discovery.dns_sd]]
        names = [\"_a._tcp.example\"]
        probe = \"tcp\"
        [[discovery.file_sd]]
        files = [\"/a/*.json\", \"/b.yml\"]
        [[discovery.file_sd]]
        name = \"rack\"
        files = [\"/c.YAML\"]
        refresh_interval = \"1h\"
        [[discovery.http_sd]]
        url = \"https://a.example/sd\"
        [[discovery.dns_sd]]
        name = \"rack\"
        names = [\"a.example\", \"a.example\"]
        type = \"A\"
    ";
    let all = sources(text).unwrap();
    let names: Vec<_> = all.iter().map(|s| (s.kind.mechanism(), s.name.as_str())).collect();
    assert_eq!(
        names,
        [
            ("file_sd", "file_sd-1"),
            ("file_sd", "rack"),
            ("http_sd", "http_sd-1"),
            ("dns_sd", "dns_sd-1"),
            ("dns_sd", "rack")
        ]
    );
    let seconds = |s| Duration::from_secs(s);
    let SourceKind::Files { files, refresh } = &all[0].kind else { panic!("{:?}", all[0]) };
    assert_eq!((files.len(), *refresh), (2, seconds(300)));
    let SourceKind::Http(server) = &all[2].kind else { panic!("{:?}", all[2]) };
    assert_eq!((server.request.port, server.refresh, &server.credentials), (443, seconds(60), &None));
    assert_eq!(all[3].kind, SourceKind::Services(vec!["_a._tcp.example".to_owned()]));
    assert_eq!(all[4].kind, SourceKind::Names(vec!["a.example".to_owned()], Family::V4));
}

#[test]
fn what_makes_no_sense_is_told_with_its_place_and_its_remedy() {
    let file = "[[discovery.file_sd]]\nfiles = ";
    let http = "[[discovery.http_sd]]\nurl = \"http://a.example/\"\n";
    let dns = "[[discovery.dns_sd]]\nnames = [\"a.example\"]\n";
    for (text, message) in [
        ("[discovery]\nmax_targets = 0".to_owned(), "t:2:15: max_targets is between 1 and 100000"),
        ("[discovery]\nfile_sf = 1".to_owned(), "t:2:1: unknown key `file_sf`; did you mean `file_sd`?"),
        (
            "[discovery.file_sd]\nfiles = []".to_owned(),
            "t:1:1: invalid type: table, expected a list; a table of which there may be several",
        ),
        ("[[discovery.file_sd]]\n".to_owned(), "t:1:1: missing key `files`"),
        (format!("{file}[]"), "t:2:9: no file is named"),
        (format!("{file}[\"a.json\"]"), "t:2:10: \"a.json\" is no absolute path"),
        (format!("{file}[\"/a*/b.json\"]"), "t:2:10: only the last part of a path may be a pattern"),
        (format!("{file}[\"/a.txt\"]"), "t:2:10: \"a.txt\" ends in none of .json, .yml and .yaml"),
        (format!("{file}[\"/[.json\"]"), "t:2:10: bad pattern \"[.json\""),
        (
            format!("{file}[\"/a.json\"]\nname = \"x\"\n{file}[\"/a.json\"]\nname = \"x\""),
            "t:6:8: file_sd \"x\" is there twice",
        ),
        (http.replace("http://a", "ftp://a"), "t:2:7: \"ftp://a.example/\" begins with neither"),
        (
            format!("{http}bearer_token_file = \"/t\""),
            "t:3:21: the secret would go over the network in the clear",
        ),
        (format!("{http}username = \"u\""), "t:3:12: `username` without `password_file`"),
        (format!("{http}password_file = \"/p\""), "t:3:17: `password_file` without `username`"),
        (format!("{http}url_ca_file = \"/p\""), "t:3:15: `url_ca_file` is of https"),
        ("[[discovery.dns_sd]]\nnames = []".to_owned(), "t:2:9: no name is given"),
        (dns.replace("a.example", "10.0.0.1"), "t:2:10: \"10.0.0.1\" is no name to ask DNS for"),
        (dns.replace("a.example", "a.example:53"), "t:2:10: \"a.example:53\" is no name"),
        (format!("{dns}type = \"MX\""), "t:3:8: type = \"MX\" is unknown"),
        (format!("{dns}probe = \"tcp\"\nport = 80"), "t:4:8: SRV records bring their ports along"),
        (format!("{dns}type = \"A\"\nprobe = \"tcp\""), "t:2:9: a tcp target needs a port"),
        (
            format!("{dns}type = \"A\"\nsource = \"::1\""),
            "t:4:10: no A record can be reached from this source",
        ),
    ] {
        let said = sources(&text).unwrap_err();
        assert!(said.starts_with(message), "{text}: {said}");
    }
    let here = "[[discovery.http_sd]]\nurl = \"http://127.0.0.1/\"\nusername = \"u\"\npassword_file = \"/p\"";
    let SourceKind::Http(server) = &sources(here).unwrap()[0].kind else { panic!() };
    assert_eq!(server.credentials, Some(Credentials::Basic("u".to_owned(), "/p".into())));
}
