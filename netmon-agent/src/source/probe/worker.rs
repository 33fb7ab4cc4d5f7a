//! The engine's thread: wait, read, judge, send, tell.

use std::{
    io,
    os::fd::AsFd,
    rc::Rc,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::EventFd,
        time::TimeSpec,
    },
};
use rand::{SeedableRng, rngs::SmallRng};

use super::{
    engine::{Command, Options},
    inflight::{InFlight, Probe, judge_timeout, proves_nothing},
    method::{Answer, EventKey, Probers, Request, Shared, Stamped, What},
    schedule::{Key, LaneId, Schedule, TargetSpec, tick},
    sockets::Sockets,
    stats::{Counters, SkipReason, add},
};
use crate::{
    observation::{Evidence, FailureReason, Observation, ProbeEvent, ProbeOutcome},
    sys::Batch,
    time::Mono,
};

/// Probes sent before the sockets are read again.
const SENDS_A_ROUND: usize = 256;
const EVENTS: usize = 256;
/// How long the word that a probe left may wait for its reply, so that both wake the listener once. Well below the
/// 200 ms after which a reply counts as late (rule R4).
const HOLD: Duration = Duration::from_millis(50);
/// More than this is told at once.
const HELD: usize = 256;

pub(super) struct Worker<F> {
    commands: mpsc::Receiver<Command>,
    wake: Arc<EventFd>,
    emit: F,
    epoll: Rc<Epoll>,
    /// Of sockets whose answers are timed by when they are read.
    prompt: Rc<Epoll>,
    probers: Probers,
    shared: Shared,
    schedule: Schedule,
    flight: InFlight,
    timeout_scale: f64,
    rng: SmallRng,
    told: Vec<Observation>,
    /// When what is told so far must be handed on at the latest.
    held_until: Option<Mono>,
    events: Vec<EpollEvent>,
    /// Of all targets.
    shortest_interval: Duration,
}

/// What ended the engine's sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Woke {
    /// Nothing but an answer that is timed by when it is read.
    Prompt,
    Otherwise,
}

impl<F: FnMut(Vec<Observation>)> Worker<F> {
    pub(super) fn new(
        sockets: Sockets,
        options: &Options,
        counters: Arc<Counters>,
        commands: mpsc::Receiver<Command>,
        wake: Arc<EventFd>,
        emit: F,
    ) -> io::Result<Self> {
        let epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Rc::new);
        let (epoll, prompt) = (epoll()?, epoll()?);
        Ok(Self {
            commands,
            wake,
            emit,
            probers: Probers::new(sockets.icmp, sockets.reserve, epoll.clone(), prompt.clone())?,
            epoll,
            prompt,
            shared: Shared { batch: Batch::new(), answers: Vec::new(), counters },
            schedule: Schedule::new(options.jitter),
            flight: InFlight::default(),
            timeout_scale: 1.0,
            rng: SmallRng::seed_from_u64(rand::random()),
            told: Vec::new(),
            held_until: None,
            events: vec![EpollEvent::empty(); EVENTS],
            shortest_interval: Duration::MAX,
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut woken = Mono::now();
        self.shared.counters.turned(woken);
        loop {
            let planned = [self.schedule.next(), self.flight.next_deadline()].into_iter().flatten().min();
            let gather = gather(self.schedule.rate(), self.shortest_interval);
            let at = planned.map(|p| p.max(woken + gather));
            // Where probes are dense, replies wait for the next turn; otherwise each is told as it comes.
            let listen = gather.is_zero() || at.is_none_or(|at| at > woken + gather);
            let until = [at, self.held_until].into_iter().flatten().min();
            let woke = self.wait(until, listen);
            if woke == Woke::Prompt && !listen && until.is_some_and(|until| Mono::now() < until) {
                // Read at once, told with the rest: the next turn keeps its time.
                self.read_from(&self.prompt.clone());
                continue;
            }
            let now = Mono::now();
            woken = now;
            self.shared.counters.turned(now);
            let lag = at.filter(|at| *at <= now).map(|at| now.since(at));
            if let Some(lag) = lag {
                self.shared.counters.lagged(lag);
            }
            self.read();
            self.judge(now, lag.unwrap_or_default());
            if !self.obey(now) {
                return self.tell();
            }
            self.send();
            let oldest = self.flight.forget(now);
            self.probers.iter_mut().for_each(|p| p.forget(oldest));
            self.tell_or_hold(Mono::now());
        }
    }

    /// Sleeps until a time, a command, an arrival that has to be read at once, or, if `listen`, any other.
    fn wait(&self, until: Option<Mono>, listen: bool) -> Woke {
        let timeout = until.map(|at| TimeSpec::from_duration(at.since(Mono::now())));
        let mut fds = [
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.prompt.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN),
        ];
        // An interruption is but an early turn.
        let _ = ppoll(if listen { &mut fds } else { &mut fds[..2] }, timeout, None);
        if fds[0].any() == Some(true) {
            // It does not block, and what it holds is of no interest.
            let _ = self.wake.read();
            return Woke::Otherwise;
        }
        if fds[1].any() == Some(true) { Woke::Prompt } else { Woke::Otherwise }
    }

