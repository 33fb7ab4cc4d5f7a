//! What the socket API costs, in plain figures: `cargo bench -p netmon-agent --bench api -- waiters 1 10000`.
//!
//! - `waiters [COUNT…]`: programs that wait on the socket, woken by one publication (1, 1000 and 10000);
//! - `conditions [COUNT]`: waiters who each wait for something of their own (10000);
//! - `scrape [TARGETS]`: one rendering of the metrics (10000 targets);
//! - `read`: one `Monitor::is_up()`.
//!
//! Without a word all of them. Ten thousand waiters need 10,400 descriptors here and as many in the crowd's process.

mod crowd;
mod read;
mod scrape;
mod waiters;
mod world;

use anyhow::{Context, Result, bail};

const MANY: usize = 10_000;
const COUNTS: [usize; 3] = [1, 1000, MANY];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; `cargo test --benches` does not, and has nothing to learn from figures.
    if !words.iter().any(|w| w == "--bench") {
        return Ok(());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|w| *w != "--bench").collect();
    let Some((command, rest)) = words.split_first() else {
        waiters::measure(&COUNTS)?;
        waiters::measure_own_conditions(MANY)?;
        scrape::measure(MANY as u32);
        return read::measure();
    };
    let numbers = || -> Result<Vec<usize>> {
        rest.iter().map(|n| n.parse().with_context(|| format!("{n:?} is no count"))).collect()
    };
    match *command {
        "waiters" if rest.is_empty() => waiters::measure(&COUNTS),
        "waiters" => waiters::measure(&numbers()?),
        "conditions" => waiters::measure_own_conditions(*numbers()?.first().unwrap_or(&MANY)),
        "scrape" => {
            scrape::measure(u32::try_from(*numbers()?.first().unwrap_or(&MANY))?);
            Ok(())
        }
        "read" => read::measure(),
        "crowd" => crowd::run(rest),
        _ => bail!("no {command:?}; there are: waiters, conditions, scrape, read"),
    }
}
