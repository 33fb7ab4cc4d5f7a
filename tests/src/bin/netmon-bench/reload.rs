//! One target of many is another: how soon it is probed, at what cost, and that nothing of the others is lost. By a file
//! of discovery, and by the configuration itself.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Metrics, Start, await_until, get};
use netmon_tests::lab::World;
use nix::sys::signal::Signal;

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(120);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How many targets, each a loopback address of its own.
    #[arg(long, default_value_t = 10_000)]
    targets: u32,
    /// Seconds from one probe of a target to the next.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// How often one of them becomes another.
    #[arg(long, default_value_t = 10)]
    changes: u32,
}

/// Changes one target again and again, each way.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let Arguments { targets, interval, changes } = *arguments;
    println!("one of {targets} targets becomes another, {changes} times; each is probed every {interval} s");
    for by_file in [true, false] {
        one(arguments, by_file)?;
    }
    Ok(())
}

fn one(arguments: &Arguments, by_file: bool) -> Result<()> {
    let Arguments { targets, interval, changes } = *arguments;
    let world = World::new()?;
    let start = Start::new(&world)?;
    let document = start.folder().join("targets.json");
    let settings = settings(targets, interval);
    let discovery = format!("{settings}[[discovery.file_sd]]\nfiles = [\"{}\"]\n", document.display());
    let text = |change| if by_file { discovery.clone() } else { listed(&settings, targets, change) };
    if by_file {
        put(&document, &found(targets, 0))?;
    }
    let agent = start.config(&text(0)).start()?;
    first_round(&agent, targets)?;
    let (before, began, start) = (figures(&agent)?, Mono::now(), agent.usage()?);
    let mut times = Vec::new();
    for change in 1..=changes {
        let began = Mono::now();
        if by_file {
            put(&document, &found(targets, change))?;
        } else {
            put(&agent.folder().join("netmon.toml"), &text(change))?;
            agent.signal(Signal::SIGHUP)?;
        }
        let name = name(targets, change);
        let up = agent.log.await_line(LONG, |l| l.contains(&name) && l.contains(" is up"));
        ensure!(up.is_some(), "{name} is not up: {:?}", agent.log.lines().last());
        times.push(Mono::now().since(began));
    }
    let (spent, took) = (agent.usage()?.cpu_ns - start.cpu_ns, Mono::now().since(began));
    // Whatever was under way is over.
    thread::sleep(Duration::from_secs(2));
    let after = figures(&agent)?;
    let lost = after.lost - before.lost;
    let begun_anew =
        before.probes.iter().filter(|(name, n)| after.probes.get(*name).is_some_and(|now| now < *n));
    let begun_anew = begun_anew.count();
    let gone = before.probes.keys().filter(|name| !after.probes.contains_key(*name)).count();
    let median = crate::quantile(&mut times, 0.5);
    let most = times.last().copied().unwrap_or_default();
    println!("  by {}", if by_file { "a file of discovery" } else { "the configuration and SIGHUP" });
    let (median, most) = (median.as_millis(), most.as_millis());
    println!(
        "    from the change to the first verdict on the new target: median {median} ms, most {most} ms"
    );
    println!(
        "    CPU {:.0} ms a change, the probing included ({:.1?} in all)",
        spent as f64 / 1e6 / f64::from(changes),
        took
    );
    println!("    probes lost or not sent {lost}, targets begun anew {begun_anew}, gone {gone} (1 is meant)");
    ensure!(lost == 0.0 && begun_anew == 0 && gone == 1, "something was lost");
    Ok(())
}

struct Figures {
    lost: f64,
    probes: std::collections::BTreeMap<String, f64>,
}

fn figures(agent: &Agent<'_>) -> Result<Figures> {
    let body = get(&agent.socket, "/metrics", LONG)?.body;
    let metrics = Metrics::parse(&body)?;
    let lost = [
        "netmon_probe_failures_total",
        "netmon_probe_send_errors_total",
        "netmon_probe_inconclusive_total",
        "netmon_probes_skipped_total",
    ];
    let name = |labels: &std::collections::BTreeMap<String, String>| labels.get("target").cloned();
    let all = metrics.all("netmon_probes_total", &[]);
    Ok(Figures {
        lost: lost.iter().map(|family| metrics.sum(family, &[])).sum(),
        probes: all.iter().filter_map(|s| Some((name(&s.labels)?, s.value))).collect(),
    })
}

/// Until every target has its first verdict, by the log.
fn first_round(agent: &Agent<'_>, targets: u32) -> Result<()> {
    let is_one = |line: &String| line.contains("target target-") && line.contains(" is up");
    let complete = await_until(LONG, || {
        thread::sleep(Duration::from_millis(100));
        let up = agent.log.lines().iter().filter(|line| is_one(line)).count();
        Ok((up >= targets as usize).then_some(()))
    })?;
    complete.with_context(|| format!("not every target is up: {:?}", agent.log.lines().last()))
}

fn put(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

fn settings(targets: u32, interval: u64) -> String {
    let rate = (targets / interval as u32).max(10_000);
    format!(
        "[agent]\nmax_probes_per_second = {rate}\n[limits]\ncpu = \"off\"\nmemory = \"off\"\n[metrics]\nlean = true\n\
         [defaults]\ninterval = \"{interval}s\"\nauto_targets = false\n[discovery]\nmax_targets = {targets}\n"
    )
}

/// Of the target in the middle, after so many changes.
fn name(targets: u32, change: u32) -> String {
    format!("target-{:06}", targets / 2 + change * 1_000_000)
}

/// Name and address of each. Every address of 127/8 answers.
fn all(targets: u32, change: u32) -> impl Iterator<Item = (String, String)> {
    (0..targets).map(move |i| {
        let (a, b, c) = (1 + i / 62_500, i / 250 % 250, 1 + i % 250);
        if i == targets / 2 && change > 0 {
            return (name(targets, change), format!("127.100.{}.{}", change / 250, 1 + change % 250));
        }
        (format!("target-{i:06}"), format!("127.{a}.{b}.{c}"))
    })
}

fn found(targets: u32, change: u32) -> String {
    let one = |(name, host)| {
        format!("{{\"targets\": [\"{host}\"], \"labels\": {{\"__netmon_name\": \"{name}\"}}}}")
    };
    format!("[{}]", all(targets, change).map(one).collect::<Vec<_>>().join(",\n"))
}

fn listed(settings: &str, targets: u32, change: u32) -> String {
    let mut text = settings.to_owned();
    for (name, host) in all(targets, change) {
        // Writing to a String can't fail.
        let _ = write!(text, "[[target]]\nname = \"{name}\"\nhost = \"{host}\"\n");
    }
    text
}
