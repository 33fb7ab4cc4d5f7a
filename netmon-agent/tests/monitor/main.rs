//! The client's monitor and its async twin before the real API server: through silence, stops, kills and restarts.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

mod world;

use std::{io::BufRead, path::PathBuf, thread, time::Duration};

use netmon_agent::{health::State, state::BACKLOG, time::Mono};
use netmon_client::{
    Client, Condition, Error, Monitor, State as Told, Subscription, Update, WaitOptions, aio, wire::Change,
};

use world::{Helper, LONG, World, say, socket_told, until};

const FRESH: Duration = Duration::from_secs(600);
/// A state's validity in the trials that wait for its end.
const STALE: Duration = Duration::from_millis(500);
/// What a coarse clock may lag: a tick of 100 Hz, and one for luck.
const TICK: Duration = Duration::from_millis(20);

/// A place for a socket.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("netmon.sock");
    (folder, socket)
}

fn next(updates: &Subscription) -> Update {
    updates.recv_timeout(LONG).expect("an update")
}

fn next_change(updates: &Subscription) -> Change {
    match next(updates) {
        Update::Change(change) => (*change).clone(),
        other => panic!("{other:?}"),
    }
}

/// Serves what it is told to publish, until its input ends.
#[test]
#[ignore = "the agent's side of other tests, which start it"]
fn serve() {
    let socket = socket_told().expect("started by another test");
    let mut world = World::new(&socket, STALE);
    world.publish(State::Up);
    say("ready");
    for line in std::io::stdin().lock().lines() {
        world.publish(if line.unwrap() == "up" { State::Up } else { State::Down });
        say("done");
    }
}

/// Says at each line what its monitor says.
#[test]
#[ignore = "the program of another test, which starts it"]
fn look() {
    let monitor = Monitor::connect(socket_told().expect("started by another test")).unwrap();
    say("ready");
    for line in std::io::stdin().lock().lines() {
        line.unwrap();
        say(monitor.state().as_str());
    }
}

#[test]
fn an_agent_that_stands_still_is_not_believed_longer_than_its_state_is_valid() {
    let (_folder, socket) = place();
    let mut agent = Helper::start("serve", &socket);
    let monitor = Monitor::connect(&socket).unwrap();
    for _ in 0..3 {
        until("up", || monitor.is_up());
        agent.stop();
        let stopped = Mono::now();
        loop {
            // Read before the state: a long way from the one to the other proves nothing.
            let at = Mono::now().since(stopped);
            match monitor.state() {
                Told::Unknown => break,
                _ => assert!(at <= STALE + TICK, "believed after {at:?}"),
            }
        }
        assert!(!monitor.wait_for(Condition::Up, Duration::ZERO, Some(Duration::from_millis(1))));
        agent.resume();
    }
    until("up again", || monitor.is_up());
    agent.tell("down");
    assert_eq!(agent.hear(), "done");
    assert!(monitor.wait_for(Condition::Down, Duration::ZERO, Some(LONG)));
}

#[test]
fn a_program_that_was_stopped_never_says_what_was_before() {
    let (_folder, socket) = place();
    let mut world = World::new(&socket, STALE);
    let mut program = Helper::start("look", &socket);
    let said = |program: &mut Helper| {
        program.tell("look");
        program.hear()
    };
    for _ in 0..4 {
        world.publish(State::Up);
        until("up", || said(&mut program) == "up");
        program.stop();
        world.publish(State::Down);
        thread::sleep(STALE + TICK);
        program.tell("look");
        program.resume();
        let first = program.hear();
        assert!(["unknown", "down"].contains(&&*first), "it says {first}");
        until("down", || said(&mut program) == "down");
    }
}

