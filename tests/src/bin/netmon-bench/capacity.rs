//! What a target, a device and a probe take: series, bytes of a scrape, CPU, memory, bytes on the wire. What
//! `docs/CAPACITY.md` reckons from.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Metrics, Start, await_until};
use netmon_tests::lab::{Family, Netns, SERVER_V4, World};
use netmon_tests::targets_on_loopback;
use nix::time::ClockId;

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// As Prometheus asks for them.
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The greater of the numbers of targets; the others are 1 and 10.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(20..=60_000))]
    targets: u32,
    /// Devices beside the first.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=200))]
    devices: u32,
    /// For how many seconds CPU time is taken.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// What one agent said and took.
struct Figures {
    series: f64,
    /// Of the text, the text compressed, and where they are offered the messages and the messages compressed.
    bytes: [Option<f64>; 4],
    cpu: f64,
    anonymous: f64,
}

/// Prints all of it.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let most = arguments.targets;
    println!(
        "capacity: targets by ICMP over loopback every 2 s, one device; bytes: text, with gzip, protobuf, with gzip"
    );
    let one = figures("", 1, 0, arguments)?;
    let ten = figures("", 10, 0, arguments)?;
    let many = figures("", most, 0, arguments)?;
    for (count, figures) in [(1, &one), (10, &ten), (most, &many)] {
        println!("  {count} targets: {}", figures.whole());
    }
    println!("  a target: {}", each(&many, &ten, most - 10));
    let devices = figures("", 1, arguments.devices, arguments)?;
    println!("  a device: {}", each(&devices, &one, arguments.devices));
    for (name, options) in [
        ("lean = true", "lean = true\n"),
        ("windows = true", "windows = true\n"),
        ("native_histograms = true", "native_histograms = true\n"),
        ("native_histograms and lean", "native_histograms = true\nlean = true\n"),
    ] {
        let (few, many) = (figures(options, 10, 0, arguments)?, figures(options, most, 0, arguments)?);
        println!("  a target with {name}: {}", each(&many, &few, most - 10));
    }
    wire()
}

impl Figures {
    fn whole(&self) -> String {
        let bytes = self.bytes.iter().flatten().map(|b| format!("{b:.0}")).collect::<Vec<_>>().join(", ");
        let (cpu, memory) = (self.cpu * 100.0, self.anonymous / 1e6);
        format!("{:.0} series; {bytes} bytes; {cpu:.2} % of a core, {memory:.1} MB anonymous", self.series)
    }
}

/// What each of so many makes the difference by.
fn each(more: &Figures, less: &Figures, count: u32) -> String {
    let of = |more: f64, less: f64| (more - less) / f64::from(count);
    let bytes = more.bytes.iter().zip(less.bytes).filter_map(|(more, less)| Some(of((*more)?, less?)));
    let bytes = bytes.map(|b| format!("{b:.0}")).collect::<Vec<_>>().join(", ");
    format!(
        "{:.1} series; {bytes} bytes; {:.0} µs of CPU a second, {:.0} bytes of memory",
        of(more.series, less.series),
        of(more.cpu, less.cpu) * 1e6,
        of(more.anonymous, less.anonymous),
    )
}

