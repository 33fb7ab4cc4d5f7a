//! `cargo xtask fuzz`: hostile input by libFuzzer, target by target, and how far into the code it came.
//!
//! | file | what |
//! |---|---|
//! | `build` | the program: only netmon's own crates are instrumented, by a wrapper of rustc, on a stable toolchain |
//! | `run` | one target: its corpus laid out, played on for a time, and made smaller |
//! | `coverage` | regions that were reached, by LLVM's own tools |

mod build;
#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
mod coverage;
mod run;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::debian;
use crate::step::{root, target};

pub use build::wrap;

/// How long each target is played where nothing else is said.
const SECONDS: u64 = 60;

#[derive(Args, Debug)]
pub struct Options {
    /// Which targets, of fuzz/targets.toml; all of them without a name.
    targets: Vec<String>,
    /// How long each is played.
    #[arg(long, value_name = "N", default_value_t = SECONDS, conflicts_with = "hours")]
    seconds: u64,
    /// The same in hours.
    #[arg(long, value_name = "N")]
    hours: Option<f64>,
    /// Tell too how many regions of the files that a target is for were reached; needs LLVM of rustc's own version.
    #[arg(long)]
    coverage: bool,
    /// Put what leads further than the corpus in fuzz/corpus does into it, made as small as it goes.
    #[arg(long)]
    keep: bool,
    /// With AddressSanitizer, which also sees what is read or written beside what it belongs to, in C as well; half as fast.
    #[arg(long)]
    sanitize: bool,
}

/// What `targets.toml` says of a target.
#[derive(Debug, Deserialize)]
struct About {
    /// The files it is for, from the root of the repository.
    files: Vec<PathBuf>,
    /// Functions in them that nothing from outside comes to.
    #[serde(default)]
    beside: Vec<String>,
}

/// Where everything is put.
fn folder() -> PathBuf {
    target().join("fuzz")
}

/// Builds, plays, tells.
///
/// # Errors
/// A target broke a promise, or something is missing.
pub fn perform(options: &Options) -> Result<()> {
    let table = fs::read_to_string(root().join("fuzz/targets.toml")).context("fuzz/targets.toml")?;
    let mut all: BTreeMap<String, About> = toml::from_str(&table)?;
    for name in &options.targets {
        ensure!(all.contains_key(name), "{name} is no target; there are: {}", names(&all));
    }
    all.retain(|name, _| options.targets.is_empty() || options.targets.contains(name));
    debian::provide_compiler()?;
    let tools = options.coverage.then(coverage::Tools::find).transpose()?;
    let program = build::build(options.sanitize)?;
    let time = match options.hours {
        Some(hours) => Duration::try_from_secs_f64(hours * 3600.0).context("--hours")?,
        None => Duration::from_secs(options.seconds),
    };
    println!(
        "{} targets, {} s each; logs and what is found are in {}",
        all.len(),
        time.as_secs(),
        folder().display()
    );
    let (queue, done) = (Mutex::new(all.iter()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    // A poisoned lock is that of a thread that has failed, which the scope passes on.
                    let Some((name, about)) = queue.lock().ok().and_then(|mut all| all.next()) else {
                        return;
                    };
                    let played = play(&program, name, about, time, tools.as_ref(), options.keep);
                    if let Ok(mut done) = done.lock() {
                        done.insert(name.clone(), played);
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_default();
    println!("{:<14} {:>12} {:>8} {:>7}  regions", "target", "executions", "exec/s", "corpus");
    let mut broken = Vec::new();
    for (name, played) in &done {
        match played {
            Ok((stats, regions)) => {
                let regions = regions.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
                println!(
                    "{name:<14} {:>12} {:>8} {:>7}  {regions}",
                    stats.executions, stats.pace, stats.corpus
                );
            }
            Err(e) => {
                println!("{name:<14} BROKEN: {e:#}");
                broken.push(name.as_str());
            }
        }
    }
    for (name, (_, regions)) in done.iter().filter_map(|(name, played)| Some((name, played.as_ref().ok()?))) {
        for (file, of_file) in regions.iter().flat_map(|regions| &regions.files) {
            println!("  {name}: {of_file}  {file}");
        }
    }
    let played = || done.values().filter_map(|played| played.as_ref().ok());
    if let Some(least) =
        played().filter_map(|(_, regions)| Some(regions.as_ref()?.percent())).min_by(f64::total_cmp)
    {
        let executions: u64 = played().map(|(stats, _)| stats.executions).sum();
        println!(
            "promise fuzz-coverage: {} targets, {executions} executions, at least {least:.1} % of each one's regions",
            done.len()
        );
    }
    if broken.is_empty() { Ok(()) } else { bail!("broken: {}", broken.join(", ")) }
}

fn play(
    program: &std::path::Path,
    name: &str,
    about: &About,
    time: Duration,
    tools: Option<&coverage::Tools>,
    keep: bool,
) -> Result<(run::Stats, Option<coverage::Regions>)> {
    let target = run::Target::lay_out(program, name)?;
    let stats = target.play(time)?;
    let regions = tools.map(|tools| tools.regions(program, name, about)).transpose()?;
    if keep {
        target.keep()?;
    }
    Ok((stats, regions))
}

fn names(all: &BTreeMap<String, About>) -> String {
    all.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}
