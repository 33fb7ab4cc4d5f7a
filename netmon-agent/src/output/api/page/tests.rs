//! The page as a browser's tokenizer reads it.

use std::{collections::BTreeMap, net::IpAddr};

use html5gum::{DefaultEmitter, Token, Tokenizer};
use proptest::prelude::*;

use super::{past::Known, *};
use crate::{
    capability::Capability,
    diagnosis::{Diagnosis, Finding, Place, SeenHop, Trace},
    health::{AddressStats, Reason, ReasonCode, State, Verdict},
    observation::{FailureReason, ProbeDetail, ProbeOutcome, StampSource},
    output::WallOffset,
    state::{AddressView, DeviceView, TargetView},
    time::{Moment, Mono},
};

fn verdict(state: State, text: &str) -> Verdict {
    let reasons = (state != State::Up).then(|| Reason::new(ReasonCode::Loss, text, text));
    Verdict { state, reasons: reasons.into_iter().collect(), ..Verdict::default() }
}

fn stats() -> AddressStats {
    let mut stats = AddressStats::default();
    for t in 0..40 {
        let rtt = Duration::from_micros(900 + 7 * t);
        let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: None, reordered: false };
        let lost = ProbeOutcome::Failed { reason: FailureReason::Timeout, reporter: None };
        stats.record(Mono::from_nanos(t * 2_000_000_000), if t % 9 == 0 { &lost } else { &reply });
    }
    stats
}

fn diagnosis(text: &str) -> Diagnosis {
    let hop = SeenHop { hop: 1, addresses: vec![[10, 0, 0, 1].into()], rtt: None };
    let address: IpAddr = [10, 0, 0, 9].into();
    let trace = Trace {
        address,
        source: None,
        method: "icmp".into(),
        hops: vec![hop],
        reached: false,
        path_mtu: None,
    };
    let finding = Finding { trace: Some(trace), ..Finding::in_hand(Place::Path, text) };
    Diagnosis { at: Boot::default(), finding: Arc::new(finding) }
}

fn target(name: &str, state: State, stats: &Arc<AddressStats>) -> TargetView {
    let address = |n| AddressView {
        address: [10, 0, 0, n].into(),
        state,
        stats: stats.clone(),
        detail: ProbeDetail::default(),
    };
    TargetView {
        name: name.into(),
        host: name.into(),
        scope: name.into(),
        method: "icmp",
        verdict: verdict(state, name),
        diagnosis: (state == State::Down).then(|| diagnosis(name)),
        addresses: vec![address(9), address(10)],
        ..TargetView::default()
    }
}

/// A world in which every text from outside is `text`.
fn world(text: &str, state: State, targets: usize) -> Snapshot {
    let stats = Arc::new(stats());
    let states = [State::Up, State::Down, State::Degraded, State::Unknown];
    let targets = (0..targets).map(|i| Arc::new(target(text, states[i % 4], &stats))).collect();
    let device = DeviceView {
        name: text.into(),
        verdict: verdict(State::Down, text),
        master: Some(text.into()),
        addresses: vec![([10, 0, 0, 2].into(), 24)],
        ..DeviceView::default()
    };
    Snapshot {
        at: Moment { mono: Mono::from_nanos(80_000_000_000), ..Moment::default() },
        verdict: verdict(state, text),
        diagnosis: Some(diagnosis(text)),
        devices: vec![Arc::new(device)],
        targets,
        capabilities: Arc::new(vec![Capability::missing(text, text, text)]),
        ..Snapshot::default()
    }
}

fn outage(text: &str) -> wire::Outage {
    let reason = wire::Reason { code: text.into(), subject: text.into(), detail: text.into(), rule: None };
    let diagnosis = wire::Diagnosis { place: text.into(), detail: text.into(), ..wire::Diagnosis::default() };
    wire::Outage {
        kind: text.into(),
        subject: text.into(),
        start: text.into(),
        reasons: vec![reason.clone(), reason],
        diagnosis: Some(diagnosis),
        waited: vec![wire::Job { job: text.into(), ..wire::Job::default() }],
        ..wire::Outage::default()
    }
}

fn written(text: &str, snapshot: &Snapshot, asked: &Question) -> String {
    let connection = wire::Connection {
        client: text.into(),
        name: text.into(),
        last_error: Some(text.into()),
        ..wire::Connection::default()
    };
    let network = wire::History {
        days: vec![wire::Day { date: text.into(), ..wire::Day::default() }],
        ..wire::History::default()
    };
    let cells = BTreeMap::new();
    let known = Known { days: 7, network, outages: vec![outage(text)], omitted: 3, cells };
    html(&View {
        asked,
        snapshot,
        state: snapshot.verdict.state,
        is_stale: false,
        reasons: Told::of(None, &snapshot.verdict),
        connections: vec![connection],
        past: Some(Arc::new(Past::Known(Box::new(known)))),
        clock: Clock {
            now: Boot::from_nanos(90_000_000_000),
            walls: WallOffset::default(),
            zone: TimeZone::UTC,
        },
        host: text.into(),
    })
}

/// A start tag and its attributes.
type Tag = (String, BTreeMap<String, String>);

