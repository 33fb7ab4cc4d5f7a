//! The loop: the engine decides, this waits, runs and tells.

mod heed;
mod judge;

use std::{io::ErrorKind, os::fd::AsFd, process::Command, time::Duration};

use netmon_client::{
    Client, State,
    retry::{Engine, Network, Outcome, Pause, Step},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};

use super::{
    args::Settings,
    attempt::{Attempt, Ending, News as OfAttempt, Over, hindsight},
    codes::Exit,
    group::Group,
    network::{Presence, Watcher},
    progress::Waiting,
    report::seconds,
    signals::Signals,
    stdin::Stdin,
    tell::Teller,
    terminal::{Terminal, stand_still},
};
use crate::{cli::text, time::Boot};

/// How long the last that was known holds when the agent is gone or does not know: as long as a restart takes until its
/// first verdict, and as the engine has it for pauses.
const GRACE: Duration = Duration::from_secs(10);
/// How often the line on a terminal is drawn.
const REDRAW: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this exit code.
    Code(u8),
    /// As the command did, or as whoever ended us asked for. `all`: the terminal's user meant everybody.
    Signal { signal: i32, all: bool },
}

/// What is known of the network, and since when.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) state: State,
    pub(super) network: Network,
    pub(super) since: Duration,
    pub(super) why: String,
    /// An agent has answered at some time.
    pub(super) met: bool,
    /// It has told more than that it does not know yet; or that is nothing to wait for, as an attempt runs.
    pub(super) judged: bool,
    /// It is gone.
    pub(super) lost: bool,
}

impl Known {
    /// What the engine is to be told. Of an agent that is just being started a verdict is worth waiting for; what comes
    /// after that the engine knows to deal with.
    fn for_engine(&self) -> Network {
        match self.network {
            Network::Unknown if self.met && !self.judged && !self.lost => Network::Unusable,
            network => network,
        }
    }
}

/// An attempt that is over, and not judged yet: an outage may still come to light.
#[derive(Clone, Copy, Debug)]
struct Settling {
    number: u32,
    started: Duration,
    outage: bool,
    over: Over,
    until: Duration,
}

/// Everything of one `netmon retry`.
pub(super) struct Driver<'a> {
    settings: &'a Settings,
    client: Client,
    origin: Boot,
    engine: Engine,
    known: Known,
    watcher: Watcher,
    signals: Signals,
    teller: Teller<'a>,
    presence: Presence,
    terminal: Option<Terminal>,
    stdin: Stdin,
    attempt: Option<Attempt>,
    settling: Option<Settling>,
    last: Option<Last>,
    cancelled: Option<Cancel>,
    /// What the last retry had cost the machine's budget.
    spent: Option<u32>,
}

/// The last attempt.
#[derive(Clone, Copy, Debug)]
struct Last {
    exit: Exit,
    timed_out: bool,
    by_terminal: bool,
}

/// Somebody wants us to end.
#[derive(Clone, Copy, Debug)]
struct Cancel {
    signal: Signal,
    /// While nothing ran: it is for us alone to obey.
    idle: bool,
}

/// What the loop does next.
enum Next {
    /// Looks again at this time; none: when something happens.
    At(Option<Duration>),
    /// Nothing more.
    End(End),
}

