//! Kernel link event → state published → waiter woken.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::{Boot, Mono};
use netmon_tests::agent::{Agent, Start, get};
use netmon_tests::lab::{Switch, World};
use netmon_tests::promise;
use serde_json::Value;

use crate::{await_up, quantile};

const PATIENCE: Duration = Duration::from_secs(30);

/// Faults by the dozen are what is measured here, not what is to be damped.
pub const UNDAMPED: &str = "[health]\nflap_half_life = \"1s\"\nflap_suppress = 1000000\n";

/// Takes the carrier and gives it back, `flaps` times, with one waiter for each change of the verdict over all.
pub fn measure(flaps: usize) -> Result<()> {
    let world = World::new()?;
    let agent = Start::new(&world)?.config(UNDAMPED).start()?;
    await_up(&agent)?;
    // The far end of the node's wire: what happens at the node is a loss of carrier.
    let switch = Switch::new(&world.gateways[0], "lan0")?;
    let (mut published, mut woken, mut asked, mut back) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..flaps {
        let waiter = Waiter::start(&agent, "down")?;
        let (boot, start) = (Boot::now(), Mono::now());
        switch.set(false)?;
        asked.push(Mono::now().since(start));
        woken.push(waiter.end()?.since(start));
        let since = agent.status()?["since_boottime_ns"].as_u64().context("no since_boottime_ns")?;
        published.push(Boot::from_nanos(since).since(boot));

        let waiter = Waiter::start(&agent, "up")?;
        let start = Mono::now();
        world.carrier_up(0)?;
        back.push(waiter.end()?.since(start));
    }
    println!(
        "flaps: {flaps} times the carrier is lost at the far end and comes back; verdict over all; milliseconds"
    );
    // Of the last, which is the waiter's answer.
    let mut told = String::new();
    println!("  from the netlink request to        p50      p99      max");
    for (name, samples) in [
        ("the kernel's acknowledgement", &mut asked),
        ("the verdict `down`", &mut published),
        ("the waiter for `down` answered", &mut woken),
    ] {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| quantile(samples, q).as_secs_f64() * 1000.0);
        println!("  {name:<31} {p50:>8.3} {p99:>8.3} {max:>8.3}");
        told = format!(
            "{flaps} times: half within {p50:.2} ms, 99 % within {p99:.2} ms, all within {max:.2} ms"
        );
    }
    let [p50, p99] = [0.5, 0.99].map(|q| quantile(&mut back, q).as_secs_f64());
    promise("link-loss", told);
    println!("  carrier back → `up` by R8 (three replies 250 ms apart): p50 {p50:.2} s, p99 {p99:.2} s");
    Ok(())
}

/// One request of `/v1/wait` in flight.
pub struct Waiter(thread::JoinHandle<Result<(Mono, Value)>>);

impl Waiter {
    /// Returns once the agent holds it.
    pub fn start(agent: &Agent<'_>, state: &str) -> Result<Self> {
        let socket = agent.socket.clone();
        let path = format!("/v1/wait?state={state}&timeout={}s", PATIENCE.as_secs());
        let thread = thread::spawn(move || {
            let answer = get(&socket, &path, PATIENCE)?;
            let at = Mono::now();
            Ok((at, answer.json()?))
        });
        agent.await_waiters(1)?;
        Ok(Self(thread))
    }

    /// When the answer was there.
    pub fn end(self) -> Result<Mono> {
        let (at, answer) = self.0.join().map_err(|_| anyhow::anyhow!("the waiter panicked"))??;
        ensure!(answer["satisfied"] == true, "{answer}");
        Ok(at)
    }
}
