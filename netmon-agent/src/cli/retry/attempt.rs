//! One attempt: the command from its start until nothing of its process group is left.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{
    codes::{Exit, Judgement},
    group::{Event, Group},
};

/// How long what the command leaves behind in its group may take to end by itself: who reads its last output, mostly.
const LINGER: Duration = Duration::from_secs(1);
/// How often a group that should be empty is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How soon the agent knows of an outage that is there: 5.2 s with its defaults, in the worst case. As the engine's
/// [`Policy::hindsight`](netmon_client::retry::Policy::hindsight).
const HINDSIGHT: Duration = Duration::from_secs(6);
/// How soon it knows of a lost link, with much to spare.
const LINK: Duration = Duration::from_millis(500);

/// Why we end it ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its own time is over.
    Timeout,
    /// Everybody's time is over.
    MaxTime,
    /// An outage, and it is to be begun anew.
    Restart,
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) exit: Exit,
    /// When the command itself ended.
    pub(super) at: Duration,
    /// Why we ended it; none: it ended by itself.
    pub(super) ending: Option<Ending>,
}

#[derive(Debug)]
enum Stage {
    Running,
    /// The command has ended, others of its group have not.
    Leftovers {
        exit: Exit,
        at: Duration,
        term: Option<Duration>,
    },
}

/// One attempt. Times are those of the caller's clock.
#[derive(Debug)]
pub(super) struct Attempt {
    group: Group,
    pub(super) number: u32,
    pub(super) started: Duration,
    /// The network went down within it.
    pub(super) outage: bool,
    /// The terminal was handed to it.
    pub(super) has_terminal: bool,
    /// Since when it stands still in an outage.
    pub(super) paused: Option<Duration>,
    hung_up: bool,
    stage: Stage,
    ending: Option<Ending>,
    timeout: Option<Duration>,
    kill: Option<Duration>,
    kill_after: Duration,
}

/// What is new about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Somebody else stopped it, by this signal.
    Stopped(Signal),
    /// It is over.
    Over(Over),
}

impl Attempt {
    pub(super) fn new(
        group: Group,
        number: u32,
        started: Duration,
        has_terminal: bool,
        timeout: Option<Duration>,
        kill_after: Duration,
    ) -> Self {
        Self {
            group,
            number,
            started,
            outage: false,
            has_terminal,
            paused: None,
            hung_up: false,
            stage: Stage::Running,
            ending: None,
            timeout: timeout.map(|most| started.saturating_add(most)),
            kill: None,
            kill_after,
        }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// Whether the command runs, and nobody is about to end it.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running) && self.ending.is_none() && !self.group.has_ended()
    }

    /// Ends it: SIGTERM now, SIGKILL later. What it came to stands, if it has ended by itself already.
    pub(super) fn end(&mut self, now: Duration, ending: Ending) {
        if self.is_running() {
            self.ending = Some(ending);
            self.terminate(now);
        }
    }

    /// Passes a signal on to all of it. One that stands still must go on to hear it.
    pub(super) fn signal(&mut self, now: Duration, signal: Signal) {
        self.group.signal(signal);
        self.resume(now);
    }

    /// Lets it stand still.
    pub(super) fn pause(&mut self, now: Duration) {
        self.group.signal(Signal::SIGSTOP);
        self.paused = Some(now);
    }

    /// Lets it go on. The time it stood still is not its own.
    pub(super) fn resume(&mut self, now: Duration) {
        if let Some(since) = self.paused.take() {
            self.timeout = self.timeout.map(|at| at.saturating_add(now.saturating_sub(since)));
            self.group.signal(Signal::SIGCONT);
        }
    }

    /// Tells it that it will not have the terminal for which it stands still, as the kernel tells an orphaned group
    /// (setpgid(2)). Once: one that asks again stands still until its time is over.
    pub(super) fn hang_up(&mut self) {
        if !std::mem::replace(&mut self.hung_up, true) {
            self.group.signal(Signal::SIGHUP);
            self.group.signal(Signal::SIGCONT);
        }
    }

    /// Does what is due, and tells what is new.
    pub(super) fn tend(&mut self, now: Duration) -> Option<News> {
        if let Stage::Running = self.stage {
            while let Some(event) = self.group.event() {
                match event {
                    Event::Stopped(signal) if self.paused.is_none() => return Some(News::Stopped(signal)),
                    Event::Stopped(_) | Event::Continued => {}
                    Event::Ended(exit) => {
                        let term = self.ending.is_none().then(|| now.saturating_add(LINGER));
                        self.stage = Stage::Leftovers { exit, at: now, term };
                        break;
                    }
                }
            }
            if self.paused.is_none() && self.timeout.is_some_and(|at| now >= at) {
                self.end(now, Ending::Timeout);
            }
        }
        if let Stage::Leftovers { exit, at, term } = self.stage {
            if !self.group.has_others() {
                return Some(News::Over(Over { exit, at, ending: self.ending }));
            }
            if term.is_some_and(|term| now >= term) {
                self.stage = Stage::Leftovers { exit, at, term: None };
                self.terminate(now);
            }
        }
        if self.kill.is_some_and(|at| now >= at) {
            self.group.signal(Signal::SIGKILL);
            self.kill = Some(now.saturating_add(LINGER));
        }
        None
    }

