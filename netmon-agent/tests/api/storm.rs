//! Hundreds of waiters on real connections while states come and go, the core falls silent and the agent is restarted:
//! each is answered exactly once, and never wrongly by what the publisher knows.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use netmon_agent::{
    health::State,
    time::{Boot, Mono},
};
use netmon_client::{Condition, State as Told, wire::Waited};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::world::{LONG, World};

const WAITERS: u64 = 240;
const LASTS: Duration = Duration::from_secs(6);
/// Age at which nobody is released any more: of the silences some are longer, some shorter.
const STALE: Duration = Duration::from_millis(150);
const TOP: [&str; 5] = ["", "&device=eth0", "&target=gw", "&device=eth0&target=gw", ""];

/// What the publisher did.
#[derive(Default)]
struct Truth {
    /// Number, state, and a time before anybody could see it.
    states: Vec<(u64, State, Boot)>,
    /// When the evidence was looked at.
    looks: Vec<Boot>,
}

/// One wait and what came of it.
struct Wait {
    condition: Condition,
    stable: Duration,
    timeout: Option<Duration>,
    sent: Boot,
    heard: Boot,
    status: u16,
    answer: Option<Waited>,
}

#[test]
fn in_a_storm_everybody_is_answered_once_and_nobody_wrongly() {
    let mut world = World::new(STALE);
    let stop = Arc::new(AtomicBool::new(false));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|seed| {
            let (socket, stop) = (world.socket(), stop.clone());
            let builder = thread::Builder::new().stack_size(256 << 10);
            builder.spawn(move || keep_waiting(&socket, seed, &stop)).unwrap()
        })
        .collect();
    let mut truth = Truth::default();
    storm(&mut world, &mut truth);
    // From now on it is up, and everybody who can be released is.
    stop.store(true, Ordering::Relaxed);
    truth.publish(&mut world, State::Up);
    let deadline = Mono::now() + LONG;
    while world.waiters() > 0 && Mono::now() < deadline {
        truth.look(&world);
        thread::sleep(Duration::from_millis(5));
        if Mono::now() + LONG / 2 > deadline {
            // Who waits for something else is told that the agent ends.
            world.stop();
            break;
        }
    }
    world.stop();
    let waits: Vec<Wait> = waiters.into_iter().flat_map(|waiter| waiter.join().unwrap()).collect();
    let released = waits.iter().filter(|wait| wait.status == 200).count();
    for wait in &waits {
        truth.check(wait);
    }
    let of = |status| waits.iter().filter(|wait| wait.status == status).count();
    eprintln!(
        "{} waits: {released} released, {} not in time, {} sent away, {} cut",
        waits.len(),
        of(409),
        of(503),
        of(0)
    );
    assert!(released > 100 && of(409) > 10 && of(503) > 10, "the storm was none");
}

/// Changes at random, silences, and two restarts.
fn storm(world: &mut World, truth: &mut Truth) {
    let mut random = StdRng::seed_from_u64(7);
    let (end, mut restarts) = (Mono::now() + LASTS, 0);
    while Mono::now() < end {
        match random.random_range(0..40) {
            0 => thread::sleep(STALE.mul_f64(random.random_range(0.5..3.0))),
            n @ 1..=4 => truth.publish(world, State::ALL[n % 4]),
            n @ 5..=7 => {
                // One after the other, within what a release takes.
                for n in 0..n {
                    truth.publish(world, [State::Up, State::Down, State::Degraded][n % 3]);
                }
            }
            _ => truth.look(world),
        }
        if end.since(Mono::now()) < LASTS * (2 - restarts.min(2)) / 3 && restarts < 2 {
            restarts += 1;
            world.stop();
            truth.publish(world, State::Down);
            world.start(|_| {});
        }
        thread::sleep(Duration::from_millis(random.random_range(0..20)));
    }
}

impl Truth {
    fn publish(&mut self, world: &mut World, state: State) {
        let before = Boot::now();
        world.publish(state);
        self.looks.push(before);
        if self.states.last().is_none_or(|(seq, ..)| *seq != world.seq) {
            self.states.push((world.seq, state, before));
        }
    }

    fn look(&mut self, world: &World) {
        let now = Boot::now();
        world.board.evaluated(now);
        self.looks.push(now);
    }

