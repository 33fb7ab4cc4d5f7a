//! What the history costs: a batch on the disk, the bytes of an outage, an answer over ten thousand of them, and what a
//! waiter's note costs the API.

use std::{hint::black_box, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::tz::TimeZone;
use netmon_agent::{
    health::{State, Subject},
    history::{self, Batch, Change, Jobs, Question, Reader, Sign, Stretch, ThisRun, jobs},
    time::{Boot, Mono, Wall},
};

#[path = "common/mod.rs"]
mod common;

/// A usual cause and a usual place.
const REASONS: &str =
    r#"[{"code":"no_carrier","subject":"eth0","detail":"eth0 has no carrier","rule":"R2"}]"#;
const DIAGNOSIS: &str = r#"{"at":"2026-01-31T12:00:00.000Z","took_ms":2511,"where":"path","detail":"hop 2, 192.0.2.1, is the last that answers; everything beyond gateway 10.0.0.1 is silent, the gateway answers","target":"8.8.8.8","address":"8.8.8.8","source":"10.0.0.2","method":"icmp","reached":false,"last_hop":{"hop":2,"addresses":["192.0.2.1"],"rtt_ns":1500000},"hops":[{"hop":1,"addresses":["10.0.0.1"],"rtt_ns":400000},{"hop":2,"addresses":["192.0.2.1"],"rtt_ns":1500000}]}"#;

fn main() -> Result<()> {
    let Some(count) = common::count()? else { return Ok(()) };
    let count = u64::from(count);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history.db");
    let epoch = Wall::now().as_nanos() - (count + 60) * 60_000_000_000;
    let sign = |minute: u64| Sign { seen: Boot::from_nanos(minute * 60_000_000_000), offset: epoch as i64 };
    let run = ThisRun { boot: "bench".to_owned(), started: Boot::default() };
    let mut store = history::open(&path, &run, sign(0))?;
    let change = |second: u64, previous, state, diagnosis: Option<&str>| Change {
        run: 0,
        seq: second,
        at: Boot::from_nanos(second * 1_000_000_000),
        told: Wall::from_nanos(epoch + second * 1_000_000_000),
        subject: Subject::Target(format!("t{}", second / 60 % 20)),
        previous,
        state,
        reasons: if state == State::Down { REASONS.to_owned() } else { String::new() },
        diagnosis: diagnosis.map(str::to_owned),
    };
    let (mut took, mut longest) = (Duration::ZERO, Duration::ZERO);
    for i in 0..count {
        let down = change(i * 60, State::Up, State::Down, None);
        let found = change(i * 60 + 3, State::Down, State::Down, Some(DIAGNOSIS));
        let up = change(i * 60 + 30, State::Down, State::Up, None);
        let batch = Batch { changes: vec![down, found, up], ..Batch::default() };
        let begun = Mono::now();
        store.append(&batch, sign(i + 1))?;
        let one = Mono::now().since(begun);
        took += one;
        longest = longest.max(one);
    }
    let bytes = store.size()?.0;
    println!(
        "{count} outages, each a batch of three changes: {:.0?} in the mean, {longest:.0?} at most",
        took / count as u32
    );
    println!("{} bytes an outage, with its reasons and the place that a look found", bytes / count);
    let window = Stretch { from: Wall::from_nanos(epoch), to: Wall::now() };
    let question = Question { window, subject: None, limit: history::LIMITS.1, zone: TimeZone::UTC };
    for limit in [history::LIMITS.1, history::LIMITS.0] {
        let begun = Mono::now();
        let records = Reader::new(&path).load(window.from)?;
        let read = Mono::now().since(begun);
        let answer = history::answer(&records, &Question { limit, ..question.clone() }, None);
        let answered = Mono::now().since(begun) - read;
        let text = serde_json::to_string(&answer)?;
        let told = answer.outages.len() as u64 + answer.omitted;
        ensure!(told == count, "{told} outages of {count}");
        println!(
            "an answer with {} of them: {:.1?}, of which {read:.1?} to read and {answered:.1?} to work out; {} KB",
            answer.outages.len(),
            Mono::now().since(begun),
            text.len() / 1024
        );
    }
    store.close()?;

    let jobs = Jobs::default();
    let kind = || jobs::Kind { job: "restic".to_owned(), uid: 0, device: None, target: None };
    let own = i32::try_from(std::process::id()).context("a process id")?;
    let time = |what: &str, n: u32, work: &mut dyn FnMut()| {
        let begun = Mono::now();
        (0..n).for_each(|_| work());
        println!("{what}: {:.2?}", Mono::now().since(begun) / n);
    };
    time("the kernel's name of a waiter, at its arrival", 10_000, &mut || {
        black_box(jobs::name_of(Some(own)));
    });
    let mut waiting = Vec::with_capacity(10_000);
    time("a waiter's note at its arrival", 10_000, &mut || waiting.push(jobs.begin(kind(), Boot::now())));
    time("and at its end", 10_000, &mut || drop(waiting.pop()));
    ensure!(jobs.take().iter().map(|(_, tally)| tally.count).sum::<u64>() == 10_000);
    println!("{} bytes of a waiter", size_of::<jobs::Waiting>());
    Ok(())
}