    /// When [`Attempt::tend`] has something to do, if nothing happens before.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let look = matches!(self.stage, Stage::Leftovers { .. }).then(|| now.saturating_add(LOOK));
        let timeout = self.timeout.filter(|_| self.is_running() && self.paused.is_none());
        [look, timeout, self.kill].into_iter().flatten().min()
    }

    /// Forgets it: the kernel may use its number again.
    pub(super) fn bury(self) {
        self.group.bury();
    }

    fn terminate(&mut self, now: Duration) {
        self.paused = None;
        self.group.signal(Signal::SIGTERM);
        // Who stands still would hear it only when told to go on.
        self.group.signal(Signal::SIGCONT);
        self.kill = Some(now.saturating_add(self.kill_after));
    }
}

/// How long to look for an outage before an exit is judged, when none is known: an outage is known some time after it cut
/// something. Only where it makes a difference: it alone would have the command tried again, or save the last attempt.
///
/// What fails for a lost link fails at once, and the agent knows it at once. What fails for silence has waited in it: of
/// that time or as much again the agent's verdict is at hand.
pub(super) fn hindsight(judgement: Judgement, attempts_left: Option<u32>, lasted: Duration) -> Duration {
    let matters = match judgement {
        Judgement::Success | Judgement::Never => false,
        Judgement::IfOutage => true,
        Judgement::Retry | Judgement::Later => attempts_left == Some(1),
    };
    if matters { lasted.saturating_mul(2).clamp(LINK, HINDSIGHT) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::signal::SigSet;

    use super::*;

    fn attempt(program: &str, argument: &str, timeout: Option<Duration>) -> Attempt {
        let mut command = Command::new(program);
        let group = Group::start(command.arg(argument), None, SigSet::empty()).unwrap();
        Attempt::new(group, 1, Duration::ZERO, false, timeout, Duration::from_secs(10))
    }

    fn over(mut attempt: Attempt, now: Duration) -> Over {
        loop {
            if let Some(News::Over(over)) = attempt.tend(now) {
                attempt.bury();
                return over;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn what_has_ended_by_itself_is_not_ended_again() {
        let now = Duration::from_secs(5);
        for ending in [Ending::Timeout, Ending::MaxTime, Ending::Restart] {
            let mut attempt = attempt("sleep", "0", None);
            while attempt.is_running() {
                std::thread::sleep(Duration::from_millis(2));
            }
            attempt.end(now, ending);
            assert_eq!(over(attempt, now), Over { exit: Exit::Code(0), at: now, ending: None });
        }
    }

    #[test]
    fn the_time_it_stood_still_is_not_its_own_whoever_has_it_go_on() {
        let s = Duration::from_secs;
        let mut attempt = attempt("sleep", "1000", Some(s(10)));
        attempt.pause(s(2));
        assert_eq!(attempt.due(s(2)), None);
        attempt.signal(s(20), Signal::SIGWINCH);
        assert_eq!(attempt.due(s(20)), Some(s(28)));
        attempt.end(s(20), Ending::Restart);
        assert_eq!(over(attempt, s(20)).exit, Exit::Signal(Signal::SIGTERM as i32));
    }

    #[test]
    fn only_what_an_outage_would_change_is_looked_into() {
        let s = Duration::from_secs;
        assert_eq!(hindsight(Judgement::IfOutage, Some(5), s(0)), LINK);
        assert_eq!(hindsight(Judgement::IfOutage, Some(5), s(2)), s(4));
        assert_eq!(hindsight(Judgement::IfOutage, None, s(3600)), HINDSIGHT);
        assert_eq!(hindsight(Judgement::Retry, Some(1), s(60)), HINDSIGHT, "the last one");
        for (judgement, left) in [
            (Judgement::Retry, Some(2)),
            (Judgement::Retry, None),
            (Judgement::Later, Some(3)),
            (Judgement::Never, Some(1)),
            (Judgement::Success, Some(1)),
        ] {
            assert_eq!(hindsight(judgement, left, s(60)), Duration::ZERO, "{judgement:?} {left:?}");
        }
    }
}
