//! What an outage does: refunds, pauses, restarts; agents that go and come.

use std::time::Duration;

use netmon_agent::{budget, health::State, time::Mono};
use nix::sys::signal::Signal;

use crate::world::{QUICK, World, process_state, until};

/// Runs until the file `go` is there; then fails, but for the second attempt.
const CUT: &str = "$ONE; test $NETMON_ATTEMPT = 1 || exit 0; echo on > ready; until test -e go; do sleep 0.02; done; exit 1";

fn go(world: &World) {
    std::fs::write(world.path("go"), "").unwrap();
}

#[test]
fn an_attempt_that_an_outage_cut_costs_nothing_and_waits_for_its_end() {
    let world = World::new(State::Up);
    let job = world.spawn(&format!("{QUICK} --attempts 1 --stable 200ms"), CUT);
    world.until("ready", "on");
    world.publish(State::Down);
    go(&world);
    // It waits, and says so to the agent too.
    until("the waiter", || world.waiters() == 1);
    assert_eq!(world.attempts(), 1);
    world.publish(State::Up);
    let (code, lines) = job.end();
    assert_eq!((code, world.attempts()), (0, 2), "{lines:?}");
    let first = &lines[0];
    assert_eq!(
        (first["class"].as_str(), first["refunded"].as_bool(), first["next"].as_str()),
        (Some("outage"), Some(true), Some("network")),
        "{first}"
    );
    assert!(lines[1]["class"] == "success" && lines[1]["attempt"] == 2, "{lines:?}");
}

#[test]
fn an_outage_that_comes_to_light_after_the_failure_excuses_it_too() {
    let world = World::new(State::Up);
    // Exit 1 is tried again for an outage alone, and there are no attempts left beside.
    let script = "$ONE; test $NETMON_ATTEMPT = 1 || exit 0; sleep 2; echo on > ready; exit 1";
    let job = world.spawn(&format!("{QUICK} --attempts 1 --stable 50ms"), script);
    world.until("ready", "on");
    world.publish(State::Down);
    until("the waiter", || world.waiters() == 1);
    world.publish(State::Up);
    let (code, lines) = job.end();
    assert_eq!((code, world.attempts()), (0, 2), "{lines:?}");
}

#[test]
fn nothing_starts_before_the_network_is_there() {
    let world = World::new(State::Down);
    let (code, said) = world.run("--max-time 300ms", "$ONE");
    assert_eq!((code, world.attempts()), (75, 0), "{said}");
    assert!(said.contains("why=no_network"), "{said}");

    // An agent that does not know yet is no network either.
    let world = World::new(State::Unknown);
    let job = world.spawn("--stable 50ms", "$ONE");
    until("the waiter", || world.waiters() == 1);
    assert_eq!(world.attempts(), 0);
    world.publish(State::Degraded);
    assert_eq!((job.end().0, world.attempts()), (0, 1));
    let (code, said) = world.run("--max-time 300ms --state up", "$ONE");
    assert_eq!((code, world.attempts()), (75, 0), "degraded is not up: {said}");
}

#[test]
fn the_time_for_everything_binds_in_every_phase() {
    let world = World::new(State::Up);
    let (code, said) = world.run("--max-time 1s --stable 0s", "$ONE; echo $$ > pid; exec sleep 1000");
    assert_eq!((code, world.attempts()), (124, 1), "{said}");
    assert!(said.contains("why=max_time") && process_state(&world.file("pid")).is_none(), "{said}");
    // A delay that would end after it is not begun.
    let (code, said) = world.run("--max-time 20s --initial 60s --jitter none --stable 0s", "$ONE; exit 75");
    assert_eq!((code, world.attempts()), (124, 1), "{said}");
}

#[test]
fn nothing_is_looked_into_beyond_the_time_for_everything() {
    let world = World::new(State::Up);
    let began = Mono::now();
    // An outage that came to light would save the last attempt: for as long again as it ran, six seconds at most.
    let jobs = ["exec sleep 1000", "sleep 2; exit 1"]
        .map(|script| world.spawn("--max-time 3s --attempts 1 --stable 0s", script));
    let ends = jobs.map(|job| job.end().0);
    let lasted = Mono::now().since(began);
    assert_eq!(ends, [124, 1]);
    assert!(lasted < Duration::from_secs(6), "{lasted:?}");
}

