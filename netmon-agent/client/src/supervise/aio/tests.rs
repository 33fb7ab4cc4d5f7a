//! The async shell around the machine, mostly in the runtime's own time, which goes on when nothing else is to be done.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{super::tests::agent, *};
use crate::{
    State,
    events::tests::{HEAD, event},
    fake::Fake,
    retry::Jitter,
    wire::ConnectionReport,
};

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Far beyond what anything here takes in real time.
const LONG: Duration = s(30);

/// What became of connections and calls.
type Log = Arc<Mutex<Vec<String>>>;

/// Tells when it is dropped, if there is something to tell.
struct Noted(Log, String);

impl Drop for Noted {
    fn drop(&mut self) {
        if !self.1.is_empty() {
            self.0.lock().unwrap().push(std::mem::take(&mut self.1));
        }
    }
}

struct Fragile {
    number: usize,
    works: AtomicBool,
    ends: Notify,
    noted: Noted,
}

impl Supervise for Fragile {
    type Error = &'static str;

    async fn closed(&self) -> &'static str {
        self.ends.notified().await;
        "reset by peer"
    }

    async fn check(&self) -> Result<(), &'static str> {
        let _under_way = Noted(self.noted.0.clone(), format!("check {}", self.number));
        if !self.works.load(SeqCst) {
            pending().await
        }
        Ok(())
    }

    fn close(&self) {
        self.noted.0.lock().unwrap().push(format!("closed {}", self.number));
    }
}

/// Something to connect to, in no time; `hangs`, or refuses.
#[derive(Clone, Default)]
struct Server {
    attempts: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    log: Log,
}

impl Server {
    async fn connect(self) -> Result<Fragile, &'static str> {
        self.attempts.fetch_add(1, SeqCst);
        if self.refuses.load(SeqCst) {
            return Err("refused");
        }
        let mut under_way = Noted(self.log.clone(), "attempt".to_owned());
        if self.hangs.load(SeqCst) {
            pending().await
        }
        under_way.1.clear();
        let number = self.made.fetch_add(1, SeqCst) + 1;
        let noted = Noted(self.log, format!("dropped {number}"));
        Ok(Fragile { number, works: AtomicBool::new(true), ends: Notify::new(), noted })
    }

    fn attempts(&self) -> usize {
        self.attempts.load(SeqCst)
    }

    /// What happened since the last question, but for checks.
    fn log(&self) -> Vec<String> {
        let mut all = std::mem::take(&mut *self.log.lock().unwrap());
        all.retain(|what| !what.starts_with("check"));
        all
    }
}

fn exact() -> SuperviseOptions {
    let mut options = SuperviseOptions::default();
    options.policy.jitter = Jitter::None;
    options
}

fn supervise(supervisor: &Supervisor, server: &Server, options: SuperviseOptions) -> Supervised<Fragile> {
    let server = server.clone();
    supervisor.supervise_with("link", options, move || server.clone().connect()).unwrap()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let about = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(s(120), about).await.unwrap_or_else(|_| panic!("{what} never came about"));
}

