//! Exit codes, which attempts are made, and the retry budget.

use netmon_agent::{budget, health::State};

use crate::world::{QUICK, World};

#[test]
fn exit_codes_are_those_that_scripts_rely_on() {
    let world = World::new(State::Up);
    for (options, script, code, attempts) in [
        ("", "$ONE; exit 0", 0, 1),
        ("", "$ONE; exit 75", 75, 5),
        ("--attempts 2", "$ONE; exit 124", 124, 2),
        ("", "$ONE; exit 3", 3, 1),
        ("--retry-on 1-9", "$ONE; exit 3", 3, 5),
        ("--retry-on 1-9 --give-up-on 3", "$ONE; exit 3", 3, 1),
        ("--give-up-on 75", "$ONE; exit 75", 75, 1),
        ("--retry-on 1-255", "$ONE; exit 2", 2, 1),
        ("--retry-on 1-255", "$ONE; exit 64", 64, 1),
        ("--retry-on 1-255", "$ONE; exit 77", 77, 1),
        ("--retry-on 1-255", "$ONE; exit 78", 78, 1),
        ("--retry-on 1-255", "$ONE; exit 126", 126, 1),
        ("--retry-on 1-255", "$ONE; exit 127", 127, 1),
        ("--retry-on 1-255", "$ONE; kill -TERM $$", 143, 1),
        ("--retry-on 1-255", "$ONE; kill -INT $$", 130, 1),
        ("--retry-on 137 --attempts 3", "$ONE; kill -KILL $$", 137, 3),
        ("--profile rclone", "$ONE; exit 5", 5, 5),
        ("--profile rclone", "$ONE; exit 7", 7, 1),
        ("--profile ssh", "$ONE; test $NETMON_ATTEMPT = 3 || exit 255", 0, 3),
        ("--no-budget --attempts endless", "$ONE; test $NETMON_ATTEMPT = 50 || exit 75", 0, 50),
    ] {
        let (ended, said) = world.run(&format!("{QUICK} {options}"), script);
        assert_eq!((ended, world.attempts()), (code, attempts), "{options} -- {script}: {said}");
    }
}

#[test]
fn what_cannot_be_executed_is_told_as_a_shell_does() {
    let world = World::new(State::Up);
    let run = |program: &str| {
        let mut command = world.retry("-q", "");
        let line: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let end = line.iter().position(|word| word == "--").unwrap();
        command = std::process::Command::new(command.get_program());
        let output = command.args(&line[..=end]).arg(program).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run("/no/such/program");
    assert!(code == Some(127) && said.starts_with("netmon: can't run /no/such/program: No such"), "{said}");
    assert_eq!(run("/etc/passwd").0, Some(126));
}

#[test]
fn what_is_netmons_own_error_is_125_and_no_agent_69() {
    let world = World::new(State::Up);
    for (options, words) in [
        ("--on-down restart", "--idempotent"),
        ("--attempts 0", "--attempts"),
        ("--retry-on x", "1 to 255"),
        ("--nonsense", "--nonsense"),
        ("--target nosuch", "nosuch"),
        ("--device nosuch", "nosuch"),
    ] {
        let (code, said) = world.run(options, "$ONE");
        assert!(code == 125 && said.contains(words), "{options}: {code}: {said}");
        assert_eq!(world.attempts(), 0, "{options}");
    }
    let nobody = World::without_agent();
    let (code, said) = nobody.run("", "$ONE");
    assert!(code == 69 && said.contains("--no-agent-ok"), "{code}: {said}");
    assert_eq!(nobody.attempts(), 0);
    let (code, said) = nobody.run(&format!("{QUICK} --no-agent-ok"), "$ONE; exit 75");
    assert!(code == 75 && said.contains("blind to the network"), "{code}: {said}");
    assert_eq!(nobody.attempts(), 5);
}

#[test]
fn each_attempt_knows_which_it_is_and_is_told_in_one_line() {
    let world = World::new(State::Up);
    let script = "echo $NETMON_ATTEMPT/$NETMON_ATTEMPTS ${NETMON_LAST_EXIT-none} >> seen; test $NETMON_ATTEMPT = 3 || exit 75";
    let (code, lines) = world.spawn("--initial 1s --jitter none --name nightly", script).end();
    assert_eq!((code, world.file("seen").as_str()), (0, "1/5 none\n2/5 75\n3/5 75\n"));
    let told: Vec<_> = lines
        .iter()
        .map(|l| {
            format!("{} {} {} {} {} {}", l["msg"], l["job"], l["attempt"], l["exit"], l["class"], l["next"])
        })
        .collect();
    let expected = [
        r#""attempt" "nightly" 1 75 "transient" "backoff""#,
        r#""attempt" "nightly" 2 75 "transient" "backoff""#,
        r#""attempt" "nightly" 3 0 "success" "done""#,
    ];
    assert_eq!(told, expected);
    assert!(lines.iter().all(|l| l["refunded"] == false && l["duration"].is_number() && l["at"].is_string()));
    // As logfmt it is the default, and none of it with --quiet.
    let (_, said) = world.run(&format!("{QUICK} --attempts 1"), "exit 75");
    let fields = "msg=attempt job=sh attempt=1 exit=75 duration=";
    assert!(said.contains(fields) && said.contains("msg=gave_up job=sh why=exhausted exit=75"), "{said}");
    assert_eq!(world.run(&format!("{QUICK} --quiet"), "exit 75"), (75, String::new()));
}

#[test]
fn a_machine_that_retries_too_much_is_told_to_come_later() {
    let world =
        World::with_budget(budget::Settings { tokens: 30, per_second: 0.001, ..budget::Settings::default() });
    let run = |options: &str| {
        let (code, said) = world.run(&format!("{QUICK} --retry-on 1 {options}"), "$ONE; exit 1");
        (code, world.attempts(), said)
    };
    // Two retries of 14 tokens.
    let (code, attempts, said) = run("");
    assert!((code, attempts) == (75, 3) && said.contains("msg=no_budget"), "{code} {attempts}: {said}");
    let (code, attempts, said) = run("");
    assert!((code, attempts) == (75, 1) && said.contains("why=no_budget"), "{code} {attempts}: {said}");
    let (code, attempts, _) = run("--no-budget");
    assert_eq!((code, attempts), (1, 5));
}

#[test]
fn a_retry_that_succeeds_gives_back_what_it_had_cost() {
    let world =
        World::with_budget(budget::Settings { tokens: 20, per_second: 0.001, ..budget::Settings::default() });
    for _ in 0..3 {
        let script = "$ONE; test $NETMON_ATTEMPT = 2 || exit 1";
        let (code, said) = world.run(&format!("{QUICK} --retry-on 1"), script);
        assert_eq!((code, world.attempts()), (0, 2), "{said}");
    }
}
