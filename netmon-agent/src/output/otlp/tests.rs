use std::{
    collections::BTreeMap,
    io::Read,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    sync::{Arc, mpsc::channel},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Settings, encode::Encoder, export::Exporter, starts::Starts};
use crate::{
    health::NativeHistogram,
    observation::HttpRequest,
    output::{
        WallOffset,
        api::{self, Server},
        metrics::{
            self, Buckets, Format, Sink, Writer,
            catalogue::{Family, Kind},
            labels,
            protobuf::tests::{Field, fields},
            tests::{Samples, full, is_volatile, own, parse, reported},
        },
        notify::LookUp,
    },
    state::Board,
    time::Mono,
};

const START: u64 = 1_700_000_000_000_000_000;
const NOW: u64 = START + 60_000_000_000;
const LONG: Duration = Duration::from_secs(600);

fn family(name: &'static str, kind: Kind) -> Family {
    Family { name, kind, labels: &[], help: "Help." }
}

/// What the official messages make of the same values: see `golden.py`.
#[test]
fn messages_are_the_official_ones_to_the_byte() {
    let resource = [("service.name", "netmon"), ("host.name", "web-1")];
    let resource = resource.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let (sender, made) = channel();
    let mut w = Writer::to(Box::new(Encoder::new(&resource, Starts::since(START), NOW, false, sender)));
    w.family(&family("n_info", Kind::Info)).sample("", &[("version", "1.2")], true);
    w.family(&family("n_bytes", Kind::Gauge)).sample(&labels(&[("device", "e\"\\\n")]), &[], 0u64);
    w.family(&family("n_ratio", Kind::Gauge)).sample(
        &labels(&[("target", "a"), ("probe", "icmp")]),
        &[],
        0.0,
    );
    w.sample(&labels(&[("target", ""), ("probe", "é")]), &[], 0.25);
    w.family(&family("n_nothing", Kind::Gauge));
    w.family(&family("n_total", Kind::Counter)).sample("", &[("result", "ok")], u64::MAX);
    let quantile = family("n_quantile_seconds", Kind::Summary);
    w.family(&quantile).sample(&labels(&[("target", "a")]), &[("quantile", "0.5")], 0.001);
    w.family(&family("n_length", Kind::Histogram));
    w.histogram(&labels(&[("target", "a")]), &[1.0, 2.5], &[1, 0, 2], 9.5);
    w.histogram(&labels(&[("target", "lean")]), &[], &[0], 0.0);
    let mut native = NativeHistogram::default();
    [0, 250, 500, 1000, 1000].iter().for_each(|ms| native.record(Duration::from_millis(*ms)));
    w.family(&family("n_rtt_seconds", Kind::Histogram));
    w.native_histogram(&labels(&[("target", "a")]), &[], &[5], 2.75, Some(&native));
    w.native_histogram(&labels(&[("target", "b")]), &[], &[0], 0.0, Some(&NativeHistogram::default()));
    w.finish();
    let batches: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    assert_eq!((batches.len(), batches[0].points), (1, 10));
    let golden = include_bytes!("golden.bin");
    let first = batches[0].body.iter().zip(golden).position(|(a, b)| a != b);
    assert!(
        batches[0].body == golden,
        "{} and {} bytes, another from {first:?} on",
        batches[0].body.len(),
        golden.len()
    );
}

fn bytes(message: &[u8], wanted: u64) -> Vec<Vec<u8>> {
    let found = fields(message).into_iter().filter(|(n, _)| *n == wanted);
    found
        .map(|(_, value)| if let Field::Bytes(bytes) = value { bytes } else { panic!("{value:?}") })
        .collect()
}

fn text(message: &[u8], wanted: u64) -> String {
    String::from_utf8(bytes(message, wanted).pop().unwrap_or_default()).unwrap()
}

fn eights(packed: &[u8]) -> impl Iterator<Item = [u8; 8]> {
    packed.chunks_exact(8).map(|eight| eight.try_into().unwrap())
}

