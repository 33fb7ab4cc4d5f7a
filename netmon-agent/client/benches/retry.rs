//! What a retry adds to an operation that succeeds at once: `cargo bench -p netmon-client --bench retry`.

use std::{fs, hint::black_box, io, sync::Arc};

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
        println!("a run that succeeds at once, {what}: {best:.0} ns of CPU");
    }
}

/// Nanoseconds of CPU a run: whoever else wants the machine does not count.
fn once(retryer: &Retryer) -> f64 {
    let before = cpu_ns();
    for n in 0..RUNS {
        let _ = black_box(retryer.run(|_| Ok::<_, io::Error>(black_box(n))));
    }
    (cpu_ns() - before) as f64 / f64::from(RUNS)
}

/// What this thread has had of the CPU (proc_pid_schedstat(5)).
fn cpu_ns() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel with schedstat");
    stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("time on the CPU")
}
