//! What the kernel programs cost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_agent::observation::TcpProgram;
use netmon_agent::source::bpf::{Kernel, Options, btf::Btf};
use netmon_agent::time::Mono;
use netmon_tests::agent::Agent;
use netmon_tests::lab::{Bulk, Place, SERVER_V4, SERVER_V6, Way, What, World, find_program, growth};

use crate::events::{Held, Statistics};
use crate::{await_up, quantile};

const LOSS: f64 = 5.0;
const BTF: &str = "/sys/kernel/btf/vmlinux";
const OBJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../netmon-ebpf/prebuilt/netmon.bpf.o");
/// What `tcpretrans` of bpftrace does, at the tracepoint: its own probe is a kprobe, which some kernels lack.
const TCPRETRANS: &str = "tracepoint:tcp:tcp_retransmit_skb { time(\"%H:%M:%S \"); \
    printf(\"%-8d %14s:%-6d %14s:%-6d %d\\n\", pid, ntop(args->saddr), args->sport, ntop(args->daddr), args->dport, args->state); }";

/// Start-up first, then one upload under loss for `time` that all are told of.
pub fn measure(time: Duration, loads: usize) -> Result<()> {
    start_up(loads)?;
    let _statistics = Statistics::on()?;
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    await_up(&agent)?;
    // The second rung, in this process, which has tracefs.
    let mut classic =
        world.node.run(|| Kernel::load(&Options { btf: Some("/dev/null".into()), ..Options::default() }))?;
    let mut bpftrace = BpfTrace::start(time)?;
    let before = (programs(&agent)?, classic.read(false, |_| None).programs, world.counters()?);
    let usage = agent.usage()?.cpu_ns;
    let held = Held::by_agent(&agent)?;
    let theirs = bpftrace.as_ref().map(BpfTrace::cost).transpose()?;
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(LOSS))?;
    let bulk = Bulk::start(&world, &[SERVER_V4.into(), SERVER_V6.into(), SERVER_V4.into()])?;
    thread::sleep(time);
    bulk.stop();
    fault.mend()?;
    thread::sleep(Duration::from_millis(1500));
    let after = (programs(&agent)?, classic.read(false, |_| None).programs, world.counters()?);
    println!(
        "kernel: an upload of {time:?} at {LOSS} % loss, {} segments sent again; ns an event by the kernel's statistics \
         (kernel.bpf_stats_enabled), which cost some 50 of them",
        growth(&before.2, &after.2, "TcpRetransSegs")
    );
    println!(
        "  program                       raw tracepoint        classic tracepoint\n                                   runs       ns           runs       ns"
    );
    for (name, program) in &after.0 {
        let raw = per_event(program, before.0.get(name));
        let kin = after.1.get(name.as_str()).map(|p| per_event(p, before.1.get(name.as_str())));
        let cell = |(runs, ns): (u64, f64)| {
            if runs == 0 { format!("{runs:>8} {:>8}", "–") } else { format!("{runs:>8} {ns:>8.0}") }
        };
        println!("  {name:<26} {}       {}", cell(raw), kin.map(cell).unwrap_or_default());
    }
    let now = Held::by_agent(&agent)?;
    let cpu = |cpu_ns: u64, run_ns: u64| {
        let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
        format!("{:>8.3} s of process, {:>7.3} s of programs", seconds(cpu_ns), seconds(run_ns))
    };
    println!("  netmon, all of it      {}", cpu(agent.usage()?.cpu_ns - usage, now.run_ns - held.run_ns));
    match (&mut bpftrace, theirs) {
        (Some(bpftrace), Some(theirs)) => {
            let cost = bpftrace.cost()?;
            println!(
                "  bpftrace tcpretrans    {}, {} events",
                cpu(cost.0 - theirs.0, cost.1 - theirs.1),
                cost.2 - theirs.2
            );
        }
        _ => println!("  bpftrace is not installed: apt-get install bpftrace"),
    }
    let object = fs::metadata(OBJECT).map_or(0, |m| m.len());
    println!(
        "  object {object} bytes; {} maps of {:.1} MB, {} programs",
        now.maps,
        now.map_bytes as f64 / 1e6,
        now.programs
    );
    Ok(())
}

