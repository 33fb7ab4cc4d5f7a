//! Follows the board: each notifier, what it is to be told, and who tells it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};

use super::{
    Notifier,
    counters::Fate,
    hold::{Notice, Tracker},
    outbox::Outbox,
    worker::{Begun, Shared, Worker, work},
};
use crate::{
    health::Subject,
    state::{ChangeEvent, Snapshot},
    time::{Mono, sleep_until},
};

/// How long the end of the agent waits for what is being told.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Following {
    shared: Shared,
    configured: watch::Receiver<Arc<Vec<Notifier>>>,
    lines: Vec<Line>,
    /// Number of the last change taken.
    seq: u64,
    /// The snapshot whose names were last looked at.
    names: Arc<Snapshot>,
    /// The one to begin with, before that.
    first: Option<Arc<Snapshot>>,
    /// Whether somebody new is still to learn the state of everything.
    owed: bool,
}

/// A notifier, what it is to be told, and who tells it.
struct Line {
    notifier: Arc<Notifier>,
    tracker: Tracker,
    outbox: Arc<Outbox>,
    worker: Worker,
}

impl Following {
    pub(super) fn new(shared: Shared, configured: watch::Receiver<Arc<Vec<Notifier>>>) -> Self {
        let names = shared.board.snapshot();
        let first = Some(Arc::clone(&names));
        Self { seq: names.seq, names, first, shared, configured, lines: Vec::new(), owed: false }
    }

    pub(super) async fn follow(mut self, mut stop: oneshot::Receiver<()>) {
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
            // What is being told has this attempt left.
            let left = line.outbox.close();
            line.outbox.forget();
            self.shared.counters.forget(&line.notifier.name);
            if !left.is_empty() {
                tracing::info!(
                    notifier = line.notifier.name,
                    "removed with {} notifications untold",
                    left.len()
                );
            }
        }
        match self.first.take() {
            Some(first) => self.take(&first),
            None => {
                self.owed = true;
                self.settle(&self.shared.board.snapshot());
            }
        }
    }

    /// Takes the state of everything where that is owed, once the board shows all the changes that were taken: a change
    /// stands in the backlog a moment before the state that has it.
    fn settle(&mut self, snapshot: &Arc<Snapshot>) {
        if self.owed && snapshot.seq >= self.seq {
            self.owed = false;
            self.take(snapshot);
        }
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
        before: Option<Worker>,
    ) -> Line {
        let notifier = Arc::new(notifier);
        let counters = self.shared.counters.clone();
        let outbox = Arc::new(Outbox::new(&notifier.name, notifier.room, counters));
        waiting.into_iter().for_each(|notice| outbox.push(notice));
        let (shared, of, from) = (self.shared.clone(), Arc::clone(&notifier), Arc::clone(&outbox));
        let worker = tokio::spawn(async move {
            // One after the other, also across a change of the configuration.
            let begun = match before {
                Some(before) => before.await.ok().flatten(),
                None => None,
            };
            let begun = begun.filter(|begun: &Begun| of.rule.subjects.has(begun.notice.subject()));
            work(shared, of, from, begun).await
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
        self.settle(&snapshot);
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
            workers.push((line.worker, line.outbox));
        }
        let patience = Instant::now() + PATIENCE;
        for (mut worker, outbox) in workers {
            let ended = match timeout_at(patience, &mut worker).await {
                Ok(ended) => ended,
                Err(_) => {
                    worker.abort();
                    worker.await
                }
            };
            // What it had begun comes back, or goes with it.
            if !matches!(ended, Ok(None)) {
                outbox.count(Fate::Dropped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;
    use crate::{
        config::Config,
        health::{State, Verdict},
        output::notify::LookUp,
        state::Board,
        time::{Boot, Moment},
    };

    /// Publishes that the network is up and down in turn.
    fn flap(board: &Board, times: u64) {
        let mut shown = Snapshot::clone(&board.snapshot());
        for seq in shown.seq + 1..=shown.seq + times {
            let (previous, state) =
                if seq % 2 == 0 { (State::Up, State::Down) } else { (State::Down, State::Up) };
            let (subject, at) = (Subject::Network, Boot::now());
            shown.seq = seq;
            shown.verdict = Verdict { state, since: Moment::now(), ..Verdict::default() };
            let (reasons, diagnosis) = (Vec::new(), None);
            let change = ChangeEvent { seq, at, subject, previous, state, reasons, diagnosis };
            board.publish(shown.clone(), [change]);
        }
    }

    fn told(room: usize) -> Arc<Vec<Notifier>> {
        let toml = format!("[[notify.command]]\ncommand = [\"true\"]\nqueue = {room}");
        Arc::new(Config::parse(&toml, std::path::Path::new("t")).unwrap().notifiers)
    }

    fn following() -> (Board, watch::Sender<Arc<Vec<Notifier>>>, Following) {
        let board = Board::new(Snapshot::default(), Duration::from_secs(60));
        let look_up: LookUp = Arc::new(|_| Box::pin(async { Ok(Vec::new()) }));
        let counters = crate::output::metrics::Own::new().notify;
        let shared = Shared { board: board.clone(), counters, look_up, runner: None, walls: Arc::default() };
        let (configure, configured) = watch::channel(told(10_000));
        let mut following = Following::new(shared, configured);
        following.configure();
        (board, configure, following)
    }

    #[tokio::test]
    async fn a_state_older_than_the_changes_taken_is_not_taken() {
        let (board, _configure, mut following) = following();
        let old = board.snapshot();
        flap(&board, 3);
        following.look();
        // As it is seen by whoever looks between a change and the state that has it.
        following.owed = true;
        following.settle(&old);
        assert!(following.owed);
        following.settle(&board.snapshot());
        assert!(!following.owed);
        following.look();
        following.tell(Mono::now());
        let told: Vec<u64> = following.lines[0].outbox.close().iter().map(|n| n.change.seq).collect();
        assert_eq!(told, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_change_of_the_configuration_amid_changes_of_the_network_tells_each_once_and_in_order() {
        let (board, configure, mut following) = following();
        let flaps = AtomicBool::new(true);
        // Its worker never runs: nothing here waits.
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..40 {
                    flap(&board, 100);
                }
                flaps.store(false, Ordering::Release);
            });
            let mut room = 9_000;
            while flaps.load(Ordering::Acquire) {
                room = if room == 9_000 { 9_999 } else { 9_000 };
                configure.send_replace(told(room));
                following.configure();
                following.tell(Mono::now());
            }
        });
        following.look();
        following.tell(Mono::now());
        let notices = following.lines[0].outbox.close();
        assert!(notices.len() > 10, "{}", notices.len());
        for pair in notices.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            assert!(before.change.seq < after.change.seq, "{} {}", before.change.seq, after.change.seq);
            assert_eq!(after.previous, before.change.state);
            assert_ne!(after.change.state, before.change.state);
        }
        assert_eq!(notices.last().map(|n| n.change.state), Some(board.snapshot().verdict.state));
    }
}
