//! The terminal: who has it, who gets it back, what is typed.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use netmon_agent::health::State;

use crate::world::World;

/// A shell on a terminal, by script(1).
struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: Lines<BufReader<ChildStdout>>,
}

impl Terminal {
    /// Runs `line` there, with this `netmon retry` as `$@`. None, once it is said, where there is no script(1).
    fn run(world: &World, retry: &Command, line: &str) -> Option<Self> {
        let words: Vec<String> = std::iter::once(retry.get_program())
            .chain(retry.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''")))
            .collect();
        let line = format!("set -- {}; {line}", words.join(" "));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh").current_dir(world.folder.path());
        let Ok(mut script) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            eprintln!("SKIPPED: no script(1); it is in Debian's package bsdutils");
            assert!(std::env::var_os("CI").is_none(), "script is needed in CI");
            return None;
        };
        let keys = script.stdin.take().unwrap();
        let screen = BufReader::new(script.stdout.take().unwrap()).lines();
        Some(Self { script, keys, screen })
    }

    fn see(&mut self, words: &str) {
        let found = self.screen.by_ref().map_while(Result::ok).find(|line| line.contains(words));
        assert!(found.is_some(), "{words:?} never came");
    }

    fn type_keys(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    fn close(self) {
        let Self { mut script, keys, screen } = self;
        drop((keys, screen));
        script.wait().unwrap();
    }
}

#[test]
fn a_command_on_a_terminal_has_it_and_gives_it_back() {
    let world = World::new(State::Up);
    let retry = world.retry("-q", "read line; echo got $line; trap 'echo interrupted; exit 42' INT; echo ready; while :; do sleep 0.02; done");
    // The shell has the terminal again afterwards, or it would be stopped for reading from it.
    let line = "\"$@\"; echo code $?; read rest; echo shell got $rest";
    let Some(mut terminal) = Terminal::run(&world, &retry, line) else { return };
    terminal.type_keys(b"hello\n");
    terminal.see("got hello");
    terminal.see("ready");
    terminal.type_keys(b"\x03");
    terminal.see("interrupted");
    terminal.see("code 42");
    terminal.type_keys(b"again\n");
    terminal.see("shell got again");
    terminal.close();
}

#[test]
fn what_cannot_be_executed_does_not_keep_the_terminal() {
    let world = World::new(State::Up);
    let line =
        "\"$1\" \"$2\" \"$3\" retry -- /no/such/program; echo code $?; read rest; echo shell got $rest";
    let Some(mut terminal) = Terminal::run(&world, &world.retry("", ""), line) else { return };
    terminal.see("code 127");
    terminal.type_keys(b"again\n");
    terminal.see("shell got again");
    terminal.close();
}

#[test]
fn what_is_interrupted_by_hand_is_not_tried_again() {
    let world = World::new(State::Up);
    for (keys, name, code) in [(b"\x03", "INT", 130), (b"\x1c", "QUIT", 131)] {
        let _ = std::fs::remove_file(world.path("attempts"));
        let script = format!("$ONE; trap 'exit {code}' {name}; echo ready; while :; do sleep 0.02; done");
        let retry = world.retry("-q --retry-on 128-140 --initial 1ms", &script);
        // The shell itself would end of it, were it at the foreground.
        let Some(mut terminal) = Terminal::run(&world, &retry, "\"$@\"; echo code $?") else { return };
        terminal.see("ready");
        terminal.type_keys(keys);
        terminal.see(&format!("code {code}"));
        terminal.close();
        assert_eq!(world.attempts(), 1, "{name}");
    }
}

#[test]
fn a_command_that_wants_a_terminal_where_nobody_gives_it_is_hung_up() {
    let world = World::new(State::Up);
    let retry = world.retry("-q", "read line < /dev/tty");
    // A job in the background whose shell is gone.
    let line = "sh -c 'set -m; (until test -e go; do sleep 0.02; done; \"$@\"; echo code $? > code) &' sh \"$@\"; \
                echo > go; until test -s code; do sleep 0.02; done; cat code";
    let Some(mut terminal) = Terminal::run(&world, &retry, line) else { return };
    terminal.see("code 129");
    terminal.close();
}
