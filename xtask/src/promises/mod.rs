//! `cargo xtask promises`: what netmon promises, what proves it, and the figure that came of it.
//!
//! `tests/promises.toml` is the list, a few lines a promise. A proof tells its figure in a line `promise ID: FIGURE`
//! (`netmon_tests::promise`), or the list says which line of its output has it; of a test without either it is told that it
//! holds. Figures are kept in `tests/figures.toml`, and both together give `docs/PROMISES.md`.

mod figures;
mod list;
mod page;
mod read;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::debian;
use crate::step::{cargo, root, shown};
use figures::{Figures, Place};
use list::{List, Promise};

/// Which promises, and where their figures come from.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Promises by their names; without any, each whose proof takes no long time.
    names: Vec<String>,
    /// Those that take long, too.
    #[arg(long)]
    all: bool,
    /// Run nothing: take the figures out of the output of earlier runs, such as the log of `cargo xtask test`.
    #[arg(long, value_name = "LOG")]
    from: Vec<PathBuf>,
    /// Run and write nothing: fail when a proof that the list names is not there, or the page is not what list and figures
    /// give.
    #[arg(long)]
    check: bool,
    /// Run nothing: print the list.
    #[arg(long)]
    list: bool,
}

/// Runs the proofs and writes the page.
///
/// # Errors
/// When the list can't be used, or a proof fails; what the others told is kept all the same.
pub fn perform(options: &Options) -> Result<()> {
    if options.check {
        return check();
    }
    let list = List::read()?;
    let chosen = list.choose(&options.names, options.all || !options.from.is_empty())?;
    if options.list {
        for promise in chosen {
            println!("{:<28} {}", promise.id, promise.proof.command().join(" "));
        }
        return Ok(());
    }
    let mut figures = Figures::read()?;
    let mut failed = Vec::new();
    if options.from.is_empty() {
        if debian::is_root() {
            debian::provide()?;
        }
        // One command may prove several.
        let mut runs: BTreeMap<(Vec<String>, bool), Vec<&Promise>> = BTreeMap::new();
        for promise in chosen {
            runs.entry((promise.proof.command(), promise.proof.is_slow())).or_default().push(promise);
        }
        for ((words, is_slow), promises) in runs {
            match prove(&words, is_slow) {
                Ok(output) => {
                    for promise in promises {
                        match read::figure(promise, &output) {
                            Some(figure) => figures.put(promise, figure, &Place::here()?),
                            None => failed.push(format!("{}: its proof tells no figure", promise.id)),
                        }
                    }
                }
                Err(e) => failed.extend(promises.iter().map(|p| format!("{}: {e:#}", p.id))),
            }
            // A long run that is broken off keeps what it has.
            write(&list, &figures)?;
        }
    } else {
        let logs = options
            .from
            .iter()
            .map(|path| fs::read_to_string(path).with_context(|| path.display().to_string()));
        let output = logs.collect::<Result<Vec<_>>>()?.join("\n");
        for promise in chosen {
            match read::figure_of_log(promise, &output) {
                Some(figure) => figures.put(promise, figure, &Place::here()?),
                None => println!("{:<28} not in the log", promise.id),
            }
        }
    }
    write(&list, &figures)?;
    ensure!(failed.is_empty(), "not proven:\n  {}", failed.join("\n  "));
    Ok(())
}

/// What needs no run: the list is sound, what it names is there, and the page is what list and figures give.
///
/// # Errors
/// What is wrong, and what makes it right.
pub fn check() -> Result<()> {
    let list = List::read()?;
    let absent = list.absent();
    ensure!(absent.is_empty(), "tests/promises.toml names what is not there:\n  {}", absent.join("\n  "));
    let figures = Figures::read()?;
    let unknown = figures.unknown(&list);
    ensure!(unknown.is_empty(), "tests/figures.toml has figures of no promise: {}", unknown.join(", "));
    let page = fs::read_to_string(page_file()).unwrap_or_default();
    let stale = page != page::render(&list, &figures);
    ensure!(
        !stale,
        "docs/PROMISES.md is not what the list and the figures give; run: cargo xtask promises --from /dev/null"
    );
    println!("{} promises, each with a proof that is there", list.promises.len());
    Ok(())
}

fn write(list: &List, figures: &Figures) -> Result<()> {
    figures.write()?;
    fs::write(page_file(), page::render(list, figures)).context("docs/PROMISES.md")
}

fn page_file() -> PathBuf {
    root().join("docs/PROMISES.md")
}

/// Runs a proof; all that it printed.
fn prove(words: &[String], is_slow: bool) -> Result<String> {
    let (_, arguments) = words.split_first().context("an empty command")?;
    let mut command = cargo(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    if is_slow {
        command.env("NETMON_SLOW", "1");
    }
    println!("== {}", words.join(" "));
    // Of its two streams one, in the order of the lines.
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| shown(&command))?;
    let told = shown(&command);
    // It holds the writing ends, and the pipe would not end before them.
    drop(command);
    let output = follow(BufReader::new(reader))?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}: {told}");
    }
    Ok(output)
}

fn follow(reader: impl BufRead) -> Result<String> {
    let mut output = String::new();
    for line in reader.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        output.push_str(&line);
        output.push('\n');
    }
    Ok(output)
}
