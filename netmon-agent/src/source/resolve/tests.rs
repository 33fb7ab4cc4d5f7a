//! Against a server of their own on loopback.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hickory_resolver::proto::{
    op::ResponseCode,
    rr::RecordType::{A, AAAA},
};
use tokio::sync::mpsc;

use super::{
    answer::{Failure, Resolved, combine},
    conf::Conf,
    dns::Dns,
    server::{Reply, Server, address, alias},
    *,
};
use crate::{observation::Evidence, time::Mono};

const LIMIT: Duration = Duration::from_secs(2);

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|a| a.parse().unwrap()).collect()
}

/// Resolvers by address, all at one port, without a search list.
fn dns(addresses: &[&str], port: u16) -> Dns {
    let servers: String = addresses.iter().map(|a| format!("nameserver {a}\n")).collect();
    Dns::new(Conf::parse(&format!("search .\n{servers}"), port), LIMIT)
}

async fn one() -> (Server, Dns) {
    let server = Server::start("127.0.0.1:0").await;
    let dns = dns(&["127.0.0.1"], server.address.port());
    (server, dns)
}

async fn resolve(dns: &Dns, name: &str) -> Result<Resolved, Failure> {
    let (v4, v6) = dns.look_up(name).await;
    combine(v4, v6, &[])
}

#[tokio::test]
async fn addresses_of_both_families_of_either_and_of_none() {
    let (server, dns) = one().await;
    server.addresses("both.example.", &["10.0.0.2", "2001:db8::1", "10.0.0.1"]);
    server.addresses("four.example.", &["10.0.0.1"]);
    server.addresses("six.example.", &["fe80::1", "2001:db8::1"]);
    server.addresses("none.example.", &[]);
    server.set("odd.example.", AAAA, Reply::Records(vec![address("odd.example.", 60, "2001:db8::1")]));
    for (name, expected) in [
        ("both.example", &["10.0.0.1", "10.0.0.2", "2001:db8::1"][..]),
        ("four.example", &["10.0.0.1"]),
        ("six.example", &["2001:db8::1", "fe80::1"]),
        ("odd.example", &["2001:db8::1"]),
    ] {
        let found = resolve(&dns, name).await.unwrap();
        assert_eq!((found.addresses, found.partly), (ips(expected), false), "{name}");
        assert_eq!(found.ttl, Duration::from_secs(60));
    }
    assert_eq!(resolve(&dns, "none.example").await, Err(Failure::NoAddress));
    assert_eq!(resolve(&dns, "nobody.example").await, Err(Failure::NoName));
}

#[tokio::test]
async fn the_time_to_live_is_the_smallest_of_the_chain() {
    let (server, dns) = one().await;
    let chain = vec![
        alias("a.example.", 300, "b.example."),
        alias("b.example.", 20, "c.example."),
        address("c.example.", 600, "10.0.0.1"),
    ];
    server.set("a.example.", A, Reply::Records(chain));
    server.set("a.example.", AAAA, Reply::Records(vec![alias("a.example.", 300, "c.example.")]));
    server.set("c.example.", AAAA, Reply::Records(vec![address("c.example.", 600, "2001:db8::1")]));
    let (v4, v6) = dns.look_up("a.example").await;
    let (v4, v6) = (v4.unwrap(), v6.unwrap());
    assert_eq!((v4.addresses, v4.ttl.as_secs()), (ips(&["10.0.0.1"]), 20));
    assert_eq!((v6.addresses, v6.ttl.as_secs()), (ips(&["2001:db8::1"]), 300), "in two answers");

    server.set("l.example.", A, Reply::Records(vec![alias("l.example.", 60, "l.example.")]));
    let looped = resolve(&dns, "l.example").await;
    assert!(looped.is_err(), "{looped:?}");
}

#[tokio::test]
async fn a_new_question_gets_a_new_answer() {
    let (server, dns) = one().await;
    for address in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        server.addresses("a.example.", &[address]);
        assert_eq!(resolve(&dns, "a.example").await.unwrap().addresses, ips(&[address]), "not of a cache");
    }
    server.both("a.example.", &Reply::Code(ResponseCode::NXDomain));
    assert_eq!(resolve(&dns, "a.example").await, Err(Failure::NoName));
    server.addresses("a.example.", &["10.0.0.4"]);
    assert!(resolve(&dns, "a.example").await.is_ok());
}

