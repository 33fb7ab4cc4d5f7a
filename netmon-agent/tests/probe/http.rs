//! HTTP in the clear: what is answered, what is not, and how long each phase takes.

use std::{net::IpAddr, path::Path, sync::Arc, thread, time::Duration};

use netmon_agent::{
    observation::{
        FailureReason::{self, HostUnreachable, Prohibited, Protocol, Refused, SendError, Status, Timeout},
        HttpRequest, Method, PathOptions, ProbeOutcome, StampSource, TargetId,
    },
    source::probe::TargetSpec,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    web::{Stream, accept, http, method, serve, slow, status},
    world::{Probing, host, in_netns, nft_input, sysctl, target},
};

/// Fails unless every probe of a target failed so; `status` is what was told of the answer beside.
fn expect(probing: &Probing, id: u32, reason: FailureReason, reporter: Option<IpAddr>, status: Option<u16>) {
    assert!(probing.all_failed(id, reason, reporter), "{id}: {:?}", probing.outcomes(id));
    let told = probing.details(id).into_iter().find_map(|d| d.status);
    assert_eq!(told, status, "{id}: {:?}", probing.details(id));
}

#[test]
fn the_status_decides_and_no_redirect_is_followed() {
    in_netns(|| {
        let lines = ["200 OK", "404 Not Found", "503 Busy", "302 Found", "302 Found", "404 Gone"];
        let servers: Vec<_> = (1..).zip(lines).map(|(n, line)| serve(host(n), 80, status(line))).collect();
        let only = |status| HttpRequest { status: vec![status], ..http(80) };
        let asked = [http(80), http(80), http(80), http(80), only(200..=299), only(404..=404)];
        let mut probing = Probing::start();
        probing.run((1u8..).zip(asked).map(|(n, r)| target(n.into(), host(n), method(r), 4)).collect());
        for (id, code) in [(1, 200), (4, 302), (6, 404)] {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
            assert!(probing.details(id).iter().all(|d| d.status == Some(code)));
            assert_eq!(probing.details(id).len(), 4);
        }
        for (id, code) in [(2, 404), (3, 503), (5, 302)] {
            expect(&probing, id, Status, None, Some(code));
        }
        for (_, seen) in servers {
            let seen = seen.lock().unwrap();
            assert_eq!(seen.len(), 4, "one request a probe: {seen:?}");
            assert!(seen.iter().all(|(_, head)| head.starts_with("GET / HTTP/1.1\r\n")), "{seen:?}");
        }
    });
}

#[test]
fn the_request_is_what_was_asked_for_and_goes_the_way_it_was_to() {
    in_netns(|| {
        let (port, seen) = serve(host(1), 0, status("204 No Content"));
        let request = HttpRequest {
            head: true,
            path: "/health?deep=1".to_owned(),
            host: "www.example.net".to_owned(),
            ..http(port)
        };
        let path = PathOptions {
            source: Some(host(77)),
            device: Some("lo".to_owned()),
            mark: 5,
            ttl: Some(9),
            dscp: 46,
            ..PathOptions::default()
        };
        let mut probing = Probing::start();
        let spec = target(1, host(1), method(request), 3);
        probing.run(vec![TargetSpec { path: Arc::new(path), ..spec }]);
        assert!(probing.all_answered(1), "{:?}", probing.outcomes(1));
        for (peer, head) in &*seen.lock().unwrap() {
            assert_eq!(peer.ip(), host(77));
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with("head /health?deep=1 http/1.1\r\n"), "{head}");
            for line in [
                format!("host: www.example.net:{port}"),
                concat!("user-agent: netmon/", env!("CARGO_PKG_VERSION")).to_owned(),
                "connection: close".to_owned(),
            ] {
                assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
            }
            assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
        }
    });
}

#[test]
fn what_can_not_be_sent_the_way_it_is_to_is_a_send_error() {
    in_netns(|| {
        let (port, _) = serve(host(1), 0, status("200 OK"));
        let on = |path: PathOptions, id, address| TargetSpec {
            path: Arc::new(path),
            ..target(id, address, method(http(port)), 2)
        };
        let device = PathOptions { device: Some("none0".to_owned()), ..PathOptions::default() };
        let source = PathOptions { source: Some("192.0.2.9".parse().unwrap()), ..PathOptions::default() };
        let nowhere = "192.0.2.1".parse().unwrap();
        let bad = HttpRequest { path: "/a b".to_owned(), ..http(port) };
        let mut probing = Probing::start();
        probing.run(vec![
            on(device, 1, host(1)),
            on(source, 2, host(1)),
            on(PathOptions::default(), 3, nowhere),
            target(4, host(1), method(bad), 2),
        ]);
        for id in 1..=4 {
            expect(&probing, id, SendError, None, None);
        }
        assert_eq!(probing.engine.stats().send_errors, 8);
    });
}

