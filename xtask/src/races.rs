//! `cargo xtask races`: the models of `tests/races`.

use anyhow::Result;
use clap::Args;

use crate::step::{Steps, cargo};

/// How long it goes on.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Orders that shuttle tries by each of its two schedulers, a model.
    #[arg(long, default_value_t = 3_000)]
    orders: u32,
}

/// All models.
///
/// # Errors
/// When one of them finds what must not be; its program has said what.
pub fn perform(options: &Options) -> Result<()> {
    run(&mut Steps::default(), options.orders)?;
    println!(
        "promise races: every order of loom's models, {} of each of shuttle's by two schedulers: nothing found",
        options.orders
    );
    Ok(())
}

/// The same as a part of the tests, in seconds.
///
/// # Errors
/// As [`perform`].
pub fn short(steps: &mut Steps) -> Result<()> {
    run(steps, 1_000)
}

fn run(steps: &mut Steps, orders: u32) -> Result<()> {
    let model = |name| cargo(&["run", "--quiet", "--package", "netmon-races", "--bin", name, "--"]);
    steps.run("races, by loom", &mut model("netmon-races-loom"))?;
    // It warns that it takes every ordering for the strictest: that is what loom is there for.
    let quiet = ("SHUTTLE_SILENCE_ORDERING_WARNING", "1");
    steps
        .run("races, by shuttle", model("netmon-races-shuttle").arg(orders.to_string()).env(quiet.0, quiet.1))
}