#[test]
fn a_killed_agent_is_missed_and_its_successor_found() {
    let (_folder, socket) = place();
    let mut agent = Some(Helper::start("serve", &socket));
    let monitor = Monitor::connect(&socket).unwrap();
    until("up", || monitor.is_up());
    let updates = monitor.subscribe();
    for round in 1..4 {
        drop(agent.take());
        assert_eq!(next(&updates), Update::Lost);
        assert_eq!(monitor.state(), Told::Unknown);
        assert!(!monitor.is_connected());
        let waiting = WaitOptions { device: Some("eth0".into()), timeout: Some(LONG), ..WaitOptions::up() };
        let waited = thread::scope(|scope| {
            let waiter = scope.spawn(|| monitor.wait(&waiting));
            agent = Some(Helper::start("serve", &socket));
            waiter.join().unwrap()
        });
        assert!(waited.unwrap().satisfied);
        assert!(monitor.wait_for(Condition::Up, Duration::from_millis(50), Some(LONG)));
        // The new one has not what the old one told: a gap, and the state as it is.
        assert_eq!(next_change(&updates).kind, "gap");
        let mut update = next(&updates);
        while matches!(&update, Update::Change(change) if change.state == Told::Up) {
            update = next(&updates);
        }
        assert_eq!(update, Update::Resumed(Told::Up));
        assert_eq!(monitor.connection().reconnects, round);
    }
}

#[test]
fn what_happened_meanwhile_is_told_and_what_is_too_much_is_a_gap() {
    let (_folder, socket) = place();
    let mut world = World::new(&socket, FRESH);
    world.publish(State::Up);
    let monitor = Monitor::connect(&socket).unwrap();
    let updates = monitor.subscribe();
    assert!(monitor.wait_for(Condition::Up, Duration::ZERO, Some(LONG)));

    world.stop();
    assert_eq!(next(&updates), Update::Lost);
    world.start();
    assert_eq!(next(&updates), Update::Resumed(Told::Up));

    world.stop();
    assert_eq!(next(&updates), Update::Lost);
    world.publish(State::Down);
    world.publish(State::Up);
    world.start();
    let seen = [next_change(&updates), next_change(&updates)].map(|c| (c.seq, c.state));
    assert_eq!(seen, [(world.seq() - 1, Told::Down), (world.seq(), Told::Up)]);
    assert_eq!(next(&updates), Update::Resumed(Told::Up));

    world.stop();
    assert_eq!(next(&updates), Update::Lost);
    for _ in 0..=BACKLOG / 2 {
        world.publish(State::Down);
        world.publish(State::Up);
    }
    world.publish(State::Degraded);
    world.start();
    let gap = next_change(&updates);
    assert_eq!((gap.kind.as_str(), gap.seq, gap.state), ("gap", world.seq(), Told::Degraded));
    assert_eq!(next(&updates), Update::Resumed(Told::Degraded));
}

#[test]
fn thousands_of_changes_come_in_order_each_once() {
    let (_folder, socket) = place();
    let mut world = World::new(&socket, FRESH);
    world.publish(State::Up);
    let monitor = Monitor::connect(&socket).unwrap();
    let updates = monitor.subscribe();
    for _ in 0..10 {
        let first = world.seq();
        for _ in 0..500 {
            world.publish(State::Down);
            world.publish(State::Up);
        }
        for n in 1..=1000 {
            let change = next_change(&updates);
            assert_eq!((change.seq, change.kind.as_str()), (first + n, "state"));
        }
    }
    assert!(monitor.wait_for(Condition::Up, Duration::ZERO, Some(LONG)));
    assert_eq!(updates.try_recv(), None);
}

#[test]
fn the_time_before_the_connection_counts() {
    let (_folder, socket) = place();
    let mut world = World::new(&socket, FRESH);
    world.publish(State::Up);
    let since = Mono::now();
    until("some age", || Mono::now().since(since) > Duration::from_millis(300));
    let monitor = Monitor::connect(&socket).unwrap();
    assert!(monitor.wait_for(Condition::Up, Duration::ZERO, Some(LONG)));
    let short = Some(Duration::from_millis(1));
    assert!(monitor.wait_for(Condition::Usable, Duration::from_millis(300), short));
    assert!(!monitor.wait_for(Condition::Usable, FRESH, short));
}

