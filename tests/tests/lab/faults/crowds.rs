//! Crowds that take an answer and never read it: who waits, and who scrapes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Metrics, Response, Start, Witness, await_until, get, request};
use netmon_tests::lab::{Family, Options, World};
use netmon_tests::{promise, targets_on_loopback};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::{LONG, SOON};

/// With one more as many as may wait at once …
const WAITERS: usize = 9_999;
/// … and these have not even asked to the end.
const HALF_ASKED: usize = 200;
/// Of each scrape several megabytes, more than the kernel takes for one who does not read.
const TARGETS: u32 = 2_000;
/// As many as there may be connections.
const SCRAPERS: usize = 64;

/// Asks, and leaves the answer where it is.
pub fn ask_in_vain(socket: &Path, path: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: netmon\r\n\r\n")?;
    Ok(stream)
}

pub fn waiters() -> Result<()> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(3_000);
    let count = WAITERS.min(room);
    ensure!(count > HALF_ASKED, "this process may open {limit} files");
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let agent = Agent::start(&world)?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let before = (agent.metrics()?, agent.usage()?);
    let mut half: Vec<UnixStream> = (0..HALF_ASKED)
        .map(|_| {
            let mut stream = UnixStream::connect(&agent.socket)?;
            stream.write_all(b"GET /v1/wait?state=do")?;
            Ok(stream)
        })
        .collect::<Result<_>>()?;
    let path = "/v1/wait?state=down&timeout=300s";
    let never: Vec<UnixStream> =
        (0..count).map(|_| ask_in_vain(&agent.socket, path)).collect::<Result<_>>()?;
    let all = await_until(LONG, || {
        Ok((agent.metrics()?.value("netmon_wait_clients", &[]) >= Some(count as f64)).then_some(()))
    })?;
    all.with_context(|| format!("not all of {count} wait"))?;
    // One who reads waits among them.
    let took = witness.after("down", &["no_carrier/eth0"], SOON, || world.carrier_down(0))?;
    let satisfied = |m: &Metrics| m.value("netmon_wait_requests_total", &[("result", "satisfied")]);
    let start = satisfied(&before.0).unwrap_or(0.0);
    let released = await_until(LONG, || {
        let now = satisfied(&agent.metrics()?).unwrap_or(0.0) - start;
        Ok((now >= (count + 1) as f64).then_some(now))
    })?;
    let released = released.with_context(|| format!("not all of {count} are answered"))?;
    let more = (agent.usage()?.anonymous_kib.saturating_sub(before.1.anonymous_kib)) as f64 / count as f64;
    ensure!(more < 32.0, "{more:.1} KiB for each who waits");
    // Those who never asked to the end are cut, and take no place.
    for stream in &mut half {
        stream.set_read_timeout(Some(SOON))?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).context("one who never asks is never cut")?;
        ensure!(!said.starts_with(b"HTTP/1.1 200"), "an answer to half a question");
    }
    witness.after("up", &[], SOON, || world.carrier_up(0))?;
    drop(never);
    promise(
        "slow-waiters",
        format_args!(
            "{count} who never read and {HALF_ASKED} who never ask to the end: {released:.0} answered, who reads among them goes \
             on after {:.0} ms, {more:.1} KiB each",
            took.as_secs_f64() * 1e3
        ),
    );
    Ok(())
}

