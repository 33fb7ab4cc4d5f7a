//! What is told and when, against a server of the tests' own on loopback.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use hickory_resolver::proto::op::ResponseCode;
use tokio::sync::mpsc;

use super::super::{
    Options, Pace, Resolver,
    server::{Reply, Server},
};
use crate::{
    observation::{Evidence, Observation, TargetId},
    time::Mono,
};

const LIMIT: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_millis(100);

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|a| a.parse().unwrap()).collect()
}

/// A resolver with files of its own, and what it told.
struct Whole {
    resolver: Resolver,
    told: mpsc::Receiver<Vec<Observation>>,
    folder: tempfile::TempDir,
    waiting: Vec<Evidence>,
    /// How long each look-up took.
    times: Vec<Duration>,
}

impl Whole {
    /// Names are looked up again after a tenth of a second, whatever came of it.
    fn new(server: &Server, names: &[(u32, &str)]) -> Self {
        Self::with(server, names, Pace { longest: SHORT, first_retry: SHORT, ..Pace::default() })
    }

    /// By itself nothing is looked up again for longer than the test waits.
    fn patient(server: &Server, names: &[(u32, &str)]) -> Self {
        Self::with(server, names, Pace { first_retry: Duration::from_secs(60), ..Pace::default() })
    }

    fn with(server: &Server, names: &[(u32, &str)], pace: Pace) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (out, told) = mpsc::channel(4);
        let pace = Pace { shortest: SHORT, ..pace };
        let options = Options {
            resolv_conf: folder.path().join("resolv.conf"),
            hosts: folder.path().join("hosts"),
            port: server.address.port(),
            limit: LIMIT,
            look: Duration::from_millis(50),
            pace,
        };
        let whole = Self {
            resolver: Resolver::new(out, options),
            told,
            folder,
            waiting: Vec::new(),
            times: Vec::new(),
        };
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
            self.keep(told.expect("news").unwrap());
        }
        self.waiting.remove(0)
    }

    /// The times of look-ups are no news of names.
    fn keep(&mut self, told: Vec<Observation>) {
        for observation in told {
            match observation.evidence {
                Evidence::LookedUp { took, .. } => self.times.push(took),
                news => self.waiting.push(news),
            }
        }
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
        let until = tokio::time::Instant::now() + Duration::from_millis(400);
        while let Ok(told) = tokio::time::timeout_at(until, self.told.recv()).await {
            self.keep(told.unwrap());
        }
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
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
    // Each question is timed, whatever came of it.
    assert!(whole.times.len() >= 6, "{:?}", whole.times);
    assert!(
        whole.times.iter().any(|took| *took >= LIMIT / 2),
        "the silent ones took long: {:?}",
        whole.times
    );
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
    let mut whole = Whole::patient(&server, &[]);
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
    whole.write("hosts", "0.0.0.0 b.example\n");
    whole.set(&[(4, "b.example")]);
    assert!(whole.error(4).await.contains("0.0.0.0"));
    // A name that the file blocks is not asked for either.
    assert!(server.asked().iter().all(|n| n == "a.example."), "{:?}", server.asked());
}

#[tokio::test]
async fn a_new_resolv_conf_is_followed_at_once() {
    let server = Server::start("127.0.0.1:0").await;
    let other = Server::start(&format!("127.0.0.2:{}", server.address.port())).await;
    server.addresses("a.example.", &["10.0.0.9"]);
    other.addresses("a.example.", &["10.0.0.1"]);
    let mut whole = Whole::patient(&server, &[(1, "a.example")]);
    assert_eq!(whole.addresses(1).await, ips(&["10.0.0.9"]));
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
async fn a_hosts_file_that_changes_along_with_the_names_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (out, mut told) = mpsc::channel(4);
    let options = Options {
        resolv_conf: folder.path().join("resolv.conf"),
        hosts: folder.path().join("hosts"),
        look: Duration::from_secs(3600),
        pace: Pace { shortest: Duration::from_millis(10), ..Pace::default() },
        ..Options::default()
    };
    let hosts = options.hosts.clone();
    std::fs::write(&hosts, "10.0.0.1 a.example\n").unwrap();
    let mut resolver = Resolver::new(out, options);
    resolver.set(&HashMap::from([(TargetId(1), "a.example".to_owned())]));
    let first = told.recv().await.unwrap();
    assert_eq!(first[0].evidence, Evidence::Resolved { target: TargetId(1), addresses: ips(&["10.0.0.1"]) });
    std::fs::write(&hosts, "10.0.0.2 a.example\n10.0.0.3 b.example\n").unwrap();
    let both = [(TargetId(1), "a.example".to_owned()), (TargetId(2), "b.example".to_owned())];
    resolver.set(&HashMap::from(both));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let news = tokio::time::timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
        seen.extend(news.into_iter().map(|o| o.evidence));
    }
    for (id, address) in [(1, "10.0.0.2"), (2, "10.0.0.3")] {
        let expected = Evidence::Resolved { target: TargetId(id), addresses: ips(&[address]) };
        assert!(seen.contains(&expected), "{seen:?}");
    }
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
