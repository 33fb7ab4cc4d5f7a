//! Waiters with the same condition share one evaluation: a publication costs as much as there are conditions, however
//! many wait, and wakes only those whose condition came true.
//!
//! Those who ask plainly are answered by the evaluation itself, one after the other, before any of their tasks runs: what
//! is left for these is to count and to close. Whoever asks otherwise is woken, and looks for itself.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, futures::Notified, watch},
    task::{AbortHandle, yield_now},
};

use super::{
    company::{BATCH, Turn},
    condition::{Condition, Memory, Outcome},
    desk::{Desk, Now, Seat},
    reply::Prepared,
    ticket::Ticket,
    wire_map,
};
use crate::{
    output::metrics::Own,
    state::{Board, Snapshot},
    time::{Boot, Moment, Wall},
};

/// Answers, about, after which others may run on the same worker: some milliseconds' worth.
const SLICE: usize = 16 * BATCH;

/// Time that one clock counted and the other did not, from which on the machine was suspended.
const SUSPENDED: Duration = Duration::from_millis(100);

/// The conditions that somebody waits for now.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    board: Board,
    own: Own,
    all: Arc<Mutex<HashMap<Arc<Condition>, Entered>>>,
}

#[derive(Debug)]
struct Entered {
    group: Arc<Group>,
    members: usize,
    evaluator: AbortHandle,
}

#[derive(Debug)]
struct Group {
    condition: Arc<Condition>,
    board: Board,
    own: Own,
    desk: Desk,
    /// Wakes all members: their condition came true, or never can, or the clock jumped, or they were answered.
    look: Notify,
}

/// A waiter's part in its group; dropping it leaves.
#[derive(Debug)]
pub(super) struct Member {
    groups: Groups,
    group: Arc<Group>,
    /// Of its ticket; none for those who only look.
    seat: Option<Seat>,
}

impl Groups {
    pub(super) fn new(board: Board, own: Own) -> Self {
        Self { board, own, all: Arc::default() }
    }

    /// Joins those who wait for `condition`. `memory` is of the newcomer's own first look. Who has a ticket may be answered
    /// by the group.
    pub(super) fn join(&self, condition: Condition, memory: Memory, ticket: Option<&Arc<Ticket>>) -> Member {
        let mut all = lock(&self.all);
        let group = match all.entry(Arc::new(condition)) {
            Entry::Occupied(mut entry) => {
                let entered = entry.get_mut();
                entered.members += 1;
                entered.group.desk.learn(&memory);
                entered.group.clone()
            }
            Entry::Vacant(entry) => {
                let condition = entry.key().clone();
                let group = Arc::new(Group {
                    desk: Desk::new(condition.clone(), memory),
                    condition,
                    board: self.board.clone(),
                    own: self.own.clone(),
                    look: Notify::new(),
                });
                let evaluator = tokio::spawn(evaluate(group.clone())).abort_handle();
                entry.insert(Entered { group: group.clone(), members: 1, evaluator });
                group
            }
        };
        drop(all);
        let seat = ticket.map(|ticket| group.desk.join(ticket.clone()));
        Member { groups: self.clone(), group, seat }
    }
}

/// What a look came to.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) outcome: Outcome,
    /// Number of the snapshot looked at.
    pub(super) seq: u64,
    /// When the condition came true by a publication: when that was made.
    pub(super) published: Option<Boot>,
    /// When it was looked at.
    pub(super) at: Boot,
}

impl Member {
    /// Judges the newest snapshot.
    pub(super) fn look(&self) -> Looked {
        let (outcome, published, snapshot, at) = self.group.desk.look(|| self.group.now());
        Looked { outcome, seq: snapshot.seq, published, at }
    }

    /// Completes when it is time to look. Made before a look, it misses nothing that comes after that look.
    pub(super) fn woken(&self) -> Notified<'_> {
        self.group.look.notified()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            self.group.desk.leave(seat);
        }
        let mut all = lock(&self.groups.all);
        let Some(entered) = all.get_mut(&self.group.condition) else { return };
        entered.members -= 1;
        if entered.members == 0 {
            entered.evaluator.abort();
            all.remove(&self.group.condition);
        }
    }
}

impl Group {
    /// The newest snapshot, the time, and whether nobody may be released on it. The clock is read after the snapshot: at
    /// the moment of release, nothing newer than `now` is relied on.
    fn now(&self) -> Now {
        let snapshot = self.board.snapshot();
        let now = Boot::now();
        (snapshot, now, !self.board.may_release(now))
    }

    /// What is to be done.
    fn turn(&self) -> Turn<Arc<Ticket>> {
        self.desk.turn(|| self.now())
    }

