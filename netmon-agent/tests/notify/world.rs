//! A board, the service that tells of it, and who is told.

use std::{
    net::IpAddr,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use netmon_agent::{
    config::Config,
    health::{Reason, ReasonCode, State, Subject, Verdict},
    output::{
        metrics::Own,
        notify::{LookUp, Service},
    },
    state::{Board, ChangeEvent, Snapshot, TargetView},
    time::Moment,
};

/// Far beyond what anything here takes, even on a loaded machine.
const LONG: Duration = Duration::from_secs(300);

pub struct World {
    board: Board,
    pub own: Own,
    service: Service,
    shown: Snapshot,
}

impl World {
    /// Whom this configuration tells; names are looked up by `look_up`.
    pub fn with_names(
        toml: &str,
        look_up: impl Fn(&str) -> Result<Vec<IpAddr>, String> + Send + Sync + 'static,
    ) -> Self {
        let shown = Snapshot { seq: 100, at: Moment::now(), ..Snapshot::default() };
        let (board, own) = (Board::new(shown.clone(), LONG), Own::new());
        let look_up: LookUp = Arc::new(move |name| {
            let found = look_up(&name);
            Box::pin(async move { found })
        });
        let service = Service::new(board.clone(), own.notify.clone(), look_up, None);
        let mut world = Self { board, own, service, shown };
        world.configure(toml);
        world
    }

    /// Without names.
    pub fn new(toml: &str) -> Self {
        Self::with_names(toml, |name| panic!("{name} was looked up"))
    }

    pub fn configure(&mut self, toml: &str) {
        let config = Config::parse(toml, Path::new("test.toml")).unwrap_or_else(|e| panic!("{e}"));
        self.service.configure(&config.notifiers).expect("a thread");
    }

    /// The network has this state now; the number of the change.
    pub fn network(&mut self, state: State) -> u64 {
        let previous = std::mem::replace(&mut self.shown.verdict, verdict(state)).state;
        self.publish(Subject::Network, previous, state)
    }

    /// A target has this state now; the number of the change.
    pub fn target(&mut self, name: &str, state: State) -> u64 {
        let view = TargetView { name: name.into(), verdict: verdict(state), ..TargetView::default() };
        let known = self.shown.targets.iter().position(|t| &*t.name == name);
        let previous = match known {
            Some(at) => std::mem::replace(&mut self.shown.targets[at], Arc::new(view)).verdict.state,
            None => {
                self.shown.targets.push(Arc::new(view));
                State::Unknown
            }
        };
        self.publish(Subject::Target(name.to_owned()), previous, state)
    }

    /// A target is no more.
    pub fn remove_target(&mut self, name: &str) {
        self.shown.targets.retain(|t| &*t.name != name);
        self.shown.at = Moment::now();
        self.board.publish(self.shown.clone(), []);
    }

    fn publish(&mut self, subject: Subject, previous: State, state: State) -> u64 {
        self.shown.seq += 1;
        self.shown.at = Moment::now();
        let seq = self.shown.seq;
        let (at, reasons) = (self.shown.at.boot, reasons(state));
        let change = ChangeEvent { seq, at, subject, previous, state, reasons, diagnosis: None };
        self.board.publish(self.shown.clone(), [change]);
        seq
    }

    /// So many notices came to this.
    pub fn count(&self, notifier: &str, result: &str) -> u64 {
        self.own.notify.notices.with_label_values(&[notifier, result]).get()
    }

    pub fn retries(&self, notifier: &str) -> u64 {
        self.own.notify.retries.with_label_values(&[notifier]).get()
    }

    pub fn await_count(&self, notifier: &str, result: &str, count: u64) {
        let what = format!("{notifier} {result} is {count}");
        until(&what, || (self.count(notifier, result) >= count).then_some(()));
        assert_eq!(self.count(notifier, result), count, "{what}");
    }

    pub fn stop(self) {
        self.service.stop();
    }
}

fn verdict(state: State) -> Verdict {
    Verdict { state, since: Moment::now(), reasons: reasons(state), ..Verdict::default() }
}

fn reasons(state: State) -> Vec<Reason> {
    match state {
        State::Down => vec![Reason::new(ReasonCode::NoCarrier, "eth0", "no \"carrier\"")],
        _ => Vec::new(),
    }
}

/// Waits for something, and gives it.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "a test's patience is no time of the program's")]
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LONG, "not in {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
