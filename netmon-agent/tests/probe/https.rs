//! HTTPS: whose certificate holds, when it expires, and what the handshake takes.

use std::{
    io::Read,
    net::{IpAddr, TcpStream},
    thread,
    time::Duration,
};

use netmon_agent::{
    observation::{
        FailureReason::{Protocol, SendError, Timeout, Tls},
        HttpRequest, ProbeOutcome,
    },
    time::Wall,
};

use crate::{
    web::{Authority, Identity, Stream, accept, https, method, serve_tls, slow, status},
    world::{Probing, host, in_netns, target},
};

/// The first of January, 00:00 UTC.
fn january(year: u64) -> Option<Wall> {
    let days = |y: u64| y * 365 + y / 4 - y / 100 + y / 400;
    Some(Wall::from_nanos((days(year - 1) - days(1969)) * 86_400_000_000_000))
}

fn localhost6() -> IpAddr {
    "::1".parse().expect("an address")
}

/// Without a look at who vouches for it.
fn unverified(request: HttpRequest) -> HttpRequest {
    HttpRequest { verify: false, ..request }
}

#[test]
fn a_certificate_holds_for_its_names_until_it_expires_and_is_looked_at_in_any_case() {
    in_netns(|| {
        let (authority, other) = (Authority::new(2070), Authority::new(2070));
        let brief = Authority::new(2045);
        let good = authority.identity(&["www.example.net", "127.0.0.1", "::1"], 2040, false);
        serve_tls(host(1), 443, &good, status("200 OK"));
        serve_tls(localhost6(), 443, &good, status("200 OK"));
        serve_tls(host(2), 443, &authority.identity(&["www.example.net"], 2010, false), status("200 OK"));
        let alone = Identity::self_signed(&["www.example.net"], 2041);
        let gone = Identity::self_signed(&["www.example.net"], 2011);
        let directory = tempfile::tempdir().unwrap();
        let [alone_file, gone_file] = ["alone.pem", "gone.pem"].map(|name| directory.path().join(name));
        alone.write(&alone_file);
        gone.write(&gone_file);
        serve_tls(host(3), 443, &alone, status("200 OK"));
        serve_tls(host(6), 443, &gone, status("200 OK"));
        serve_tls(host(4), 443, &brief.identity(&["www.example.net"], 2060, true), status("200 OK"));
        serve_tls(host(5), 443, &good, status("500 Oh No"));
        let www = |file| https(443, "www.example.net", Some(file));
        let ours = &*authority.file;
        let mut probing = Probing::start();
        let cases = [
            // Address, request, whether it is answered, expiry.
            (host(1), www(ours), true, 2040),
            (host(1), https(443, "", Some(ours)), true, 2040),
            (localhost6(), https(443, "", Some(ours)), true, 2040),
            (localhost6(), https(443, "[::1]", Some(ours)), true, 2040),
            (host(1), https(443, "other.example.net", Some(ours)), false, 2040),
            (host(1), www(&other.file), false, 2040),
            // The system's authorities, who do not know ours.
            (host(1), https(443, "www.example.net", None), false, 2040),
            (host(2), www(ours), false, 2010),
            (host(2), https(443, "", Some(ours)), false, 2010),
            (host(3), www(ours), false, 2041),
            (host(3), unverified(www(ours)), true, 2041),
            // The server's own, given to be trusted; for another name; of another time; another server's.
            (host(3), www(&alone_file), true, 2041),
            (host(3), https(443, "", Some(&alone_file)), false, 2041),
            (host(6), www(&gone_file), false, 2011),
            (host(6), www(&alone_file), false, 2011),
            (host(2), unverified(https(443, "", None)), true, 2010),
            // The authority's own certificate, which is presented too, expires first.
            (host(4), www(&brief.file), true, 2045),
        ];
        let targets = (1..).zip(&cases).map(|(id, case)| {
            let mut spec = target(id, case.0, method(case.1.clone()), 3);
            // Unoptimized cryptography for all of them at once.
            spec.timeout = Duration::from_secs(10);
            spec
        });
        let status = target(99, host(5), method(www(ours)), 2);
        probing.run(targets.chain([status]).collect());
        for (id, (address, request, answered, expires)) in (1..).zip(cases) {
            let what = format!("{address} {request:?}: {:?}", probing.outcomes(id));
            assert!(
                if answered { probing.all_answered(id) } else { probing.all_failed(id, Tls, None) },
                "{what}"
            );
            let details = probing.details(id);
            assert_eq!(details.len(), 3, "{what}");
            for detail in details {
                assert_eq!(detail.certificate_expires, january(expires), "{what} {detail:?}");
                assert!(detail.connect.is_some() && detail.tls.is_some() == answered, "{what} {detail:?}");
                assert_eq!(detail.status, answered.then_some(200), "{what}");
            }
        }
        let told = probing.details(99);
        assert!(
            told.iter().all(|d| d.status == Some(500) && d.certificate_expires == january(2040)),
            "{told:?}"
        );
    });
}