    /// Reads every socket to its end.
    fn read(&mut self) {
        self.read_from(&self.prompt.clone());
        self.read_from(&self.epoll.clone());
    }

    fn read_from(&mut self, epoll: &Epoll) {
        loop {
            let count = epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0);
            for event in &self.events[..count] {
                let key = EventKey::from_event(event);
                let errors = event.events().intersects(EpollFlags::EPOLLERR);
                if let Some(prober) = self.probers.get(key.place()) {
                    prober.ready(key, errors, &mut self.shared);
                }
            }
            self.settle();
            if count < EVENTS {
                return;
            }
        }
    }

    /// Draws the conclusions from what was read.
    fn settle(&mut self) {
        let mut answers = std::mem::take(&mut self.shared.answers);
        for Answer { token, at, what } in answers.drain(..) {
            let Some(probe) = self.flight.get(token) else { continue };
            let (seq, place, waits) = (probe.seq, usize::from(probe.place), probe.waits());
            let Some(lane) = self.schedule.lane(probe.lane) else { continue };
            let key = lane.key;
            let outcomes = match what {
                What::Reply { trip, ttl } => self.flight.reply(token, trip, ttl, &mut lane.answered),
                What::Failed { reason, reporter } if self.flight.fail(token) => {
                    [Some(ProbeOutcome::Failed { reason, reporter }), None]
                }
                What::Failed { .. } => continue,
                What::Corrupted | What::Detail(_) if !waits => continue,
                What::Corrupted if !self.flight.tells_spare(token) => {
                    add(&self.shared.counters.unmatched, 1);
                    continue;
                }
                What::Corrupted => {
                    self.told.push(observation(at, key, seq, ProbeOutcome::Corrupted));
                    continue;
                }
                What::Detail(detail) => {
                    self.told.push(observation(at, key, seq, ProbeOutcome::Detail(detail)));
                    continue;
                }
            };
            for outcome in outcomes.into_iter().flatten() {
                match outcome {
                    ProbeOutcome::Reply { stamp, .. } => self.shared.counters.stamped(stamp),
                    ProbeOutcome::Duplicate if !self.flight.tells_spare(token) => {
                        add(&self.shared.counters.unmatched, 1);
                        continue;
                    }
                    _ => {}
                }
                self.told.push(observation(at, key, seq, outcome));
            }
            if let Some(prober) = self.probers.get(place) {
                prober.settled(token);
            }
        }
        self.shared.answers = answers;
    }

    /// Gives up what is overdue at `now`. Every socket has been read since.
    fn judge(&mut self, now: Mono, lag: Duration) {
        while let Some(token) = self.flight.expire(now) {
            let Some(probe) = self.flight.get(token) else { continue };
            let (seq, place, sent) = (probe.seq, usize::from(probe.place), probe.sent);
            let Some(key) = self.schedule.lane(probe.lane).map(|lane| lane.key) else { continue };
            let prober = self.probers.get(place);
            // Where targets go another way now, the socket that an answer would have come to is closed.
            let mut dropped = prober.is_none();
            if let Some(prober) = prober {
                if let Some(detail) = prober.known(token) {
                    self.told.push(observation(now, key, seq, ProbeOutcome::Detail(detail)));
                }
                dropped = prober.dropped(sent, now, &mut self.shared);
                if !proves_nothing(lag, dropped) {
                    prober.timed_out(now, &mut self.shared);
                }
                prober.settled(token);
            }
            let outcome = judge_timeout(lag, dropped);
            self.told.push(observation(now, key, seq, outcome));
        }
    }

    /// Does what it was told; false to stop.
    fn obey(&mut self, now: Mono) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Targets(targets)) => self.set_targets(now, targets),
                Ok(Command::Probe(key)) => {
                    if let Some(lane) = self.schedule.find(&key)
                        && !self.schedule.ask(lane)
                    {
                        self.shared.counters.skipped(SkipReason::RateCap, 1);
                    }
                }
                Ok(Command::MaxRate(rate)) => self.schedule.set_cap(now, rate),
                Ok(Command::Stretch(factor)) => self.stretch(now, factor),
                Ok(Command::RetryUnsent) => self.schedule.retry_unsent(now),
                Ok(Command::TimeoutScale(scale)) => self.timeout_scale = scale,
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Err(mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    fn set_targets(&mut self, now: Mono, targets: Vec<TargetSpec>) {
        self.shortest_interval = targets.iter().map(|t| t.interval).min().unwrap_or(Duration::MAX);
        self.schedule.set(now, targets);
        self.schedule.lanes().for_each(|lane| lane.place = self.probers.place(&lane.spec, lane.key.1));
        self.probers.sweep(self.schedule.lanes().filter_map(|lane| lane.place));
        self.stamp();
        let schedule = &mut self.schedule;
        for token in self.flight.abandon(|lane| schedule.lane(lane).is_none()) {
            let place = self.flight.get(token).map(|p| usize::from(p.place));
            if let Some(prober) = place.and_then(|place| self.probers.get(place)) {
                prober.settled(token);
            }
        }
        self.shared.counters.lanes.store(self.schedule.len() as u64, Ordering::Relaxed);
    }

    fn stretch(&mut self, now: Mono, factor: f64) {
        self.schedule.stretch(now, factor);
        self.stamp();
    }

    /// Which departures the kernel is to stamp, by how many there are.
    fn stamp(&mut self) {
        let stamped = if tick(self.schedule.rate()).is_zero() { Stamped::All } else { Stamped::First };
        self.probers.iter_mut().for_each(|p| p.stamp_sends(stamped));
    }

    /// Sends what is due, reading in between. What falls due meanwhile waits for the next turn, so that an engine with
    /// more to send than it can still obeys, judges and tells.
    fn send(&mut self) {
        let now = Mono::now();
        self.probers.iter_mut().for_each(|p| p.begin_turn());
        loop {
            let mut sent = 0;
            while sent < SENDS_A_ROUND
                && let Some(due) = self.schedule.pop(now, &mut self.rng)
            {
                if due.missed > 0 {
                    let reason = if due.capped { SkipReason::RateCap } else { SkipReason::Lag };
                    self.shared.counters.skipped(reason, due.missed);
                }
                self.probe(due.lane, due.extra);
                sent += 1;
            }
            self.settle();
            if sent < SENDS_A_ROUND {
                return;
            }
            self.read();
        }
    }

    /// Sends a lane's next probe; an `extra` one is beside its schedule, and leaves that as it is.
    fn probe(&mut self, id: LaneId, extra: bool) {
        let Some(lane) = self.schedule.lane(id) else { return };
        if lane.place.is_none() {
            // What was wanting, descriptors say, may be there now; a lane that goes without asks ever more rarely.
            lane.place = self.probers.place(&lane.spec, lane.key.1);
        }
        let (key, seq, place) = (lane.key, lane.next_seq(), lane.place);
        let timeout = lane.spec.timeout.mul_f64(self.timeout_scale);
        let token = self.flight.next_token();
        let request = Request { token, address: key.1, spec: &lane.spec };
        let Some((place, prober)) = place.and_then(|p| Some((p, self.probers.get(p.into())?))) else {
            self.shared.counters.skipped(SkipReason::NoSocket, 1);
            self.back_off(id, extra);
            return self.tell_unsent(key, seq, &io::ErrorKind::Unsupported.into());
        };
        match prober.send(&request, &mut self.shared) {
            Ok(departure) => {
                add(&self.shared.counters.sent, 1);
                let sent = departure.at.mono;
                self.schedule.sent(id, sent);
                self.flight.insert(Probe::new(id, seq, sent, timeout, place, departure.attempts));
                self.told.push(observation(sent, key, seq, ProbeOutcome::Sent));
            }
            Err(e) => {
                add(&self.shared.counters.send_errors, 1);
                if is_full_buffer(&e) {
                    self.shared.counters.skipped(SkipReason::SendBuffer, 1);
                } else if is_want_of_a_socket(&e) {
                    self.shared.counters.skipped(SkipReason::NoDescriptor, 1);
                } else if !is_of_the_packet(&e) {
                    self.back_off(id, extra);
                }
                self.tell_unsent(key, seq, &e);
            }
        }
    }

    /// A probe can't be sent from here, for want of a route, an address or a socket: the lane's next turn waits.
    fn back_off(&mut self, id: LaneId, extra: bool) {
        if !extra {
            self.schedule.unsent(id, Mono::now(), &mut self.rng);
        }
    }

    /// That a probe did not leave. Where only room in the buffer was wanting, or a descriptor, nothing is known of the target:
    /// other targets' probes may fill the one, and a crowd at the agent's socket may take the others. One too large to leave whole, where it must not be fragmented, fails of its size.
    fn tell_unsent(&mut self, key: Key, seq: u64, error: &io::Error) {
        let failed = |reason| ProbeOutcome::Failed { reason, reporter: None };
        let outcome = match error.raw_os_error() {
            _ if is_full_buffer(error) || is_want_of_a_socket(error) => {
                ProbeOutcome::Inconclusive { lag: Duration::ZERO }
            }
            Some(libc::EMSGSIZE) => failed(FailureReason::PacketTooBig),
            _ => failed(FailureReason::SendError),
        };
        self.told.push(observation(Mono::now(), key, seq, outcome));
    }

    /// That a probe left is no news that anybody acts on at once: it is told with its reply, or after a while.
    fn tell_or_hold(&mut self, now: Mono) {
        let is_sent = |o: &Observation| {
            matches!(&o.evidence, Evidence::Probe(ProbeEvent { outcome: ProbeOutcome::Sent, .. }))
        };
        match self.told.first() {
            Some(first)
                if now.since(first.at) < HOLD && self.told.len() < HELD && self.told.iter().all(is_sent) =>
            {
                self.held_until = Some(first.at + HOLD);
            }
            _ => self.tell(),
        }
    }

    fn tell(&mut self) {
        self.held_until = None;
        if !self.told.is_empty() {
            // The next turn's will be about as many.
            let room = Vec::with_capacity(self.told.len());
            (self.emit)(std::mem::replace(&mut self.told, room));
        }
    }
}