impl<'a> Driver<'a> {
    /// One that begins now. `ready`: the network is as asked for, and has been so for long enough.
    pub(super) fn new(
        settings: &'a Settings,
        client: Client,
        origin: Boot,
        (known, ready): (Known, bool),
        watcher: Watcher,
        signals: Signals,
    ) -> Self {
        let now = Boot::now().since(origin);
        let network = if ready || !known.met { known.for_engine() } else { Network::Unusable };
        let mut engine = Engine::new(settings.policy.clone(), now, network);
        // Usable, but not for long enough: as after an outage.
        engine.network(now, known.for_engine());
        Self {
            settings,
            client,
            origin,
            engine,
            known,
            watcher,
            signals,
            teller: Teller::new(settings),
            presence: Presence::default(),
            terminal: Terminal::open(),
            stdin: Stdin::look(),
            attempt: None,
            settling: None,
            last: None,
            cancelled: None,
            spent: None,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// What netmon itself can't do: no process can be made, no descriptor be waited for.
    pub(super) fn run(mut self) -> anyhow::Result<(End, Signals)> {
        loop {
            let now = self.now();
            self.tend(now);
            match self.decide(now)? {
                Next::End(end) => {
                    self.teller.clear();
                    return Ok((end, self.signals));
                }
                Next::At(wake) => self.sleep(wake)?,
            }
            self.heed_signals();
            self.heed_news();
        }
    }

    fn now(&self) -> Duration {
        Boot::now().since(self.origin)
    }

    /// What the attempt at hand needs and has to tell.
    fn tend(&mut self, now: Duration) {
        let past = self.engine.deadline().is_some_and(|deadline| now >= deadline);
        let back = self.back_at().is_some_and(|at| now >= at);
        if let Some(attempt) = &mut self.attempt {
            if past {
                attempt.end(now, Ending::MaxTime);
            }
            if attempt.paused.is_some() && back {
                self.resume(now);
            }
        }
        while let Some(news) = self.attempt.as_mut().and_then(|attempt| attempt.tend(now)) {
            match news {
                OfAttempt::Stopped(signal) => self.stopped(signal),
                OfAttempt::Over(over) => self.over(now, over),
            }
        }
        if let Some(settling) =
            self.settling.filter(|s| s.outage || now >= s.until || self.cancelled.is_some())
        {
            self.settling = None;
            self.judge(settling);
        }
    }

    /// When what stands still may go on: the network has been back for long enough, or nothing is known of it any more.
    fn back_at(&self) -> Option<Duration> {
        match self.known.network {
            Network::Usable => Some(self.known.since.saturating_add(self.settings.policy.stable)),
            Network::Unusable => None,
            Network::Unknown => Some(self.known.since.saturating_add(GRACE)),
        }
    }

    /// The command has stopped, by ^Z or for reading from the background: so do we, and our shell gets its terminal back.
    fn stopped(&mut self, by: Signal) {
        let (Some(terminal), Some(attempt)) = (&self.terminal, &mut self.attempt) else { return };
        terminal.take_back(attempt.group().id());
        if stand_still() {
            return;
        }
        // Nobody would ever continue us, nor give it the terminal that it wants when we have none.
        let wants_terminal = matches!(by, Signal::SIGTTIN | Signal::SIGTTOU);
        if wants_terminal && terminal.in_foreground().is_none() {
            attempt.hang_up();
        } else {
            self.go_on();
        }
    }

    /// The command goes on, with the terminal where that is ours.
    fn go_on(&mut self) {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.paused.is_none()) else { return };
        if let Some(terminal) = self.terminal.as_ref().filter(|t| t.in_foreground().is_some()) {
            terminal.give(attempt.group().id());
            attempt.has_terminal = true;
        }
        attempt.group().signal(Signal::SIGCONT);
    }

    fn pause(&mut self, now: Duration) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.pause(now);
        if let Some(terminal) = &self.terminal {
            // Who types ^C now is heard by us alone.
            terminal.take_back(attempt.group().id());
        }
        self.teller
            .say("paused", |line| line.with("attempt", attempt.number).with("why", self.known.why.clone()));
    }

    fn resume(&mut self, now: Duration) {
        let Some(attempt) = &mut self.attempt else { return };
        let stood = now.saturating_sub(attempt.paused.unwrap_or(now));
        if let Some(terminal) =
            self.terminal.as_ref().filter(|t| attempt.has_terminal && t.in_foreground().is_some())
        {
            terminal.give(attempt.group().id());
        }
        attempt.resume(now);
        let number = attempt.number;
        self.teller.say("resumed", |line| line.with("attempt", number).with("paused", seconds(stood)));
    }