pub fn scrapers() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let outside = SocketAddr::new(world.node_address(0, Family::V4), PORT);
    let agent = Start::new(&world)?.config(&config(outside)).arguments(&["--insecure"]).start()?;
    Witness::new(&agent)?.up(SOON)?;
    let size = agent.get("/metrics")?.body.len();
    let before = agent.usage()?.resident_kib;
    let mut never =
        world.node.run(|| (0..SCRAPERS).map(|_| scrape_in_vain()).collect::<Result<Vec<_>>>())??;
    let stuck = await_until(SOON, || Ok((unsent(&world)? >= SCRAPES).then_some(())))?;
    stuck.context("what was written for those who don't read was all taken")?;
    let is_whole = |answer: &Response| answer.status == 200 && answer.body.len() > size / 2;
    // All places are taken, of connections and of scrapes. Another host's turn comes at once.
    let asked = Mono::now();
    let answer = world.gateways[0].run(|| request(TcpStream::connect(outside)?, "/metrics"))??;
    let elsewhere = Mono::now().since(asked);
    ensure!(is_whole(&answer), "another host: {}, {} bytes", answer.status, answer.body.len());
    // So does a user of this machine.
    let answer = agent.get("/metrics")?;
    ensure!(is_whole(&answer), "over the Unix socket: {}, {} bytes", answer.status, answer.body.len());
    // And somebody behind the very address of the crowd gets the place of one that has not read for a while; that which was
    // given away is taken again.
    never.push(world.node.run(scrape_in_vain)??);
    let began = Mono::now();
    let served = await_until(SOON, || match agent.get_tcp("/metrics") {
        Ok(answer) if is_whole(&answer) => Ok(Some(Mono::now().since(began))),
        _ => {
            thread::sleep(Duration::from_millis(100));
            Ok(None)
        }
    })?;
    let beside = served.context("who shares the crowd's address is served never")?;
    // A verdict waits for none of them.
    let waiter = agent.cli_spawn(&["wait", "--device", "eth0", "--state", "down", "--timeout", "20s"])?;
    agent.await_waiters(1)?;
    let began = Mono::now();
    world.carrier_down(0)?;
    ensure!(waiter.wait_with_output()?.status.success(), "eth0 is not down: {}", agent.status()?["devices"]);
    let down = Mono::now().since(began);
    let resident = agent.usage()?.resident_kib;
    ensure!(resident < before + MOST_KIB, "{resident} KiB resident, {before} before them");
    // They are cut in time: every place is free again, and so is what was written for them.
    let cut = await_until(LONG, || {
        thread::sleep(Duration::from_millis(500));
        let freed = world
            .node
            .run(|| (0..64).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))).collect::<Vec<_>>())?;
        thread::sleep(Duration::from_millis(300));
        let mut open = 0;
        for stream in freed {
            let mut stream = stream?;
            stream.set_nonblocking(true)?;
            open += usize::from(
                stream.read(&mut [0; 1]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock),
            );
        }
        Ok((open == 64).then_some(()))
    })?;
    cut.context("who never reads keeps its place")?;
    drop(never);
    promise(
        "scrapers-that-never-read",
        format_args!(
            "all {SCRAPERS} places held by scrapers that never read {:.1} MB: another host is served in {:.0} ms, one behind \
             their own address after {:.1} s, a verdict in {:.0} ms, {} MiB more resident, every place free again in \
             time",
            size as f64 / 1e6,
            elsewhere.as_secs_f64() * 1e3,
            beside.as_secs_f64(),
            down.as_secs_f64() * 1e3,
            resident.saturating_sub(before) >> 10
        ),
    );
    Ok(())
}

/// Answers of more than the kernel takes for a local peer, written at once.
const MODERATE: u32 = 190;
const ASKERS: usize = 3_000;
/// What answers that nobody reads may take of memory, KiB: one half of their room, and what the allocator adds …
const ANSWERS_KIB: u64 = 96 * 1024;
/// … and the connections themselves.
const CONNECTION_KIB: u64 = 24;

