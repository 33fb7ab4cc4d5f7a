//! What is made of the command line's definition: completions and manual pages, held against the programs that read them.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

fn netmon(line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
    command.args(line).env_clear().stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What the program says of the text on its standard input; none, once it is said, where there is no such program.
fn judged(program: &str, args: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("SKIPPED: no {program} here");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

/// The subcommands that `netmon --help` lists.
fn subcommands() -> Vec<String> {
    let help = text(&netmon(&["--help"]));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // What is said of one may go on in the next line, further in.
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = listed
        .take_while(|line| !line.is_empty())
        .filter(is_name)
        .map(|line| line.split_whitespace().next().unwrap());
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() >= 12, "{names:?}");
    names
}

#[test]
fn each_shell_takes_its_completions() {
    for (shell, program, args) in [
        ("bash", "bash", &["-n"][..]),
        ("zsh", "zsh", &["-n"]),
        ("fish", "fish", &["--no-execute"]),
        ("elvish", "elvish", &["-compileonly", "/dev/stdin"]),
    ] {
        let script = text(&netmon(&["completions", shell]));
        for name in subcommands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
        if let Some(said) = judged(program, args, &script) {
            assert!(said.status.success() && said.stderr.is_empty(), "{shell}: {said:?}");
        }
    }
    let wrong = netmon(&["completions", "csh"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    let script = text(&netmon(&["completions", "bash"]));
    let completed = |words: &[&str]| {
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let line = format!(
            "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_netmon netmon '{last}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
        );
        text(&judged("bash", &[], &line).expect("bash is everywhere"))
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(completed(&["netmon", "wa"]), ["wait", "watch"]);
    assert_eq!(completed(&["netmon", "wait", "--sta"]), ["--state", "--stable"]);
    assert_eq!(completed(&["netmon", "completions", "ba"]), ["bash"]);
    assert_eq!(completed(&["netmon", "config", "ch"]), ["check"]);
}

/// Every page by its file's name.
fn pages(dir: &Path) -> BTreeMap<String, String> {
    text(&netmon(&["man", "--dir", dir.to_str().unwrap()]));
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap())).collect()
}

#[test]
fn each_subcommand_has_a_page_with_all_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let pages = pages(&folder.path().join("share/man/man1"));
    assert_eq!(pages["netmon.1"], text(&netmon(&["man"])));
    for name in subcommands() {
        let page = &pages[&format!("netmon-{name}.1")];
        assert!(pages["netmon.1"].contains(&format!("netmon\\-{name}(1)")), "{name}");
        let help = text(&netmon(&[&name, "--help"]));
        // An option's own line: `-c, --config <FILE>`, `--dns[=<PORT>]`.
        let lines = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
        let options =
            lines.filter_map(|line| line.split([' ', '=', '[']).find(|word| word.starts_with("--")));
        let options: Vec<String> = options.map(|option| option.replace('-', "\\-")).collect();
        assert!(!options.is_empty(), "{name}: {help}");
        let missing: Vec<&String> = options.iter().filter(|option| !page.contains(*option)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
    assert!(pages["netmon-wait.1"].contains("75 not by the deadline"), "what it says of its exit codes");
    assert!(pages.contains_key("netmon-config-check.1"));
    assert!(!pages.keys().any(|name| name.contains("help")), "{:?}", pages.keys());
}

#[test]
fn the_formatters_find_nothing_to_say_of_the_pages() {
    let folder = tempfile::tempdir().unwrap();
    for (name, page) in pages(folder.path()) {
        if let Some(said) = judged("groff", &["-Kutf8", "-man", "-Tutf8", "-ww", "-z"], &page) {
            assert!(said.status.success() && said.stderr.is_empty(), "{name}: {said:?}");
        }
        if let Some(said) = judged("mandoc", &["-Tlint", "-Wwarning"], &page) {
            // A page has no date, and the library spaces lists of values twice.
            let usual =
                |line: &&str| line.contains("missing date") || line.contains("skipping paragraph macro");
            let text = String::from_utf8_lossy(&said.stdout).into_owned();
            let faults: Vec<&str> = text.lines().filter(|line| !usual(line)).collect();
            assert!(faults.is_empty(), "{name}: {faults:#?}");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let output = netmon(&["man", "--dir", "/dev/null/man"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("/dev/null/man"), "{said}");
}
