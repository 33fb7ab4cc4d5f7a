use proptest::prelude::*;

use super::*;

const JSON: &str = r#"[
  {"targets": ["db1:9100", "ü.example"], "labels": {"__netmon_scope": "backup", "job": "x"}},
  {"labels": null, "targets": ["[::1]:443"]}
]"#;

const YAML: &str = "# all\n- targets: ['db1:9100', ü.example]\n  labels:\n    __netmon_scope: backup\n    job: x\n- labels:\n  targets:\n  - \"[::1]:443\"\n";

/// Targets, labels of ours, and how many others.
type Words = (Vec<String>, Vec<(String, String)>, usize);

/// Without the places, which differ.
fn words(groups: &[Group]) -> Vec<Words> {
    let text = |w: &Word| w.text.clone();
    let one = |g: &Group| {
        let labels = g.labels.iter().map(|(l, v)| (text(l), text(v))).collect();
        (g.targets.iter().map(text).collect(), labels, g.other_labels)
    };
    groups.iter().map(one).collect()
}

#[test]
fn both_forms_say_the_same() {
    let json = parse(JSON, Format::Json).unwrap();
    let yaml = parse(YAML, Format::Yaml).unwrap();
    let owned = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let scope = vec![("__netmon_scope".to_owned(), "backup".to_owned())];
    let expected =
        vec![(owned(&["db1:9100", "ü.example"]), scope, 1), (owned(&["[::1]:443"]), Vec::new(), 0)];
    assert_eq!(words(&json), expected);
    assert_eq!(words(&yaml), expected);
    // JSON is YAML, nearly.
    assert_eq!(words(&parse(JSON, Format::Yaml).unwrap()), expected);
}

#[test]
fn a_word_knows_its_place() {
    for (text, format) in [(JSON, Format::Json), (YAML, Format::Yaml), (JSON, Format::Yaml)] {
        for group in parse(text, format).unwrap() {
            for word in group.targets.iter().chain(group.labels.iter().map(|(_, value)| value)) {
                let there = text[word.at.start..].trim_start_matches(['"', '\'']);
                assert!(there.starts_with(&word.text), "{word:?} in {there}");
            }
        }
    }
}

#[test]
fn no_targets_are_an_empty_list_and_an_empty_document_is_none() {
    for format in [Format::Json, Format::Yaml] {
        assert_eq!(parse("[]", format).unwrap(), []);
        assert_eq!(parse(" [ ] \n", format).unwrap(), []);
        for empty in ["", " \n"] {
            assert_eq!(parse(empty, format).unwrap_err().message, "the document is empty");
        }
    }
    for empty in ["# to be written\n", "---\n", "---\n...\n", "~"] {
        let said = parse(empty, Format::Yaml).unwrap_err().message;
        assert!(["the document is empty", NO_LIST].contains(&&*said), "{empty:?}: {said}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (format, text, place, message) in [
        (Format::Json, "{}", 0, NO_LIST),
        (Format::Json, "[1]", 1, NO_GROUP),
        (Format::Json, "[null]", 1, NO_GROUP),
        (Format::Json, "[{\"targets\": [1]}]", 14, "a target is a text"),
        (Format::Json, "[{\"targets\": \"a\"}]", 13, "`targets` is a list of texts"),
        (Format::Json, "[{\"labels\": []}]", 12, "`labels` is an object of texts"),
        (Format::Json, "[{\"labels\": {\"__netmon_port\": 1}}]", 30, "a label is a text"),
        (Format::Json, "[{\"target\": []}]", 1, "unknown key `target`"),
        (Format::Json, "[\n {\"targets\": [\"a\" \"b\"]}]", 20, "no JSON: expected `,` or `]`"),
        (Format::Json, "[{\"targets\": [\"a\"", 16, "no JSON: EOF while parsing a list"),
        (Format::Yaml, "targets: [a]", 0, NO_LIST),
        (Format::Yaml, "- a", 2, NO_GROUP),
        (Format::Yaml, "-", 1, NO_GROUP),
        (Format::Yaml, "- target: [a]", 2, "unknown key `target`"),
        (Format::Yaml, "- targets: a", 11, "`targets` is a list of texts"),
        (Format::Yaml, "- targets: [a, [b]]", 15, "a target is a text"),
        (Format::Yaml, "- targets: [a, ~]", 15, "a target is a text"),
        (Format::Yaml, "- targets: [a]\n  targets: [b]", 17, "`targets` is there twice"),
        (
            Format::Yaml,
            "- labels: {__netmon_port: 1, __netmon_port: 2}",
            29,
            "label `__netmon_port` is there twice",
        ),
        (Format::Yaml, "- labels: [a]", 10, "`labels` is a map of texts"),
        (Format::Yaml, "- targets: [*x]", 12, "no YAML: while parsing node, found unknown anchor"),
        (Format::Yaml, "[]\n---\n[]\n", 3, "a second document"),
        (Format::Yaml, "[[[[[[[[[[[[]]]]]]]]]]]]", 8, "nested deeper than any such document"),
    ] {
        let fault = parse(text, format).unwrap_err();
        assert_eq!((&*fault.message, fault.span.map(|s| s.start)), (message, Some(place)), "{text}");
    }
    let typo = parse("- target: [a]", Format::Yaml).unwrap_err();
    assert_eq!(typo.hint.as_deref(), Some("did you mean `targets`?"));
}

#[test]
fn a_list_that_is_far_too_long_is_not_gathered_first() {
    let list = |n: usize| vec!["0"; n].join(",");
    let said = |text: String| parse(&text, Format::Json).unwrap_err().message;
    assert_eq!(said(format!("[{}]", list(MAX_TARGETS + 1))), format!("more than {MAX_TARGETS} groups"));
    let targets = format!("[{{\"targets\":[{}]}}]", list(MAX_TARGETS + 1));
    assert_eq!(said(targets), format!("more than {MAX_TARGETS} targets"));
    let members = format!("[{{{}}}]", vec!["\"targets\":0"; 100].join(","));
    assert!(said(members).contains("many more keys"));
    // As many as there may be are looked at.
    assert_eq!(said(format!("[{}]", list(MAX_TARGETS))), NO_GROUP);
}

#[test]
fn aliases_are_followed_and_no_bomb_is_set_off() {
    let text =
        "- &g\n  targets: &t [a, b]\n  labels: &l {__netmon_scope: s}\n- targets: *t\n  labels: *l\n- *g\n";
    let groups = parse(text, Format::Yaml).unwrap();
    assert_eq!(groups.len(), 3);
    assert!(groups.iter().all(|g| g.targets.len() == 2 && g.labels.len() == 1));
    // Nine levels of nine aliases each are a thousand million texts.
    let mut laughs = "- &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let nine = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs.push_str(&format!("- &a{i} [{nine}]\n"));
    }
    assert!(parse(&laughs, Format::Yaml).is_err());
    // A long list of long lists: each is there once, but would count as often as it is named.
    let list: String = (0..1000).map(|i| format!("a{i}, ")).collect();
    let mut many = format!("- targets: &t [{list}]\n");
    (0..101).for_each(|_| many.push_str("- targets: *t\n"));
    let said = parse(&many, Format::Yaml).unwrap_err().message;
    assert_eq!(said, format!("more than {MAX_TARGETS} targets"));
    let long = "x".repeat(MAX_WORD);
    let mut many = format!("- targets: &t [&w {long}]\n");
    (0..MAX_DOCUMENT / MAX_WORD).for_each(|_| many.push_str("- targets: *t\n"));
    assert!(parse(&many, Format::Yaml).unwrap_err().message.ends_with("bytes of targets and labels"));
    // A chain of aliases would be as deep as it is long.
    let mut chain = "- &a0 [x]\n".to_owned();
    (1..50_000).for_each(|i| chain.push_str(&format!("- &a{i} [*a{}]\n", i - 1)));
    assert!(parse(&chain, Format::Yaml).unwrap_err().message.starts_with("nested deeper"));
}

