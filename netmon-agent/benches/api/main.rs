//! What the socket API costs, in plain figures: `cargo bench -p netmon-agent --bench api -- waiters 1 10000`.
//!
//! - `wait`: all that a crowd of waiters costs and does: `waiters`, `conditions` and `arrivals`;
//! - `waiters [COUNT…]`: programs that wait on the socket, woken by one publication (1, 1000 and 10000);
//! - `conditions [COUNT]`: waiters who each wait for something of their own (10000);
//! - `arrivals [JOBS [SECONDS]]`: how many of so many released `netmon wait` go on within 100 ms, with and without
//!   `--spread`, after an outage of so many seconds (1000 and 30);
//! - `scrape [TARGETS]`: one rendering of the metrics (10000 targets);
//! - `page [TARGETS…]`: one status page (10, 1000 and 10000 targets);
//! - `read`: one `Monitor::is_up()`.
//!
//! Without a word all of them. Ten thousand waiters need 10,400 descriptors here and as many in the crowd's process.

mod arrivals;
mod crowd;
mod page;
mod read;
mod scrape;
mod waiters;
mod world;

use std::time::Duration;

use anyhow::{Context, Result, bail};

const MANY: usize = 10_000;
const COUNTS: [usize; 3] = [1, 1000, MANY];
const PAGES: [usize; 3] = [10, 1000, MANY];
const JOBS: usize = 1000;
/// An outage that jobs wait for, seconds.
const OUTAGE: usize = 30;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; `cargo test --benches` does not, and has nothing to learn from figures.
    if !words.iter().any(|w| w == "--bench") {
        return Ok(());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|w| *w != "--bench").collect();
    let Some((command, rest)) = words.split_first() else {
        wait()?;
        scrape::measure(MANY as u32);
        PAGES.into_iter().try_for_each(page::measure)?;
        return read::measure();
    };
    let numbers = || -> Result<Vec<usize>> {
        rest.iter().map(|n| n.parse().with_context(|| format!("{n:?} is no count"))).collect()
    };
    match *command {
        "waiters" if rest.is_empty() => waiters::measure(&COUNTS),
        "waiters" => waiters::measure(&numbers()?),
        "wait" => wait(),
        "arrivals" => {
            let numbers = numbers()?;
            arrivals(*numbers.first().unwrap_or(&JOBS), *numbers.get(1).unwrap_or(&OUTAGE))
        }
        "conditions" => waiters::measure_own_conditions(*numbers()?.first().unwrap_or(&MANY)),
        "scrape" => {
            scrape::measure(u32::try_from(*numbers()?.first().unwrap_or(&MANY))?);
            Ok(())
        }
        "page" if rest.is_empty() => PAGES.into_iter().try_for_each(page::measure),
        "page" => numbers()?.into_iter().try_for_each(page::measure),
        "read" => read::measure(),
        "crowd" => crowd::run(rest),
        _ => bail!("no {command:?}; there are: wait, waiters, conditions, arrivals, scrape, page, read"),
    }
}

fn wait() -> Result<()> {
    waiters::measure(&COUNTS)?;
    waiters::measure_own_conditions(MANY)?;
    arrivals(JOBS, OUTAGE)
}

fn arrivals(jobs: usize, seconds: usize) -> Result<()> {
    arrivals::measure(jobs, Duration::from_secs(seconds as u64))
}
