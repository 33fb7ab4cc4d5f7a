//! Network namespaces that come and go while every one is counted.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Start};
use netmon_tests::lab::{SERVER_V4, Switch, World, growth};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::await_up;

/// A port where nobody listens.
const CLOSED: u16 = 4;

/// `namespaces` one after the other, each with one refused connect; then `at_once` that stay, while the agent stands still
/// and cannot make room.
pub fn measure(namespaces: usize, at_once: usize) -> Result<()> {
    let world = World::new()?;
    // No connection of the agent's own.
    let config = format!(
        "[defaults]\nauto_targets = false\n[kernel]\nnamespaces = \"all\"\n[[target]]\nhost = \"{SERVER_V4}\"\nprobe = \"icmp\"\n"
    );
    let mut agent = Start::new(&world)?.config(&config).start()?;
    await_up(&agent)?;
    println!(
        "churn: namespaces = \"all\"; each namespace: loopback up, one refused connect; own: connects of the node"
    );
    println!("                                  series  counted   evicted   dropped    own  kernel     RSS");
    let before = agent.usage()?;
    let start = Figures::take(&agent)?;
    start.print("at the start", &start, &agent)?;

    let began = Mono::now();
    for n in 0..namespaces {
        one(false)?;
        if n % 100 == 0 {
            connect(&world)?;
        }
    }
    let took = Mono::now().since(began);
    thread::sleep(Duration::from_secs(2));
    let gone = Figures::take(&agent)?;
    gone.print(&format!("{namespaces} came and went"), &start, &agent)?;
    ensure!(agent.runs()?, "the agent is gone");

    let limit = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    agent.signal(Signal::SIGSTOP)?;
    let mut held = Vec::new();
    let filled = (0..at_once).try_for_each(|n| -> Result<()> {
        held.extend(one(true).with_context(|| format!("namespace {n}"))?);
        if n % 100 == 0 { connect(&world) } else { Ok(()) }
    });
    agent.signal(Signal::SIGCONT)?;
    filled?;
    thread::sleep(Duration::from_secs(3));
    let full = Figures::take(&agent)?;
    full.print(&format!("{at_once} at once, standing still"), &start, &agent)?;
    thread::sleep(Duration::from_secs(12));
    let later = Figures::take(&agent)?;
    later.print("12 s later", &start, &agent)?;
    drop(held);
    let after = agent.usage()?;
    println!(
        "  {:.1} namespaces a second; the agent: {:.2} s of CPU, RSS {:.1} → {:.1} MB",
        namespaces as f64 / took.as_secs_f64(),
        Duration::from_nanos(after.cpu_ns - before.cpu_ns).as_secs_f64(),
        before.resident_kib as f64 / 1024.0,
        after.resident_kib as f64 / 1024.0,
    );
    ensure!(agent.runs()?, "the agent is gone");
    ensure!(later.own - start.own == later.kernel(&start), "its own counters are not the kernel's");
    Ok(())
}

/// A namespace with one refused connect; with `keep`, what keeps it.
fn one(keep: bool) -> Result<Option<File>> {
    let work = move || -> Result<Option<File>> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Switch::here("lo")?.set(true)?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, CLOSED));
        let refused = TcpStream::connect(to);
        ensure!(refused.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused), "{to} is open");
        keep.then(|| File::open("/proc/thread-self/ns/net").context("its namespace")).transpose()
    };
    thread::spawn(work).join().map_err(|_| anyhow!("a namespace panicked"))?
}

/// A connect of the node itself.
fn connect(world: &World) -> Result<()> {
    let to = SocketAddr::from((SERVER_V4, netmon_tests::lab::ECHO));
    world
        .node
        .run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)).map(drop))?
        .context("a connect of the node")
}

/// What the agent says of itself.
struct Figures {
    series: usize,
    counted: f64,
    evicted: f64,
    dropped: f64,
    own: f64,
    counters: netmon_tests::lab::Counters,
}

impl Figures {
    fn take(agent: &Agent<'_>) -> Result<Self> {
        thread::sleep(Duration::from_millis(1100));
        let metrics = agent.metrics()?;
        Ok(Self {
            series: metrics.all("netmon_netns_tcp_failed_connects_total", &[]).len(),
            // No series at all sum up to a negative zero.
            counted: metrics.sum("netmon_netns_tcp_failed_connects_total", &[]) + 0.0,
            evicted: metrics.sum("netmon_bpf_evicted_rows_total", &[]),
            dropped: metrics.sum("netmon_bpf_dropped_total", &[]),
            own: metrics.sum("netmon_tcp_opens_total", &[("direction", "active")]),
            counters: agent.world.counters()?,
        })
    }

    fn kernel(&self, start: &Self) -> f64 {
        growth(&start.counters, &self.counters, "TcpActiveOpens") as f64
    }

    fn print(&self, what: &str, start: &Self, agent: &Agent<'_>) -> Result<()> {
        println!(
            "  {what:<32} {:>6} {:>8} {:>9} {:>9} {:>6} {:>7} {:>5.1} MB",
            self.series,
            self.counted,
            self.evicted,
            self.dropped,
            self.own - start.own,
            self.kernel(start),
            agent.usage()?.resident_kib as f64 / 1024.0
        );
        Ok(())
    }
}
