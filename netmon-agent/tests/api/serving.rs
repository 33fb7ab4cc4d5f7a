//! The socket's file, TCP, bad questions, the end.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use netmon_agent::{
    health::{AddressStats, State},
    observation::{ProbeDetail, ProbeOutcome, StampSource},
    output::api::{self, Options, SocketError},
    state::{AddressView, Snapshot, TargetView},
    time::{Moment, Mono},
};
use netmon_client::{Client, Error, EventOptions, WaitOptions};
use socket2::{Domain, Socket, Type};

use crate::world::{FRESH, World, read_all, until};

#[test]
fn bad_questions_are_answered_with_what_there_is() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let unknown = WaitOptions { device: Some("eth1".into()), ..WaitOptions::up() };
    assert!(matches!(world.client().wait(&unknown), Err(Error::NotFound(w)) if w.contains("eth0")));
    let device = WaitOptions { device: Some("eth0".into()), ..WaitOptions::up() };
    assert!(world.client().wait(&device).unwrap().satisfied);
    let expected = [
        ("/v1/wait?stat=up", "400 ", "state, stable, timeout, device, target"),
        ("/v1/wait?state=fine", "400 ", "up, usable, down, degraded"),
        ("/v1/wait?stable=5", "400 ", "10s"),
        ("/v1/wait?target=x", "404 ", "no target"),
        ("/v1/events?every=1", "400 ", "all"),
        ("/?state=fine", "400 ", "faulty"),
        ("/?q=x&sheet=2&part=live", "200 ", "No target is so"),
        ("/v1/nothing", "404 ", "/v1/status"),
        ("/healthz", "200 ", "ok"),
        ("/readyz", "200 ", "up"),
        ("/", "200 ", "<title>up – "),
    ];
    for (path, code, words) in expected {
        let answer = world.get(path);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(words),
            "{path}: {answer}"
        );
    }
    // HEAD ends with the head, which is all that is asked for here.
    for (id, code) in [("", "200 "), ("12", "200 "), ("12x", "400 "), ("-1", "400 ")] {
        let head = format!(
            "HEAD /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nLast-Event-ID: {id}\r\n\r\n"
        );
        assert!(world.raw(&head).starts_with(&format!("HTTP/1.1 {code}")), "{id:?}");
    }
    let posted =
        world.raw("POST /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("\"error\""));
}