pub fn askers() -> Result<()> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let text = "[defaults]\ninterval = \"5s\"\nauto_targets = false\n".to_owned();
    let agent = Start::new(&world)?.config(&(text + &targets_on_loopback(MODERATE))).start()?;
    Witness::new(&agent)?.up(SOON)?;
    let size = agent.get("/v1/status")?.body.len();
    let before = agent.usage()?.resident_kib;
    let never: Vec<UnixStream> =
        (0..ASKERS).map(|_| ask_in_vain(&agent.socket, "/v1/status")).collect::<Result<_>>()?;
    // Where thousands ask at once, one has its turn late.
    let ask = |path: &str| get(&agent.socket, path, LONG);
    // Nobody of the same user gets one more …
    let full = await_until(SOON, || Ok((ask("/v1/status")?.status == 503).then_some(())))?;
    full.context("answers that nobody reads take no room")?;
    let resident = agent.usage()?.resident_kib;
    let most = before + ANSWERS_KIB + ASKERS as u64 * CONNECTION_KIB;
    ensure!(resident < most, "{resident} KiB resident, {before} before them: more than {most}");
    // … but small answers, and waits; and another user does.
    ensure!(ask("/healthz")?.status == 200, "no small answer");
    let began = Mono::now();
    let another = status_as_nobody(&world, &agent)?;
    let took = Mono::now().since(began);
    ensure!(another.len() > size / 2, "{another:?}");
    let waiter = agent.cli_spawn(&["wait", "--device", "eth0", "--state", "down", "--timeout", "20s"])?;
    // Over TCP, where there is room.
    let waits = await_until(SOON, || {
        let metrics = Metrics::parse(&agent.get_tcp("/metrics")?.body)?;
        Ok((metrics.value("netmon_wait_clients", &[]) == Some(1.0)).then_some(()))
    })?;
    waits.context("nobody waits")?;
    let began = Mono::now();
    world.carrier_down(0)?;
    ensure!(waiter.wait_with_output()?.status.success(), "eth0 is not down");
    let down = Mono::now().since(began);
    // They are cut in time.
    let free = await_until(LONG, || {
        thread::sleep(Duration::from_millis(200));
        Ok((ask("/v1/status")?.status == 200).then_some(()))
    })?;
    free.context("who never reads keeps its room")?;
    drop(never);
    promise(
        "unread-answers",
        format_args!(
            "{ASKERS} local programs of one user who never read {} KB each, {} MB in all: {} MiB more resident; another user is \
             served in {:.0} ms, a verdict in {:.0} ms, and they are cut in time",
            size / 1000,
            ASKERS * size / 1_000_000,
            resident.saturating_sub(before) >> 10,
            took.as_secs_f64() * 1e3,
            down.as_secs_f64() * 1e3,
        ),
    );
    Ok(())
}

/// The state as another user reads it.
fn status_as_nobody(world: &World, agent: &Agent<'_>) -> Result<String> {
    let mut command = world.node.command("setpriv");
    // The one capability that opens every file; the kernel tells the agent the user all the same.
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args([
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "curl",
        "--silent",
        "--show-error",
    ]);
    command.args(["--fail", "--max-time", "20", "--unix-socket"]).arg(&agent.socket);
    let output = command.arg("http://netmon/v1/status").output()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The default port for metrics.
const PORT: u16 = 9817;
/// Scrapes that are written at one time.
const SCRAPES: usize = 8;
/// What the crowd may take of memory: each connection some, each scrape its buffers.
const MOST_KIB: u64 = 48 * 1024;

fn config(outside: SocketAddr) -> String {
    let listen = format!("[agent]\nlisten = [\"127.0.0.1:{PORT}\", \"{outside}\"]\n");
    let text = listen + "[defaults]\ninterval = \"5s\"\nauto_targets = false\n";
    text + &targets_on_loopback(TARGETS)
}

/// Connections to the agent for which there is something in the kernel that is not taken.
fn unsent(world: &World) -> Result<usize> {
    let ours = format!("( sport = :{PORT} )");
    let listed = world.node.command("ss").args(["-Htn", "state", "established", &ours]).output()?;
    let text = String::from_utf8(listed.stdout)?;
    let queue = |line: &str| line.split_whitespace().nth(1).and_then(|bytes| bytes.parse::<u64>().ok());
    Ok(text.lines().filter(|line| queue(line) > Some(0)).count())
}

/// One that asks for metrics over TCP, has little room for them, and does not read.
fn scrape_in_vain() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Before it connects, as the window is agreed upon then.
    socket.set_recv_buffer_size(4096)?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into())?;
    (&socket).write_all(b"GET /metrics HTTP/1.1\r\nHost: netmon\r\n\r\n")?;
    Ok(socket)
}
