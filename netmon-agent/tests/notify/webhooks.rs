use std::{
    io::Write,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use netmon_agent::{
    health::State::{Degraded, Down, Up},
    output::notify::webhook::sign::signature,
};

use crate::{
    receiver::{Authority, answers, listen, serve, serve_tls},
    world::{World, until},
};

const HERE: &str = "insecure = true\nallow_private = true\n";

fn hook(url: &str, rest: &str) -> String {
    format!("[[notify.webhook]]\nname = \"hook\"\nurl = \"{url}\"\n{rest}\n")
}

fn plain(port: u16, rest: &str) -> World {
    World::new(&hook(&format!("http://127.0.0.1:{port}/hook?key=k"), &format!("{HERE}{rest}")))
}

fn localhost(_: &str) -> Result<Vec<IpAddr>, String> {
    Ok(vec!["127.0.0.1".parse().expect("as it is set up here")])
}

fn secret(folder: &Path, text: &str) -> String {
    let path = folder.join("secret");
    std::fs::write(&path, text).expect("as it is set up here");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("as it is set up here");
    path.display().to_string()
}

#[test]
fn a_notice_is_sent_by_tls_signed_and_whole() {
    let (port, seen, authority) = serve_tls(&["hooks.example"], answers(&["204 No Content"]));
    let folder = tempfile::tempdir().unwrap();
    let file = secret(folder.path(), "s3cr3t\n");
    let rest = format!(
        "ca_file = \"{}\"\nallow = [\"127.0.0.1\"]\nsecret_file = \"{file}\"\nauthorization_file = \"{file}\"",
        authority.file.display()
    );
    let mut world =
        World::with_names(&hook(&format!("https://hooks.example:{port}/a?b=c"), &rest), localhost);
    let seq = world.network(Down);
    world.await_count("hook", "delivered", 1);
    let requests = seen.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert!(request.head.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("host"), format!("hooks.example:{port}"));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("authorization"), "s3cr3t");
    let json = request.json();
    assert_eq!((&json["state"], &json["previous"]), (&"down".into(), &"unknown".into()));
    assert_eq!((json["seq"].as_u64(), &json["version"]), (Some(seq), &1.into()));
    assert_eq!(json["id"], request.header("netmon-delivery"));
    let signed = request.header("netmon-signature");
    let at: u64 = signed.strip_prefix("t=").and_then(|r| r.split_once(',')).unwrap().0.parse().unwrap();
    assert_eq!(signed, signature(b"s3cr3t", at, request.body.as_bytes()));
    world.stop();
}

#[test]
fn who_is_not_vouched_for_is_told_nothing() {
    let (port, seen, _) = serve_tls(&["hooks.example"], answers(&["200 OK"]));
    let (named, seen_named, authority) = serve_tls(&["other.example"], answers(&["200 OK"]));
    let stranger = Authority::new();
    let one = |name: &str, port: u16, authority: &Authority| {
        format!(
            "[[notify.webhook]]\nname = \"{name}\"\nurl = \"https://hooks.example:{port}/\"\n\
             allow_private = true\nca_file = \"{}\"\n",
            authority.file.display()
        )
    };
    let toml = one("stranger", port, &stranger) + &one("name", named, &authority);
    let mut world = World::with_names(&toml, localhost);
    world.network(Up);
    until("tried again", || (world.retries("stranger") > 0 && world.retries("name") > 0).then_some(()));
    assert!(seen.connections() > 0 && seen_named.connections() > 0);
    assert!(seen.requests().is_empty() && seen_named.requests().is_empty());
    world.stop();
}

#[test]
fn what_passes_is_tried_again_and_is_the_same_notice() {
    let (port, seen) = serve(answers(&["503 Busy\r\nRetry-After: 1", "500 Oh", "200 OK"]));
    let mut world = plain(port, "");
    world.network(Down);
    world.network(Up);
    world.await_count("hook", "delivered", 2);
    let requests = seen.requests();
    let told: Vec<_> = requests.iter().map(|r| r.json()["state"].clone()).collect();
    assert_eq!(told, ["down", "down", "down", "up"], "in their order");
    assert_eq!(requests[0].body, requests[2].body);
    assert_eq!(requests[0].header("netmon-delivery"), requests[2].header("netmon-delivery"));
    assert_ne!(requests[2].header("netmon-delivery"), requests[3].header("netmon-delivery"));
    assert_eq!(world.retries("hook"), 2);
    world.stop();
}

