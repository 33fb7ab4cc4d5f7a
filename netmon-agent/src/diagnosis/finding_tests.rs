use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    observation::{
        DnsQuery, HttpRequest, IfIndex, NeighbourState, PathOptions, StampSource, TargetId, UdpExpect,
    },
    source::trace::{self, Reply},
};

fn ip(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

fn task(method: Method) -> Task {
    Task {
        target: TargetId(1),
        host: "h".to_owned(),
        address: ip(9),
        method,
        path: Arc::default(),
        on_link: None,
        timeout: Duration::from_secs(12),
    }
}

/// Hop n is answered by 192.0.2.n, the destination by 192.0.2.9.
fn path(method: trace::Method, routers: u8, end: End, reason: Option<FailureReason>) -> Path {
    let hop = |ttl, from| {
        let rtt = |ms| Some(Duration::from_millis(ms));
        let reply = |ms| Reply::new(from, rtt(ms), StampSource::Kernel, reason.filter(|_| from == ip(9)));
        Hop { ttl, sent: 2, replies: vec![reply(2), reply(1)] }
    };
    let mut hops: Vec<Hop> = (1..=routers).map(|n| hop(n, ip(n))).collect();
    if matches!(end, End::Reached { .. }) {
        hops.push(hop(routers + 1, ip(9)));
    }
    Path { destination: ip(9), method, hops, end, mtu: None, unmatched: 0 }
}

fn seen(path: Path) -> Seen {
    let took = Duration::from_secs(1);
    Seen { took, route: Ok(ip(100)), neighbour: None, path: Ok(path), cut: false, echo: None }
}

const ICMP: trace::Method = trace::Method::Icmp;
const TCP: trace::Method = trace::Method::Tcp { port: 443 };
const REACHED: End = End::Reached { hop: 2 };

fn reached(method: trace::Method) -> Seen {
    seen(path(method, 1, REACHED, None))
}

fn place_of(task: &Task, seen: &Seen) -> Option<Place> {
    judge(task, seen).unwrap().place
}

#[test]
fn the_last_hop_that_answers_is_named() {
    let silent =
        |last| seen(path(ICMP, last, End::Silent { last: Some(last).filter(|n| *n > 0), asked: 30 }, None));
    let judged = judge(&task(Method::Icmp), &silent(2)).unwrap();
    assert_eq!(
        (judged.place, &*judged.detail),
        (Some(Place::Path), "hop 2, 192.0.2.2, is the last that answers on the way to h")
    );
    let trace = judged.trace.unwrap();
    assert_eq!(
        trace.last_hop().map(|h| (h.hop, h.addresses.clone(), h.rtt)),
        Some((2, vec![ip(2)], Some(Duration::from_millis(1))))
    );
    assert_eq!((trace.reached, trace.source, trace.hops.len()), (false, Some(ip(100)), 2));
    let judged = judge(&task(Method::Icmp), &silent(0)).unwrap();
    assert_eq!((judged.place, judged.trace.unwrap().last_hop()), (Some(Place::Path), None));
}

#[test]
fn whoever_says_why_is_believed() {
    let ends = |from| End::Unreachable { hop: 3, from, reason: FailureReason::HostUnreachable };
    let of = |end| judge(&task(Method::Icmp), &seen(path(ICMP, 2, end, None))).unwrap();
    let judged = of(ends(ip(3)));
    assert_eq!(
        (judged.place, &*judged.detail),
        (Some(Place::Path), "192.0.2.3 at hop 3 goes no further: it says host_unreachable")
    );
    assert_eq!(of(ends(ip(9))).place, Some(Place::Port));
    assert_eq!(of(ends(ip(100))).place, Some(Place::Neighbour), "this machine itself");
    let circle = of(End::Loop { hop: 1, again: 5, from: ip(1) });
    assert!(circle.place == Some(Place::Path) && circle.detail.contains("circle"), "{circle:?}");
}

#[test]
fn a_host_that_answers_leaves_the_port_or_the_service() {
    let closed = seen(path(TCP, 1, REACHED, Some(FailureReason::Refused)));
    let judged = judge(&task(Method::Tcp { port: 443 }), &closed).unwrap();
    assert_eq!(
        (judged.place, &*judged.detail),
        (Some(Place::Port), "port 443 of h is closed, the host answers, 2 hops away")
    );
    assert_eq!(place_of(&task(Method::Tcp { port: 443 }), &reached(TCP)), None, "it is well by now");
    assert_eq!(place_of(&task(Method::Icmp), &reached(ICMP)), None);
    assert_eq!(place_of(&task(Method::Dns(Arc::new(DnsQuery::default()))), &reached(ICMP)), Some(Place::Dns));
    let udp = Method::Udp { port: 7, expect: UdpExpect::Echo };
    assert_eq!(place_of(&task(udp), &reached(trace::Method::Udp)), Some(Place::Port));
    assert_eq!(
        place_of(&task(Method::Http(Arc::new(HttpRequest::default()))), &reached(TCP)),
        Some(Place::Port)
    );
    // No trace by TCP comes there, and an echo request does.
    let silent = path(TCP, 1, End::Silent { last: Some(1), asked: 30 }, None);
    let filtered = Seen { echo: Some(true), ..seen(silent.clone()) };
    assert_eq!(place_of(&task(Method::Tcp { port: 443 }), &filtered), Some(Place::Port));
    let gone = Seen { echo: Some(false), ..seen(silent) };
    assert_eq!(place_of(&task(Method::Tcp { port: 443 }), &gone), Some(Place::Path));
}

#[test]
fn packets_that_are_too_large_for_the_way_are_the_paths_mtu() {
    let hole = Limit::BlackHole { after: Some(1), bytes: 1300 };
    let told = Limit::Told { by: ip(1), hop: Some(1), bytes: 1300 };
    let with = |limit: Limit, trace| {
        let mtu = PathMtu { bytes: 1300, as_far_as: None, device: Some(1500), limits: vec![limit] };
        seen(Path { mtu: Some(mtu), ..path(trace, 1, REACHED, None) })
    };
    let sized = |size, dont_fragment| {
        let path = PathOptions { size: Some(size), dont_fragment, ..PathOptions::default() };
        Task { path: Arc::new(path), ..task(Method::Icmp) }
    };
    let judged = judge(&sized(1400, true), &with(hole, ICMP)).unwrap();
    assert_eq!(
        (judged.place, &*judged.detail),
        (Some(Place::PathMtu), "packets over 1300 bytes vanish beyond hop 1, 192.0.2.1, without a word")
    );
    assert_eq!(judged.trace.unwrap().path_mtu, Some(1300));
    assert_eq!(place_of(&sized(1272, true), &with(hole, ICMP)), None, "1300 bytes with its headers");
    assert_eq!(place_of(&sized(1273, true), &with(hole, ICMP)), Some(Place::PathMtu));
    assert_eq!(
        place_of(&task(Method::Icmp), &with(hole, ICMP)),
        None,
        "small probes are not lost for their size"
    );
    let http = task(Method::Http(Arc::new(HttpRequest::default())));
    assert_eq!(place_of(&http, &with(hole, TCP)), Some(Place::PathMtu));
    assert_eq!(place_of(&http, &with(told, TCP)), Some(Place::Port), "TCP heeds what it is told");
    assert_eq!(place_of(&sized(1400, true), &with(told, ICMP)), Some(Place::PathMtu));
    assert_eq!(place_of(&sized(1400, false), &with(told, ICMP)), None, "fragments pass");
    assert_eq!(
        place_of(&sized(1480, true), &with(Limit::Told { by: ip(1), hop: None, bytes: 9000 }, ICMP)),
        Some(Place::PathMtu),
        "this device"
    );
    let cut = Seen { cut: true, ..with(hole, ICMP) };
    let judged = judge(&sized(1400, true), &cut).unwrap();
    assert_eq!(
        (judged.place, judged.trace.unwrap().path_mtu),
        (None, None),
        "a search that was cut short proves nothing"
    );
}

#[test]
fn on_the_link_the_neighbour_decides() {
    let on_link = Some((IfIndex(2), "eth0".to_owned()));
    let here = |method| Task { on_link: on_link.clone(), ..task(method) };
    let silent =
        |neighbour| Seen { neighbour, ..seen(path(ICMP, 0, End::Silent { last: None, asked: 30 }, None)) };
    let failed = judge(&here(Method::Icmp), &silent(Some(NeighbourState::Failed))).unwrap();
    assert_eq!(
        (failed.place, &*failed.detail),
        (Some(Place::Neighbour), "192.0.2.9 does not answer for its address on eth0 (failed)")
    );
    assert_eq!(place_of(&here(Method::Icmp), &silent(Some(NeighbourState::Reachable))), Some(Place::Port));
    assert_eq!(place_of(&here(Method::dns(53)), &silent(Some(NeighbourState::Stale))), Some(Place::Dns));
    assert_eq!(place_of(&here(Method::Icmp), &silent(None)), None);
}

#[test]
fn this_machines_own_refusal_is_its_place() {
    let refused = |refusal: Refusal| Seen { path: Err(refusal), ..reached(ICMP) };
    for (refusal, place) in [
        (Refusal::NoRoute, Place::Route),
        (Refusal::Forbidden, Place::Local),
        (Refusal::NoNeighbour, Place::Neighbour),
        (Refusal::NoSuchWay("no such device".to_owned()), Place::Local),
    ] {
        let judged = judge(&task(Method::Icmp), &refused(refusal.clone())).unwrap();
        assert_eq!((judged.place, judged.trace), (Some(place), None), "{refusal:?}");
        let routed = Seen { route: Err(refusal), ..reached(ICMP) };
        assert_eq!(place_of(&task(Method::Icmp), &routed), Some(place));
    }
    let failed = judge(&task(Method::Icmp), &refused(Refusal::Other("too many files".to_owned())));
    assert_eq!(failed, Err("too many files".to_owned()));
    // A look-up of the route that says nothing leaves the word to the trace.
    let odd = Seen { route: Err(Refusal::Other("?".to_owned())), ..reached(ICMP) };
    assert_eq!(judge(&task(Method::Icmp), &odd).unwrap().trace.unwrap().source, None);
}