/// The samples that a scrape would have, of one request's body.
fn samples(body: &[u8], all: &mut Samples) {
    let resource = &bytes(body, 1)[0];
    for metric in bytes(&bytes(resource, 2)[0], 2) {
        let name = text(&metric, 1);
        let mut add = |suffix: &str, labels: BTreeMap<String, String>, value: f64| {
            assert!(all.insert((format!("{name}{suffix}"), labels), value).is_none(), "{name} twice");
        };
        for (shape, attributes) in [(5, 7), (7, 7), (9, 9), (10, 1)] {
            for point in bytes(&metric, shape).iter().flat_map(|data| bytes(data, 1)) {
                let pair = |pair: &Vec<u8>| (text(pair, 1), text(&bytes(pair, 2)[0], 1));
                let labels: BTreeMap<_, _> = bytes(&point, attributes).iter().map(pair).collect();
                // What is eight bytes reads as a float.
                let double = |wanted| {
                    fields(&point).into_iter().find_map(|(n, value)| match value {
                        Field::Double(x) if n == wanted => Some(x),
                        _ => None,
                    })
                };
                if shape == 10 {
                    add("_sum", labels.clone(), double(5).unwrap());
                    add("_count", labels, double(4).unwrap_or_default().to_bits() as f64);
                    continue;
                }
                if shape != 9 {
                    let value = double(4).or_else(|| double(6).map(|bits| bits.to_bits() as f64));
                    add("", labels, value.unwrap());
                    continue;
                }
                let bounds = eights(&text_bytes(&point, 7)).map(f64::from_le_bytes).collect::<Vec<_>>();
                let mut total = 0;
                for (i, count) in eights(&text_bytes(&point, 6)).map(u64::from_le_bytes).enumerate() {
                    total += count;
                    let bound = bounds.get(i).map_or("+Inf".to_owned(), f64::to_string);
                    let mut labels = labels.clone();
                    labels.insert("le".to_owned(), bound);
                    add("_bucket", labels, total as f64);
                }
                add("_sum", labels.clone(), double(5).unwrap());
                assert_eq!(double(4).unwrap_or_default().to_bits(), total);
                add("_count", labels, total as f64);
            }
        }
    }
}

fn text_bytes(point: &[u8], wanted: u64) -> Vec<u8> {
    bytes(point, wanted).pop().unwrap_or_default()
}

#[test]
fn what_is_pushed_is_what_is_scraped() {
    let options = metrics::Options { windows: true, ..metrics::Options::default() };
    let (own, walls) = (own(), WallOffset::default());
    let scraped = metrics::render(&full(), &reported(), false, walls, &own, options, Format::Text);
    let (sender, made) = channel();
    let mut w = Writer::to(Box::new(Encoder::new(&[], Starts::since(START), NOW, true, sender)));
    metrics::write(&mut w, &full(), &reported(), false, walls, &own, options);
    w.finish();
    let mut pushed = Samples::new();
    for batch in made {
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(&*batch.unwrap().body).read_to_end(&mut body).unwrap();
        samples(&body, &mut pushed);
    }
    let mut scraped = parse(&String::from_utf8(scraped).unwrap()).1;
    for all in [&mut pushed, &mut scraped] {
        // These have native histograms, which are no series of their own.
        all.retain(|(name, _), _| !is_volatile(name) && name != "netmon_probe_rtt_seconds_bucket");
    }
    assert!(pushed.len() > 300, "{}", pushed.len());
    assert_eq!(pushed, scraped);
}

#[test]
fn a_large_family_goes_in_several_requests() {
    let (sender, made) = channel();
    let mut encoder = Box::new(Encoder::new(&[], Starts::default(), NOW, false, sender));
    let gauge = family("n_ratio", Kind::Gauge);
    for n in 0..50_000 {
        encoder.sample(&gauge, &labels(&[("target", &format!("t{n}")), ("probe", "icmp")]), &[], 0.5.into());
    }
    let buckets = Buckets { bounds: &[], counts: &[1], sum: 1.0, native: None };
    encoder.end(&gauge);
    encoder.histogram(&family("n_length", Kind::Histogram), "", &buckets);
    encoder.end(&family("n_length", Kind::Histogram));
    encoder.finish();
    let batches: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    assert!(batches.len() > 1 && batches.iter().all(|b| b.body.len() < 3 << 20), "{}", batches.len());
    assert_eq!(batches.iter().map(|b| b.points).sum::<u64>(), 50_001);
    let mut all = Samples::new();
    batches.iter().for_each(|batch| samples(&batch.body, &mut all));
    assert_eq!(all.len(), 50_003);
}

/// A receiver that gives these answers one after the other, the last again and again; what it was sent, head and body.
async fn receiver(
    answers: &'static [&'static [u8]],
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, sent) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut all, mut piece) = (Vec::new(), vec![0; 65_536]);
            let (head, body) = loop {
                let end = all.windows(4).position(|four: &[u8]| four == b"\r\n\r\n");
                if let Some(end) = end {
                    let head = String::from_utf8(all[..end].to_vec()).unwrap().to_lowercase();
                    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
                    if all.len() == end + 4 + length.parse::<usize>().unwrap() {
                        break (head, all[end + 4..].to_vec());
                    }
                }
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0);
                all.extend_from_slice(&piece[..read]);
            };
            stream.write_all(answers[n.min(answers.len() - 1)]).await.unwrap();
            let _ = sender.send((head, body));
        }
    });
    (at, sent)
}

