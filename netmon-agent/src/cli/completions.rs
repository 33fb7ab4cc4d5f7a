//! `netmon completions`: what a shell needs to complete a command line, made of the command line's own definition.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap_complete::{Shell, generate};

use super::text::quiet_pipe;

/// Prints the completions of a shell, to be read by it at its start
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
bash:  netmon completions bash > /usr/share/bash-completion/completions/netmon
zsh:   netmon completions zsh > /usr/local/share/zsh/site-functions/_netmon
fish:  netmon completions fish > ~/.config/fish/completions/netmon.fish")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the completions of the command line `definition`.
///
/// # Errors
/// When standard output can't be written.
pub fn run(args: &CompletionsArgs, mut definition: clap::Command) -> anyhow::Result<ExitCode> {
    let name = definition.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut definition, name, &mut script);
    let mut out = io::stdout().lock();
    quiet_pipe(out.write_all(&script).and_then(|()| out.flush()))
}
