//! What a retry adds to an operation that succeeds at once: `cargo bench -p netmon-client --bench retry`.

use std::{hint::black_box, io, sync::Arc, time::Instant};

use netmon_client::retry::{Metrics, Network, Policy, Pulse, Retryer};

const RUNS: u32 = 1_000_000;

fn main() {
    // `cargo bench` says so; `cargo test --benches` does not, and has nothing to learn from figures.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let pulse = Arc::new(Pulse::new());
    pulse.set(Network::Usable);
    let plain = Retryer::new(Policy::default()).expect("the default policy");
    let seeing = plain.clone().network(pulse);
    let counting = seeing.clone().observe(Arc::new(Metrics::new()));
    for (what, retryer) in
        [("without an agent", plain), ("with a view of the network", seeing), ("and with metrics", counting)]
    {
        let best = (0..5).map(|_| once(&retryer)).fold(f64::INFINITY, f64::min);
        println!("a run that succeeds at once, {what}: {best:.0} ns");
    }
}

/// Nanoseconds a run.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn once(retryer: &Retryer) -> f64 {
    let before = Instant::now();
    for n in 0..RUNS {
        let _ = black_box(retryer.run(|_| Ok::<_, io::Error>(black_box(n))));
    }
    before.elapsed().as_nanos() as f64 / f64::from(RUNS)
}