fn figures(metrics: &str, targets: u32, devices: u32, arguments: &Arguments) -> Result<Figures> {
    let world = World::new()?;
    for n in 0..devices {
        let far = world.internet.name();
        let name = format!("extra{n}");
        world.node.ip(&format!(
            "link add name {name} type veth peer name {name} netns {far}\nlink set {name} up"
        ))?;
        world.internet.ip(&format!("link set {name} up"))?;
    }
    let agent = Start::new(&world)?.config(&config(metrics, targets)).start()?;
    complete(&agent, targets)?;
    // The last minute's windows fill, and memory with them.
    thread::sleep(Duration::from_secs(5));
    // Of the process: threads that have ended meanwhile are in it.
    let clock = ClockId::pid_cpu_clock_id(agent.pid())?;
    let (before, began) = (clock.now()?, Mono::now());
    thread::sleep(Duration::from_secs(arguments.seconds));
    let (after, took) = (clock.now()?, Mono::now().since(began).as_secs_f64());
    let anonymous = agent.usage()?.anonymous_kib as f64 * 1024.0;
    let text = scrape(&agent.socket, "text/plain", false)?;
    let samples = text.split(|b| *b == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count();
    let packed = scrape(&agent.socket, "text/plain", true)?;
    let offers_messages = metrics.contains("native_histograms");
    let messages = |gzip| -> Result<Option<f64>> {
        let asked = offers_messages.then(|| scrape(&agent.socket, PROTOBUF, gzip)).transpose()?;
        Ok(asked.map(|body| body.len() as f64))
    };
    Ok(Figures {
        series: samples as f64,
        bytes: [Some(text.len() as f64), Some(packed.len() as f64), messages(false)?, messages(true)?],
        cpu: Duration::from(after - before).as_secs_f64() / took,
        anonymous,
    })
}

/// Until every target has been answered twice: jitter then has a value.
fn complete(agent: &Agent<'_>, targets: u32) -> Result<()> {
    let reached = await_until(LONG, || {
        thread::sleep(Duration::from_millis(500));
        let metrics = Metrics::parse(&String::from_utf8(scrape(&agent.socket, "text/plain", false)?)?)?;
        let replies = metrics.all("netmon_probe_replies_total", &[]);
        let twice = replies.iter().filter(|s| s.value >= 2.0).count();
        Ok((twice >= targets as usize).then_some(()))
    })?;
    reached.with_context(|| format!("not every target is answered: {:?}", agent.log.lines().last()))
}

/// The body of a scrape, as it goes over the wire.
fn scrape(socket: &Path, accept: &str, gzip: bool) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LONG))?;
    let encoding = if gzip { "gzip" } else { "identity" };
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: netmon\r\nAccept: {accept}\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer[..answer.len().min(200)])
    );
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("no end of the header")?;
    Ok(answer.split_off(end + 4))
}

/// Every address of 127/8 answers.
fn config(metrics: &str, targets: u32) -> String {
    let text = format!(
        "[limits]\ncpu = \"off\"\nmemory = \"off\"\n[history]\nenabled = false\n[metrics]\n{metrics}\
         [defaults]\ninterval = \"2s\"\nauto_targets = false\n[agent]\nmax_probes_per_second = 30000\n"
    );
    text + &targets_on_loopback(targets)
}

/// Bytes on the wire a probe, both ways, with the Ethernet header and without preamble and checksum.
fn wire() -> Result<()> {
    let world = World::new()?;
    let gateway = world.gateway_address(0, Family::V4);
    println!("on the wire, both ways, Ethernet headers included");
    for (name, target) in [
        ("icmp", format!("host = \"{SERVER_V4}\"")),
        ("tcp", format!("host = \"{SERVER_V4}\"\nprobe = \"tcp\"\nport = 80")),
        ("dns", format!("host = \"{gateway}\"\nprobe = \"dns\"\nquery = \"example.com\"")),
    ] {
        let text = format!(
            "[history]\nenabled = false\n[diagnosis]\nenabled = false\n[defaults]\ninterval = \"100ms\"\n\
             auto_targets = false\n[[target]]\nname = \"t\"\n{target}\n"
        );
        let agent = Start::new(&world)?.config(&text).start()?;
        complete(&agent, 1)?;
        let before = (probes(&agent)?, passed(&world.node, "eth0")?);
        thread::sleep(Duration::from_secs(10));
        let after = (probes(&agent)?, passed(&world.node, "eth0")?);
        let count = after.0 - before.0;
        ensure!(count > 50.0, "{count} probes in ten seconds");
        println!("  {name}: {:.0} bytes a probe", (after.1 - before.1) as f64 / count);
    }
    Ok(())
}

fn probes(agent: &Agent<'_>) -> Result<f64> {
    Ok(agent.metrics()?.sum("netmon_probes_total", &[]))
}

/// Bytes that a device has received and sent, by the kernel's count.
fn passed(netns: &Netns, device: &str) -> Result<u64> {
    let table = netns.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = table.lines().find_map(|l| l.trim().strip_prefix(device)?.strip_prefix(':'));
    let fields: Vec<&str> = line.with_context(|| format!("no {device}"))?.split_whitespace().collect();
    [0, 8].iter().map(|i| Ok(fields.get(*i).context("/proc/net/dev")?.parse::<u64>()?)).sum()
}
