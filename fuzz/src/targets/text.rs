//! What is printed: metrics, lines of the log, lines on a terminal; and the rules of exit codes, which are read.

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use netmon_agent::{
    fuzzing,
    health::{Reason, ReasonCode, State, Verdict},
    observation::{IfIndex, IfName, escape_bytes},
    output::{
        WallOffset,
        metrics::{Format, Options, Own, Value, Writer, catalogue, labels, render},
    },
    state::{DeviceView, Snapshot, TargetView},
};

use super::{Input, input, parts, texts};
use crate::{
    delimited,
    exposition::{Series, read},
};

/// Two lists of codes and a profile, with a NUL between each.
pub fn exit_codes(bytes: &[u8]) {
    let [retry_on, give_up_on, profile] = texts(bytes);
    fuzzing::exit_codes(&retry_on, &give_up_on, profile.bytes().next().unwrap_or(0));
}

/// A name's bytes as text, and back: by the rule that is written in the documentation, `\xHH` for a byte.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at(3);
        assert_eq!(digits[0], b'x', "{text:?}");
        let digits = str::from_utf8(&digits[1..]).expect("two digits");
        out.push(u8::from_str_radix(digits, 16).expect("two digits"));
        rest = after;
    }
    out
}

/// A device's name, a NUL, and words of a reason: the name is escaped one to one, and log and terminal have one line each.
pub fn text(bytes: &[u8]) {
    let [name, detail] = parts(bytes);
    let told = escape_bytes(name);
    assert!(!told.chars().any(char::is_control), "{told:?}");
    assert_eq!(unescaped(&told), name, "{told:?} is another name");
    assert_eq!(IfName::new(name).escaped(), told);
    assert_eq!(fuzzing::terminal(&told), told, "a name that is safe is changed");
    let detail = String::from_utf8_lossy(detail);
    fuzzing::terminal(&detail);
    // Reasons are written by the agent itself, out of names and words that have no line break.
    let detail: String = detail.chars().filter(|c| !c.is_control()).collect();
    if !name.is_empty() {
        fuzzing::log_line(name, &detail);
    }
    // Of a filter of the log (NETMON_LOG) it is told whether it can be read, in one line.
    if let Err(error) = fuzzing::log_filter(&detail) {
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

#[derive(Arbitrary, Debug)]
struct Network {
    format: u8,
    devices: Vec<(String, u64, u32, u8)>,
    targets: Vec<(String, u8, String)>,
    reasons: Vec<(String, String)>,
    values: Vec<(String, String, Number)>,
    bounds: Vec<(u64, u32)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Int(u64),
    Float(f64),
    Time(u64, u32),
}

/// Metrics of a network whose names are anybody's: another reader has the same names and values.
pub fn exposition(bytes: &[u8]) {
    match input::<Network>(bytes) {
        Some(Input::Raw(raw)) => {
            let [name, other] = texts(raw);
            check(&Network {
                format: raw.len() as u8,
                devices: vec![(name.clone(), 7, 1000, 2)],
                targets: vec![(other.clone(), 1, name.clone())],
                reasons: vec![(name.clone(), other.clone())],
                values: vec![(name, other, Number::Float(0.1))],
                bounds: vec![(3, 9)],
            });
        }
        Some(Input::Made(network)) => check(&network),
        None => {}
    }
}

fn series(name: &str, pairs: &[(&str, &str)]) -> Series {
    (name.to_owned(), pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn check(network: &Network) {
    let open = network.format % 2 == 1;
    let format = if open { Format::OpenMetrics } else { Format::Text };
    let own_lines = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("an exposition is text");
        read(&text, open).unwrap_or_else(|e| panic!("{e}"))
    };

    // Names that come twice are the health core's business, which has each once.
    let mut names = std::collections::BTreeSet::new();
    let states = [State::Up, State::Down, State::Degraded, State::Unknown];
    let devices: Vec<_> = network.devices.iter().filter(|d| names.insert(&d.0)).collect();
    let mut names = std::collections::BTreeSet::new();
    let targets: Vec<_> = network.targets.iter().filter(|t| names.insert(&t.0)).collect();
    let verdict = |state: u8| Verdict {
        state: states[usize::from(state) % states.len()],
        reasons: network
            .reasons
            .iter()
            .map(|(subject, detail)| Reason::new(ReasonCode::Loss, subject.as_str(), detail.as_str()))
            .collect(),
        ..Verdict::default()
    };
    let device = |(i, (name, bytes, speed, state)): (usize, &&(String, u64, u32, u8))| {
        let mut view = DeviceView { name: name.clone(), verdict: verdict(*state), ..DeviceView::default() };
        view.link.index = IfIndex(i as u32 + 1);
        view.link.speed_mbps = Some(*speed);
        view.link.stats.rx_bytes = *bytes;
        Arc::new(view)
    };
    let target = |(name, state, scope): &&(String, u8, String)| {
        let verdict = verdict(*state);
        let name = name.as_str().into();
        Arc::new(TargetView { name, scope: scope.clone(), method: "icmp", verdict, ..TargetView::default() })
    };
    let snapshot = Snapshot {
        devices: devices.iter().enumerate().map(device).collect(),
        targets: targets.iter().map(target).collect(),
        verdict: verdict(network.format),
        ..Snapshot::default()
    };
    let own = Own::new();
    let rendered = render(&snapshot, &[], false, WallOffset::default(), &own, Options::default(), format);
    let all = own_lines(rendered);
    for (name, bytes, speed, state) in devices {
        let of = |family| all.get(&series(family, &[("device", name)])).copied();
        assert_eq!(of("netmon_link_speed_bytes"), Some(f64::from(*speed) * 125_000.0), "{name:?}");
        assert_eq!(of("netmon_link_receive_bytes_total"), Some(*bytes as f64), "{name:?}");
        let state = states[usize::from(*state) % states.len()];
        let labels = [("device", name.as_str()), ("state", state.as_str())];
        assert_eq!(all.get(&series("netmon_device_state", &labels)), Some(&1.0), "{name:?}");
    }
    for (name, state, _) in targets {
        let state = states[usize::from(*state) % states.len()];
        let labels = [("target", name.as_str()), ("state", state.as_str())];
        assert_eq!(all.get(&series("netmon_target_state", &labels)), Some(&1.0), "{name:?}");
    }
    for (subject, _) in &network.reasons {
        let labels = [("code", "loss"), ("subject", subject.as_str())];
        assert_eq!(all.get(&series("netmon_state_reason", &labels)), Some(&1.0), "{subject:?}");
    }
    writer(network, format, own_lines);
}

/// The writer by itself: any value, and labels in two pieces; as text and as protobuf.
fn writer(
    network: &Network,
    format: Format,
    read: impl Fn(Vec<u8>) -> std::collections::BTreeMap<Series, f64>,
) {
    let (written, expected) = written(network, format);
    let all = read(written);
    for (series, value) in &expected {
        let told = all.get(series).unwrap_or_else(|| panic!("{series:?} is not there"));
        assert!(*told == *value || told.is_nan() && value.is_nan(), "{series:?}: {told} for {value}");
    }
    let name = network.values.first().map_or("", |v| &v.0);
    let count = all.get(&series("netmon_probe_rtt_seconds_count", &[("target", name)]));
    let counts = network.bounds.iter().map(|b| u64::from(b.1));
    assert_eq!(count.copied(), Some(counts.sum::<u64>() as f64));

    let families = delimited::read(&self::written(network, Format::Protobuf).0).expect("delimited messages");
    for (family, metrics) in families {
        let told: Vec<Series> =
            metrics.into_iter().map(|labels| (family.clone(), labels.into_iter().collect())).collect();
        match family.as_str() {
            "netmon_state_reason" => {
                assert!(told.iter().eq(expected.iter().map(|(series, _)| series)), "{told:?}");
            }
            "netmon_probe_rtt_seconds" => assert_eq!(told, [series(&family, &[("target", name)])]),
            other => panic!("{other:?} was not written"),
        }
    }
}

/// An exposition, and what of it is to be found.
fn written(network: &Network, format: Format) -> (Vec<u8>, Vec<(Series, f64)>) {
    let (mut writer, mut expected) = (Writer::new(format), Vec::new());
    writer.family(&catalogue::STATE_REASON);
    for (i, (code, subject, number)) in network.values.iter().enumerate() {
        let code = format!("{i}{code}");
        let (value, float) = match *number {
            Number::Int(n) => (Value::Int(n), n as f64),
            Number::Float(x) => (Value::Float(x), x),
            Number::Time(seconds, nanos) => {
                let time = Duration::new(seconds % (1 << 32), nanos % 1_000_000_000);
                (
                    Value::Time(time),
                    format!("{}.{:09}", time.as_secs(), time.subsec_nanos()).parse().expect("a number"),
                )
            }
        };
        writer.sample(&labels(&[("code", &code)]), &[("subject", subject)], value);
        expected.push((series("netmon_state_reason", &[("code", &code), ("subject", subject)]), float));
    }
    let name = network.values.first().map_or("", |v| &v.0);
    let counts: Vec<u64> = network.bounds.iter().map(|b| u64::from(b.1)).collect();
    let bounds: Vec<f64> =
        network.bounds.iter().skip(1).enumerate().map(|(i, b)| i as f64 + (b.0 % 8) as f64 / 8.0).collect();
    writer.family(&catalogue::PROBE_RTT).histogram(&labels(&[("target", name)]), &bounds, &counts, 0.5);
    (writer.finish(), expected)
}