/// A server with one world of figures, its folder, and who exports it.
fn exporting(to: SocketAddr, change: impl FnOnce(&mut Settings)) -> (tempfile::TempDir, Server, Exporter) {
    let folder = tempfile::tempdir().unwrap();
    let options = api::Options { socket: folder.path().join("s"), ..api::Options::default() };
    let server = api::start(Board::new(full(), LONG), options).unwrap();
    let mut settings = Settings {
        url: HttpRequest::of_url(&format!("http://otel.example:{}/v1/metrics", to.port())).unwrap(),
        headers: Vec::new(),
        header_files: Vec::new(),
        interval: LONG,
        timeout: Duration::from_secs(30),
        gzip: true,
        resource: Vec::new(),
        ca_file: None,
    };
    change(&mut settings);
    let look_up: LookUp = Arc::new(move |name| {
        assert_eq!(name, "otel.example");
        Box::pin(async move { Ok(vec![to.ip()]) })
    });
    let exporter = Exporter::new(settings, server.own().exports.clone(), look_up);
    (folder, server, exporter)
}

/// A counter of exports, as a scrape has it.
fn counted(server: &Server, name: &str, result: &str) -> f64 {
    let mut w = Writer::new(Format::Text);
    server.own().write(&mut w);
    let all = parse(&String::from_utf8(w.finish()).unwrap()).1;
    let labels = [("result".to_owned(), result.to_owned())].into();
    all[&(format!("netmon_otlp_{name}_total"), labels)]
}

#[tokio::test]
async fn an_export_is_sent_until_it_is_taken() {
    const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    const PARTIAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 6\r\n\r\n\x0a\x04\x08\x03\x12\x00";
    let (at, mut sent) = receiver(&[BUSY, PARTIAL]).await;
    let (_folder, server, mut exporter) = exporting(at, |settings| {
        settings.headers = vec![("x-scope-orgid".to_owned(), "net".to_owned())];
    });
    exporter.export(&server.figures(), Mono::now() + LONG).await;
    let ((first, body), (_, again)) = (sent.recv().await.unwrap(), sent.recv().await.unwrap());
    assert!(first.starts_with("post /v1/metrics http/1.1\r\n"), "{first}");
    for header in [
        &*format!("host: otel.example:{}", at.port()),
        "content-type: application/x-protobuf",
        "content-encoding: gzip",
        "x-scope-orgid: net",
    ] {
        assert!(first.lines().any(|line| line == header), "{header}: {first}");
    }
    assert!(body == again, "the same once more");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
    let mut all = Samples::new();
    samples(&plain, &mut all);
    assert!(all.len() > 200, "{}", all.len());
    assert_eq!(counted(&server, "exports", "partial"), 1.0);
    assert_eq!(counted(&server, "points", "rejected"), 3.0);
    assert!(counted(&server, "points", "accepted") > 100.0 && counted(&server, "points", "dropped") == 0.0);
}

#[tokio::test]
async fn what_cannot_be_sent_by_the_next_export_is_dropped() {
    const LATER: &[u8] = b"HTTP/1.1 429 Slow\r\nRetry-After: 9999\r\nContent-Length: 0\r\n\r\n";
    let (at, mut sent) = receiver(&[LATER]).await;
    let (_folder, server, mut exporter) = exporting(at, |settings| settings.gzip = false);
    exporter.export(&server.figures(), Mono::now() + LONG).await;
    let (head, body) = sent.recv().await.unwrap();
    assert!(!head.contains("content-encoding"), "{head}");
    samples(&body, &mut Samples::new());
    assert_eq!((counted(&server, "exports", "failed"), counted(&server, "points", "accepted")), (1.0, 0.0));
    assert!(counted(&server, "points", "dropped") > 100.0);
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again_and_secrets_are_read_for_each_request() {
    const REFUSED: &[u8] = b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno";
    const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (at, mut sent) = receiver(&[REFUSED, TAKEN]).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let write = |text: &str| {
        std::fs::write(&secret, text).unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    };
    let (_folder, server, mut exporter) =
        exporting(at, |settings| settings.header_files = vec![("authorization".to_owned(), secret.clone())]);
    write("old\n");
    exporter.export(&server.figures(), Mono::now() + LONG).await;
    assert!(sent.recv().await.unwrap().0.lines().any(|line| line == "authorization: old"));
    assert_eq!(counted(&server, "exports", "failed"), 1.0);
    assert!(counted(&server, "points", "rejected") > 100.0);
    write("new\n");
    exporter.export(&server.figures(), Mono::now() + LONG).await;
    let head = sent.recv().await.unwrap().0;
    assert!(head.lines().any(|line| line == "authorization: new"), "{head}");
    assert_eq!(counted(&server, "exports", "ok"), 1.0);
}