#[test]
fn a_connection_that_is_not_made_has_its_reason() {
    in_netns(|| {
        nft_input(&[
            "ip daddr 127.0.0.2 drop".to_owned(),
            "ip daddr 127.0.0.3 tcp flags syn reject with icmp type host-unreachable".to_owned(),
            "ip daddr 127.0.0.4 tcp flags syn reject with icmp type admin-prohibited".to_owned(),
        ]);
        let mut probing = Probing::start();
        let probes = (1..=4).map(|n| target(n.into(), host(n), method(http(9)), 3));
        probing.run(probes.chain([target(5, "::1".parse().unwrap(), method(http(9)), 3)]).collect());
        expect(&probing, 1, Refused, None, None);
        expect(&probing, 2, Timeout, None, None);
        expect(&probing, 3, HostUnreachable, Some(host(3)), None);
        expect(&probing, 4, Prohibited, Some(host(4)), None);
        expect(&probing, 5, Refused, None, None);
        assert!((1..=5).all(|id| probing.details(id).is_empty()), "{:?}", probing.events);
    });
}

/// Writes this, and closes.
fn says(text: &'static [u8]) -> impl Fn(&str, &mut dyn Stream) + Clone + Send + 'static {
    move |_, stream| {
        let _ = stream.write_all(text);
    }
}

#[test]
fn what_is_no_answer_is_a_breach_of_the_protocol() {
    in_netns(|| {
        let texts: [&[u8]; 6] = [
            b"",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\x00\xff\x00\xff",
            b"HTTP/1.1 2",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        ];
        (1..).zip(texts).for_each(|(n, text)| drop(serve(host(n), 80, says(text))));
        // One that accepts and hangs up at once, one that does so by a reset.
        accept(host(7), 80, drop);
        accept(host(8), 80, |stream| {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            thread::sleep(Duration::from_millis(20));
        });
        accept(host(10), 80, |stream| {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        });
        // A head without an end.
        let endless = |_: &str, stream: &mut dyn Stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream
                .write_all(&[b"X: "[..].to_vec(), vec![b'y'; 1000], b"\r\n".to_vec()].concat())
                .is_ok()
            {}
        };
        serve(host(9), 80, endless);
        let mut probing = Probing::start();
        probing.run((1..=10).map(|n| target(n.into(), host(n), method(http(80)), 3)).collect());
        for id in 1..=10 {
            expect(&probing, id, Protocol, None, None);
            let details = probing.details(id);
            assert!(details.len() == 3 && details.iter().all(|d| d.connect.is_some()), "{details:?}");
            // An answer that began has its time, good or not.
            let began = !matches!(id, 1 | 7 | 8 | 10);
            assert!(details.iter().all(|d| d.request.is_some() == began), "{id}: {details:?}");
        }
    });
}

#[test]
fn a_slow_first_byte_is_a_time_out_of_which_the_connection_is_told_and_a_slow_body_is_none() {
    in_netns(|| {
        serve(host(1), 80, slow(Duration::from_secs(5)));
        let trickle = |_: &str, stream: &mut dyn Stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12");
            let _ = stream.flush();
            thread::sleep(Duration::from_secs(5));
        };
        serve(host(2), 80, trickle);
        // More than is read.
        let large = |_: &str, stream: &mut dyn Stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
            let _ = stream.write_all(&vec![0; 10_000_000]);
        };
        serve(host(3), 80, large);
        let mut probing = Probing::start();
        let mut targets: Vec<_> = (1..=3).map(|n| target(n.into(), host(n), method(http(80)), 3)).collect();
        targets[0].timeout = Duration::from_millis(200);
        probing.run(targets);
        expect(&probing, 1, Timeout, None, None);
        let details = probing.details(1);
        assert!(!details.is_empty() && details.iter().all(|d| d.connect.is_some() && d.request.is_none()));
        for id in [2, 3] {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
        }
    });
}