/// What a browser makes of it: start tags, and the text between tags.
fn read(page: &str) -> (Vec<Tag>, Vec<String>) {
    let (mut tags, mut texts, mut text) = (Vec::new(), Vec::new(), String::new());
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut emitter = DefaultEmitter::<()>::default();
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(page, emitter).flatten() {
        match token {
            Token::String(s) => {
                text.push_str(&string(&s));
                continue;
            }
            Token::StartTag(tag) => {
                let attributes = tag.attributes.iter().map(|(n, v)| (string(n), string(v))).collect();
                tags.push((string(&tag.name), attributes));
            }
            Token::Error(e) => panic!("{e:?}"),
            Token::Comment(_) => panic!("a comment"),
            _ => {}
        }
        if !text.is_empty() {
            texts.push(std::mem::take(&mut text));
        }
    }
    (tags, texts)
}

fn names(tags: &[Tag]) -> Vec<&str> {
    tags.iter().map(|(name, _)| name.as_str()).collect()
}

fn asked() -> Question {
    Question { part: true, ..Question::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_a_name_is_it_stays_text(
        hostile in prop_oneof![
            "\\PC{1,40}",
            "[<>\"'&/=! a-z;#x0-9-]{1,40}",
            Just("</main><script>alert(1)</script>".to_owned()),
            Just("\" onfocus=alert(1) autofocus x=\"".to_owned()),
            Just("&lt;b&gt; &amp; &#60;i&#62;".to_owned()),
            Just("<!-- ]]> --!> \n\r\t".to_owned()),
        ],
        state in 0..4usize,
    ) {
        // Line ends read as line feeds, as of any document.
        let meant = hostile.replace("\r\n", "\n").replace('\r', "\n");
        let state = State::ALL[state];
        let (plain, _) = read(&written("plain", &world("plain", state, 4), &asked()));
        let search = Question { search: hostile.clone(), ..asked() };
        let page = written(&hostile, &world(&hostile, state, 4), &asked());
        let (tags, texts) = read(&page);
        prop_assert_eq!(names(&tags), names(&plain), "the same elements");
        for ((name, attributes), (_, other)) in tags.iter().zip(&plain) {
            let (here, there): (Vec<_>, Vec<_>) = (attributes.keys().collect(), other.keys().collect());
            prop_assert_eq!(here, there, "the same attributes of {}", name);
        }
        prop_assert!(texts.contains(&meant), "as it is, somewhere");
        let keys = |key: &str| tags.iter().filter_map(|(_, a)| a.get("data-key")).any(|k| k == key);
        let (target, device) = (format!("t:{meant}"), format!("d:{meant}"));
        prop_assert!(keys(&target) && keys(&device));
        // What is searched for stands in its field, and in addresses that lead to the same.
        let (tags, _) = read(&written("plain", &world("plain", state, 4), &search));
        let field = tags.iter().find(|(name, _)| name == "input").unwrap();
        prop_assert_eq!(&field.1["value"], &meant);
    }
}

#[test]
fn the_document_has_its_parts_and_each_reference_leads_somewhere() {
    for state in State::ALL {
        let page = written("n", &world("n", state, 120), &Question { sheet: 2, ..Question::default() });
        let (tags, _) = read(&page);
        let of =
            |wanted: &str| tags.iter().filter(|(name, _)| name == wanted).map(|(_, a)| a).collect::<Vec<_>>();
        assert_eq!(of("html")[0]["lang"], "en");
        for one in ["header", "main", "h1", "footer", "form", "script", "style"] {
            assert_eq!(of(one).len(), 1, "{one}");
        }
        // A drawing has a title of its own.
        let drawings = of("svg").iter().filter(|svg| svg.contains_key("role")).count();
        assert_eq!(of("title").len(), 1 + drawings);
        let ids: Vec<&String> = tags.iter().filter_map(|(_, a)| a.get("id")).collect();
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "an id twice: {ids:?}");
        for (name, attributes) in &tags {
            for reference in ["for", "aria-labelledby"] {
                assert!(
                    attributes.get(reference).is_none_or(|id| ids.contains(&id)),
                    "{name} {attributes:?}"
                );
            }
            let inner = attributes.get("href").and_then(|href| href.strip_prefix('#'));
            assert!(inner.is_none_or(|id| ids.iter().any(|known| *known == id)), "{name} {attributes:?}");
            // The policy would not let them through.
            assert!(!attributes.keys().any(|a| a.starts_with("on") || a == "style"), "{name} {attributes:?}");
        }
        assert!(of("th").iter().all(|th| th.contains_key("scope")));
        assert_eq!(of("table").len(), of("caption").len());
        assert!(
            of("svg").iter().all(|svg| svg.contains_key("aria-label") || svg.contains_key("aria-hidden"))
        );
    }
}

#[test]
fn a_sheet_bounds_the_page_however_many_targets_there_are() {
    let size = |n| written("name", &world("name", State::Down, n), &asked()).len();
    let (full, many) = (size(200), size(5000));
    assert!(many < full + 200 && many < 400_000, "{full} {many}");
}

#[test]
fn a_stale_state_is_unknown_and_says_since_when_it_was_what() {
    let snapshot = world("n", State::Up, 1);
    let asked = asked();
    let stale = wire::Reason {
        code: "stale".into(),
        detail: "not evaluated for 9.0 s".into(),
        ..wire::Reason::default()
    };
    let view = View {
        asked: &asked,
        snapshot: &snapshot,
        state: State::Unknown,
        is_stale: true,
        reasons: Told::of(Some(stale), &snapshot.verdict),
        connections: Vec::new(),
        past: None,
        clock: Clock { now: Boot::default(), walls: WallOffset::default(), zone: TimeZone::UTC },
        host: String::new(),
    };
    let page = html(&view);
    for words in [
        "is not known",
        "it was up",
        "not evaluated for 9.0 s",
        "data-title=\"unknown – netmon\"",
        "being read",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}