/// Pieces that mean something to a reader, in any order.
fn pieces() -> impl Strategy<Value = String> {
    const ALL: [&str; 40] = [
        "[",
        "]",
        "{",
        "}",
        "-",
        "- ",
        ":",
        ": ",
        ",",
        ", ",
        "\n",
        "\n  ",
        "\n- ",
        "\"",
        "'",
        "\\",
        "#",
        "&a",
        "*a",
        "!",
        "!!str",
        "|",
        ">",
        "%",
        "---",
        "...",
        "?",
        "targets",
        "labels",
        "\"targets\"",
        "\"labels\"",
        "a",
        "null",
        "1",
        "ü",
        "\u{feff}",
        "\t",
        "\r",
        "\u{0}",
        "__netmon_name",
    ];
    prop::collection::vec(prop::sample::select(&ALL[..]), 0..40).prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn a_hostile_document_is_refused_at_a_place_within_it(text in prop_oneof![pieces(), ".{0,60}"]) {
        for format in [Format::Json, Format::Yaml] {
            if let Err(fault) = parse(&text, format) {
                let start = fault.span.map(|span| span.start);
                prop_assert!(start.is_some_and(|at| at <= text.len() + 1), "{start:?} in {text:?}");
                prop_assert!(!fault.message.contains("broke over"), "{text:?}");
            }
        }
    }

    #[test]
    fn a_document_that_was_cut_off_never_passes_for_another_in_json(cut in 0..JSON.len()) {
        let head = |text: &'static str| (0..=cut.min(text.len())).rev().find_map(|n| text.get(..n)).unwrap_or("");
        prop_assert!(parse(head(JSON), Format::Json).is_err());
        // Half of a YAML document may be one: it is the file's reader that waits for its end.
        let _ = parse(head(YAML), Format::Yaml);
    }

    #[test]
    fn what_one_writes_the_other_reads(
        groups in prop::collection::vec((prop::collection::vec("[a-z0-9.:\\[\\]/ #'\"ü-]{1,12}", 0..5), 0..3_usize), 0..5)
    ) {
        let value: Vec<serde_json::Value> = groups.iter().map(|(targets, others)| {
            let labels: serde_json::Map<_, _> =
                (0..*others).map(|i| (format!("l{i}"), "v".into())).collect();
            serde_json::json!({"targets": targets, "labels": labels})
        }).collect();
        let text = serde_json::to_string_pretty(&value).unwrap();
        let expected: Vec<_> = groups.into_iter().map(|(t, others)| (t, Vec::new(), others)).collect();
        for format in [Format::Json, Format::Yaml] {
            prop_assert_eq!(words(&parse(&text, format).unwrap()), expected.clone());
        }
    }
}
