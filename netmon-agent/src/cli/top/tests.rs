//! What is on the screen, and that nothing that comes in breaks it.

use netmon_client::{
    State,
    wire::{Agent, Change, Device, Diagnosis, Reason, Rtt, Status, Target, TargetAddress, Tcp},
};
use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    layout::{Rect, Size},
    style::Color,
};

use super::{
    keys::Key,
    layout::Pane,
    model::{Effect, Input, Mode, Model},
    view::{self, Theme},
};

/// Now, in these tests: an hour after the machine started.
const NOW: u64 = 3_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn reason(code: &str, subject: &str, detail: &str, rule: &str) -> Reason {
    Reason { code: code.into(), subject: subject.into(), detail: detail.into(), rule: Some(rule.into()) }
}

fn device(name: &str, state: State) -> Device {
    Device {
        name: name.into(),
        state,
        since_boottime_ns: NOW - 90 * SECOND,
        admin_up: true,
        carrier: state != State::Down,
        oper_state: "up".into(),
        addresses: vec!["10.0.0.2/24".into(), "fe80::1/64".into()],
        tcp: Some(Tcp { retransmit_ratio: Some(0.0123), ..Tcp::default() }),
        ..Device::default()
    }
}

fn target(name: &str, state: State, ms: u64, replies: u64, lost: u64) -> Target {
    let ns = ms * 1_000_000;
    let rtt = Rtt { last_ns: Some(ns), p50_ns: Some(ns), p99_ns: Some(ns * 2) };
    Target {
        name: name.into(),
        host: name.into(),
        scope: "internet".into(),
        probe: "icmp".into(),
        state,
        since_boottime_ns: NOW - 60 * SECOND,
        addresses: vec![TargetAddress {
            address: name.into(),
            family: "ipv4".into(),
            loss_ratio: Some(lost as f64 / (replies + lost).max(1) as f64),
            rtt,
            jitter_ns: Some(90_000),
            replies,
            lost,
            ..TargetAddress::default()
        }],
        ..Target::default()
    }
}

fn status(seq: u64, state: State, targets: Vec<Target>) -> Status {
    Status {
        schema: 1,
        state,
        since_boottime_ns: NOW - 300 * SECOND,
        seq,
        boottime_ns: NOW,
        devices: vec![device("eth0", State::Up), device("wlan0", State::Down)],
        targets,
        agent: Agent { version: "0.1.0".into(), uptime_seconds: 600.0, ..Agent::default() },
        ..Status::default()
    }
}

/// A machine with something to show.
fn world(width: u16, height: u16) -> Model {
    let mut model = Model::new(Size { width, height }, Theme { host: "db01".into(), ..Theme::default() });
    for n in 0..6 {
        let targets = vec![
            target("10.0.0.1", State::Up, 1 + n % 2, n + 1, 0),
            target("8.8.8.8", State::Degraded, 12 + n, 2 * n + 1, n / 2),
        ];
        model.update(Input::Status(Box::new(status(n, State::Up, targets))), NOW);
    }
    let detail = "loss of 12.5 % in 60 probes";
    model.update(
        Input::Change(Box::new(Change {
            seq: 7,
            at: "2026-01-31T12:34:56.789Z".into(),
            boottime_ns: Some(NOW - 5 * SECOND),
            kind: "target".into(),
            subject: "8.8.8.8".into(),
            state: State::Down,
            previous: State::Degraded,
            reasons: vec![reason("loss", "8.8.8.8", detail, "R9")],
            diagnosis: Some(Diagnosis {
                place: "path".into(),
                detail: "hop 3".into(),
                ..Diagnosis::default()
            }),
        })),
        NOW,
    );
    model.update(
        Input::Change(Box::new(Change {
            seq: 8,
            at: "2026-01-31T12:34:57Z".into(),
            boottime_ns: Some(NOW - 4 * SECOND),
            kind: "state".into(),
            subject: "network".into(),
            state: State::Degraded,
            previous: State::Up,
            reasons: vec![reason("targets_down", "internet", "1 of 2 targets down", "R6")],
            ..Change::default()
        })),
        NOW,
    );
    model
}