    /// Answers a batch, each as long as what it rests on is the newest there is and fresh.
    fn answer(
        &self,
        prepared: &mut Prepared,
        published: Option<Boot>,
        batch: Vec<(u64, Arc<Ticket>)>,
        publications: &watch::Receiver<Arc<Snapshot>>,
    ) {
        self.desk.serve(batch, |ticket| {
            let now = Boot::now();
            if !self.board.may_release(now) || publications.has_changed().unwrap_or(true) {
                return false;
            }
            let text = prepared.text(now.since(ticket.started), ticket.close);
            if ticket.answer(text)
                && let Some(published) = published.filter(|published| ticket.started <= *published)
            {
                self.own.woke(Boot::now().since(published));
            }
            true
        });
    }
}

/// Looks at every publication and when time alone may change the outcome. Ends when the last member leaves.
async fn evaluate(group: Arc<Group>) {
    let mut publications = group.board.subscribe();
    let mut last = Moment::now();
    loop {
        let (until, mut wake) = serve(&group, &mut publications).await;
        let now = Moment::now();
        // The members' deadlines are in boot time, which their timers do not see pass.
        wake |= slept(last, now);
        if wake {
            group.look.notify_waiters();
        }
        last = now;
        tokio::select! {
            changed = publications.changed() => if changed.is_err() { return },
            () = sleep_until(until, now.boot) => {}
        }
    }
}

/// Releases whoever is to be released now. When to look again, and whether members have to be woken.
async fn serve(group: &Group, publications: &mut watch::Receiver<Arc<Snapshot>>) -> (Option<Boot>, bool) {
    let mut answered = 0usize;
    loop {
        publications.mark_unchanged();
        match group.turn() {
            Turn::Release { state, seq, published, batch } => {
                answered += batch.len();
                let mut prepared = Prepared::new(wire_map::state(state), seq, Wall::now());
                group.answer(&mut prepared, published, batch, publications);
                // Not after each batch: whoever is let in between may be moved to another worker, which has to be woken for it
                // on a processor that a reader of these answers has.
                if answered % SLICE < BATCH {
                    yield_now().await;
                }
            }
            Turn::Look { until } => return (Some(until), true),
            Turn::Rest { until } => return (until, answered > 0),
        }
    }
}

/// Whether the machine was suspended in between; two clocks read one after the other differ by less.
fn slept(last: Moment, now: Moment) -> bool {
    now.boot.since(last.boot) > now.mono.since(last.mono) + SUSPENDED
}

