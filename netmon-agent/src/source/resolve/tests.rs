//! What is asked, against a server of the tests' own on loopback.

use std::{net::IpAddr, time::Duration};

use hickory_resolver::proto::{
    op::ResponseCode,
    rr::RecordType::{A, AAAA, SRV},
};

use super::{
    answer::{Failure, Resolved, combine},
    conf::Conf,
    dns::Dns,
    netns,
    server::{Reply, Server, address, alias, service},
};
use crate::time::Mono;

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
async fn a_blocked_name_has_no_address() {
    let server = Server::start("127.0.0.1:0").await;
    let text = "nameserver 127.0.0.1\nsearch example";
    let dns = Dns::new(Conf::parse(text, server.address.port()), LIMIT);
    server.addresses("ads.test.", &["0.0.0.0", "::"]);
    server.addresses("ads.test.example.", &["10.0.0.1"]);
    let error = resolve(&dns, "ads.test").await.unwrap_err();
    assert_eq!(error.to_string(), "the name has no address but 0.0.0.0, which is no host's");
    server.addresses("ads.test.", &["0.0.0.0", "10.0.0.2"]);
    assert_eq!(resolve(&dns, "ads.test").await.unwrap().addresses, ips(&["10.0.0.2"]));
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

#[test]
fn a_resolver_with_a_link_local_address_is_asked_on_its_link() {
    netns::alone("resolve-link-local", || {
        netns::ip("addr add fe80::53/64 dev lo nodad");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::start("[fe80::53%1]:0").await;
            let dns = dns(&["fe80::53%lo"], server.address.port());
            server.addresses("a.example.", &["10.0.0.1"]);
            assert_eq!(resolve(&dns, "a.example").await.unwrap().addresses, ips(&["10.0.0.1"]));
            server.set("a.example.", A, Reply::Large(vec![address("a.example.", 60, "10.0.0.2")]));
            let by_tcp = resolve(&dns, "a.example").await.unwrap();
            assert_eq!(by_tcp.addresses, ips(&["10.0.0.2"]));

            let nowhere = self::dns(&["192.0.2.53"], 53);
            let error = resolve(&nowhere, "a.example").await.unwrap_err();
            assert!(error.is_local() && error.to_string().contains("192.0.2.53"), "no route: {error}");
        });
    });
}

#[tokio::test]
async fn a_service_is_its_hosts_and_ports_with_the_shortest_life() {
    let (server, dns) = one().await;
    let records = vec![
        service("_x._tcp.example.", 300, "B.example.", 443),
        service("_x._tcp.example.", 20, "a.example.", 8443),
        service("_x._tcp.example.", 300, "a.example.", 443),
        service("_x._tcp.example.", 300, "a.example.", 443),
    ];
    server.set("_x._tcp.example.", SRV, Reply::Records(records));
    let found = dns.services("_x._tcp.example").await.unwrap();
    let all: Vec<(&str, u16)> = found.all.iter().map(|(host, port)| (host.as_str(), *port)).collect();
    assert_eq!(all, [("a.example", 443), ("a.example", 8443), ("b.example", 443)]);
    assert_eq!(found.ttl.as_secs(), 20);
    // Not offered here, and no record at all: both are answers.
    server.set("_y._tcp.example.", SRV, Reply::Records(vec![service("_y._tcp.example.", 60, ".", 0)]));
    assert_eq!(dns.services("_y._tcp.example").await.unwrap().all, []);
    server.set("_z._tcp.example.", SRV, Reply::Code(ResponseCode::NoError));
    assert_eq!(dns.services("_z._tcp.example").await.unwrap().all, []);
    // A name that does not exist, and a resolver that fails, are none.
    assert_eq!(dns.services("_n._tcp.example").await, Err(Failure::NoName));
    server.set("_f._tcp.example.", SRV, Reply::Code(ResponseCode::ServFail));
    assert!(matches!(dns.services("_f._tcp.example").await, Err(Failure::Error(..))));
}
