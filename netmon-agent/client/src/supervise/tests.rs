use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use super::*;
use crate::{
    State, clock,
    events::tests::{HEAD, event},
    fake::Fake,
    wire::{ConnectionReport, ConnectionState},
};

/// Far beyond what anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// A connection that knows its number, and tells when it is closed and when it is gone.
struct Fragile {
    number: usize,
    works: AtomicBool,
    ends: mpsc::Sender<(usize, &'static str)>,
}

impl Fragile {
    fn close(&self) {
        let _ = self.ends.send((self.number, "closed"));
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        let _ = self.ends.send((self.number, "dropped"));
    }
}

/// Something to connect to.
#[derive(Clone)]
struct Server {
    made: Arc<AtomicUsize>,
    up: Arc<AtomicBool>,
    ends: Arc<Mutex<mpsc::Sender<(usize, &'static str)>>>,
}

fn server() -> (Server, mpsc::Receiver<(usize, &'static str)>) {
    let (sender, receiver) = mpsc::channel();
    let server = Server {
        made: Arc::default(),
        up: Arc::new(AtomicBool::new(true)),
        ends: Arc::new(Mutex::new(sender)),
    };
    (server, receiver)
}

impl Server {
    fn connect(&self) -> Result<Fragile, String> {
        if !self.up.load(SeqCst) {
            return Err("refused".to_owned());
        }
        let number = self.made.fetch_add(1, SeqCst) + 1;
        Ok(Fragile { number, works: AtomicBool::new(true), ends: self.ends.lock().unwrap().clone() })
    }
}

fn check(c: &Fragile) -> Result<(), &'static str> {
    if c.works.load(SeqCst) { Ok(()) } else { Err("silent") }
}

/// Soon enough for a test.
fn quick() -> SuperviseOptions {
    let mut options = SuperviseOptions::default();
    options.policy.initial = Duration::from_millis(10);
    options.check_interval = Duration::from_millis(20);
    options.check_failures = 1;
    options
}

fn supervise(supervisor: &Supervisor, server: &Server, options: SuperviseOptions) -> Supervised<Fragile> {
    let server = server.clone();
    let connect = move || server.connect();
    supervisor.supervise_with("link", options, connect, check, Fragile::close).unwrap()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::after(LONG).unwrap();
    while !condition() {
        assert!(clock::left(deadline).is_some(), "{what} never came about");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_connection_is_made_checked_and_made_anew() {
    let (server, ends) = server();
    let supervisor = Supervisor::without_agent().unwrap();
    let changes = supervisor.changes();
    let link = supervise(&supervisor, &server, quick());
    let first = link.wait(Some(LONG)).unwrap();
    assert_eq!((first.number, link.with(|c| c.number)), (1, Some(1)));
    until("a check", || link.snapshot().checks > 1);

    // Whoever uses it finds out first, …
    link.failed(&first, "broken pipe");
    link.failed(&first, "told twice");
    until("another", || link.with(|c| c.number) == Some(2));
    let snapshot = link.snapshot();
    assert_eq!((snapshot.losses, snapshot.reconnects), (1, 1));
    assert_eq!(snapshot.last_error.as_deref(), Some("broken pipe"));
    link.failed(&first, "of the one before");
    assert_eq!(ends.recv_timeout(LONG), Ok((1, "closed")));
    drop(first);
    assert_eq!(ends.recv_timeout(LONG), Ok((1, "dropped")));
    // … or a check.
    link.with(|c| c.works.store(false, SeqCst));
    until("a third", || link.with(|c| c.number) == Some(3));
    assert_eq!((link.snapshot().losses, link.snapshot().last_error.as_deref()), (2, Some("silent")));
    assert_eq!([ends.recv_timeout(LONG), ends.recv_timeout(LONG)], [Ok((2, "closed")), Ok((2, "dropped"))]);

    link.stop();
    assert_eq!([ends.recv_timeout(LONG), ends.recv_timeout(LONG)], [Ok((3, "closed")), Ok((3, "dropped"))]);
    assert_eq!((link.state(), link.wait(None).is_none()), (ConnectionState::Stopped, true));
    assert_eq!(supervisor.snapshots().len(), 1);
    drop(link);
    assert_eq!(supervisor.snapshots(), []);
    supervisor.stop();
    let states: Vec<ConnectionState> = changes
        .map(|update| match update {
            ConnectionUpdate::Changed(snapshot) => snapshot.state,
            ConnectionUpdate::Lagged(n) => panic!("{n} missed"),
        })
        .collect();
    use ConnectionState::{Connected, Connecting, Error, Stopped};
    let once = [Connecting, Connected, Error];
    assert_eq!(states, [&once[..], &once, &once[..2], &[Stopped]].concat());
}

#[test]
fn a_panic_is_an_error_like_any_other() {
    let supervisor = Supervisor::without_agent().unwrap();
    let calls = AtomicUsize::new(0);
    let connect = move || match calls.fetch_add(1, SeqCst) {
        0 => panic!("no luck at {}", "first"),
        n => Ok::<_, String>(n),
    };
    let changes = supervisor.changes();
    let health_check = |n: &usize| if *n == 1 { panic!("unlucky") } else { Ok::<_, String>(()) };
    let link =
        supervisor.supervise_with("link", quick(), connect, health_check, |_| panic!("closing")).unwrap();
    until("a connection that works", || link.with(|n| *n) == Some(2));
    let errors: Vec<String> = std::iter::from_fn(|| changes.try_recv())
        .filter_map(|update| match update {
            ConnectionUpdate::Changed(s) if s.state == ConnectionState::Error => s.last_error,
            _ => None,
        })
        .collect();
    assert_eq!(errors, ["panicked: no luck at first", "panicked: unlucky"]);
}

#[test]
fn what_hangs_is_given_up_and_holds_nobody_up() {
    let (server, ends) = server();
    let supervisor = Supervisor::without_agent().unwrap();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (release, released) = mpsc::channel::<()>();
    let (released, others, max) = (Mutex::new(released), running.clone(), most.clone());
    let connect = move || {
        max.fetch_max(others.fetch_add(1, SeqCst) + 1, SeqCst);
        // Until the test is done.
        let _ = released.lock().unwrap().recv();
        others.fetch_sub(1, SeqCst);
        server.connect()
    };
    let mut options = quick();
    options.policy.attempt_timeout = Some(Duration::from_millis(1));
    options.policy.max_delay = Duration::from_millis(10);
    let link = supervisor.supervise_with("link", options, connect, check, Fragile::close).unwrap();
    until("no more calls", || link.snapshot().last_error.is_some_and(|e| e.contains("4 earlier calls")));
    assert_eq!((running.load(SeqCst), most.load(SeqCst)), (4, 4));
    let before = clock::now();
    drop(link);
    supervisor.stop();
    assert!(clock::now().duration_since(before) < LONG / 2);
    // What comes after all is closed.
    drop(release);
    let mut told: Vec<_> = (0..8).map(|_| ends.recv_timeout(LONG).unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told[..4], [(1, "closed"), (1, "dropped"), (2, "closed"), (2, "dropped")]);
}

#[test]
fn a_check_that_hangs_ends_the_connection_which_ends_the_check() {
    let supervisor = Supervisor::without_agent().unwrap();
    let connect = || {
        let (sender, receiver) = mpsc::channel::<()>();
        Ok::<_, String>((Mutex::new(Some(sender)), Mutex::new(receiver)))
    };
    type Pipe = (Mutex<Option<mpsc::Sender<()>>>, Mutex<mpsc::Receiver<()>>);
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let health_check = move |(_, receiver): &Pipe| {
        let _ = receiver.lock().unwrap().recv();
        count.fetch_add(1, SeqCst);
        Ok::<_, String>(())
    };
    let options = SuperviseOptions {
        check_timeout: Duration::from_millis(20),
        slow_check: Duration::from_millis(10),
        ..quick()
    };
    let close = |(sender, _): &Pipe| drop(sender.lock().unwrap().take());
    let link = supervisor.supervise_with("link", options, connect, health_check, close).unwrap();
    until("three of them", || ended.load(SeqCst) >= 3);
    assert!(link.snapshot().last_error.unwrap().contains("no answer to a health check"));
}

#[test]
fn an_outage_that_the_agent_tells_of_pauses_and_its_end_resumes() {
    let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "down")), true)]);
    let supervisor = Supervisor::new(Monitor::connect(fake.path()).unwrap()).unwrap();
    let (server, _ends) = server();
    let link = supervise(&supervisor, &server, quick());
    let snapshot = link.snapshot();
    assert!(snapshot.paused && snapshot.network == State::Down && snapshot.attempts_total == 0);
    assert!(link.wait(Some(Duration::from_millis(50))).is_none());
    fake.say(&event(2, "up"));
    assert_eq!(link.wait(Some(LONG)).unwrap().number, 1);
    fake.hang_up();
    until("the loss of the agent", || link.snapshot().network == State::Unknown);
    assert_eq!(link.state(), ConnectionState::Connected);
}