fn press(model: &mut Model, keys: &[Key]) -> Effect {
    keys.iter().map(|key| model.update(Input::Key(*key), NOW)).last().unwrap_or(Effect::None)
}

fn typed(model: &mut Model, text: &str) {
    for c in text.chars() {
        press(model, &[Key::Char(c)]);
    }
}

/// Draws it on a terminal of this size.
fn drawn(model: &mut Model, width: u16, height: u16) -> Terminal<TestBackend> {
    model.update(Input::Size(Size { width, height }), NOW);
    model.settle();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(model, NOW, frame.buffer_mut())).unwrap();
    terminal
}

/// The lines on it, without the blanks at their ends.
fn screen(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let terminal = drawn(model, width, height);
    let buffer = terminal.backend().buffer();
    let symbol = |x, y| buffer.cell((x, y)).map_or(" ", ratatui::buffer::Cell::symbol);
    let line = |y| (0..width).map(|x| symbol(x, y)).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn the_usual_screen() {
    let lines = screen(&mut world(80, 24), 80, 24);
    assert_eq!(
        lines[..11],
        [
            "netmon on db01  degraded for 4s                           agent 0.1.0, up 10m 0s",
            "  targets_down internet (R6): 1 of 2 targets down",
            "DEVICES 2 +state     STATE        FOR LINK      RETX ADDRESSES",
            "wlan0                down      1m 30s none      1.2% 10.0.0.2/24 fe80::1/64",
            "eth0                 up        1m 30s carrier   1.2% 10.0.0.2/24 fe80::1/64",
            "TARGETS 2 +state     STATE     LOSS     P50     P99  JITTER ROUND TRIPS",
            "8.8.8.8              down       15%  17.0ms  34.0ms    90µs ▁▂×▅×▇",
            "10.0.0.1             up          0%  2.00ms  4.00ms    90µs ▁█▁█▁█",
            "EVENTS 2          WHAT AND WHY",
            "12:34:57 degraded network  targets_down internet (R6): 1 of 2 targets down",
            "12:34:56 down     target 8.8.8.8  loss 8.8.8.8 (R9): loss of 12.5 % in 60 probes",
        ]
    );
    assert!(lines[11..21].iter().all(String::is_empty), "{lines:#?}");
    assert_eq!(
        lines[21..],
        [
            "8.8.8.8: loss 8.8.8.8 (R9): loss of 12.5 % in 60 probes; where: path: hop 3",
            "",
            "q quit  / filter  s sort  r reverse  p pause  Tab pane  Enter details  ? help",
        ]
    );
}

#[test]
fn a_small_screen_has_the_pane_in_use() {
    let mut model = world(40, 8);
    assert_eq!(
        screen(&mut model, 40, 8),
        [
            "netmon on db01  degraded for 4s",
            "  targets_down internet (R6): 1 of 2 ta…",
            "TARGETS 2… STATE     LOSS     P50    P99",
            "8.8.8.8    down       15%  17.0ms 34.0ms",
            "10.0.0.1   up          0%  2.00ms 4.00ms",
            "",
            "8.8.8.8: loss 8.8.8.8 (R9): loss of 1…",
            "q quit  / filter  s sort  r reverse  p p",
        ]
    );
    press(&mut model, &[Key::Tab]);
    assert!(screen(&mut model, 40, 8)[2].starts_with("EVENTS 2"));
}

#[test]
fn one_cell_is_enough() {
    let mut model = world(1, 1);
    for keys in
        [&[][..], &[Key::Tab], &[Key::Char('?')], &[Key::Escape, Key::Enter], &[Key::Escape, Key::Char('/')]]
    {
        press(&mut model, keys);
        for (width, height) in [(1, 1), (0, 0), (1, 50), (200, 1), (3, 2)] {
            screen(&mut model, width, height);
        }
    }
}

#[test]
fn a_filter_leaves_what_has_its_words() {
    let mut model = world(80, 24);
    press(&mut model, &[Key::Char('/')]);
    typed(&mut model, "8.8 q");
    assert!(screen(&mut model, 80, 24)[23].starts_with("/8.8 q"));
    press(&mut model, &[Key::Backspace, Key::Backspace, Key::Enter]);
    assert_eq!(
        (model.mode, model.rows(Pane::Targets), model.rows(Pane::Devices)),
        (Mode::Browse, &[1][..], &[][..])
    );
    let lines = screen(&mut model, 80, 24);
    assert!(
        lines.iter().any(|line| line.starts_with("TARGETS 1/2")) && lines[23].starts_with("/8.8  q quit")
    );
    press(&mut model, &[Key::BackTab]);
    assert!(screen(&mut model, 80, 24)[21].contains("nothing here has \"8.8\""));
    press(&mut model, &[Key::Escape]);
    assert_eq!(model.rows(Pane::Devices).len(), 2);
}

#[test]
fn a_selection_stays_with_its_target() {
    let mut model = world(80, 24);
    press(&mut model, &[Key::Down]);
    assert!(screen(&mut model, 80, 24)[21].starts_with("10.0.0.1: icmp 10.0.0.1, scope internet"));
    // By name it is the first.
    press(&mut model, &[Key::Char('s')]);
    assert!(screen(&mut model, 80, 24)[21].starts_with("10.0.0.1: icmp"));
    press(&mut model, &[Key::Char('r'), Key::Home]);
    assert!(
        screen(&mut model, 80, 24)[21].starts_with("10.0.0.1: icmp"),
        "8.8.8.8 is before 10.0.0.1 by number"
    );
}

#[test]
fn what_stands_still_shows_the_moment_it_was_stopped_at() {
    let mut model = world(80, 24);
    let before = screen(&mut model, 80, 24);
    press(&mut model, &[Key::Char('p')]);
    model.update(Input::Status(Box::new(status(9, State::Down, vec![]))), NOW + SECOND);
    model.update(Input::Lost("gone".into()), NOW + 2 * SECOND);
    let lines = screen(&mut model, 80, 24);
    assert_eq!(lines[..23], before[..23]);
    assert!(lines[23].starts_with("PAUSED  q quit"), "{lines:#?}");
    press(&mut model, &[Key::Char('p')]);
    let lines = screen(&mut model, 80, 24);
    assert!(
        lines[0].contains("unknown for") && lines.iter().any(|l| l.starts_with("TARGETS 0")),
        "{lines:#?}"
    );
}

#[test]
fn an_agent_that_is_gone_is_told_and_what_it_said_stays() {
    let mut model = world(80, 24);
    model.update(Input::Lost("no agent answers on /run/netmon/netmon.sock".into()), NOW - 3 * SECOND);
    let lines = screen(&mut model, 80, 24);
    assert!(
        lines[0].starts_with("netmon on db01  unknown for 3s") && lines[0].ends_with("no agent for 3s"),
        "{lines:#?}"
    );
    assert!(
        lines[1].contains("no word from the agent: no agent answers on /run")
            && lines[2].ends_with("was degraded")
    );
    assert!(lines.iter().any(|line| line.starts_with("8.8.8.8")));
}

#[test]
fn all_about_a_target_a_device_and_a_change() {
    let mut model = world(80, 24);
    press(&mut model, &[Key::Enter]);
    let text = screen(&mut model, 80, 24).join("\n");
    assert!(
        text.contains("target 8.8.8.8: down for 5s") && text.contains("loss 8.8.8.8 (R9): loss of 12.5 %"),
        "{text}"
    );
    assert!(
        text.contains("where: path: hop 3") && text.contains("×") && text.contains("jitter 90µs"),
        "{text}"
    );
    assert_eq!(press(&mut model, &[Key::Char('q')]), Effect::None);
    press(&mut model, &[Key::BackTab, Key::Enter]);
    let text = screen(&mut model, 80, 24).join("\n");
    assert!(text.contains("device wlan0: down for 1m 30s") && text.contains("link       none"), "{text}");
    press(&mut model, &[Key::Escape, Key::BackTab, Key::Enter]);
    let text = screen(&mut model, 80, 24).join("\n");
    assert!(text.contains("2026-01-31T12:34:57Z network  targets_down internet (R6)"), "{text}");
}

#[test]
fn a_text_is_read_to_its_end_and_back() {
    let mut model = world(40, 8);
    press(&mut model, &[Key::Char('?')]);
    let first = screen(&mut model, 40, 8);
    press(&mut model, &[Key::End]);
    let last = screen(&mut model, 40, 8);
    assert!(first[2] == "Keys" && last.iter().any(|line| line.contains("x: a loss")), "{last:#?}");
    press(&mut model, &[Key::PageDown, Key::Up, Key::Down]);
    assert_eq!(screen(&mut model, 40, 8), last);
    press(&mut model, &[Key::Home]);
    assert_eq!(screen(&mut model, 40, 8), first);
}

#[test]
fn keys_that_leave() {
    let mut model = world(80, 24);
    assert_eq!(press(&mut model, &[Key::Suspend]), Effect::Suspend);
    assert_eq!(press(&mut model, &[Key::Redraw]), Effect::Redraw);
    assert_eq!(press(&mut model, &[Key::Char('/'), Key::Char('q')]), Effect::None);
    assert_eq!(press(&mut model, &[Key::Interrupt]), Effect::Quit);
    assert_eq!(press(&mut model, &[Key::Escape, Key::Char('q')]), Effect::Quit);
}

#[test]
fn without_colours_there_are_none() {
    let mut model = world(80, 24);
    let coloured = |model: &mut Model| {
        let terminal = drawn(model, 80, 24);
        let cells = terminal.backend().buffer().content().to_vec();
        cells.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert!(coloured(&mut model) > 0);
    model.theme.colours = false;
    assert_eq!(coloured(&mut model), 0);
    model.theme.unicode = false;
    for keys in [&[][..], &[Key::Enter], &[Key::Escape, Key::Char('?')]] {
        press(&mut model, keys);
        let lines = screen(&mut model, 80, 24);
        assert!(lines.iter().all(|line| line.replace('…', "").is_ascii()), "{lines:#?}");
    }
}

#[test]
fn names_from_outside_are_harmless() {
    let mut model = Model::new(Size { width: 80, height: 24 }, Theme::default());
    let evil = "\x1b[2J\u{202e}漢字\u{9b}\n";
    let mut told = status(1, State::Down, vec![target(evil, State::Down, 1, 1, 1)]);
    told.devices[0].name = evil.into();
    told.reasons = vec![reason(evil, evil, evil, evil)];
    told.agent.version = evil.into();
    model.update(Input::Status(Box::new(told)), NOW);
    let change = Change {
        kind: "device".into(),
        subject: evil.into(),
        at: evil.into(),
        state: State::Down,
        ..Change::default()
    };
    model.update(Input::Change(Box::new(change)), NOW);
    model.update(Input::Lost(evil.into()), NOW);
    for keys in
        [&[][..], &[Key::Enter], &[Key::Escape, Key::Tab, Key::Enter], &[Key::Escape, Key::Tab, Key::Enter]]
    {
        press(&mut model, keys);
        let text = screen(&mut model, 80, 24).join("\n");
        assert!(
            text.contains("漢") && !text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')),
            "{text:?}"
        );
    }
}

#[test]
fn ten_thousand_targets_cost_what_is_in_sight() {
    let mut model = Model::new(Size { width: 200, height: 60 }, Theme::default());
    let targets = |n: u64| (0..10_000).map(|i| target(&format!("t{i}"), State::Up, i % 7, n, 0)).collect();
    for n in 1..4 {
        model.update(Input::Status(Box::new(status(n, State::Up, targets(n)))), NOW);
    }
    press(&mut model, &[Key::End]);
    let lines = screen(&mut model, 200, 60);
    assert!(
        lines.iter().any(|line| line.starts_with("t9999 "))
            && lines.iter().any(|l| l.starts_with("TARGETS 10000"))
    );
    press(&mut model, &[Key::Char('s'), Key::Home]);
    assert!(screen(&mut model, 200, 60).iter().any(|line| line.starts_with("t0 ")));
}

fn any_key() -> impl Strategy<Value = Key> {
    let named = [
        Key::Up,
        Key::Down,
        Key::PageUp,
        Key::PageDown,
        Key::Home,
        Key::End,
        Key::Tab,
        Key::BackTab,
        Key::Enter,
        Key::Escape,
        Key::Backspace,
        Key::Erase,
        Key::Redraw,
    ];
    prop_oneof![
        3 => prop::sample::select(named.to_vec()),
        2 => prop::sample::select("/srpq?jkgG h8.".chars().collect::<Vec<_>>()).prop_map(Key::Char),
        1 => any::<char>().prop_map(Key::Char),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    let state = || prop::sample::select(State::ALL.to_vec());
    let name = || prop::sample::select(vec!["a", "b10", "b9", "\u{1b}[2J", "漢字漢字", "eth0", ""]);
    let targets = prop::collection::vec((name(), state(), 0..2000_u64, 0..9_u64, 0..9_u64), 0..40);
    let told = (0..50_u64, state(), targets).prop_map(|(seq, state, targets)| {
        let targets = targets.into_iter().map(|(n, s, ms, replies, lost)| target(n, s, ms, replies, lost));
        Input::Status(Box::new(status(seq, state, targets.collect())))
    });
    let kind = prop::sample::select(vec!["state", "device", "target", "gap", "update", "news"]);
    let change =
        (0..50_u64, kind, name(), state(), state()).prop_map(|(seq, kind, subject, state, previous)| {
            let (kind, subject, at) = (kind.into(), subject.into(), "2026-01-31T12:34:57Z".into());
            let reasons = vec![reason("code", "s", "words and words", "R1")];
            Input::Change(Box::new(Change {
                seq,
                kind,
                subject,
                at,
                state,
                previous,
                reasons,
                ..Change::default()
            }))
        });
    prop_oneof![
        6 => any_key().prop_map(Input::Key),
        2 => told,
        2 => change,
        1 => Just(Input::Lost("gone".into())),
        1 => (0..120_u16, 0..40_u16).prop_map(|(width, height)| Input::Size(Size { width, height })),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_in_it_is_drawn_and_something_is_selected(
        inputs in prop::collection::vec(any_input(), 0..60),
        (width, height) in (0..120_u16, 0..40_u16),
    ) {
        let mut model = world(80, 24);
        for input in inputs {
            model.update(input, NOW);
            model.settle();
            for pane in Pane::ALL {
                let rows = model.rows(pane).len();
                let room = model.parts(Rect::new(0, 0, width, height)).rows(pane);
                let (at, first) = model.sight(pane, room);
                prop_assert!(rows == 0 || at < rows);
                prop_assert!(room == 0 || (first..first + room).contains(&at));
            }
            prop_assert_eq!(model.selected().is_some(), !model.rows(model.focus).is_empty());
        }
        for (width, height) in [(width, height), (1, 1), (80, 24)] {
            let area = Rect::new(0, 0, width, height);
            let mut buffer = ratatui::buffer::Buffer::empty(area);
            view::draw(&model, NOW, &mut buffer);
        }
    }
}
