//! The binary `netmon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    netmon_agent::cli::main()
}