#[test]
fn tcp_reads_and_does_not_wait() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let address = world.server.as_ref().unwrap().tcp()[0];
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        read_all(&mut stream)
    };
    let metrics = get("/metrics");
    assert!(
        metrics.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n")
    );
    assert!(metrics.contains("\nnetmon_state{state=\"up\"} 1\n"));
    assert!(get("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(get("/v1/wait?state=up").starts_with("HTTP/1.1 403 "));
    // Sixty-four are served; more are sent away.
    let held: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    until("a full house", || {
        let mut more = TcpStream::connect(address).unwrap();
        more.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        read_all(&mut more).starts_with("HTTP/1.1 503 ")
    });
    drop(held);
    until("room again", || get("/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn pages_left_open_keep_nobody_out() {
    let mut world = World::new(FRESH);
    world.publish(State::Up);
    let address = world.server.as_ref().unwrap().tcp()[0];
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    };
    let head = |mut stream: &TcpStream| {
        let mut start = [0; 13];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8(start.to_vec()).unwrap()
    };
    // Each page that is looked at has a stream. Half of the room is not theirs.
    let mut streams: Vec<TcpStream> = (0..32).map(|_| ask("/v1/events?connections=1")).collect();
    assert!(streams.iter().all(|stream| head(stream) == "HTTP/1.1 200 "));
    assert_eq!(head(&ask("/v1/events")), "HTTP/1.1 503 ");
    assert_eq!(head(&ask("/metrics")), "HTTP/1.1 200 ");
    // The page does not keep its connection, though it was not asked to close it: this reads to the end.
    let page = read_all(&mut ask("/?part=live"));
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("connection: close"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'; script-src 'sha256-"), "{page}");
    streams.clear();
    until("room for a stream again", || head(&ask("/v1/events")) == "HTTP/1.1 200 ");
    // Over the Unix socket there are as many as there are connections.
    let more: Vec<_> = (0..40).map(|_| world.client().events(EventOptions::default())).collect();
    for mut events in more {
        events.next().unwrap().unwrap();
    }
}

#[test]
fn pages_of_one_host_leave_places_to_another() {
    let mut world =
        World::with(FRESH, |o| o.listen = ["127.0.0.1:0", "[::1]:0"].map(|at| at.parse().unwrap()).into());
    world.publish(State::Up);
    let addresses = world.server.as_ref().unwrap().tcp().to_vec();
    let open = |from: usize| {
        let mut stream = TcpStream::connect(addresses[from]).unwrap();
        write!(stream, "GET /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut start = [0; 13];
        stream.read_exact(&mut start).unwrap();
        (stream, String::from_utf8(start.to_vec()).unwrap() == "HTTP/1.1 200 ")
    };
    let of_one: Vec<_> = (0..33).map(|_| open(0)).collect();
    assert_eq!(of_one.iter().filter(|(_, is_told)| *is_told).count(), 32);
    let of_another: Vec<_> = (0..17).map(|_| open(1)).collect();
    assert_eq!(of_another.iter().filter(|(_, is_told)| *is_told).count(), 16);
    // The newest of the first come to their end, whole; the others go on.
    for (n, (mut stream, _)) in of_one.into_iter().take(32).enumerate() {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        if n < 16 {
            assert!((0..5).all(|_| stream.read(&mut [0; 4096]).unwrap() > 0), "{n}");
        } else {
            assert!(read_all(&mut stream).ends_with("\r\n0\r\n\r\n"), "{n}");
        }
    }
}

#[test]
fn a_busy_port_is_said_and_the_socket_works_all_the_same() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let world = World::with(FRESH, |o| o.listen = vec![address]);
    let capability = &world.server.as_ref().unwrap().capabilities()[0];
    assert!(!capability.ok && capability.detail.contains(&address.to_string()));
    assert!(capability.remedy.contains(&format!("ss -ltnp 'sport = :{}'", address.port())));
    world.client().status().unwrap();
}

#[test]
fn the_socket_file_is_ours_alone() {
    let mut world = World::new(FRESH);
    let start = |socket: PathBuf| {
        let _inside = world.runtime.enter();
        api::start(world.board.clone(), Options { socket, ..Options::default() })
    };
    assert!(matches!(start(world.socket()), Err(SocketError::InUse(_))));
    let file = world.folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(start(file.clone()), Err(SocketError::NotASocket { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    world.stop();
    assert!(!world.socket().exists());
    // A socket left by an agent that was killed.
    drop(std::os::unix::net::UnixListener::bind(world.socket()).unwrap());
    world.start(|_| {});
    world.client().status().unwrap();
}

#[test]
fn shutting_down_answers_everybody_in_time() {
    let mut world = World::new(FRESH);
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let client = world.client();
            thread::spawn(move || client.wait(&WaitOptions::up()))
        })
        .collect();
    let mut events = world.client().events(EventOptions::default());
    events.next().unwrap().unwrap();
    let silent = UnixStream::connect(world.socket()).unwrap();
    until("fifty waiters", || world.waiters() == 50);
    let started = Mono::now();
    world.stop();
    assert!(Mono::now().since(started) < Duration::from_secs(10));
    for waiter in waiters {
        assert!(matches!(waiter.join().unwrap(), Err(Error::Busy { .. })));
    }
    assert!(events.next().unwrap().is_err());
    assert!(!world.socket().exists());
    drop(silent);
}

/// So many targets of one address and one reply.
fn watch(world: &World, targets: u32) {
    let target = |n: u32| {
        let mut stats = AddressStats::default();
        let rtt = Duration::from_micros(100 + u64::from(n));
        let reply = ProbeOutcome::Reply { rtt, stamp: StampSource::Kernel, ttl: Some(64), reordered: false };
        stats.record(Moment::now().mono, &reply);
        let address = AddressView {
            address: [10, 0, 0, 1].into(),
            state: State::Up,
            stats: Arc::new(stats),
            detail: ProbeDetail::default(),
        };
        let name = format!("t{n}").into();
        Arc::new(TargetView { name, addresses: vec![address], ..TargetView::default() })
    };
    let at = Moment::now();
    let targets = (0..targets).map(target).collect();
    world.board.publish(Snapshot { seq: 101, at, targets, ..Snapshot::default() }, []);
}

#[test]
fn what_is_sent_while_it_is_written_needs_no_room_among_unread_answers() {
    let world = World::with(FRESH, |o| o.unread = 1 << 20);
    watch(&world, 6000);
    let address = world.server.as_ref().unwrap().tcp()[0];
    let ask = |host: u8, path: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // What is not read stays with the agent, but for some megabytes that the kernel takes.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let head = |mut stream: &TcpStream| {
        let mut start = [0; 13];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8_lossy(&start).into_owned()
    };
    // The first may be as large as it is, and leaves nothing.
    let unread = ask(2, "/v1/status");
    assert_eq!(head(&unread), "HTTP/1.1 200 ");
    for path in ["/", "/v1/status", "/v1/history", "/v1/targets"] {
        assert_eq!(head(&ask(3, path)), "HTTP/1.1 503 ", "{path}");
    }
    let scrape = read_all(&mut ask(3, "/metrics"));
    assert!(scrape.starts_with("HTTP/1.1 200 ") && scrape.ends_with("\r\n0\r\n\r\n"));
    assert!(scrape.contains("target=\"t5999\""));
    // With fewer it is an answer like the others.
    watch(&world, 20);
    assert_eq!(head(&ask(3, "/metrics")), "HTTP/1.1 503 ");
    drop(unread);
    until("room again", || head(&ask(3, "/metrics")) == "HTTP/1.1 200 ");
}

#[test]
fn a_state_of_many_targets_is_told_to_many_at_once() {
    let world = World::new(FRESH);
    watch(&world, 300);
    let socket = world.socket();
    let ask = move || loop {
        match Client::new(&socket).status() {
            // It takes arithmetic, and a loaded machine may take long for that.
            Err(Error::Timeout) => {}
            told => break told.unwrap().targets,
        }
    };
    let askers: Vec<_> = (0..8).map(|_| thread::spawn(ask.clone())).collect();
    for asker in askers {
        let targets = asker.join().unwrap();
        assert_eq!(targets.len(), 300);
        let of_last = &targets[299].addresses[0];
        assert_eq!((of_last.replies, of_last.ttl), (1, Some(64)));
        for window in of_last.windows.values() {
            assert_eq!((window.probes, window.max_ns), (1, Some(399_000)));
        }
        assert_eq!(of_last.windows.keys().collect::<Vec<_>>(), ["1h", "1m", "5m"]);
    }
}