fn start_up(loads: usize) -> Result<()> {
    let world = World::new()?;
    let timed = |work: &mut dyn FnMut()| {
        let mut samples: Vec<_> = (0..loads)
            .map(|_| {
                let start = Mono::now();
                work();
                Mono::now().since(start)
            })
            .collect();
        [0.0, 0.5, 1.0].map(|q| quantile(&mut samples, q).as_secs_f64() * 1e3)
    };
    let bytes = fs::read(BTF).context(BTF)?;
    let read = timed(&mut || drop(fs::read(BTF)));
    let parsed = timed(&mut || drop(Btf::parse(bytes.clone())));
    let (mut load, mut drops) = ([0.0; 3], Vec::new());
    world.node.run(|| {
        load = timed(&mut || {
            let kernel = Kernel::load(&Options::default());
            drops.push(kernel);
        });
    })?;
    let works = drops.first().is_some_and(|k| k.capabilities().iter().all(|c| c.ok));
    println!(
        "kernel: start, {loads} times, all capabilities work: {works}; milliseconds     min      p50      max"
    );
    let rows = [
        ("types read, ".to_owned() + &bytes.len().to_string() + " bytes", read),
        ("types parsed, a copy of them included".to_owned(), parsed),
        ("everything, to attached".to_owned(), load),
    ];
    for (what, [min, p50, max]) in rows {
        println!("  {what:<62} {min:>8.2} {p50:>8.2} {max:>8.2}");
    }
    Ok(())
}

fn per_event(now: &TcpProgram, before: Option<&TcpProgram>) -> (u64, f64) {
    let before = before.copied().unwrap_or_default();
    let runs = now.runs - before.runs;
    (runs, (now.run_time - before.run_time).as_nanos() as f64 / runs.max(1) as f64)
}

/// Runs and run times by the agent's own metrics.
fn programs(agent: &Agent<'_>) -> Result<BTreeMap<String, TcpProgram>> {
    thread::sleep(Duration::from_millis(1100));
    let metrics = agent.metrics()?;
    let mut programs = BTreeMap::new();
    for sample in metrics.all("netmon_bpf_runs_total", &[]) {
        let name = &sample.labels["program"];
        let seconds = metrics.sum("netmon_bpf_run_seconds_total", &[("program", name)]);
        let program = TcpProgram {
            runs: sample.value as u64,
            run_time: Duration::from_secs_f64(seconds),
            ..TcpProgram::default()
        };
        programs.insert(name.clone(), program);
    }
    Ok(programs)
}

/// bpftrace at the same tracepoint. It ends by itself soon after the upload, and on drop.
struct BpfTrace {
    child: Child,
    output: PathBuf,
}

impl BpfTrace {
    /// Starts it and waits until it is attached; `None` where there is none.
    fn start(time: Duration) -> Result<Option<Self>> {
        let Some(program) = find_program("bpftrace") else { return Ok(None) };
        let output = std::env::temp_dir().join(format!("netmon-bench-{}.bpftrace", std::process::id()));
        let limit = (time + Duration::from_secs(60)).as_secs().to_string();
        let file = fs::File::create(&output)?;
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", &limit]).arg(program).args(["-B", "line", "-e", TCPRETRANS]);
        let child = command.stdin(Stdio::null()).stdout(file).spawn().context("starting bpftrace")?;
        let started = Self { child, output };
        thread::sleep(Duration::from_secs(4));
        Ok(Some(started))
    }

    /// CPU time of the process and run time of its programs in ns, and lines it wrote.
    fn cost(&self) -> Result<(u64, u64, u64)> {
        let timeout = self.child.id();
        let children = fs::read_to_string(format!("/proc/{timeout}/task/{timeout}/children"))?;
        let pid: u32 = children.split_whitespace().next().context("bpftrace has ended")?.parse()?;
        let mut cpu = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let times = fs::read_to_string(task?.path().join("schedstat"))?;
            cpu += times.split(' ').next().and_then(|t| t.parse::<u64>().ok()).context("schedstat")?;
        }
        let lines = fs::read(&self.output)?.iter().filter(|byte| **byte == b'\n').count();
        Ok((cpu, Held::by(pid)?.run_ns, lines as u64))
    }
}

impl Drop for BpfTrace {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        // `timeout` hands SIGTERM on.
        let _ = kill(nix::unistd::Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = fs::remove_file(Path::new(&self.output));
    }
}