#[test]
fn a_change_of_the_configuration_loses_nothing_that_is_on_its_way() {
    let (port, seen) = serve(answers(&["503 Busy\r\nRetry-After: 1000", "200 OK"]));
    let mut world = plain(port, "");
    world.network(Down);
    until("tried", || (seen.requests().len() == 1).then_some(()));
    // It waits for long, and another behind it.
    world.network(Up);
    world.configure(&hook(&format!("http://127.0.0.1:{port}/hook?key=k"), &format!("{HERE}queue = 7")));
    world.await_count("hook", "delivered", 2);
    let requests = seen.requests();
    let told: Vec<_> = requests.iter().map(|r| r.json()["state"].clone()).collect();
    assert_eq!(told, ["down", "down", "up"]);
    assert_eq!(requests[0].header("netmon-delivery"), requests[1].header("netmon-delivery"));
    assert_eq!(world.count("hook", "dropped"), 0);
    world.stop();
}

#[test]
fn what_will_never_be_taken_is_not_tried_again() {
    let (elsewhere, seen_elsewhere) = serve(answers(&["200 OK"]));
    let redirect = format!("307 Go\r\nLocation: http://127.0.0.1:{elsewhere}/");
    let (port, seen) = serve(answers(&[&redirect, "404 Not Found", "401 No", "200 OK"]));
    let mut world = plain(port, "");
    for state in [Up, Down, Degraded, Up] {
        world.network(state);
    }
    world.await_count("hook", "delivered", 1);
    assert_eq!((world.count("hook", "failed"), world.retries("hook")), (3, 0));
    assert_eq!((seen.requests().len(), seen_elsewhere.connections()), (4, 0));
    world.stop();
}

#[test]
fn a_body_of_ones_own_stays_json_whatever_is_filled_in() {
    let (port, seen) = serve(answers(&["200 OK"]));
    let body = "body = '{\"text\": \"{subject} is {state}: {reasons}\"}'\nsubjects = [\"target:*\"]";
    let mut world = plain(port, body);
    world.target("a\"}, \\", Down);
    world.await_count("hook", "delivered", 1);
    let text = seen.requests()[0].json()["text"].as_str().unwrap().to_owned();
    assert_eq!(text, "a\"}, \\ is down: no_carrier eth0: no \"carrier\"");
    world.stop();
}

#[test]
fn an_address_that_is_not_allowed_is_never_connected_to_whatever_the_name_says() {
    let (port, seen) = serve(answers(&["200 OK"]));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    // Allowed is what the name says first: 127.0.0.2, where nobody listens. Then it says what would answer.
    let names = move |_: &str| {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        let found =
            if first { &["127.0.0.2"][..] } else { &["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"] };
        Ok(found.iter().map(|a| a.parse().unwrap()).collect())
    };
    let url = format!("http://hooks.example:{port}/");
    let mut world = World::with_names(&hook(&url, "insecure = true\nallow = [\"127.0.0.2\"]"), names);
    world.network(Up);
    until("tried three times", || (asked.load(Ordering::Relaxed) >= 3).then_some(()));
    assert_eq!(seen.connections(), 0);
    world.stop();
}

#[test]
fn of_several_addresses_the_next_is_tried() {
    let (port, seen) = serve(answers(&["200 OK"]));
    let names = |_: &str| Ok(["127.0.0.3", "127.0.0.1"].iter().map(|a| a.parse().unwrap()).collect());
    let mut world = World::with_names(&hook(&format!("http://hooks.example:{port}/"), HERE), names);
    world.network(Up);
    world.await_count("hook", "delivered", 1);
    assert_eq!((seen.connections(), world.retries("hook")), (1, 0));
    world.stop();
}

