use std::{fs, path::Path, path::PathBuf, thread, time::Duration};

use netmon_agent::health::State::{Degraded, Down, Up};

use crate::world::{World, until};

/// A command that writes a line for each notice, and what it is told on its input beside it.
fn writes(folder: &Path, rest: &str) -> (String, PathBuf) {
    let file = folder.join("told");
    let script = "echo \\\"$NETMON_SUBJECT $NETMON_PREVIOUS $1 $NETMON_COLLAPSED\\\" >>$0; cat >>$0.json";
    let toml = format!(
        "[[notify.command]]\nname = \"hook\"\ncommand = [\"sh\", \"-c\", \"{script}\", \"{}\", \"{{state}}\"]\n{rest}\n",
        file.display()
    );
    (toml, file)
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_command_is_run_for_each_change_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (toml, file) = writes(folder.path(), "");
    let mut world = World::new(&toml);
    let states = [Up, Down, Degraded, Up];
    let numbers = states.map(|state| world.network(state));
    // It is told of the network alone.
    world.target("db", Down);
    world.await_count("hook", "delivered", 4);
    assert_eq!(
        lines(&file),
        ["network unknown up 0", "network up down 0", "network down degraded 0", "network degraded up 0"]
    );
    let json: Vec<serde_json::Value> =
        lines(&folder.path().join("told.json")).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(json.iter().map(|j| j["seq"].as_u64().unwrap()).collect::<Vec<_>>(), numbers);
    assert_eq!(json[1]["reasons"][0]["detail"], "no \"carrier\"");
    assert_eq!(world.own.notify.delay.with_label_values(&["hook"]).get_sample_count(), 4);
    assert_eq!(world.own.notify.waiting.with_label_values(&["hook"]).get(), 0);
    world.stop();
}

#[test]
fn a_flap_that_is_over_within_the_hold_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let (toml, file) = writes(folder.path(), "subjects = [\"target:*\"]\nafter = \"1s\"");
    let mut world = World::new(&toml);
    // Far more often than once in the hold, also on a machine that is busy.
    for _ in 0..20 {
        world.target("flaps", Down);
        world.target("flaps", Up);
    }
    world.target("holds", Down);
    world.await_count("hook", "delivered", 2);
    let mut told = lines(&file);
    told.sort();
    assert_eq!(told, ["flaps unknown up 0", "holds unknown down 0"]);
    world.stop();
}

#[test]
fn a_slow_command_is_never_run_twice_at_a_time_and_learns_the_newest_state() {
    let folder = tempfile::tempdir().unwrap();
    let (file, go) = (folder.path().join("told"), folder.path().join("go"));
    let script = "while [ ! -e $1 ]; do sleep 0.01; done; mkdir $0.lock && echo $2 $3 $4 >>$0; rmdir $0.lock";
    let toml = format!(
        "[[notify.command]]\nname = \"hook\"\nqueue = 2\nsubjects = [\"target:*\"]\n\
         command = [\"sh\", \"-c\", \"{script}\", \"{}\", \"{}\", \"{{subject}}\", \"{{state}}\", \"{{collapsed}}\"]",
        file.display(),
        go.display()
    );
    let mut world = World::new(&toml);
    world.target("a", Up);
    // The first is taken out to be told; the others wait.
    until("the first is taken", || {
        (world.own.notify.waiting.with_label_values(&["hook"]).get() == 0).then_some(())
    });
    thread::sleep(Duration::from_millis(50));
    for _ in 0..10 {
        world.target("a", Down);
        world.target("a", Up);
    }
    world.target("b", Degraded);
    until("collapsed", || (world.count("hook", "collapsed") == 19).then_some(()));
    fs::write(&go, "").unwrap();
    world.await_count("hook", "delivered", 3);
    assert_eq!(lines(&file), ["a up 0", "a up 19", "b degraded 0"]);
    assert_eq!(world.count("hook", "dropped"), 0);
    world.stop();
}

#[test]
fn a_change_of_the_configuration_tells_nothing_twice_and_forgets_who_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (toml, file) = writes(folder.path(), "subjects = [\"target:*\"]");
    let mut world = World::new(&toml);
    world.target("a", Down);
    world.target("gone", Down);
    world.await_count("hook", "delivered", 2);
    world.remove_target("gone");
    // Once this is told, it has been seen who is gone.
    world.target("a", Degraded);
    world.await_count("hook", "delivered", 3);
    // The same, another rule, and another name.
    world.configure(&toml);
    let (other, _) =
        writes(folder.path(), "subjects = [\"target:*\"]\nqueue = 5\nstates = [\"up\", \"down\"]");
    world.configure(&other);
    world.target("a", Up);
    world.target("gone", Down);
    world.await_count("hook", "delivered", 5);
    assert_eq!(
        lines(&file),
        [
            "a unknown down 0",
            "gone unknown down 0",
            "a down degraded 0",
            "a degraded up 0",
            "gone unknown down 0"
        ]
    );
    world.configure("");
    world.target("a", Down);
    // Its series are gone with it: this makes a new one.
    until("forgotten", || (world.count("hook", "delivered") == 0).then_some(()));
    // Whoever comes is told how it is.
    world.configure(&toml.replace("\"hook\"", "\"new\""));
    world.await_count("new", "delivered", 2);
    // What has been so for longer comes first.
    assert!(lines(&file).ends_with(&["gone unknown down 0".to_owned(), "a unknown down 0".to_owned()]));
    world.stop();
}

#[test]
fn what_fails_is_counted_and_the_next_is_told_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (good, file) = writes(folder.path(), "");
    let bad = "[[notify.command]]\nname = \"bad\"\ncommand = [\"sh\", \"-c\", \"exit 3\"]\n\
               [[notify.command]]\nname = \"none\"\ncommand = [\"/no/such/program\"]\n";
    let mut world = World::new(&format!("{good}{bad}"));
    world.network(Up);
    world.network(Down);
    world.await_count("bad", "failed", 2);
    world.await_count("none", "failed", 2);
    world.await_count("hook", "delivered", 2);
    assert_eq!(lines(&file).len(), 2);
    world.stop();
}

#[test]
fn the_end_of_the_agent_ends_what_runs_and_counts_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let toml = format!(
        "[[notify.command]]\nname = \"hook\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM; echo $$ >$0; sleep 1000 & wait\", \"{}\"]",
        file.display()
    );
    let mut world = World::new(&toml);
    world.network(Up);
    world.network(Down);
    let pid = until("it runs", || fs::read_to_string(&file).ok().filter(|t| t.ends_with('\n')));
    let own = world.own.clone();
    world.stop();
    assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists(), "{pid} lives on");
    let dropped = own.notify.notices.with_label_values(&["hook", "dropped"]).get();
    assert_eq!(dropped, 2, "what was cut off, and what waited");
}