#[test]
fn attempts_that_are_used_up_let_go_of_those_who_wait() {
    let (server, _ends) = server();
    server.up.store(false, SeqCst);
    let supervisor = Supervisor::without_agent().unwrap();
    let mut options = quick();
    options.policy.attempts = Some(2);
    let link = supervise(&supervisor, &server, options);
    assert!(link.wait(Some(LONG)).is_none());
    assert_eq!((link.state(), link.snapshot().attempts_total), (ConnectionState::Error, 2));
}

#[test]
fn names_are_unique_and_printable() {
    let supervisor = Supervisor::without_agent().unwrap();
    let supervise = |name: &str| {
        let options = SuperviseOptions::default();
        supervisor.supervise_with(name, options, || Err::<(), _>("no"), |()| Ok::<_, String>(()), |()| {})
    };
    let link = supervise("link").unwrap();
    assert_eq!(supervise("link").unwrap_err(), OptionsError::Taken("link".into()));
    assert!(matches!(supervise("").unwrap_err(), OptionsError::Name(_)));
    assert!(matches!(supervise("a\nb").unwrap_err(), OptionsError::Name(_)));
    drop(link);
    let again = supervise("link").unwrap();
    let agent = Client::new("/nowhere");
    assert!(matches!(supervisor.report_to(&agent, "\u{1b}"), Err(Error::BadRequest(_))));
    supervisor.stop();
    assert_eq!((again.state(), again.get()), (ConnectionState::Stopped, None));
}