/// One bad attempt of each kind, and then a good one: each is over, and none holds up the next for long.
#[test]
fn receivers_that_behave_badly_cost_one_attempt_each() {
    let (port, seen) = listen("127.0.0.1".parse().unwrap(), |n, mut stream, _| match n {
        // Silent.
        0 => thread::sleep(Duration::from_secs(1000)),
        // Resets.
        1 => {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        // Ends without a word.
        2 => {}
        // No HTTP.
        3 => drop(stream.write_all(b"SSH-2.0-x\r\n\r\n")),
        // A head without an end.
        4 => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").is_ok() {}
        }
        // A head, letter by letter.
        5 => {
            for letter in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
                thread::sleep(Duration::from_millis(100));
                if stream.write_all(&[*letter]).is_err() {
                    return;
                }
            }
        }
        // A body without an end: it was taken all the same.
        _ => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n");
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }
    });
    let mut world = plain(port, "timeout = \"1s\"");
    world.network(Up);
    world.await_count("hook", "delivered", 1);
    // On a machine that is busy the good one may be late, too.
    assert!(seen.connections() >= 7, "{}", seen.connections());
    assert_eq!(world.retries("hook") as usize, seen.connections() - 1);
    world.stop();
}

/// A port of loopback where nobody listens now.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .expect("as it is set up here")
        .local_addr()
        .expect("as it is set up here")
        .port()
}

#[test]
fn an_outage_costs_no_attempts_and_its_end_delivers() {
    let (port, seen) = listen("127.0.0.1".parse().unwrap(), |n, mut stream, _| {
        if n > 0 {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut world = plain(port, "states = [\"down\"]");
    world.network(Down);
    until("tried once", || (seen.connections() == 1).then_some(()));
    // In as long several would have been made.
    thread::sleep(Duration::from_secs(3));
    assert_eq!((seen.connections(), world.retries("hook")), (1, 0));
    world.network(Degraded);
    world.await_count("hook", "delivered", 1);
    assert_eq!((seen.connections(), world.retries("hook")), (2, 1));
    world.stop();
}

#[test]
fn what_can_t_be_delivered_for_too_long_is_given_up_and_the_newest_goes_on() {
    let port = closed_port();
    let mut world = plain(port, "max_age = \"2s\"\nqueue = 2");
    world.network(Up);
    until("tried", || (world.retries("hook") > 0).then_some(()));
    for _ in 0..5 {
        world.network(Degraded);
        world.network(Up);
    }
    until("collapsed", || (world.count("hook", "collapsed") >= 8).then_some(()));
    until("given up", || (world.count("hook", "expired") >= 1).then_some(()));
    // The receiver is there at last, and is told how it is now.
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    until("delivered", || (world.count("hook", "delivered") >= 1).then_some(()));
    let sum = |results: &[&str]| results.iter().map(|r| world.count("hook", r)).sum::<u64>();
    until("all accounted for", || {
        (sum(&["delivered", "expired", "collapsed", "dropped"]) == 11).then_some(())
    });
    world.stop();
}

#[test]
fn nothing_is_sent_unsigned_where_the_secret_can_t_be_read() {
    let (port, seen) = serve(answers(&["200 OK"]));
    let folder = tempfile::tempdir().unwrap();
    let file = secret(folder.path(), "");
    let mut world = plain(port, &format!("secret_file = \"{file}\""));
    world.network(Up);
    until("tried again", || (world.retries("hook") > 0).then_some(()));
    assert_eq!(seen.connections(), 0);
    secret(folder.path(), "now");
    world.await_count("hook", "delivered", 1);
    assert!(!seen.requests()[0].header("netmon-signature").is_empty());
    world.stop();
}

#[test]
fn the_end_of_the_agent_does_not_wait_for_a_receiver() {
    let mut world = plain(closed_port(), "");
    world.network(Up);
    until("tried", || (world.retries("hook") > 1).then_some(()));
    world.network(Degraded);
    let own = world.own.clone();
    world.stop();
    assert_eq!(own.notify.notices.with_label_values(&["hook", "dropped"]).get(), 2);
}