/// Sleeps until `then`, if there is such a time.
pub(super) async fn sleep_until(then: Option<Boot>, now: Boot) {
    match then {
        Some(then) => tokio::time::sleep(then.since(now)).await,
        None => std::future::pending().await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{future::Future, sync::Weak};

    use netmon_client::Condition as Wanted;

    use super::*;
    use crate::{
        health::{State, Verdict},
        state::Snapshot,
        time::Mono,
    };

    /// Far beyond what anything here takes.
    const LONG: Duration = Duration::from_secs(30);

    fn board() -> Board {
        Board::new(Snapshot::default(), Duration::from_secs(600))
    }

    fn publish(board: &Board, state: State, at: Moment) {
        let mut verdict = Verdict::default();
        verdict.update(at, state, vec![]);
        board.publish(Snapshot { at, verdict, ..Snapshot::default() }, None);
    }

    fn ago(d: Duration) -> Moment {
        let now = Moment::now();
        let (mono, boot) = (now.mono.since(Mono::default()) - d, now.boot.since(Boot::default()) - d);
        Moment { mono: Mono::default() + mono, boot: Boot::default() + boot }
    }

    fn wish(wanted: Wanted, stable_ms: u64) -> Condition {
        Condition { wanted, stable: Duration::from_millis(stable_ms), ..Condition::default() }
    }

    fn groups(board: &Board) -> Groups {
        Groups::new(board.clone(), Own::new())
    }

    fn join(groups: &Groups, condition: Condition) -> Member {
        groups.join(condition, Memory::default(), None)
    }

    fn is_satisfied(member: &Member) -> bool {
        matches!(member.look().outcome, Outcome::Satisfied { .. })
    }

    async fn until_satisfied(member: &Member) {
        tokio::time::timeout(LONG, async {
            loop {
                let woken = member.woken();
                if is_satisfied(member) {
                    return;
                }
                woken.await;
            }
        })
        .await
        .unwrap();
    }

    fn is_woken(woken: std::pin::Pin<&mut Notified<'_>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        woken.poll(&mut context).is_ready()
    }

    /// Lets the evaluators look.
    async fn settle() {
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_condition_comes_true_and_the_other_sleeps_on() {
        let board = board();
        let groups = groups(&board);
        publish(&board, State::Down, Moment::now());
        let up = [(); 3].map(|()| join(&groups, wish(Wanted::Up, 0)));
        let degraded = join(&groups, wish(Wanted::Degraded, 0));
        assert_eq!(lock(&groups.all).len(), 2);
        let mut asleep = std::pin::pin!(degraded.woken());
        let mut also = std::pin::pin!(up[0].woken());
        publish(&board, State::Down, Moment::now());
        settle().await;
        assert!(!is_woken(also.as_mut()) && !is_satisfied(&up[0]));
        let at = Moment::now();
        publish(&board, State::Up, at);
        tokio::time::timeout(LONG, also).await.unwrap();
        for member in &up {
            let looked = member.look();
            assert_eq!(looked.outcome, Outcome::Satisfied { state: State::Up });
            assert_eq!(looked.published, Some(at.boot));
        }
        settle().await;
        assert!(!is_woken(asleep.as_mut()) && !is_satisfied(&degraded));
    }

    #[tokio::test]
    async fn a_late_comer_to_what_is_so_already_needs_no_waking() {
        let board = board();
        let groups = groups(&board);
        let early = join(&groups, wish(Wanted::Up, 0));
        publish(&board, State::Up, Moment::now());
        until_satisfied(&early).await;
        let late = join(&groups, wish(Wanted::Up, 0));
        assert!(is_satisfied(&late));
        publish(&board, State::Down, Moment::now());
        assert!(!is_satisfied(&late) && !is_satisfied(&early));
        publish(&board, State::Up, Moment::now());
        until_satisfied(&late).await;
    }

    #[tokio::test]
    async fn stability_wakes_all_without_a_publication() {
        let board = board();
        let groups = groups(&board);
        let since = Moment::now();
        publish(&board, State::Up, since);
        let members = [(); 3].map(|()| join(&groups, wish(Wanted::Up, 60)));
        for member in &members {
            until_satisfied(member).await;
            assert!(Boot::now().since(since.boot) >= Duration::from_millis(60));
        }
    }

    #[tokio::test]
    async fn r15_a_stale_state_releases_nobody_until_it_is_looked_at_again() {
        let board = board();
        let groups = groups(&board);
        publish(&board, State::Up, ago(Duration::from_secs(5)));
        let members = [(); 2].map(|()| join(&groups, wish(Wanted::Up, 0)));
        settle().await;
        for member in &members {
            assert!(matches!(member.look().outcome, Outcome::Blocked { state: State::Unknown, .. }));
        }
        // Evaluated, not published: the group finds out by itself, and wakes both.
        let (first, second) = (members[0].woken(), members[1].woken());
        board.evaluated(Boot::now());
        tokio::time::timeout(LONG, async { tokio::join!(first, second) }).await.unwrap();
        assert!(members.iter().all(is_satisfied));
    }

    #[tokio::test]
    async fn r15_who_finds_it_stale_when_woken_is_woken_again() {
        let board = board();
        let groups = groups(&board);
        let member = join(&groups, wish(Wanted::Up, 0));
        let woken = member.woken();
        publish(&board, State::Up, Moment::now());
        tokio::time::timeout(LONG, woken).await.unwrap();
        board.evaluated(ago(Duration::from_secs(5)).boot);
        let again = member.woken();
        assert!(!is_satisfied(&member));
        board.evaluated(Boot::now());
        tokio::time::timeout(LONG, again).await.unwrap();
        assert!(is_satisfied(&member));
    }

    #[tokio::test]
    async fn coming_and_going_leaves_nothing() {
        let groups = groups(&board());
        let mut seen: Vec<Weak<Group>> = Vec::new();
        let mut members = std::collections::VecDeque::new();
        for n in 0..3000 {
            members.push_back(join(&groups, wish(Wanted::Up, n % 7)));
            seen.extend(members.back().map(|m| Arc::downgrade(&m.group)));
            if n % 50 > 20 {
                members.pop_front();
                yield_now().await;
            }
            members.truncate(100);
        }
        assert!(lock(&groups.all).len() <= 7);
        let counted: usize = lock(&groups.all).values().map(|e| e.members).sum();
        assert_eq!(counted, members.len());
        members.clear();
        assert!(lock(&groups.all).is_empty());
        tokio::time::timeout(LONG, async {
            // An evaluator that is told to end does so when it comes to run.
            while seen.iter().any(|group| group.strong_count() > 0) {
                yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    #[test]
    fn a_suspended_machine_is_noticed() {
        let s = |mono, boot| Moment { mono: Mono::from_nanos(mono), boot: Boot::from_nanos(boot) };
        let second = 1_000_000_000;
        assert!(!slept(s(0, 5), s(10 * second, 10 * second + 1000)));
        assert!(slept(s(0, 5), s(second, 61 * second)));
    }
}