#[tokio::test]
async fn a_failing_resolver_is_named() {
    let (server, dns) = one().await;
    let label = format!("127.0.0.1 port {}", server.address.port());
    for (code, word) in [(ResponseCode::ServFail, "SERVFAIL"), (ResponseCode::Refused, "REFUSED")] {
        server.both("a.example.", &Reply::Code(code));
        let error = resolve(&dns, "a.example").await.unwrap_err();
        assert_eq!(error.to_string(), format!("the resolver {label} answers {word}"));
    }
    server.both("a.example.", &Reply::Silence);
    let begun = Mono::now();
    let error = resolve(&dns, "a.example").await.unwrap_err();
    assert_eq!(error.to_string(), format!("the resolver {label} does not answer"));
    let took = Mono::now().since(begun);
    assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(1), "{took:?}");

    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begun = Mono::now();
    let error = resolve(&self::dns(&["127.0.0.1"], free), "a.example").await.unwrap_err();
    assert!(matches!(&error, Failure::Closed(..)), "{error}");
    assert!(Mono::now().since(begun) < LIMIT, "a closed port is told at once");
    let guessed = Dns::new(Conf::parse("search .", free), LIMIT);
    assert_eq!(resolve(&guessed, "a.example").await, Err(Failure::NoResolver));
    let nowhere = self::dns(&["fe80::53%nowhere"], free);
    let error = resolve(&nowhere, "a.example").await.unwrap_err();
    assert!(error.is_local(), "{error}");
}

