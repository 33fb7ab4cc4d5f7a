//! Uploads to S3 that an outage cuts: object_store with netmon's Retryer around each part, beside its own retries.

mod contender;
mod relay;
mod store;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use netmon_agent::time::Boot;
use netmon_tests::agent::{Start, await_until};
use netmon_tests::lab::{SERVER_V4, World};

use self::contender::{Contender, Record, Upload};
use self::relay::Relay;
use self::store::Store;
use crate::await_up;
use crate::flaps::UNDAMPED;

/// Bytes of a part, as the example has them.
const PART: usize = 8 << 20;
/// Bytes a second of each upload's line.
const PACE: u64 = 5 << 20;
/// Far beyond what an upload may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Outages, each of which cuts an upload of every contender.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// How long each outage lasts, seconds.
    #[arg(long, default_value_t = 30)]
    outage: u64,
    /// Parts of 8 MiB, each of which takes 1.6 s.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(4..=64))]
    parts: u8,
    /// The folder of the programs `s3-upload` and `s3-plain`; `cargo xtask example s3` builds them.
    #[arg(long)]
    programs: PathBuf,
    /// The program `moto_server`.
    #[arg(long)]
    moto: PathBuf,
}

/// Runs them and prints what came of it.
///
/// # Errors
/// No world, no server; or the Retryer's upload fails, wastes an attempt, repeats a part that had arrived, or is another
/// object at the end.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let size = usize::from(arguments.parts) * PART - PART / 2;
    println!(
        "s3: {} outages of {} s in uploads of {} parts of 8 MiB, 1.6 s each; object_store to moto",
        arguments.runs, arguments.outage, arguments.parts
    );
    println!(
        "  {:<26} {:>7} {:>9} {:>9} {:>7} {:>8} {:>9} {:>9} {:>11}",
        "", "", "attempts", "refunded", "wasted", "sent", "again", "resumed", "ended"
    );
    let mut file = vec![0; size];
    rand::fill(&mut file[..]);
    (0..arguments.runs).try_for_each(|_| contest(arguments, &file))
}

/// One outage, with an upload of each contender in it.
fn contest(arguments: &Arguments, bytes: &[u8]) -> Result<()> {
    let world = World::new()?;
    let agent = Start::new(&world)?.config(UNDAMPED).start()?;
    let store = Store::start(&world.internet, &arguments.moto, agent.folder())?;
    await_up(&agent)?;
    let file = agent.folder().join("object");
    fs::write(&file, bytes)?;

    let mut uploads = Vec::new();
    for contender in Contender::ALL {
        let at = SocketAddr::from((SERVER_V4, contender.port()));
        let relay = Relay::start(&world.internet, at, store.at, PACE)?;
        let upload = Upload::start(contender, &agent, &arguments.programs, &file)?;
        uploads.push((contender, relay, upload));
    }
    // In the middle of a part: each is under way all the time, but for a moment between two.
    let third = bytes.len() as u64 / 3 + PART as u64 / 2;
    let all_there = || Ok(uploads.iter().all(|(_, relay, _)| relay.sent() >= third).then_some(()));
    ensure!(await_until(PATIENCE, all_there)?.is_some(), "no progress: {}", store.said());
    world.carrier_down(0)?;
    let cut = Boot::now();
    thread::sleep(Duration::from_secs(arguments.outage));
    world.carrier_up(0)?;
    let back = Boot::now();

    for (contender, relay, upload) in uploads {
        let record = upload.end(PATIENCE)?;
        let again: u32 = store.parts(contender.key()).values().map(|taken| taken - 1).sum();
        tell(contender, &record, again, relay.sent() as f64 / bytes.len() as f64, cut, back);
        if contender == Contender::Retryer {
            ensure!(record.success, "the upload failed: {}", record.error);
            ensure!(record.wasted == 0, "{} attempts were wasted", record.wasted);
            ensure!(again <= 1, "parts were taken again: {:?}", store.parts(contender.key()));
            let parts = store.parts(contender.key()).len();
            ensure!(parts == usize::from(arguments.parts), "moto's log has {parts} parts:\n{}", store.said());
        }
        if record.success {
            ensure!(store.object(contender.key())? == bytes, "{} is another object", contender.key());
        }
    }
    Ok(())
}

fn tell(contender: Contender, record: &Record, again: u32, sent: f64, cut: Boot, back: Boot) {
    let seconds = |d: Duration| format!("{:.1} s", d.as_secs_f64());
    let resumed =
        record.parts.iter().find(|at| **at > back).map_or("–".to_owned(), |at| seconds(at.since(back)));
    // What had not ended by the outage's end is told from that, the rest from its begin.
    let ended = match record.ended > back {
        true => format!("+{}", seconds(record.ended.since(back))),
        false => format!("{} in", seconds(record.ended.since(cut))),
    };
    let word = if record.success { "done" } else { "failed" };
    let Record { attempts, refunded, wasted, .. } = record;
    println!(
        "  {:<26} {word:>7} {attempts:>9} {refunded:>9} {wasted:>7} {:>7.1} % {again:>8} {resumed:>9} {ended:>11}",
        contender.name(),
        sent * 100.0
    );
    if !record.success {
        // The address of the part is long, and tells nothing.
        let error = record.error.lines().last().unwrap_or_default();
        println!("  {:<26} {}", "", error.split_once(" in ").map_or(error, |(_, rest)| rest));
    }
}
