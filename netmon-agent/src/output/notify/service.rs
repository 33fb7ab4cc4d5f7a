//! The thread: follows the board, and has each notifier's worker tell what is to be told.

use std::{
    collections::HashSet,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task,
};

use super::{
    Means, Notifier,
    counters::{Counters, Fate},
    hold::{Notice, Tracker},
    message::{Message, Sender},
    outbox::Outbox,
    webhook::{LookUp, Postman},
};
use crate::{
    health::Subject,
    output::WallAnchor,
    state::{Board, ChangeEvent, Snapshot},
    time::{Mono, sleep_until},
};

/// How long the end of the agent waits for what is being told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells notifiers, as soon as there are any. Dropped, it ends at once; [`Service::stop`] lets what is being told end.
#[derive(Debug)]
pub struct Service {
    shared: Shared,
    running: Option<Running>,
}

/// What the workers share.
#[derive(Clone)]
struct Shared {
    board: Board,
    counters: Counters,
    look_up: LookUp,
    walls: Arc<WallAnchor>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Running {
    notifiers: watch::Sender<Arc<Vec<Notifier>>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Service {
    /// Of `board`; webhooks' names are looked up by `look_up`.
    pub fn new(board: Board, counters: Counters, look_up: LookUp) -> Self {
        let shared = Shared { board, counters, look_up, walls: Arc::default() };
        Self { shared, running: None }
    }

    /// From now on these are told, and no others. One that is the same as before goes on; one that is another by the same
    /// name knows what that was told.
    ///
    /// # Errors
    /// No thread, no runtime: the first time that there is anybody to tell.
    pub fn configure(&mut self, notifiers: &[Notifier]) -> io::Result<()> {
        let notifiers = Arc::new(notifiers.to_vec());
        match &self.running {
            Some(running) => drop(running.notifiers.send_replace(notifiers)),
            None if notifiers.is_empty() => {}
            None => self.running = Some(Running::start(self.shared.clone(), notifiers)?),
        }
        Ok(())
    }

    /// Ends: what is being told has two seconds, what waits is not told.
    pub fn stop(self) {
        if let Some(Running { stop, thread, .. }) = self.running {
            // It may have ended by itself.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl Running {
    fn start(shared: Shared, notifiers: Arc<Vec<Notifier>>) -> io::Result<Self> {
        // Else nobody would learn of a program's end where whoever started the agent ignores it.
        crate::sys::keep_ended_children().map_err(io::Error::from)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (notifiers, configured) = watch::channel(notifiers);
        let (stop, stopped) = oneshot::channel();
        // As of now: what happens until the thread runs is told of as well.
        let following = Following::new(shared, configured);
        let thread = thread::Builder::new().name("notify".to_owned()).spawn(move || {
            runtime.block_on(following.follow(stopped));
            // A program that does not end has been ended; a thread that waits for it may be a moment late.
            runtime.shutdown_background();
        })?;
        Ok(Self { notifiers, stop, thread })
    }
}

struct Following {
    shared: Shared,
    configured: watch::Receiver<Arc<Vec<Notifier>>>,
    lines: Vec<Line>,
    /// Number of the last change taken.
    seq: u64,
    /// The snapshot whose names were last looked at.
    names: Arc<Snapshot>,
    /// The one to begin with, before that.
    first: Option<Arc<Snapshot>>,
}

/// A notifier, what it is to be told, and who tells it.
struct Line {
    notifier: Arc<Notifier>,
    tracker: Tracker,
    outbox: Arc<Outbox>,
    worker: task::JoinHandle<()>,
}

impl Following {
    fn new(shared: Shared, configured: watch::Receiver<Arc<Vec<Notifier>>>) -> Self {
        let names = shared.board.snapshot();
        let first = Some(Arc::clone(&names));
        Self { seq: names.seq, names, first, shared, configured, lines: Vec::new() }
    }

    async fn follow(mut self, mut stop: oneshot::Receiver<()>) {
        let mut publications = self.shared.board.subscribe();
        self.configure();
        loop {
            self.look();
            let due = self.tell(Mono::now());
            let idle = self.lines.is_empty();
            tokio::select! {
                biased;
                _ = &mut stop => break,
                changed = self.configured.changed() => match changed {
                    Ok(()) => self.configure(),
                    Err(_) => break,
                },
                changed = publications.changed(), if !idle => if changed.is_err() { break },
                () = sleep_until(due.unwrap_or_default()), if due.is_some() => {}
            }
        }
        self.end().await;
    }

    /// Takes the notifiers as they are configured now.
    fn configure(&mut self) {
        // What happened under the old ones is told by them.
        self.look();
        let wanted = Arc::clone(&self.configured.borrow_and_update());
        let mut before: Vec<Line> = std::mem::take(&mut self.lines);
        for notifier in wanted.iter() {
            let known = before.iter().position(|line| line.notifier.name == notifier.name);
            let line = match known.map(|at| before.swap_remove(at)) {
                Some(line) if *line.notifier == *notifier => line,
                Some(line) => self.renew(line, notifier.clone()),
                None => self.begin(notifier.clone(), Tracker::new(notifier.rule.clone()), Vec::new(), None),
            };
            self.lines.push(line);
        }
        for line in before {
            // What is being told is told to its end.
            let left = line.outbox.close();
            self.shared.counters.forget(&line.notifier.name);
            if !left.is_empty() {
                tracing::info!(
                    notifier = line.notifier.name,
                    "removed with {} notifications untold",
                    left.len()
                );
            }
        }
        let snapshot = self.first.take().unwrap_or_else(|| self.shared.board.snapshot());
        self.take(&snapshot);
    }

    fn renew(&self, line: Line, notifier: Notifier) -> Line {
        let mut waiting = line.outbox.close();
        waiting.retain(|notice| notifier.rule.subjects.has(notice.subject()));
        let tracker = line.tracker.with_rule(notifier.rule.clone());
        self.begin(notifier, tracker, waiting, Some(line.worker))
    }

    fn begin(
        &self,
        notifier: Notifier,
        tracker: Tracker,
        waiting: Vec<Notice>,
        before: Option<task::JoinHandle<()>>,
    ) -> Line {
        let notifier = Arc::new(notifier);
        let counters = self.shared.counters.clone();
        let outbox = Arc::new(Outbox::new(&notifier.name, notifier.room, counters));
        waiting.into_iter().for_each(|notice| outbox.push(notice));
        let work = work(self.shared.clone(), Arc::clone(&notifier), Arc::clone(&outbox));
        let worker = tokio::spawn(async move {
            if let Some(before) = before {
                // One after the other, also across a change of the configuration.
                let _ = before.await;
            }
            work.await;
        });
        Line { notifier, tracker, outbox, worker }
    }

    /// Takes what changed since the last look.
    fn look(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let now = Mono::now();
        let board = self.shared.board.clone();
        match board.changes_after(self.seq) {
            Ok(changes) => {
                for change in changes {
                    self.seq = change.seq;
                    self.lines.iter_mut().for_each(|line| line.tracker.see(now, &change));
                    // What is told at once is told of each, also where several come together.
                    self.tell(now);
                }
            }
            // So many that some were missed: what is so now is what counts.
            Err(_) => self.take(&board.snapshot()),
        }
        let snapshot = board.snapshot();
        if snapshot.seq <= self.seq && !snapshot.same_names(&self.names) {
            let is: HashSet<Subject> = snapshot.verdicts().map(|(subject, ..)| subject).collect();
            self.lines.iter_mut().for_each(|line| line.tracker.retain(|subject| is.contains(subject)));
            self.names = snapshot;
        }
    }

    /// Takes the state of everything.
    fn take(&mut self, snapshot: &Arc<Snapshot>) {
        self.seq = snapshot.seq;
        for (subject, verdict, diagnosis) in snapshot.verdicts() {
            let change = Arc::new(ChangeEvent {
                seq: snapshot.seq,
                at: verdict.since.boot,
                subject,
                previous: verdict.state,
                state: verdict.state,
                reasons: verdict.reasons.clone(),
                diagnosis: diagnosis.cloned(),
            });
            self.lines.iter_mut().for_each(|line| line.tracker.see(verdict.since.mono, &change));
        }
    }

    /// Hands on what has held; when there will be more.
    fn tell(&mut self, now: Mono) -> Option<Mono> {
        for line in &mut self.lines {
            while let Some(notice) = line.tracker.poll(now) {
                line.outbox.push(notice);
            }
        }
        self.lines.iter().filter_map(|line| line.tracker.next()).min()
    }

    async fn end(mut self) {
        // What nobody hears of any more is counted.
        self.look();
        self.tell(Mono::now());
        let mut workers = Vec::new();
        for line in self.lines {
            let left = line.outbox.close().len() as u64;
            self.shared.counters.count(&line.notifier.name, Fate::Dropped, left);
            workers.push(line.worker);
        }
        let all = async {
            for worker in &mut workers {
                let _ = worker.await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            workers.iter().for_each(task::JoinHandle::abort);
            for worker in workers {
                let _ = worker.await;
            }
        }
    }
}

/// Tells one notice after the other until the outbox is closed.
async fn work(shared: Shared, notifier: Arc<Notifier>, outbox: Arc<Outbox>) {
    let name = &notifier.name;
    let mut postman = match &notifier.means {
        Means::Webhook(webhook) => {
            let retries = shared.counters.retries.with_label_values(&[name]);
            Some(Postman::new(name, webhook, shared.look_up.clone(), shared.board.clone(), retries))
        }
        Means::Command(_) => None,
    };
    while let Some(notice) = outbox.next().await {
        let (id, host) = (format!("{:032x}", rand::random::<u128>()), host());
        let sender = Sender { notifier: name, host: &host, id: &id };
        let message = Message::new(&notice, sender, shared.walls.now());
        let (subject, state) = (notice.subject().name(), notice.change.state.as_str());
        let fate = match (&notifier.means, &mut postman) {
            (Means::Command(hook), _) => {
                let (result, output) = hook.run(&message).await;
                let output = output.to_string();
                match result {
                    Ok(()) => {
                        tracing::info!(notifier = name, subject, state, output, "told");
                        Fate::Delivered
                    }
                    Err(e) => {
                        tracing::warn!(notifier = name, subject, state, output, "not told: {e}");
                        Fate::Failed
                    }
                }
            }
            (Means::Webhook(_), Some(postman)) => {
                let fate = postman.deliver(&message, &outbox).await;
                if fate == Fate::Delivered {
                    tracing::info!(notifier = name, subject, state, "told");
                }
                fate
            }
            (Means::Webhook(_), None) => return,
        };
        match fate {
            Fate::Delivered => shared.counters.delivered(name, Mono::now().since(notice.due)),
            other => shared.counters.count(name, other, 1),
        }
    }
}

/// This machine's name, as the kernel has it now.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
