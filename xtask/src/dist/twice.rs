//! All of it once more, from a clone in another folder: the same bytes, or it says which differ.

use std::process::Command;

use anyhow::{Result, ensure};

use super::programs::output;
use super::{Made, Program, fresh, make, sums};
use crate::step::{Steps, root, target};

/// Builds the commit again and compares.
///
/// # Errors
/// When there is something that is not committed, or a file differs.
pub fn compare(made: &Made) -> Result<()> {
    let changed = output(Command::new("git").args(["status", "--porcelain"]).current_dir(root()))?;
    ensure!(changed.is_empty(), "what is not committed would not be in a clone:\n{changed}");
    let folder = fresh(&target().join("dist-again"))?;
    let clone = folder.join("another/place");
    output(Command::new("git").args(["clone", "--quiet"]).args([&root(), &clone]))?;
    let mut steps = Steps::default();
    let again = make(&mut steps, &clone, &folder.join("dist"), Program::Build(&folder.join("build")))?;
    let (first, second) = (sums::of(&made.files)?, sums::of(&again.files)?);
    for (first, second) in first.lines().zip(second.lines()) {
        println!("{} {second}", if first == second { "same     " } else { "DIFFERENT" });
    }
    ensure!(first == second, "two builds of one commit differ");
    Ok(())
}
