//! Where a fault is, and what mends it: a table of files that are wrong in every way.

use std::{fs, path::Path};

use super::Config;

#[track_caller]
fn refused(text: &str) -> String {
    Config::parse(text, Path::new("netmon.toml")).expect_err(text).to_string()
}

#[test]
fn every_fault_has_its_place_and_its_remedy() {
    for (text, place, words) in [
        // Not TOML.
        ("[agent", "1:7", ""),
        ("[agent]\nlisten = [", "2:11", ""),
        ("[agent]\nsocket = /run/x", "2:10", "quoted"),
        ("[agent]\nsocket = \"/run/x", "2:17", "expected `\"`"),
        ("[defaults]\ninterval \"2s\"", "2:10", ""),
        // Keys.
        ("[agent]\nlissten = []", "2:1", "did you mean `listen`?"),
        ("[agnet]\n", "1:2", "did you mean `agent`?"),
        ("[health.quorums]\na = 1", "1:9", "did you mean `quorum`?"),
        ("[[target]]\nhost = \"a\"\n[target.http]\nurl = \"b\"", "3:9", "known here: name, host"),
        ("[defaults]\ninterval = \"2s\"\ninterval = \"3s\"", "3:1", "duplicate key"),
        ("[agent]\n[defaults]\n[agent]\n", "3:2", "duplicate key"),
        (
            "[[target]]\nhost = \"a\"\n\n[[target]]\nname = \"a\"\nhost = \"b\"",
            "5:8",
            "the first is in line 2",
        ),
        // Types.
        ("[agent]\nlisten = \"127.0.0.1:1\"", "2:10", "a list in brackets"),
        ("[defaults]\nauto_targets = \"yes\"", "2:16", "true or false, without quotes"),
        ("[agent]\nmax_probes_per_second = \"many\"", "2:25", "a whole number, without quotes"),
        (
            "[[target]]\nhost = \"a\"\nprobe = \"tcp\"\nport = \"443\"",
            "4:8",
            "a whole number, without quotes",
        ),
        ("[[target]]\nhost = \"a\"\nprobe = \"tcp\"\nport = 70000", "4:8", "expected a whole number"),
        ("[[target]]\nname = 5\nhost = \"a\"", "2:8", "in quotes"),
        ("[[target]]\nhost = \"a\"\nsource = \"eth0\"", "3:10", "IP address"),
        ("[health]\nloss_ratio = \"5%\"", "2:14", "a number, without quotes"),
        ("[health]\nburst = \"1s\"", "2:9", "a list in brackets"),
        ("[health]\nburst = [1]", "2:10", "a duration with its unit"),
        ("[health.quorum]\na = \"2\"", "2:5", "a whole number, without quotes"),
        ("[limits]\nmemory = true", "2:10", "such as \"100MB\""),
        ("agent = 5", "1:9", "a table"),
        ("[[agent]]\nlisten = []", "1:1", "two brackets, every other one"),
        ("[target]\nhost = \"a\"", "1:1", "as [[target]], has two brackets"),
        // Ranges.
        ("[defaults]\ntimeout = \"2m\"", "2:11", "between 1ms and 1m"),
        ("[health]\nrecovery_successes = 300", "2:22", "expected a whole number"),
        ("[health]\nloss_ratio = -0.1", "2:14", "between 0.001 and 0.9"),
        // Columns count characters, and a tab is one; a byte order mark and a carriage return are none.
        ("[devices]\nexclude = [\"\u{e9}\u{1f980}\", \"a[\"]", "2:18", "bad pattern"),
        ("[devices]\n\texclude\t=\t[\"a[\"]", "2:13", "bad pattern"),
        ("[agent]\r\nlissten = []\r\n", "2:1", "did you mean `listen`?"),
        ("\u{feff}[agnet]\n", "1:2", "did you mean `agent`?"),
        ("\u{feff}[agent]\nlissten = []\n", "2:1", "did you mean `listen`?"),
        ("# a \u{1b}[2J bell\n", "1:5", ""),
    ] {
        let said = refused(text);
        assert!(said.starts_with(&format!("netmon.toml:{place}: ")), "{text:?}: {said}");
        assert!(said.contains(words), "{text:?}: {said}");
        // The line as it is, and the caret under its column.
        let (line, column) = place.split_once(':').map(|(l, c)| (l, c.parse::<usize>().unwrap())).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let at = lines.iter().position(|l| l.starts_with(&format!("{line} | "))).expect(&said);
        let caret = lines[at + 1].chars().position(|c| c == '^').unwrap();
        assert_eq!(caret - (line.len() + 3), column - 1, "{said}");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    }
}

#[test]
fn of_a_long_line_the_part_around_the_fault_is_shown() {
    let many = "\"lo\", ".repeat(500);
    let said = refused(&format!("[devices]\nexclude = [{many}\"a[\", {many}]"));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("netmon.toml:2:3012: bad pattern"), "{said}");
    assert!(
        lines[2].starts_with("2 | …") && lines[2].ends_with('…') && lines[2].chars().count() < 180,
        "{said}"
    );
    let caret = lines[3].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[2].chars().skip(caret).take(4).collect::<String>(), "\"a[\"");
    assert_eq!(lines[3].matches('^').count(), 4);
}

#[test]
fn what_is_no_file_to_read_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| Config::load(Some(path)).unwrap_err();
    let said = load(folder.path()).to_string();
    assert!(said.contains("name the file in it"), "{said}");
    let said = load(&folder.path().join("none.toml")).to_string();
    assert!(said.contains("none.toml: No such file") && said.contains("for the defaults"), "{said}");
    let under = folder.path().join("file");
    fs::write(&under, "").unwrap();
    let said = load(&under.join("netmon.toml")).to_string();
    assert!(said.contains("Not a directory"), "{said}");
    // Without an end; and a log has one line for each of them.
    let error = load(Path::new("/dev/zero"));
    assert!(error.to_string().contains("64 MiB") && !error.one_line().contains('\n'), "{error}");
    // In UTF-16, as a text editor of another system writes it.
    fs::write(&under, b"\xff\xfe[\0a\0").unwrap();
    let said = load(&under).to_string();
    assert!(said.starts_with(&format!("{}:1:1: ", under.display())) && said.contains("iconv"), "{said}");
}