#[test]
fn a_name_is_asked_for_and_an_address_is_not() {
    in_netns(|| {
        let hello = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let port = accept(host(1), 0, {
            let hello = hello.clone();
            move |mut stream: TcpStream| {
                let mut buffer = [0; 2048];
                let n = stream.read(&mut buffer).unwrap_or_default();
                hello.lock().unwrap().push(buffer[..n].to_vec());
            }
        });
        let mut probing = Probing::start();
        let contains = |name: &str| {
            let hellos = hello.lock().unwrap();
            hellos.iter().filter(|h| h.windows(name.len()).any(|w| w == name.as_bytes())).count()
        };
        probing.run(vec![target(1, host(1), method(unverified(https(port, "www.example.net", None))), 2)]);
        assert_eq!(contains("www.example.net"), 2);
        hello.lock().unwrap().clear();
        probing.events.clear();
        probing.run(vec![target(2, host(1), method(unverified(https(port, "127.0.0.1", None))), 2)]);
        assert_eq!((contains("127.0.0.1"), hello.lock().unwrap().len()), (0, 2));
        // It hung up in the midst of the handshake.
        assert!(probing.all_failed(2, Tls, None), "{:?}", probing.outcomes(2));
    });
}

#[test]
fn a_handshake_that_fails_or_hangs_and_an_authority_that_is_not_there_are_told_apart() {
    in_netns(|| {
        let authority = Authority::new(2070);
        let good = authority.identity(&["www.example.net"], 2040, false);
        // No TLS at all; silence; TLS, and then no HTTP.
        accept(host(1), 443, |mut stream| {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read(&mut [0; 2048]);
        });
        accept(host(2), 443, |_stream| thread::sleep(Duration::from_secs(20)));
        serve_tls(host(3), 443, &good, |_: &str, stream: &mut dyn Stream| {
            let _ = stream.write_all(b"garbage\r\n\r\n");
        });
        serve_tls(host(4), 443, &good, slow(Duration::from_secs(20)));
        let www = |file| method(https(443, "www.example.net", Some(file)));
        let nowhere = std::path::Path::new("/none/such.pem");
        let mut probing = Probing::start();
        let mut targets: Vec<_> =
            (1..=4).map(|n| target(n.into(), host(n), www(&authority.file), 2)).collect();
        targets.push(target(5, host(3), www(nowhere), 2));
        probing.run(targets);
        for (id, reason) in [(1, Tls), (2, Timeout), (3, Protocol), (4, Timeout), (5, SendError)] {
            assert!(probing.all_failed(id, reason, None), "{id}: {:?}", probing.outcomes(id));
        }
        let of = |id: u32| probing.details(id);
        assert!(of(2).iter().all(|d| d.connect.is_some() && d.tls.is_none()), "{:?}", of(2));
        for id in [3, 4] {
            assert!(of(id).iter().all(|d| d.tls.is_some() && d.certificate_expires == january(2040)));
            assert!(!of(id).is_empty());
        }
    });
}

#[test]
fn the_handshake_is_a_phase_of_its_own_and_made_anew_each_time() {
    in_netns(|| {
        let authority = Authority::new(2070);
        let good = authority.identity(&["www.example.net"], 2040, false);
        let wait = Duration::from_millis(150);
        serve_tls(host(1), 443, &good, slow(wait));
        let mut probing = Probing::start();
        let request = https(443, "www.example.net", Some(&authority.file));
        let mut spec = target(1, host(1), method(request), 6);
        spec.timeout = Duration::from_secs(10);
        probing.run(vec![spec]);
        assert!(probing.all_answered(1), "{:?}", probing.outcomes(1));
        let details = probing.details(1);
        assert_eq!(details.len(), 6);
        for (outcome, detail) in probing.outcomes(1).into_iter().zip(details) {
            let ProbeOutcome::Reply { rtt, .. } = outcome else { panic!("{outcome:?}") };
            let phases = [detail.connect, detail.tls, detail.request].map(|p| p.expect("every phase"));
            assert_eq!(phases.iter().sum::<Duration>(), *rtt);
            assert!(phases[2] >= wait && phases[1] > Duration::ZERO, "{phases:?}");
            assert_eq!(detail.certificate_expires, january(2040));
        }
    });
}