/// About so long; timers of tokio are late by milliseconds.
fn about(took: Duration, most: Duration) -> bool {
    took >= most && took < most + Duration::from_millis(50)
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_made_watched_and_made_anew() {
    let server = Server::default();
    let supervisor = Supervisor::without_agent();
    let mut changes = supervisor.changes();
    let link = supervise(&supervisor, &server, exact());
    let first = link.wait().await.unwrap();
    assert_eq!((first.number, link.with(|c| c.number)), (1, Some(1)));
    sleep(s(31)).await;
    assert_eq!((link.snapshot().checks, link.snapshot().failed_checks), (1, 0));

    // Its own word, …
    let before = Instant::now();
    first.ends.notify_one();
    until("the loss", || link.get().is_none()).await;
    let second = link.wait().await.unwrap();
    assert!(about(before.elapsed(), s(1)), "{:?}", before.elapsed());
    assert_eq!((second.number, link.snapshot().last_error.as_deref()), (2, Some("reset by peer")));
    assert_eq!(server.log(), ["closed 1"]);
    drop(first);
    assert_eq!(server.log(), ["dropped 1"]);

    // … whoever uses it, which is heard at once and once, …
    link.failed(&second, "broken pipe");
    assert!(link.get().is_none());
    link.failed(&second, "told twice");
    drop(second);
    let third = link.wait().await.unwrap();
    assert_eq!((third.number, link.snapshot().losses, link.snapshot().reconnects), (3, 2, 2));
    assert_eq!(server.log(), ["closed 2", "dropped 2"]);

    // … or a check that takes longer than it may, and is dropped.
    third.works.store(false, SeqCst);
    drop(third);
    let before = Instant::now();
    until("the loss", || link.get().is_none()).await;
    assert!(about(before.elapsed(), s(30 + 10)), "{:?}", before.elapsed());
    assert_eq!(link.wait().await.unwrap().number, 4);
    assert_eq!(server.log(), ["closed 3", "dropped 3"]);

    link.stop();
    assert_eq!((link.state(), link.wait().await.is_none()), (ConnectionState::Stopped, true));
    until("the end of its task", || server.log.lock().unwrap().iter().any(|what| what == "dropped 4")).await;
    drop(link);
    assert_eq!(supervisor.snapshots(), []);
    supervisor.stop();
    let mut states = Vec::new();
    while let Some(ConnectionUpdate::Changed(snapshot)) = changes.recv().await {
        states.push(snapshot.state);
    }
    use ConnectionState::{Connected, Connecting, Error, Stopped};
    let once = [Connecting, Connected, Error];
    assert_eq!(states, [&once[..], &once, &once, &once[..2], &[Stopped]].concat());
}

#[tokio::test(start_paused = true)]
async fn an_outage_pauses_and_its_end_resumes() {
    let server = Server::default();
    let supervisor = Supervisor::without_agent();
    supervisor.shared.network(State::Down);
    let mut options = exact();
    options.policy.attempts = Some(1);
    let link = supervise(&supervisor, &server, options);
    sleep(s(3600)).await;
    assert!(link.snapshot().paused && server.attempts() == 0);
    let back = Instant::now();
    supervisor.shared.network(State::Up);
    link.wait().await.unwrap();
    assert!(back.elapsed() <= s(10) + Duration::from_millis(50), "{:?}", back.elapsed());
    assert_eq!(server.attempts(), 1);

    // One that is held is checked at the outage's end, by the strict rule, and made anew at once.
    supervisor.shared.network(State::Down);
    link.with(|c| c.works.store(false, SeqCst));
    sleep(s(3600)).await;
    assert_eq!((link.state(), link.snapshot().checks), (ConnectionState::Connected, 0));
    let back = Instant::now();
    supervisor.shared.network(State::Up);
    // The moment of the next attempt may have come by then.
    until("the loss", || link.with(|c| c.number) != Some(1)).await;
    assert!(about(back.elapsed(), Duration::from_millis(2500)), "{:?}", back.elapsed());
    assert_eq!(link.wait().await.unwrap().number, 2);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_or_is_not_wanted_any_more_is_dropped() {
    let server = Server::default();
    server.hangs.store(true, SeqCst);
    let supervisor = Supervisor::without_agent();
    let link = supervise(&supervisor, &server, exact());
    sleep(s(29)).await;
    assert_eq!((server.log(), link.state()), (vec![], ConnectionState::Connecting));
    sleep(Duration::from_millis(1500)).await;
    assert_eq!((server.log(), link.state()), (vec!["attempt".to_owned()], ConnectionState::Error));
    sleep(s(1)).await;
    assert_eq!((server.attempts(), link.state()), (2, ConnectionState::Connecting));
    // With the one who wants it, …
    drop(link);
    until("its end", || !server.log().is_empty()).await;
    // … with all of them, …
    let link = supervise(&supervisor, &server, exact());
    until("an attempt", || server.attempts() == 3).await;
    supervisor.stop();
    until("its end", || !server.log().is_empty()).await;
    assert_eq!((link.state(), link.wait().await.is_none()), (ConnectionState::Stopped, true));
    let supervised = link.shared.add("other", exact(), link.link.clone());
    assert_eq!(supervised.unwrap_err(), OptionsError::Stopped);
    // … and with the runtime.
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let supervisor = Supervisor::without_agent();
        let link = runtime.block_on(async {
            let link = supervise(&supervisor, &server, exact());
            until("an attempt", || server.attempts() == 4).await;
            link
        });
        drop(runtime);
        (server.log(), link.state())
    });
    assert_eq!(other.join().unwrap(), (vec!["attempt".to_owned()], ConnectionState::Stopped));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_may_be_dropped_and_is_let_go_when_there_will_be_none() {
    let server = Server::default();
    server.refuses.store(true, SeqCst);
    let supervisor = Supervisor::without_agent();
    let mut options = exact();
    options.policy.attempts = Some(3);
    let link = supervise(&supervisor, &server, options);
    for _ in 0..500 {
        assert!(timeout(Duration::from_millis(1), link.wait()).await.is_err());
    }
    assert_eq!(link.wait().await.map(|c| c.number), None);
    assert_eq!((link.state(), link.snapshot().gave_up, server.attempts()), (ConnectionState::Error, true, 3));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_like_any_other() {
    struct Unlucky(usize);
    impl Supervise for Unlucky {
        type Error = String;

        async fn closed(&self) -> String {
            if self.0 == 1 { panic!("unlucky") } else { pending().await }
        }

        async fn check(&self) -> Result<(), String> {
            if self.0 == 2 { panic!("unhealthy") } else { Ok(()) }
        }

        fn close(&self) {
            panic!("closing")
        }
    }
    let supervisor = Supervisor::without_agent();
    let mut changes = supervisor.changes();
    let calls = AtomicUsize::new(0);
    let connect = move || {
        let call = calls.fetch_add(1, SeqCst);
        async move { if call == 0 { panic!("no luck at {}", "first") } else { Ok::<_, String>(Unlucky(call)) } }
    };
    let link = supervisor
        .supervise_with("link", SuperviseOptions { check_failures: 1, ..exact() }, connect)
        .unwrap();
    until("a connection that works", || link.with(|c| c.0) == Some(3)).await;
    sleep(s(60)).await;
    assert_eq!(link.state(), ConnectionState::Connected);
    let errors: Vec<String> = std::iter::from_fn(|| changes.try_recv())
        .filter_map(|update| match update {
            ConnectionUpdate::Changed(s) if s.state == ConnectionState::Error => s.last_error,
            _ => None,
        })
        .collect();
    assert_eq!(errors, ["panicked: no luck at first", "panicked: unlucky", "panicked: unhealthy"]);
}

#[tokio::test]
async fn the_agent_s_word_is_followed() {
    let fake = Fake::start(vec![(format!("{HEAD}{}", event(1, "down")), true)]);
    let supervisor = Supervisor::new(Monitor::connect(fake.path()).await);
    let server = Server::default();
    let link = supervise(&supervisor, &server, exact());
    assert!(timeout(Duration::from_millis(50), link.wait()).await.is_err());
    assert!(link.snapshot().paused && server.attempts() == 0);
    fake.say(&event(2, "up"));
    assert_eq!(timeout(LONG, link.wait()).await.unwrap().unwrap().number, 1);
    fake.hang_up();
    until("the loss of the agent", || link.snapshot().network == State::Unknown).await;
    assert_eq!(link.state(), ConnectionState::Connected);
}

#[tokio::test]
async fn connections_are_reported_and_reported_again_to_the_next_agent() {
    // Of each connection, the first three requests are answered.
    let (folder, told) = agent(3, |_| "200 OK");
    let agent = Client::new(folder.path().join("s"));
    let server = Server::default();
    let supervisor = Supervisor::without_agent();
    let mut options = exact();
    options.policy.initial = Duration::from_millis(10);
    let link = supervise(&supervisor, &server, options);
    link.wait().await.unwrap();
    assert!(matches!(supervisor.report_to(&agent, "\u{1b}"), Err(Error::BadRequest(_))));
    supervisor.report_to(&agent, "exporter").unwrap();
    let next = async || {
        let report = async {
            loop {
                match told.try_recv() {
                    Ok((number, line, body)) => {
                        assert_eq!(line, "PUT /v1/connections/link HTTP/1.1");
                        break (number, serde_json::from_str::<ConnectionReport>(&body).unwrap());
                    }
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(LONG, report).await.unwrap()
    };
    let (mut number, mut report) = next().await;
    assert_eq!((number, report.client.as_str(), report.state), (0, "exporter", ConnectionState::Connected));
    // Until the agent has closed the connection, and another one told of what had become of it meanwhile.
    while number == 0 || report.state != ConnectionState::Connected {
        if report.state == ConnectionState::Connected {
            link.failed(&link.wait().await.unwrap(), "x".repeat(1000));
        }
        (number, report) = next().await;
    }
    assert!(report.last_error.unwrap().len() == 256 && report.reconnects > 0);
    until("word of it", || supervisor.report_state().is_some_and(|s| s.connected && s.reported == 1)).await;
}

#[tokio::test]
async fn of_a_connection_that_is_not_kept_any_more_the_agent_is_told_until_it_takes_it() {
    let mut asked = 0;
    let (folder, told) = agent(usize::MAX, move |line| {
        asked += u32::from(line.starts_with("DELETE "));
        if asked == 1 { "429 Too Many Requests\r\nRetry-After: 0" } else { "200 OK" }
    });
    let agent = Client::new(folder.path().join("s"));
    let supervisor = Supervisor::without_agent();
    let link = supervise(&supervisor, &Server::default(), exact());
    supervisor.report_to(&agent, "exporter").unwrap();
    until("word of it", || supervisor.report_state().is_some_and(|s| s.reported == 1)).await;
    drop(link);
    until("the end of it", || supervisor.report_state().is_some_and(|s| s.reported == 0)).await;
    // The next one begins when this one has ended.
    supervisor.report_to(&agent, "exporter").unwrap();
    until("another session", || supervisor.report_state().is_some_and(|s| s.connected)).await;
    drop(supervisor);
    let mut lines = Vec::new();
    let mut ended = 0;
    until("the end of both", || {
        let new: Vec<_> =
            told.try_iter().map(|(_, line, _)| line).filter(|l| !l.starts_with("PUT ")).collect();
        ended += new.iter().filter(|line| *line == "closed").count();
        lines.extend(new);
        ended == 2
    })
    .await;
    let gone = "DELETE /v1/connections/link HTTP/1.1";
    assert_eq!(lines, [gone, gone, "closed", "closed"]);
}

#[tokio::test]
async fn an_agent_that_takes_no_reports_is_told_of_and_left_alone() {
    let (folder, told) = agent(usize::MAX, |_| "404 Not Found");
    let supervisor = Supervisor::without_agent();
    let _link = supervise(&supervisor, &Server::default(), exact());
    supervisor.report_to(&Client::new(folder.path().join("s")), "exporter").unwrap();
    until("the error", || supervisor.report_state().is_some_and(|s| s.last_error.is_some())).await;
    assert!(!supervisor.report_state().unwrap().connected);
    let mut lines = Vec::new();
    until("the end of the connection", || {
        lines.extend(told.try_iter().map(|(_, line, _)| line));
        lines.last().is_some_and(|line| line == "closed")
    })
    .await;
    assert_eq!(lines.len(), 2, "{lines:?}");
}
