//! The retry budget, over the socket.

use std::{io::Write, net::TcpStream};

use crate::world::{FRESH, World, read_all};

#[test]
fn the_retry_budget_is_asked_by_post_and_nothing_else_is() {
    let small = netmon_agent::budget::Settings { tokens: 20, per_second: 0.001, ..Default::default() };
    let world = World::with(FRESH, |o| o.retry = small);
    let ask = |method: &str, path: &str| {
        world.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    let asked = "/v1/retry-budget?kind=transient";
    for (method, path, code, words) in [
        ("POST", asked, "200 ", "\"granted\":true,\"cost\":14,\"tokens\":6,\"retry_after\":0"),
        ("POST", asked, "409 ", "\"granted\":false,\"cost\":14,\"tokens\":6"),
        ("POST", "/v1/retry-budget?kind=throttle", "200 ", "\"tokens\":1,"),
        ("POST", "/v1/retry-budget?kind=success&cost=14", "200 ", "\"tokens\":15,"),
        ("POST", "/v1/retry-budget", "400 ", "kind= is missing"),
        ("GET", asked, "405 ", "POST only"),
        ("PUT", asked, "405 ", "POST only"),
        ("DELETE", asked, "405 ", "POST only"),
        ("POST", "/v1/status", "405 ", "GET only"),
        ("POST", "/v1/wait", "405 ", "GET only"),
        ("POST", "/v1/events", "405 ", "GET only"),
        ("POST", "/metrics", "405 ", "GET only"),
        ("POST", "/", "405 ", "GET only"),
        ("POST", "/v1/nothing", "404 ", "/v1/retry-budget"),
    ] {
        let answer = ask(method, path);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(words),
            "{method} {path}: {answer}"
        );
    }
    let refused = ask("POST", "/v1/retry-budget?kind=transient");
    assert!(refused.starts_with("HTTP/1.1 200 "), "what came back is there: {refused}");
    let again = ask("POST", "/v1/retry-budget?kind=transient");
    let wait = again.lines().find_map(|l| l.strip_prefix("retry-after: ")).unwrap();
    assert!(wait.parse::<u64>().unwrap() > 1000, "{again}");
    let metrics = world.get("/metrics");
    for line in [
        "netmon_retry_budget_requests_total{result=\"granted\"} 3",
        "netmon_retry_budget_requests_total{result=\"refused\"} 2",
        "netmon_retry_budget_requests_total{result=\"returned\"} 1",
        "netmon_retry_budget_requests_total{result=\"bad_request\"} 1",
        "netmon_retry_budget_tokens 1.",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Over TCP, whoever that is has no part in it.
    let mut stream = TcpStream::connect(world.server.as_ref().unwrap().tcp()[0]).unwrap();
    write!(stream, "POST {asked} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 403 "));
}