#[test]
fn devices_tell_their_statistics() {
    let (_folder, socket) = place();
    let mut world = World::new(&socket, FRESH);
    world.publish(State::Up);
    let monitor = Monitor::connect(&socket).unwrap();
    let device = monitor.device("eth0").unwrap();
    assert_eq!((device.state, device.mtu, device.speed_mbps), (Told::Up, 9000, Some(10_000)));
    assert_eq!((device.mac.as_deref(), device.kind.as_deref()), (Some("02:00:00:00:00:01"), Some("bond")));
    assert_eq!((device.traffic.rx_bytes, device.traffic.rx_dropped), (world.seq(), 7));
    assert_eq!((device.carrier_changes, &device.lowers[..]), (Some(3), &["eth1".into(), "eth2".into()][..]));
    assert_eq!(device.addresses, ["10.0.0.2/24"]);
    assert!(matches!(monitor.device("eth9"), Err(Error::NotFound(words)) if words.contains("eth0")));
    assert_eq!(monitor.devices().unwrap(), Client::new(&socket).status().unwrap().devices);
    let twin = world.runtime().block_on(aio::Client::new(&socket).device("eth0")).unwrap();
    assert_eq!(twin, device);
}

#[test]
fn an_async_wait_that_is_dropped_frees_its_place() {
    let (_folder, socket) = place();
    let mut world = World::new(&socket, FRESH);
    world.publish(State::Down);
    let client = aio::Client::new(&socket);
    for through in [false, true] {
        let waiting = client.clone();
        let task = world.runtime().spawn(async move {
            match through {
                false => waiting.wait(&WaitOptions::up()).await,
                true => waiting.wait_through(&WaitOptions::up()).await,
            }
        });
        until("the waiter", || world.waiters() == 1);
        task.abort();
        until("a free place", || world.waiters() == 0);
    }
    let task = world.runtime().spawn(async move { client.wait(&WaitOptions::up()).await });
    until("the waiter", || world.waiters() == 1);
    world.publish(State::Up);
    assert!(world.runtime().block_on(task).unwrap().unwrap().satisfied);
}

#[test]
fn the_async_monitor_follows_through_restarts() {
    let (_folder, socket) = place();
    let mut world = World::new(&socket, FRESH);
    world.publish(State::Up);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(async {
        let monitor = aio::Monitor::connect(&socket).await;
        assert!(monitor.is_up() && monitor.is_connected());
        let (mut updates, mut all) = (monitor.subscribe(), monitor.subscribe_all());
        let many: u64 = 500;
        let (first, publisher) = (
            world.seq(),
            thread::spawn(move || {
                for n in 0..many {
                    world.publish(if n % 2 == 0 { State::Down } else { State::Up });
                }
                world.publish(State::Degraded);
                world
            }),
        );
        assert!(monitor.wait_for(Condition::Degraded, Duration::ZERO, Some(LONG)).await);
        for n in 1..=many + 1 {
            let next = tokio::time::timeout(LONG, updates.recv()).await;
            let Ok(Some(Update::Change(change))) = next else { panic!("{next:?}") };
            assert_eq!(change.seq, first + n);
        }
        let mut world = publisher.join().unwrap();
        let deadline = Mono::now() + LONG;
        loop {
            assert!(Mono::now() < deadline, "no update ever came");
            // Nothing changes: it is one more publication.
            world.publish(State::Degraded);
            match tokio::time::timeout(Duration::from_millis(50), all.recv()).await {
                Ok(Some(Update::Change(change))) if change.kind == "update" => break,
                Ok(None) => panic!("the monitor ended"),
                _ => {}
            }
        }
        // On another thread, as it blocks.
        let mut world = thread::spawn(move || {
            world.stop();
            world
        })
        .join()
        .unwrap();
        assert_eq!(monitor.changed(Told::Degraded).await, Told::Unknown);
        assert!(!monitor.wait_for(Condition::Usable, Duration::ZERO, Some(Duration::from_millis(1))).await);
        world.start();
        assert_eq!(monitor.changed(Told::Unknown).await, Told::Degraded);
        drop(monitor);
        let deadline = Mono::now() + LONG;
        while world.subscribers() > 0 {
            assert!(Mono::now() < deadline, "the subscriber never went");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(update) = updates.recv().await {
            assert!(matches!(update, Update::Lost | Update::Resumed(Told::Degraded)), "{update:?}");
        }
        world
    });
    // Outside, as its end blocks.
    drop(world);
}
