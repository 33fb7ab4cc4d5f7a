//! The child's process group: signals, time-outs, what is left behind, standard input.

use std::{
    fs::File,
    io::Write,
    process::{Command, Stdio},
};

use netmon_agent::health::State;
use nix::sys::signal::Signal;

use crate::world::{QUICK, World, code, process_state, until};

#[test]
fn signals_are_passed_on_and_end_the_retrying() {
    let world = World::new(State::Up);
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
    ] {
        let _ = std::fs::remove_file(world.path("ready"));
        let script = format!(
            "$ONE; trap 'echo {name} >> heard; exit 75' {name}; echo on > ready; while :; do sleep 0.02; done"
        );
        let job = world.spawn(QUICK, &script);
        world.until("ready", "on");
        job.signal(signal);
        let (code, lines) = job.end();
        assert_eq!(code, 75, "{name}: {lines:?}");
        assert!(world.file("heard").ends_with(&format!("{name}\n")), "{name}");
        assert_eq!(lines[0]["class"], "interrupted", "{name}: {lines:?}");
    }
    assert_eq!(world.attempts(), 4, "none is tried again");
}

#[test]
fn a_parent_that_ignores_the_end_of_children_does_not_hide_it() {
    let world = World::new(State::Up);
    let retry = world.retry(&format!("{QUICK} -q"), "$ONE; exit 75");
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' CHLD; exec \"$@\"", "sh"]).arg(retry.get_program()).args(retry.get_args());
    let status = command.current_dir(world.folder.path()).stdin(Stdio::null()).status().unwrap();
    assert_eq!((code(status), world.attempts()), (75, 5));
}

#[test]
fn a_signal_that_was_ignored_from_the_start_ends_nothing() {
    let world = World::new(State::Up);
    let script =
        "$ONE; echo on > ready; until test -e go; do sleep 0.02; done; test $NETMON_ATTEMPT = 2 || exit 75";
    let retry = world.retry(&format!("{QUICK} -q"), script);
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP INT QUIT USR1; exec \"$@\"", "sh"])
        .arg(retry.get_program())
        .args(retry.get_args());
    let mut child = command.current_dir(world.folder.path()).stdin(Stdio::null()).spawn().unwrap();
    world.until("ready", "on");
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGUSR1] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
    }
    std::fs::write(world.path("go"), "").unwrap();
    assert_eq!((code(child.wait().unwrap()), world.attempts()), (0, 2), "as under nohup(1)");
}

#[test]
fn other_signals_are_passed_on_and_change_nothing() {
    let world = World::new(State::Up);
    let script = "trap 'echo one >> heard' USR1; trap 'echo two >> heard' USR2; echo on > ready; \
                  until test \"$(sort -u heard 2>/dev/null | tr -d '\\n')\" = onetwo; do sleep 0.02; done; \
                  exit 0"; // The signals kill what the shell runs, and the loop would end with that.
    let job = world.spawn(QUICK, script);
    world.until("ready", "on");
    job.signal(Signal::SIGUSR1);
    job.signal(Signal::SIGUSR2);
    assert_eq!(job.end().0, 0);
}

#[test]
fn a_command_killed_by_a_signal_is_told_by_the_same_death() {
    use std::os::unix::process::ExitStatusExt;
    let world = World::new(State::Up);
    for (name, signal) in [("TERM", 15), ("KILL", 9), ("USR1", 10)] {
        let status = world.retry("-q", &format!("kill -{name} $$")).status().unwrap();
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal), false), "{name}: {status}");
    }
}

#[test]
fn who_waits_dies_of_the_signal_that_ends_it() {
    use std::os::unix::process::ExitStatusExt;
    let world = World::new(State::Down);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut command = world.retry("-q", "$ONE");
        let mut child = command.spawn().unwrap();
        until("the waiter", || world.waiters() == 1);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal as i32), "{status}");
        until("nobody", || world.waiters() == 0);
    }
    assert_eq!(world.attempts(), 0);
}

#[test]
fn an_attempt_out_of_time_is_asked_to_end_and_then_killed() {
    let world = World::new(State::Up);
    let options = format!("{QUICK} --attempts 2 --attempt-timeout 300ms --kill-after 300ms");
    let (code, said) =
        world.run(&options, "$ONE; trap 'echo term >> heard; exit 9' TERM; while :; do sleep 0.02; done");
    assert_eq!((code, world.attempts(), world.file("heard").as_str()), (124, 2, "term\nterm\n"), "{said}");
    assert!(said.contains("class=timeout"), "{said}");
    // One that does not want to, nor its own children.
    let stubborn = "$ONE; trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 0.02; done' & wait; sleep 1000";
    let (code, said) = world.run(&options, stubborn);
    assert_eq!((code, world.attempts()), (124, 2), "{said}");
    assert!(process_state(&world.file("pid")).is_none(), "the grandchild lives on");
}

#[test]
fn nothing_of_the_group_is_left_behind() {
    let world = World::new(State::Up);
    for exit in ["exit 0", "exit 3", "kill -KILL $$"] {
        let (_, said) = world.run("--kill-after 5s", &format!("sleep 1000 & echo $! > pid; {exit}"));
        assert!(process_state(&world.file("pid")).is_none(), "{exit}: {said}");
    }
    // Who only reads the last of the output has time to.
    let (code, _) = world.run("", "sh -c 'sleep 0.3; echo done > last' & exit 0");
    assert_eq!((code, world.file("last").as_str()), (0, "done\n"));
    // A daemon has a session of its own.
    let script = "setsid sh -c 'echo $$ > daemon; exec sleep 1000' > /dev/null 2>&1 & until test -s daemon; do sleep 0.02; done";
    assert_eq!(world.run("", script).0, 0);
    let daemon = world.file("daemon");
    assert!(process_state(&daemon).is_some());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.trim().parse().unwrap()), Signal::SIGKILL)
        .unwrap();
}

#[test]
fn a_file_is_read_anew_by_each_attempt_and_a_pipe_is_not() {
    let world = World::new(State::Up);
    std::fs::write(world.path("input"), "head\nbody\n").unwrap();
    let script = "cat >> seen; test $NETMON_ATTEMPT = 3 || exit 75";
    let mut file = File::open(world.path("input")).unwrap();
    // From where it stood.
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(5)).unwrap();
    let status = world.retry(QUICK, script).stdin(file).stderr(Stdio::null()).status().unwrap();
    assert_eq!((code(status), world.file("seen").as_str()), (0, "body\nbody\nbody\n"));

    std::fs::remove_file(world.path("seen")).unwrap();
    let mut command = world.retry(QUICK, script);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"once\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((code(output.status), world.file("seen").as_str()), (0, "once\n"), "{said}");
    assert_eq!(said.matches("standard input is a pipe").count(), 1, "{said}");
}
