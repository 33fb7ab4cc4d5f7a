//! Programs of others: what they print, and where they come from.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// What a command prints.
///
/// # Errors
/// When it can't be run or fails: with the end of what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("{shown} can't be run"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> = said.trim().lines().collect();
        bail!("{shown}: {}: {}", output.status, lines[lines.len().saturating_sub(30)..].join("\n"));
    }
    Ok(printed)
}