#[test]
fn the_phases_are_where_the_time_was_spent_and_add_up_to_the_round_trip() {
    in_netns(|| {
        let wait = Duration::from_millis(120);
        let (port, _) = serve(host(1), 0, slow(wait));
        let (port6, _) = serve("::1".parse().unwrap(), 0, slow(wait));
        let mut probing = Probing::start();
        probing.run(vec![
            target(1, host(1), method(http(port)), 5),
            target(2, "::1".parse().unwrap(), method(http(port6)), 5),
            target(3, host(1), Method::Tcp { port }, 5),
        ]);
        let rtts = |id| {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
            let outcomes = probing.outcomes(id);
            let rtt = |o: &ProbeOutcome| match o {
                ProbeOutcome::Reply { rtt, stamp, .. } => (*rtt, *stamp),
                other => panic!("{other:?}"),
            };
            outcomes.into_iter().map(rtt).collect::<Vec<_>>()
        };
        let handshake = rtts(3).into_iter().map(|(rtt, _)| rtt).min().unwrap();
        for id in [1, 2] {
            for ((rtt, stamp), detail) in rtts(id).into_iter().zip(probing.details(id)) {
                let (connect, request) = (detail.connect.unwrap(), detail.request.unwrap());
                assert_eq!((rtt, stamp), (connect + request, StampSource::User));
                assert!(request >= wait && detail.tls.is_none(), "{detail:?}");
                // What this process sees of the handshake is what the kernel does and its own way to it.
                assert!(connect < wait, "{detail:?}");
            }
            let fastest = probing.details(id).iter().filter_map(|d| d.connect).min().unwrap();
            assert!(fastest >= handshake / 2, "{fastest:?} of a round trip of {handshake:?}");
        }
    });
}

/// Whether a thread `http` runs in this thread's network namespace.
fn http_thread_runs() -> bool {
    let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let is_one = |task: &Path| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "http\n")
            && std::fs::read_link(task.join("ns/net")).is_ok_and(|namespace| namespace == own)
    };
    std::fs::read_dir("/proc/self/task").expect("threads").flatten().any(|task| is_one(&task.path()))
}

#[test]
fn two_hundred_at_once_are_all_answered_and_the_thread_ends_with_the_last_target() {
    in_netns(|| {
        let (port, seen) = serve(host(1), 0, slow(Duration::from_millis(50)));
        let mut probing = Probing::start();
        assert!(!http_thread_runs());
        let patient = |spec| TargetSpec { timeout: Duration::from_secs(20), ..spec };
        probing.run((1..=200).map(|id| patient(target(id, host(1), method(http(port)), 3))).collect());
        for id in 1..=200 {
            assert!(probing.all_answered(id), "{id}: {:?}", probing.outcomes(id));
        }
        assert_eq!(seen.lock().unwrap().len(), 600);
        assert!(http_thread_runs());
        // Once this one is answered, the engine has seen that nobody wants the thread.
        probing.events.clear();
        probing.run(vec![target(999, host(1), Method::Icmp, 1)]);
        assert!(!http_thread_runs());
    });
}

#[test]
fn more_than_a_thousand_under_way_are_inconclusive_and_targets_that_go_make_room() {
    in_netns(|| {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        // Nobody accepts; the kernel makes the connections.
        let listener = std::net::TcpListener::bind((host(1), 0)).unwrap();
        sysctl("core/somaxconn", "4096");
        socket2::SockRef::from(&listener).listen(4096).unwrap();
        let port = listener.local_addr().unwrap().port();
        let one = |id| TargetSpec {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            ..target(id, host(1), method(http(port)), 1)
        };
        let mut probing = Probing::start();
        probing.engine.set_targets((1..=1_200).map(one).collect());
        for id in 1..=1_200 {
            probing.engine.probe_now(TargetId(id), host(1));
        }
        let full = |o: &ProbeOutcome| matches!(o, ProbeOutcome::Inconclusive { .. });
        probing.until(|events| events.iter().filter(|e| full(&e.outcome)).count() >= 200);
        let stats = probing.engine.stats();
        assert_eq!(stats.sent, 1_000, "{stats:?}");
        let (open, _) = serve(host(2), 0, status("200 OK"));
        probing.events.clear();
        // As soon as the others' connections are closed.
        probing.engine.set_targets(vec![target(5_000, host(2), method(http(open)), 1_000)]);
        probing.until(|events| events.iter().any(|e| matches!(e.outcome, ProbeOutcome::Reply { .. })));
        let fine =
            |o: &&ProbeOutcome| matches!(o, ProbeOutcome::Inconclusive { .. } | ProbeOutcome::Reply { .. });
        assert!(probing.outcomes(5_000).iter().all(fine), "{:?}", probing.outcomes(5_000));
    });
}