    /// The attempt is over: the terminal is ours again, and whether an outage cut it is known soon if not now.
    fn over(&mut self, now: Duration, over: Over) {
        let Some(attempt) = self.attempt.take() else { return };
        if let Some(terminal) = &self.terminal {
            terminal.take_back(attempt.group().id());
        }
        let by_terminal = attempt.has_terminal;
        let (number, started, outage) = (attempt.number, attempt.started, attempt.outage);
        attempt.bury();
        let timed_out = over.ending == Some(Ending::Timeout);
        self.last = Some(Last { exit: over.exit, timed_out, by_terminal });
        let judgement = self.judgement(&over);
        let lasted = over.at.saturating_sub(started);
        let wait = match self.known.network {
            // Whose time is over is not tried again, whatever comes to light.
            Network::Usable if over.ending != Some(Ending::MaxTime) => {
                hindsight(judgement, self.engine.attempts_left(), lasted)
            }
            _ => Duration::ZERO,
        };
        let until = self.in_time(over.at.saturating_add(wait));
        let settling = Settling { number, started, outage, over, until };
        if wait.is_zero() || outage || now >= settling.until {
            self.judge(settling);
        } else {
            self.settling = Some(settling);
        }
    }

    /// Asks the engine, and does what it says.
    fn decide(&mut self, now: Duration) -> anyhow::Result<Next> {
        if let Some(settling) = &self.settling {
            let until = settling.until;
            self.draw(|| Waiting::Verdict);
            return Ok(Next::At(Some(until)));
        }
        if let Some(attempt) = &self.attempt {
            let due = [attempt.due(now), self.engine.deadline().filter(|_| attempt.is_running())];
            let mut due = due.into_iter().flatten().min();
            if let Some(since) = attempt.paused {
                let (lasted, why) = (now.saturating_sub(since), self.known.why.clone());
                due = [due, self.back_at()].into_iter().flatten().min();
                self.draw(|| Waiting::Paused { lasted, why });
            }
            return Ok(Next::At(due));
        }
        match self.engine.step(now, rand::random) {
            Step::Run { attempt } => match self.hold(now) {
                Some(until) => {
                    self.wait_for_network(now);
                    Ok(Next::At(Some(until)))
                }
                None => self.start(now, attempt),
            },
            Step::Sleep { until, why } => {
                let left = until.saturating_sub(now);
                let failure = self.last.map(|last| failure(last.exit)).unwrap_or_default();
                self.draw(|| match why {
                    Pause::Backoff => Waiting::Backoff { failure, left },
                    Pause::Stable => Waiting::Stable { left },
                    Pause::Release => Waiting::Release { left },
                    Pause::Hindsight => Waiting::Verdict,
                });
                Ok(Next::At(Some(until)))
            }
            Step::AwaitNetwork { until } => {
                self.wait_for_network(now);
                Ok(Next::At(until))
            }
            Step::Running { .. } => anyhow::bail!("an attempt that nobody runs"),
            Step::Done => Ok(Next::End(End::Code(0))),
            Step::GiveUp(why) => Ok(Next::End(self.gave_up(why))),
        }
    }

    /// Until when an attempt that is due waits for an agent that has just lost track: it is being started anew, or the
    /// machine was suspended.
    fn hold(&self, now: Duration) -> Option<Duration> {
        let until = self.in_time(self.known.since.saturating_add(GRACE));
        (self.known.met && self.known.network == Network::Unknown && now < until).then_some(until)
    }

    /// This time, or when the time for everything is over, if that is before.
    fn in_time(&self, at: Duration) -> Duration {
        self.engine.deadline().map_or(at, |deadline| at.min(deadline))
    }

    fn wait_for_network(&mut self, now: Duration) {
        let stable = self.settings.policy.stable;
        let left = self.engine.deadline().map(|deadline| deadline.saturating_sub(now));
        if self.known.met {
            self.presence.show(&self.client, self.settings.wait(left));
        }
        let (state, why) = (self.known.state.as_str(), self.known.why.clone());
        let lasted = now.saturating_sub(self.known.since);
        self.draw(|| Waiting::Network { state, lasted, why, stable });
    }

