//! The scenario files, one trial each. Those marked `slow` run with `NETMON_SLOW` set in the environment only.

use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Failed, Trial};
use netmon_tests::scenario::format::{self, Scenario};
use netmon_tests::scenario::{judge, lab_run};

use crate::attempt;

pub const SCENARIOS: &[crate::Scenario] = &[("scenario::the_model_does_what_the_kernel_does", model)];

fn model() -> Result<()> {
    judge::compare(&[
        "carrier = {}",
        "admin = {}",
        "device = {}",
        "name = { to = \"uplink0\" }",
        "address = { family = \"v4\" }",
        "address = { family = \"v6\" }",
        "route = { family = \"v4\" }",
        "route = { family = \"v6\" }",
        "carrier = { uplink = 1 }",
        "admin = { uplink = 1 }",
        "device = { uplink = 1 }",
    ])
}

/// A trial for each that the lab can play.
pub fn trials() -> Result<Vec<Trial>, Failed> {
    let slow = std::env::var_os("NETMON_SLOW").is_some();
    let all = format::all().map_err(|e| Failed::from(format!("{e:#}")))?;
    let here = |s: &Scenario| s.virtual_only.is_none() && (slow || !s.slow);
    let trial = |scenario: Scenario| {
        let name = format!("scenario::{}", scenario.name);
        Trial::test(name.clone(), move || {
            attempt(&name, || {
                let times = lab_run::run(&scenario, &mut || Duration::ZERO)?;
                let spoken: Vec<String> =
                    times.iter().map(|t| format!("{} after {:.3} s", t.what, t.time.as_secs_f64())).collect();
                eprintln!("{}: {}", scenario.name, spoken.join(", "));
                Ok(())
            })
        })
    };
    Ok(all.into_iter().filter(here).map(trial).collect())
}