    fn check(&self, wait: &Wait) {
        let Some(answer) = &wait.answer else { return };
        // Between these two the answer was given.
        let waited = Duration::from_secs_f64(answer.waited_seconds);
        let (earliest, latest) = (wait.sent + waited, wait.heard);
        let what = || format!("{} for {:?}, told {answer:?}", wait.condition, wait.stable);
        assert!(earliest <= latest, "{}: answered after it was heard", what());
        assert_eq!(answer.satisfied, wait.status == 200, "{}", what());
        if !answer.satisfied {
            assert!(!answer.blocking.is_empty() && wait.timeout.is_some_and(|t| waited >= t), "{}", what());
            return;
        }
        assert!(answer.blocking.is_empty() && wait.condition.holds(answer.state), "{}", what());
        let at = self.states.iter().position(|(seq, ..)| *seq == answer.seq);
        let at = at.unwrap_or_else(|| panic!("{}: no such number", what()));
        let (_, state, _) = self.states[at];
        assert_eq!(told(state), answer.state, "{}", what());
        let breaks = self.states[..at].iter().rposition(|(_, state, _)| !wait.condition.holds(told(*state)));
        let (_, _, since) = self.states[breaks.map_or(0, |b| b + 1)];
        assert!(latest.since(since) >= wait.stable, "{}: not that stable at {latest:?}", what());
        // Long replaced: nobody looked at that state any more. Between a look and the answer's time a thread may stand
        // still, though not for so long.
        if let Some((_, _, replaced)) = self.states.get(at + 1) {
            assert!(*replaced + Duration::from_secs(2) > earliest, "{}: replaced at {replaced:?}", what());
        }
        let silent = self.looks.windows(2).find(|two| two[0] + STALE < earliest && latest < two[1]);
        assert!(silent.is_none(), "{}: in a silence {silent:?}, {earliest:?} to {latest:?}", what());
    }
}

/// Waits again and again, one way or the other, until the end.
fn keep_waiting(socket: &Path, seed: u64, stop: &AtomicBool) -> Vec<Wait> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut waits, mut open) = (Vec::new(), None);
    while !stop.load(Ordering::Relaxed) {
        let condition = Condition::ALL[random.random_range(0..4)];
        let stable = Duration::from_millis([0, 0, 0, 15, 60][random.random_range(0..5)]);
        let timeout = random.random_bool(0.3).then(|| Duration::from_millis(random.random_range(1..400)));
        let close = random.random_bool(0.7);
        let Some(mut stream) = open.take().or_else(|| connected(socket)) else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let mut request = format!("GET /v1/wait?state={condition}{}", TOP[random.random_range(0..5)]);
        if !stable.is_zero() {
            request += &format!("&stable={}ms", stable.as_millis());
        }
        if let Some(timeout) = timeout {
            request += &format!("&timeout={}ms", timeout.as_millis());
        }
        request += " HTTP/1.1\r\nHost: x\r\n";
        request += if close { "Connection: close\r\n\r\n" } else { "\r\n" };
        let sent = Boot::now();
        if stream.write_all(request.as_bytes()).is_err() {
            continue;
        }
        if random.random_bool(0.05) {
            // Hangs up, sooner or later.
            thread::sleep(Duration::from_millis(random.random_range(0..50)));
            continue;
        }
        let (status, answer, goes_on) = heard(&mut stream);
        waits.push(Wait { condition, stable, timeout, sent, heard: Boot::now(), status, answer });
        if close || !goes_on {
            let more = rest(&mut stream);
            assert!(more.is_empty(), "after the answer came {:?}", String::from_utf8_lossy(&more));
        } else {
            open = Some(stream);
        }
    }
    waits
}

fn connected(socket: &Path) -> Option<UnixStream> {
    let stream = UnixStream::connect(PathBuf::from(socket)).ok()?;
    stream.set_read_timeout(Some(LONG * 2)).unwrap();
    Some(stream)
}

/// One answer: its status, what it says, and whether the connection goes on. Status 0 is a connection cut without one.
fn heard(stream: &mut UnixStream) -> (u16, Option<Waited>, bool) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => return (0, None, false),
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return (0, None, false),
            Err(e) => panic!("no answer: {e}"),
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let length = length.and_then(|l| l.parse::<usize>().ok()).expect("a length");
        if bytes.len() >= head.len() + 4 + length {
            break (head.to_owned(), length);
        }
    };
    assert_eq!(
        bytes.len(),
        head.len() + 4 + length,
        "more than one answer: {}",
        String::from_utf8_lossy(&bytes)
    );
    let status = head[9..12].parse().expect("a status");
    let answer = serde_json::from_slice(&bytes[head.len() + 4..]).ok().filter(|_| status != 503);
    (status, answer, !head.to_ascii_lowercase().contains("connection: close"))
}

fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut more = Vec::new();
    match stream.read_to_end(&mut more) {
        Ok(_) => more,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => more,
        Err(e) => panic!("the connection was not closed: {e}"),
    }
}

fn told(state: State) -> Told {
    match state {
        State::Unknown => Told::Unknown,
        State::Up => Told::Up,
        State::Degraded => Told::Degraded,
        State::Down => Told::Down,
    }
}