/// How long what is due may wait for what follows: never so long that a probe would miss the turn of the next.
fn gather(rate: f64, shortest_interval: Duration) -> Duration {
    tick(rate).min(shortest_interval / 2)
}

/// Whether a send failed for want of room in the socket's buffer (`EAGAIN`) or the device's queue (`ENOBUFS`).
fn is_full_buffer(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// Whether there was no socket to be had: too many files are open in this process (`EMFILE`) or on this machine (`ENFILE`), or
/// the kernel had no memory (`ENOMEM`).
fn is_want_of_a_socket(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// Whether a send failed of the packet itself: too large, or refused by a packet filter here (`EPERM`), of whose change
/// nobody tells.
fn is_of_the_packet(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EPERM))
}

fn observation(at: Mono, key: Key, seq: u64, outcome: ProbeOutcome) -> Observation {
    let (target, address) = key;
    Observation { at, evidence: Evidence::Probe(ProbeEvent { target, address, seq, outcome }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_lacks_is_told_apart_from_what_the_network_refuses() {
        let of = io::Error::from_raw_os_error;
        for own in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            assert!(
                is_want_of_a_socket(&of(own)) && !is_full_buffer(&of(own)) && !is_of_the_packet(&of(own))
            );
        }
        for other in [libc::ENETUNREACH, libc::EACCES, libc::EADDRNOTAVAIL, libc::EAGAIN, libc::EPERM] {
            assert!(!is_want_of_a_socket(&of(other)), "{other}");
        }
    }

    #[test]
    fn gathering_keeps_the_pace_of_the_fastest() {
        let ms = Duration::from_millis;
        assert_eq!(gather(1_000.0, ms(1000)), tick(1_000.0));
        assert_eq!(gather(1_000.0, ms(10)), ms(5));
        assert_eq!(gather(10.0, ms(100)), Duration::ZERO);
    }
}