    fn start(&mut self, now: Duration, number: u32) -> anyhow::Result<Next> {
        self.teller.clear();
        if number > 1 && !self.stdin.rewind() {
            self.teller.input_is_gone();
        }
        let Settings { policy, command: line, rules, .. } = self.settings;
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env("NETMON_ATTEMPT", number.to_string());
        if let Some((name, value)) = rules.profile.and_then(|profile| profile.environment)
            && std::env::var_os(name).is_none()
        {
            command.env(name, value);
        }
        match policy.attempts {
            Some(most) => command.env("NETMON_ATTEMPTS", most.to_string()),
            None => command.env_remove("NETMON_ATTEMPTS"),
        };
        match self.last {
            Some(last) => command.env("NETMON_LAST_EXIT", last.exit.code().to_string()),
            None => command.env_remove("NETMON_LAST_EXIT"),
        };
        self.engine.attempt_started(now);
        let terminal = self.terminal.as_ref().and_then(Terminal::in_foreground);
        let had_terminal = terminal.is_some();
        match Group::start(&mut command, terminal, self.signals.before()) {
            Ok(group) => {
                let (timeout, kill_after) = (self.settings.attempt_timeout, self.settings.kill_after);
                self.attempt = Some(Attempt::new(group, number, now, had_terminal, timeout, kill_after));
                Ok(Next::At(Some(now)))
            }
            Err(e) => {
                if let Some(terminal) = self.terminal.as_ref().filter(|_| had_terminal) {
                    // Handed on before it turned out that there is nothing to execute.
                    terminal.take();
                }
                // As a shell has it (POSIX, 2.8.2).
                let code = match e.kind() {
                    ErrorKind::NotFound => 127,
                    ErrorKind::WouldBlock | ErrorKind::OutOfMemory => {
                        anyhow::bail!("no process can be made: {e}")
                    }
                    _ => 126,
                };
                let name = text::printable(&line[0].to_string_lossy());
                text::say(format_args!("netmon: can't run {name}: {e}"));
                self.last = Some(Last { exit: Exit::Code(code), timed_out: false, by_terminal: false });
                self.engine.attempt_ended(now, Outcome::Permanent);
                Ok(Next::At(Some(now)))
            }
        }
    }

    fn draw(&mut self, waiting: impl FnOnce() -> Waiting) {
        if self.teller.draws() {
            let most = self.settings.policy.attempts;
            let charged = match (most, self.engine.attempts_left()) {
                (Some(most), Some(left)) => most.saturating_sub(left) + 1,
                _ => self.engine.statistics().attempts + 1,
            };
            self.teller.draw(&waiting().text(charged, most));
        }
    }

    /// Waits for a signal, for news, or until `wake`.
    fn sleep(&mut self, wake: Option<Duration>) -> anyhow::Result<()> {
        let mut left = wake.map(|at| at.saturating_sub(self.now()));
        let waits = self.attempt.as_ref().is_none_or(|attempt| attempt.paused.is_some());
        if self.teller.draws() && waits {
            left = Some(left.map_or(REDRAW, |left| left.min(REDRAW)));
        }
        let timeout = match left {
            // Rounded up: earlier there would be nothing to do.
            Some(left) => PollTimeout::try_from(left.saturating_add(Duration::from_micros(999)))
                .unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut descriptors = [
            PollFd::new(self.signals.descriptor().as_fd(), PollFlags::POLLIN),
            PollFd::new(self.watcher.bell().as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// An exit in words.
fn failure(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("it failed (exit {code})"),
        Exit::Signal(signal) => match Signal::try_from(signal) {
            Ok(signal) => format!("it died ({signal})"),
            Err(_) => format!("it died (signal {signal})"),
        },
    }
}
