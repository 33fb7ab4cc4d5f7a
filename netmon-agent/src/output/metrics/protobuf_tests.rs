//! Reads messages back, by the numbers of `metrics.proto`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{super::wire::*, *};
use crate::output::metrics::{catalogue, writer};

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Number(u64),
    Double(f64),
    Bytes(Vec<u8>),
}

fn number(bytes: &mut &[u8]) -> u64 {
    let mut shift = 0;
    let mut n = 0;
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return n;
        }
        shift += 7;
    }
}

fn bytes(from: &mut &[u8]) -> Vec<u8> {
    let length = number(from) as usize;
    let (these, rest) = from.split_at(length);
    *from = rest;
    these.to_vec()
}

pub(crate) fn fields(mut message: &[u8]) -> Vec<(u64, Field)> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = number(&mut message);
        let value = match tag & 7 {
            0 => Field::Number(number(&mut message)),
            1 => {
                let (these, rest) = message.split_first_chunk().unwrap();
                message = rest;
                Field::Double(f64::from_le_bytes(*these))
            }
            2 => Field::Bytes(bytes(&mut message)),
            kind => panic!("wire type {kind}"),
        };
        all.push((tag >> 3, value));
    }
    all
}

/// Every value of one field.
fn all(message: &[u8], field: u64) -> Vec<Field> {
    fields(message).into_iter().filter(|(n, _)| *n == field).map(|(_, value)| value).collect()
}

fn messages(message: &[u8], field: u64) -> Vec<Vec<u8>> {
    let bytes = |f| if let Field::Bytes(b) = f { b } else { panic!("no message: {f:?}") };
    all(message, field).into_iter().map(bytes).collect()
}

fn text(message: &[u8], field: u64) -> String {
    String::from_utf8(messages(message, field).concat()).unwrap()
}

fn double(message: &[u8], field: u64) -> f64 {
    match all(message, field)[..] {
        [Field::Double(x)] => x,
        [Field::Number(n)] => n as f64,
        ref other => panic!("field {field}: {other:?}"),
    }
}

type Labels = BTreeMap<String, String>;

/// Series of an exposition, named as the text names them.
pub(in crate::output::metrics) fn series(mut exposition: &[u8]) -> BTreeMap<(String, Labels), f64> {
    let mut series = BTreeMap::new();
    while !exposition.is_empty() {
        let family = bytes(&mut exposition);
        let name = text(&family, 1);
        for metric in messages(&family, 4) {
            let labels: Labels = messages(&metric, 1).iter().map(|l| (text(l, 1), text(l, 2))).collect();
            let mut put = |suffix: &str, more: Option<f64>, value| {
                let le = more.map(|le| ("le".to_owned(), le.to_string().replace("inf", "+Inf")));
                let labels = labels.clone().into_iter().chain(le).collect();
                assert!(series.insert((format!("{name}{suffix}"), labels), value).is_none(), "{name} twice");
            };
            match all(&family, 3)[..] {
                [Field::Number(0)] => put("", None, double(&messages(&metric, 3)[0], 1)),
                [Field::Number(1)] => put("", None, double(&messages(&metric, 2)[0], 1)),
                [Field::Number(4)] => {
                    let histogram = &messages(&metric, 7)[0];
                    put("_count", None, double(histogram, 1));
                    put("_sum", None, double(histogram, 2));
                    for bucket in messages(histogram, 3) {
                        put("_bucket", Some(double(&bucket, 2)), double(&bucket, 1));
                    }
                }
                ref other => panic!("kind of {name}: {other:?}"),
            }
        }
    }
    series
}

#[test]
fn a_native_histogram_is_spans_and_differences() {
    let mut native = NativeHistogram::default();
    // Buckets −16, −8, −7, 0, 8 of 2, 1, 3, 1, 1.
    for seconds in [0.25, 0.25, 0.5, 0.51, 0.52, 0.53, 1.0, 2.0, 0.0] {
        native.record(std::time::Duration::from_secs_f64(seconds));
    }
    let mut encoder = Encoder::default();
    let buckets = Buckets { bounds: &[1.0], counts: &[8, 1], sum: 5.56, native: Some(&native) };
    encoder.histogram(&catalogue::PROBE_RTT, "a=\"b\"", &buckets);
    encoder.end(&catalogue::PROBE_RTT);
    let exposition = Box::new(encoder).finish();
    let family = bytes(&mut &*exposition);
    assert_eq!(
        (text(&family, 1).as_str(), text(&family, 5).as_str()),
        ("netmon_probe_rtt_seconds", "seconds")
    );
    let histogram = &messages(&messages(&family, 4)[0], 7)[0];
    assert_eq!(all(histogram, 5), [Field::Number(6)], "schema 3 as sint32");
    assert_eq!(all(histogram, 6), [Field::Double(2f64.powi(-128))]);
    assert_eq!(all(histogram, 7), [Field::Number(1)]);
    let signed = |n: u64| (n >> 1) as i64 ^ -((n & 1) as i64);
    let spans: Vec<_> = messages(histogram, 12)
        .iter()
        .map(|span| (signed(double(span, 1) as u64), double(span, 2) as u64))
        .collect();
    assert_eq!(spans, [(-16, 1), (7, 2), (6, 1), (7, 1)]);
    let packed = messages(histogram, 13).concat();
    let (mut rest, mut deltas) = (&*packed, Vec::new());
    while !rest.is_empty() {
        deltas.push(signed(number(&mut rest)));
    }
    assert_eq!(deltas, [2, -1, 2, -2, 0]);
}

proptest! {
    #[test]
    fn labels_come_back_from_their_text(pairs in prop::collection::vec(("[a-z]{1,5}", any::<String>()), 0..5)) {
        let given: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut back = Vec::new();
        each_label(&writer::labels(&given), &mut |n, v| back.push((n.to_owned(), v.to_owned())));
        prop_assert_eq!(back, pairs);
    }
}