#[tokio::test]
async fn one_family_failing_leaves_the_other() {
    let (server, dns) = one().await;
    server.set("a.example.", AAAA, Reply::Records(vec![address("a.example.", 60, "2001:db8::1")]));
    for failing in [Reply::Code(ResponseCode::ServFail), Reply::Silence] {
        server.set("a.example.", A, failing);
        let found = resolve(&dns, "a.example").await.unwrap();
        assert_eq!((found.addresses, found.partly), (ips(&["2001:db8::1"]), true));
    }
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_fails_and_a_silent_one_last() {
    let first = Server::start("127.0.0.1:0").await;
    let second = Server::start(&format!("127.0.0.2:{}", first.address.port())).await;
    let dns = dns(&["127.0.0.1", "127.0.0.2"], first.address.port());
    second.addresses("a.example.", &["10.0.0.1"]);
    first.both("a.example.", &Reply::Code(ResponseCode::ServFail));
    assert_eq!(resolve(&dns, "a.example").await.unwrap().addresses, ips(&["10.0.0.1"]));
    first.both("a.example.", &Reply::Silence);
    assert!(resolve(&dns, "a.example").await.is_ok());
    let asked = first.questions();
    assert!(resolve(&dns, "a.example").await.is_ok());
    assert_eq!(first.questions(), asked, "it kept silent a moment ago");
    second.both("a.example.", &Reply::Silence);
    let begun = Mono::now();
    let error = resolve(&dns, "a.example").await.unwrap_err();
    assert!(matches!(&error, Failure::Silent(all) if all.len() == 2), "{error}");
    assert!(Mono::now().since(begun) < LIMIT + Duration::from_secs(1));
    second.both("a.example.", &Reply::Code(ResponseCode::NXDomain));
    assert_eq!(resolve(&dns, "a.example").await, Err(Failure::NoName), "an answer is one, from whomever");
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_by_tcp() {
    let (server, dns) = one().await;
    let many: Vec<_> = (0..200).map(|i| address("a.example.", 60, &format!("10.0.1.{i}"))).collect();
    server.set("a.example.", A, Reply::Large(many));
    let found = resolve(&dns, "a.example").await.unwrap();
    assert_eq!((found.addresses.len(), found.partly), (200, false));
    let by_tcp = Conf::parse("search .\nnameserver 127.0.0.1\noptions use-vc", server.address.port());
    assert_eq!(resolve(&Dns::new(by_tcp, LIMIT), "a.example").await.unwrap().addresses.len(), 200);
}

#[tokio::test]
async fn short_names_are_looked_for_in_the_search_list() {
    let server = Server::start("127.0.0.1:0").await;
    let text = "nameserver 127.0.0.1\nsearch one.example two.example";
    let dns = Dns::new(Conf::parse(text, server.address.port()), LIMIT);
    server.addresses("web.two.example.", &["10.0.0.1"]);
    assert_eq!(resolve(&dns, "web").await.unwrap().addresses, ips(&["10.0.0.1"]));
    assert_eq!(server.asked(), ["web.one.example.", "web.two.example."]);
    server.addresses("web.two.example.", &[]);
    assert_eq!(resolve(&dns, "web").await, Err(Failure::NoAddress), "it exists");
    assert_eq!(resolve(&dns, "web.").await, Err(Failure::NoName));
    server.both("web.one.example.", &Reply::Code(ResponseCode::ServFail));
    server.addresses("web.two.example.", &["10.0.0.1"]);
    assert!(resolve(&dns, "web").await.is_ok());
    let before = server.questions();
    for bad in ["a..b", "bücher.example", &"x".repeat(300), ""] {
        let error = resolve(&dns, bad).await.unwrap_err();
        assert!(matches!(error, Failure::BadName(_)), "{bad}: {error}");
    }
    assert_eq!(server.questions(), before);
}

/// A resolver with files of its own, and what it told.
struct Whole {
    resolver: Resolver,
    told: mpsc::Receiver<Vec<Observation>>,
    folder: tempfile::TempDir,
    waiting: Vec<Evidence>,
}

impl Whole {
    fn new(server: &Server, names: &[(u32, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (out, told) = mpsc::channel(4);
        let short = Duration::from_millis(100);
        let pace = Pace { shortest: short, longest: short, first_retry: short, ..Pace::default() };
        let options = Options {
            resolv_conf: folder.path().join("resolv.conf"),
            hosts: folder.path().join("hosts"),
            port: server.address.port(),
            limit: LIMIT,
            look: Duration::from_millis(50),
            pace,
        };
        let whole = Self { resolver: Resolver::new(out, options), told, folder, waiting: Vec::new() };
        whole.write("resolv.conf", "search .\nnameserver 127.0.0.1\n");
        let mut whole = whole;
        whole.set(names);
        whole
    }

    fn write(&self, file: &str, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.path().join(file)).unwrap();
    }

    fn set(&mut self, names: &[(u32, &str)]) {
        self.resolver.set(&names.iter().map(|(id, n)| (TargetId(*id), (*n).to_owned())).collect());
    }

    async fn next(&mut self) -> Evidence {
        while self.waiting.is_empty() {
            let told = tokio::time::timeout(Duration::from_secs(20), self.told.recv()).await;
            self.waiting = told.expect("news").unwrap().into_iter().map(|o| o.evidence).collect();
        }
        self.waiting.remove(0)
    }

    async fn addresses(&mut self, expected_of: u32) -> Vec<IpAddr> {
        match self.next().await {
            Evidence::Resolved { target, addresses } if target.0 == expected_of => addresses,
            other => panic!("{other:?}"),
        }
    }

    async fn error(&mut self, expected_of: u32) -> String {
        match self.next().await {
            Evidence::ResolveFailed { target, error } if target.0 == expected_of => error,
            other => panic!("{other:?}"),
        }
    }

    async fn nothing(&mut self) {
        let told = tokio::time::timeout(Duration::from_millis(400), self.told.recv()).await;
        assert!(told.is_err() && self.waiting.is_empty(), "{told:?}");
    }
}

#[tokio::test]
async fn only_news_are_told() {
    let server = Server::start("127.0.0.1:0").await;
    server.addresses("a.example.", &["10.0.0.2", "10.0.0.1", "2001:db8::1"]);
    let mut whole = Whole::new(&server, &[(1, "a.example")]);
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]));
    server.addresses("a.example.", &["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
    let asked = server.questions();
    whole.nothing().await;
    assert!(server.questions() >= asked + 2, "it is asked for again by its time to live");
    server.addresses("a.example.", &["10.0.0.3"]);
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.3"]));
    server.both("a.example.", &Reply::Code(ResponseCode::ServFail));
    assert!(whole.error(1).await.ends_with("answers SERVFAIL"));
    whole.nothing().await;
    server.both("a.example.", &Reply::Silence);
    assert!(whole.error(1).await.ends_with("does not answer"), "another failure is news");
    server.addresses("a.example.", &["10.0.0.3"]);
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.3"]), "that it is over is news");
}

#[tokio::test]
async fn targets_of_one_name_share_its_questions() {
    let server = Server::start("127.0.0.1:0").await;
    server.addresses("a.example.", &["10.0.0.1"]);
    let mut whole = Whole::new(&server, &[(1, "a.example"), (2, "a.example")]);
    let mut told = [whole.next().await, whole.next().await].map(|e| match e {
        Evidence::Resolved { target, addresses } => (target.0, addresses),
        other => panic!("{other:?}"),
    });
    told.sort();
    assert_eq!(told, [(1, ips(&["10.0.0.1"])), (2, ips(&["10.0.0.1"]))]);
    assert_eq!(server.asked().len(), 1);
    server.both("a.example.", &Reply::Code(ResponseCode::ServFail));
    whole.next().await;
    whole.next().await;
    whole.set(&[(1, "a.example"), (3, "a.example")]);
    assert_eq!(whole.addresses(3).await, ips(&["10.0.0.1"]), "a new one learns of both");
    assert!(whole.error(3).await.ends_with("SERVFAIL"));
    whole.set(&[]);
    whole.nothing().await;
    let asked = server.questions();
    whole.nothing().await;
    assert_eq!(server.questions(), asked, "a name that is not wanted any more is not asked for");
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_followed() {
    let server = Server::start("127.0.0.1:0").await;
    server.addresses("a.example.", &["10.0.0.1"]);
    let mut whole = Whole::new(&server, &[]);
    whole.write("hosts", "10.0.0.9 A.example\n");
    whole.set(&[(1, "a.example")]);
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.9"]));
    assert_eq!(server.questions(), 0);
    whole.write("hosts", "2001:db8::9 a.example\n10.0.0.9 a.example\n");
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.9", "2001:db8::9"]));
    whole.write("hosts", "");
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.1"]));
    whole.set(&[(2, "localhost")]);
    assert_eq!(whole.addresses(2).await, ips(&["127.0.0.1", "::1"]));
    whole.set(&[(3, "fe80::1")]);
    assert_eq!(whole.addresses(3).await, ips(&["fe80::1"]));
    assert!(server.asked().iter().all(|n| n == "a.example."), "{:?}", server.asked());
}

#[tokio::test]
async fn a_new_resolv_conf_is_followed_at_once() {
    let server = Server::start("127.0.0.1:0").await;
    let other = Server::start(&format!("127.0.0.2:{}", server.address.port())).await;
    server.both("a.example.", &Reply::Code(ResponseCode::ServFail));
    other.addresses("a.example.", &["10.0.0.1"]);
    let mut whole = Whole::new(&server, &[(1, "a.example")]);
    assert!(whole.error(1).await.contains("127.0.0.1"));
    whole.write("resolv.conf", "search .\nnameserver 127.0.0.2\n");
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.1"]));
    whole.write("resolv.conf", "search .\nnameserver 127.0.0.3\n");
    assert!(whole.error(1).await.contains("127.0.0.3"), "nobody listens there");
}

#[tokio::test]
async fn a_poke_ends_a_pause() {
    let server = Server::start("127.0.0.1:0").await;
    let folder = tempfile::tempdir().unwrap();
    let (out, mut told) = mpsc::channel(4);
    let options = Options {
        resolv_conf: folder.path().join("resolv.conf"),
        hosts: folder.path().join("hosts"),
        port: server.address.port(),
        look: Duration::from_secs(3600),
        pace: Pace { shortest: Duration::from_millis(10), ..Pace::default() },
        ..Options::default()
    };
    std::fs::write(&options.resolv_conf, "search .\nnameserver 127.0.0.1\n").unwrap();
    let mut resolver = Resolver::new(out, options);
    server.addresses("a.example.", &["10.0.0.1"]);
    resolver.set(&HashMap::from([(TargetId(1), "a.example".to_owned())]));
    told.recv().await.unwrap();
    server.addresses("a.example.", &["10.0.0.2"]);
    assert!(told.try_recv().is_err(), "it has a minute to live");
    tokio::time::sleep(Duration::from_millis(20)).await;
    resolver.poke();
    let news = tokio::time::timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
    let expected = Evidence::Resolved { target: TargetId(1), addresses: ips(&["10.0.0.2"]) };
    assert_eq!(news[0].evidence, expected);
}

#[tokio::test]
async fn a_thousand_names_are_resolved_while_some_are_silent() {
    let server = Server::start("127.0.0.1:0").await;
    let names: HashMap<TargetId, String> =
        (0..1000).map(|i| (TargetId(i), format!("n{i}.example"))).collect();
    for (id, name) in &names {
        match id.0 % 50 {
            0 => server.both(&format!("{name}."), &Reply::Silence),
            _ => server.addresses(&format!("{name}."), &["10.0.0.1", "2001:db8::1"]),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (out, mut told) = mpsc::channel(64);
    let options = Options {
        resolv_conf: folder.path().join("resolv.conf"),
        hosts: folder.path().join("hosts"),
        port: server.address.port(),
        ..Options::default()
    };
    std::fs::write(&options.resolv_conf, "search .\nnameserver 127.0.0.1\n").unwrap();
    let server = Arc::new(server);
    let mut resolver = Resolver::new(out, options);
    resolver.set(&names);
    let begun = Mono::now();
    let mut seen = 0;
    while seen < 980 {
        let news = tokio::time::timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
        seen += news.iter().filter(|o| matches!(o.evidence, Evidence::Resolved { .. })).count();
    }
    let took = Mono::now().since(begun);
    assert!(took < Duration::from_secs(20), "the silent ones held the others up: {took:?}");
    assert!(server.questions() >= 1960);
}
