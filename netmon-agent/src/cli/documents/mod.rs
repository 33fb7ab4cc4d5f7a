//! What the repository's documents show of netmon, held against the program: commands, configurations, links.

mod links;
mod markdown;

use std::path::{Path, PathBuf};

use clap::{Parser, error::ErrorKind};

use super::Cli;
use crate::config::Config;
use markdown::{Document, commands};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is a folder of the repository")
        .to_owned()
}

fn documents() -> Vec<Document> {
    let all = markdown::all(&root());
    assert!(all.len() >= 15, "{} documents", all.len());
    all
}

/// What the program says against a command line, if anything.
fn objection(words: &[String]) -> Option<clap::Error> {
    Cli::try_parse_from(std::iter::once("netmon".to_owned()).chain(words.iter().cloned()))
        .err()
        .filter(|e| !matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion))
}

#[test]
fn every_command_that_is_shown_is_one() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for document in documents() {
        for (number, _, line) in &document.code {
            for words in commands(line, &["netmon"]).into_iter().filter(|words| !words.is_empty()) {
                seen += 1;
                if let Some(e) = objection(&words) {
                    wrong.push(format!("{}:{number}: {line}\n{e}", document.path.display()));
                }
            }
        }
        // In a sentence a command may stand without all that it needs.
        for (number, code) in document.inline_code().filter(|(_, code)| code.starts_with("netmon ")) {
            for words in commands(&code, &["netmon"]) {
                seen += 1;
                let lacking = [
                    ErrorKind::MissingRequiredArgument,
                    ErrorKind::MissingSubcommand,
                    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ];
                // Nor with the value of its last option, or a word in capitals in place of one.
                let open = words.last().is_some_and(|word| word.starts_with('-'))
                    || words
                        .iter()
                        .any(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase()));
                let is_open = |e: &clap::Error| open && e.kind() == ErrorKind::InvalidValue;
                if let Some(e) = objection(&words).filter(|e| !lacking.contains(&e.kind()) && !is_open(e)) {
                    wrong.push(format!("{}:{number}: {code}\n{e}", document.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 60, "{seen} commands");
}

#[test]
fn every_configuration_that_is_shown_is_valid() {
    let mut seen = 0;
    for document in documents() {
        // A scenario's file is another language.
        for block in document.blocks("toml").into_iter().filter(|block| !block.contains("[[scenario")) {
            seen += 1;
            Config::parse(&block, &document.path).unwrap_or_else(|e| panic!("{e}\n{block}"));
        }
    }
    assert!(seen >= 3, "{seen} configurations");
}

#[test]
fn what_is_looked_for_is_found() {
    let text = "# A `b`, c\n\nTold by `netmon\nwait` and [d](e.md#f).\n\n    netmon x\n\n```toml\na = 1\n```\n## A b c\n";
    let document = Document::read("t.md".into(), text);
    assert_eq!(document.anchors(), ["a-b-c", "a-b-c-1"]);
    assert_eq!(document.inline_code().map(|(_, code)| code).collect::<Vec<_>>(), ["b", "netmon wait"]);
    assert_eq!(document.links(), [(4, "e.md#f".to_owned())]);
    assert_eq!(document.code[0], (6, String::new(), "netmon x".to_owned()));
    assert_eq!(document.blocks("toml"), ["a = 1\n"]);
    let of = |line| commands(line, &["netmon"]);
    assert_eq!(
        of("A=1 netmon wait --state 'a b' … && netmon status # netmon x"),
        [vec!["wait", "--state", "a b"], vec!["status"]]
    );
    assert_eq!(of("ExecCondition=netmon top"), [["top"]]);
    assert!(of("systemctl start netmon").is_empty() && of("cargo run --bin netmon -- run").is_empty());
    assert!(objection(&["wait".to_owned(), "--statte".to_owned()]).is_some());
}
