//! `netmon man`: the manual, made of the command line's own definition.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::text::quiet_pipe;
use crate::config::{DEFAULT_PATH, HISTORY_PATH};

/// Prints the manual page netmon(1), or writes all pages to a directory
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "netmon man --dir /usr/local/share/man/man1 installs them; netmon man | man -l - shows one."
)]
pub struct ManArgs {
    /// Write netmon.1 and one page for each subcommand to this directory, which is made if it is not there
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// Prints the page of the command line `definition`, or writes it and those of the subcommands.
///
/// # Errors
/// When standard output or the directory can't be written.
pub fn run(args: &ManArgs, definition: clap::Command) -> anyhow::Result<ExitCode> {
    let mut pages = pages(definition)?;
    let Some(dir) = &args.dir else {
        let (_, page) = pages.swap_remove(0);
        let mut out = io::stdout().lock();
        return quiet_pipe(out.write_all(&page).and_then(|()| out.flush()));
    };
    fs::create_dir_all(dir).with_context(|| format!("can't make the directory {}", dir.display()))?;
    for (name, page) in pages {
        let path = dir.join(name);
        fs::write(&path, page).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The file names and texts of all pages, that of the whole first.
fn pages(definition: clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    // `netmon help wait` says what `netmon wait --help` says: no pages of their own for that.
    let mut whole = definition.disable_help_subcommand(true);
    whole.build();
    let mut pages = Vec::new();
    let mut left = vec![whole];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|c| !c.is_hide_set()).cloned());
        let man = Man::new(command)
            // No date would not change with the program; the library would leave an empty one out, and shift what follows.
            .date("\"\"")
            .source(concat!("netmon ", env!("CARGO_PKG_VERSION")))
            .manual("netmon manual");
        let mut page = Vec::new();
        man.render(&mut page)?;
        if pages.is_empty() { further() } else { see_also() }.to_writer(&mut page)?;
        pages.push((man.get_filename(), page));
    }
    Ok(pages)
}

/// What no argument tells of.
fn further() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (path, what) in [
        (DEFAULT_PATH, "the configuration; none is needed"),
        ("/run/netmon/netmon.sock", "the agent's socket; $XDG_RUNTIME_DIR/netmon.sock for an ordinary user"),
        (HISTORY_PATH, "the ledger of outages"),
    ] {
        entry(&mut roff, path, what);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, what) in [
        ("NETMON_SOCKET", "the agent's socket, where --socket does not name it"),
        ("NETMON_LOG", "what the agent logs, as --log-level of netmon-run(1)"),
        ("NETMON_BTF", "the kernel's types in a file, as --btf of netmon-run(1)"),
        ("NO_COLOR", "set and not empty: no colours"),
    ] {
        entry(&mut roff, name, what);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, what) in [
        ("0", "done, or it is as was asked for"),
        ("1", "an error that the subcommand has no code of its own for"),
        ("2", "a wrong command line, or an unknown device or target"),
        ("69", "no agent answers (EX_UNAVAILABLE)"),
        ("75", "not so by the deadline (EX_TEMPFAIL), of netmon-wait(1)"),
    ] {
        entry(&mut roff, code, what);
    }
    roff.text([roman("The subcommands' pages tell of those of their own.")]);
    roff
}

fn see_also() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("netmon"), roman("(1)")]);
    roff
}

fn entry(roff: &mut Roff, name: &str, what: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(what)]);
}