#[test]
fn a_paused_command_stands_still_until_the_network_is_back() {
    let world = World::new(State::Up);
    let script = "echo $$ > pid; echo on > ready; until test -e go; do sleep 0.02; done";
    // The time in which it stands still is not its own.
    let job = world.spawn("--on-down pause --stable 100ms --attempt-timeout 30s", script);
    world.until("ready", "on");
    let pid = world.file("pid");
    world.publish(State::Down);
    until("the stop", || process_state(&pid) == Some('T'));
    world.publish(State::Up);
    until("its end", || process_state(&pid).is_some_and(|state| state != 'T'));
    go(&world);
    let (code, lines) = job.end();
    let told: Vec<_> = lines.iter().filter_map(|l| l["msg"].as_str()).collect();
    assert_eq!((code, told), (0, vec!["paused", "resumed", "attempt"]), "{lines:?}");
}

#[test]
fn a_paused_command_hears_who_wants_it_to_end() {
    let world = World::new(State::Up);
    let job = world.spawn("--on-down pause", "echo $$ > pid; echo on > ready; exec sleep 1000");
    world.until("ready", "on");
    let pid = world.file("pid");
    world.publish(State::Down);
    until("the stop", || process_state(&pid) == Some('T'));
    job.signal(Signal::SIGTERM);
    assert_eq!(job.end().0, 143);
    assert!(process_state(&pid).is_none());
}

#[test]
fn a_restarted_command_is_ended_and_begun_anew_at_no_charge() {
    let world = World::new(State::Up);
    let script = "$ONE; test $NETMON_ATTEMPT = 1 || exit 0; trap 'echo term > ended; exit 3' TERM; echo on > ready; while :; do sleep 0.02; done";
    let job = world.spawn("--on-down restart --idempotent --attempts 1 --stable 50ms", script);
    world.until("ready", "on");
    world.publish(State::Down);
    world.until("ended", "term");
    until("the waiter", || world.waiters() == 1);
    assert_eq!(world.attempts(), 1);
    world.publish(State::Up);
    let (code, lines) = job.end();
    assert_eq!((code, world.attempts()), (0, 2), "{lines:?}");
    assert!(lines[0]["class"] == "outage" && lines[0]["refunded"] == true, "{lines:?}");
}

#[test]
fn an_agent_that_is_started_anew_meanwhile_changes_nothing() {
    let mut world = World::new(State::Up);
    let job = world.spawn(&format!("{QUICK} --stable 50ms"), CUT);
    world.until("ready", "on");
    world.stop();
    world.start(budget::Settings::default());
    world.publish(State::Down);
    // It has heard of the outage by the new agent when it waits there.
    until("the follower", || world.followers() == 1);
    go(&world);
    until("the waiter", || world.waiters() == 1);
    world.publish(State::Up);
    let (code, lines) = job.end();
    assert_eq!((code, world.attempts()), (0, 2), "{lines:?}");
    assert!(lines.iter().any(|l| l["msg"] == "agent_lost") && lines.iter().any(|l| l["msg"] == "agent_back"));
}

#[test]
fn an_agent_that_is_only_just_started_is_no_outage() {
    let mut world = World::without_agent();
    // Exit 1 is tried again for an outage alone.
    let job = world.spawn(&format!("{QUICK} --no-agent-ok"), CUT);
    world.until("ready", "on");
    world.start(budget::Settings::default());
    world.publish(State::Unknown);
    until("the follower", || world.followers() == 1);
    // What it is told first is on its way.
    std::thread::sleep(Duration::from_millis(300));
    go(&world);
    let (code, lines) = job.end();
    assert_eq!((code, world.attempts()), (1, 1), "{lines:?}");
    assert!(lines.iter().any(|l| l["msg"] == "agent_back"), "{lines:?}");
}