/// Takes reports on as many connections as are made, and tells what it was told, `closed` where the other side ended a
/// connection. It closes one itself after so many requests. `answer` makes the head of an answer of a request's line.
pub(super) fn agent(
    each: usize,
    mut answer: impl FnMut(&str) -> &'static str + Send + 'static,
) -> (tempfile::TempDir, mpsc::Receiver<(usize, String, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            for _ in 0..each {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                let body = loop {
                    let text = String::from_utf8_lossy(&request);
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let length = head.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap();
                        if body.len() == length.parse::<usize>().unwrap() {
                            break Some((head.lines().next().unwrap().to_owned(), body.to_owned()));
                        }
                    }
                    match stream.read(&mut piece) {
                        Ok(n) if n > 0 => request.extend_from_slice(&piece[..n]),
                        _ => break None,
                    }
                };
                let ended = body.is_none();
                let (line, body) = body.unwrap_or_else(|| ("closed".to_owned(), String::new()));
                let answer = answer(&line);
                if tell.send((number, line, body)).is_err() {
                    return;
                }
                if ended {
                    break;
                }
                let length = "{}".len();
                let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: {length}\r\n\r\n{{}}");
            }
        }
    });
    (folder, told)
}

#[test]
fn connections_are_reported_and_reported_again_to_the_next_agent() {
    // Of each connection, the first three requests are answered.
    let (folder, told) = agent(3, |_| "200 OK");
    let (server, _ends) = server();
    let supervisor = Supervisor::without_agent().unwrap();
    let link = supervise(&supervisor, &server, quick());
    link.wait(Some(LONG)).unwrap();
    supervisor.report_to(&Client::new(folder.path().join("s")), "exporter").unwrap();
    let next = || told.recv_timeout(LONG).unwrap();
    let (number, line, body) = next();
    assert_eq!((number, line.as_str()), (0, "PUT /v1/connections/link HTTP/1.1"));
    let report: ConnectionReport = serde_json::from_str(&body).unwrap();
    assert_eq!((report.client.as_str(), report.state), ("exporter", ConnectionState::Connected));

    link.failed(&link.get().unwrap(), "x".repeat(1000));
    let mut reports = Vec::new();
    while reports.last().is_none_or(|r: &ConnectionReport| r.state != ConnectionState::Connected) {
        let (_, line, body) = next();
        assert!(line.starts_with("PUT "));
        reports.push(serde_json::from_str(&body).unwrap());
    }
    assert_eq!(reports.last().unwrap().last_error.as_ref().unwrap().len(), 256);
    assert_eq!(reports.last().unwrap().reconnects, 1);
    until("word of it", || supervisor.report_state().is_some_and(|s| s.connected && s.reported == 1));
}

#[test]
fn of_a_connection_that_is_not_kept_any_more_the_agent_is_told_until_it_takes_it() {
    let mut asked = 0;
    let (folder, told) = agent(usize::MAX, move |line| {
        asked += u32::from(line.starts_with("DELETE "));
        if asked == 1 { "429 Too Many Requests\r\nRetry-After: 0" } else { "200 OK" }
    });
    let (server, _ends) = server();
    let supervisor = Supervisor::without_agent().unwrap();
    let link = supervise(&supervisor, &server, quick());
    supervisor.report_to(&Client::new(folder.path().join("s")), "exporter").unwrap();
    until("word of it", || supervisor.report_state().is_some_and(|s| s.reported == 1));
    drop(link);
    until("the end of it", || supervisor.report_state().is_some_and(|s| s.reported == 0));
    supervisor.stop();
    let lines: Vec<_> = told.try_iter().map(|(_, line, _)| line).filter(|l| !l.starts_with("PUT ")).collect();
    let gone = "DELETE /v1/connections/link HTTP/1.1";
    assert_eq!(lines[..2], [gone, gone], "{lines:?}");
}

#[test]
fn an_agent_that_takes_no_reports_is_told_of() {
    let (folder, told) = agent(usize::MAX, |_| "404 Not Found");
    let (server, _ends) = server();
    let supervisor = Supervisor::without_agent().unwrap();
    let _link = supervise(&supervisor, &server, quick());
    supervisor.report_to(&Client::new(folder.path().join("s")), "exporter").unwrap();
    told.recv_timeout(LONG).unwrap();
    until("the error", || supervisor.report_state().is_some_and(|s| s.last_error.is_some()));
    assert!(!supervisor.report_state().unwrap().connected);
    assert_eq!(told.recv_timeout(LONG).unwrap().1, "closed", "not held through the pause");
    let before = clock::now();
    supervisor.stop();
    assert!(clock::now().duration_since(before) < LONG / 2, "it pauses a minute, but not for its end");
}
