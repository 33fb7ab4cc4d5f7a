//! Descriptors run out: by a crowd at the socket, and altogether.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::history::Reader;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Metrics, Start, Witness, await_until};
use netmon_tests::lab::{Options, SERVER_V4, World, find_program, run};
use netmon_tests::promise;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{LONG, SOON};

/// Of which 256 are kept back for probes and files, and 64 for connections over TCP.
const FEW: u64 = 512;
const CROWD: usize = 10_000;

pub fn crowd() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let limit = format!("--nofile={FEW}:{FEW}");
    let agent = Start::new(&world)?.config(&config("")).behind(&["prlimit", &limit]).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let said = |l: &str| l.contains("room for ") && l.contains(&format!("the limit of open files is {FEW}"));
    ensure!(agent.log.await_line(SOON, said).is_some(), "no word of the limit: {:?}", agent.log.lines());
    let before = by_tcp(&agent)?;

    let (mut held, refused) = flock(&agent.socket, CROWD)?;
    let during = by_tcp(&agent)?;
    ensure!(held.len() + refused == CROWD && held.len() > 100, "{} held, {refused} refused", held.len());
    let counted = grown(&before, &during, "netmon_connections_refused_total", &[("listener", "unix")]);
    ensure!(counted == refused as f64, "{refused} were refused, {counted} are counted");
    let open = fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count() as u64;
    ensure!(open < FEW, "{open} descriptors are open");
    // It goes on with what it has: probes, a verdict, an answer to each who waits.
    let probes = |m: &Metrics| m.sum("netmon_probes_total", &[]);
    let more = await_until(SOON, || {
        thread::sleep(Duration::from_millis(100));
        let now = by_tcp(&agent)?;
        Ok((probes(&now) > probes(&during) + 10.0).then_some(now))
    })?;
    let more = more.context("no more probes")?;
    ensure!(more.state("netmon_state", &[]) == Some("up"), "{:?}", more.all("netmon_state", &[]));
    let began = Mono::now();
    world.carrier_down(0)?;
    let answered = held.iter_mut().map(is_released).filter(|released| *released).count();
    let took = Mono::now().since(began);
    ensure!(answered == held.len(), "{answered} of {} who waited were answered", held.len());
    drop(held);
    // And everything is as before, once the agent has seen that they are gone.
    await_until(SOON, || Ok(agent.status().is_ok().then_some(())))?.context("nobody is served any more")?;
    witness.after("up", &[], SOON, || world.carrier_up(0))?;
    promise(
        "descriptors-crowd",
        format_args!(
            "{CROWD} connections where {FEW} files may be open: {answered} held and answered within {:.0} ms of the fault, \
             {refused} refused and counted, {open} descriptors in use",
            took.as_secs_f64() * 1e3
        ),
    );
    Ok(())
}

pub fn none_left() -> Result<()> {
    let world = World::with(Options { ipv6: false, ..Options::default() })?;
    let start = Start::new(&world)?;
    let history = start.folder().join("history.db");
    let config = config(&format!("[history]\npath = \"{}\"\n", history.display()));
    let mut agent = start.config(&config).start()?;
    let witness = Witness::new(&agent)?;
    witness.up(SOON)?;
    let before = agent.metrics()?;
    // A wait that is under way, and one word more than there is a descriptor for.
    let mut waiter = ask(&agent.socket, "/v1/wait?state=down&timeout=120s")?;
    agent.await_waiters(1)?;
    let open = fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count();
    // Below what is open: nothing is closed by it, and nothing more can be opened.
    let hard = limit_of(&agent)?;
    set_limit(&agent, &format!("{}:{hard}", open / 2))?;
    let _more: Vec<_> = (0..20).map(|_| ask(&agent.socket, "/v1/status")).collect::<Result<Vec<_>>>()?;
    let said = |l: &str| l.contains("accepting on the Unix socket") && l.contains("Too many open files");
    ensure!(agent.log.await_line(SOON, said).is_some(), "no word of it: {:?}", agent.log.lines());
    // Several intervals, in which a target by TCP needs a descriptor for each probe, and gets none.
    thread::sleep(Duration::from_secs(15));
    let told = witness.watch().changes()?;
    let wrong: Vec<_> = told.iter().filter(|c| c["kind"] != "gap" && c["state"] == "down").collect();
    ensure!(wrong.is_empty(), "down for want of descriptors: {wrong:?}");
    let began = Mono::now();
    world.carrier_down(0)?;
    ensure!(is_released(&mut waiter), "who waited was not answered");
    let took = Mono::now().since(began);

    set_limit(&agent, &format!("{hard}:{hard}"))?;
    witness.after("up", &[], LONG, || world.carrier_up(0))?;
    let after = agent.metrics()?;
    let failures = grown(&before, &after, "netmon_accept_failures_total", &[("listener", "unix")]);
    ensure!(failures >= 1.0, "what could not be accepted is not counted");
    let tcp = agent.cli_code(&["wait", "--target", "by-tcp", "--timeout", "30s"])?;
    ensure!(tcp == 0, "the target by TCP does not recover: {}", agent.status()?);
    drop(witness);
    let warned = agent.log.lines().iter().filter(|l| said(l)).count();
    ensure!(warned <= 2, "{warned} lines of one thing");
    ensure!(agent.stop()?.success(), "no clean end");
    Reader::new(&history).check()?;
    promise(
        "descriptors-none",
        format_args!(
            "15 s without a descriptor: no false verdict, a link's loss told after {:.0} ms to who waited, {warned} line in the \
             log, {failures:.0} tries to accept counted, all well again after it",
            took.as_secs_f64() * 1e3
        ),
    );
    Ok(())
}

/// One target more, which needs a descriptor for each probe.
fn config(more: &str) -> String {
    format!(
        "{more}[defaults]\ninterval = \"1s\"\n[[target]]\nname = \"by-tcp\"\nhost = \"{SERVER_V4}\"\nprobe = \"tcp\"\nport = 443\n"
    )
}

/// As many as are wanted connect and wait for `down`: those that are held, and how many were refused.
fn flock(socket: &Path, count: usize) -> Result<(Vec<UnixStream>, usize)> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let (mut held, mut refused) = (Vec::new(), 0);
    for n in 0..count {
        held.push(ask(socket, "/v1/wait?state=down&timeout=120s")?);
        // Those that were sent away give their descriptor back, to this process too.
        if n % 200 == 199 || n + 1 == count {
            thread::sleep(Duration::from_millis(20));
            let before = held.len();
            held.retain_mut(|stream| !has_answer(stream));
            refused += before - held.len();
        }
    }
    // The last of them may not have been looked at when they were.
    let settled = await_until(SOON, || {
        let before = held.len();
        held.retain_mut(|stream| !has_answer(stream));
        refused += before - held.len();
        thread::sleep(Duration::from_millis(300));
        Ok((before == held.len()).then_some(()))
    })?;
    settled.context("they are refused without end")?;
    Ok((held, refused))
}

/// Whether anything was said to it, or it was closed. Does not wait.
fn has_answer(stream: &mut UnixStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 16]));
    let _ = stream.set_nonblocking(false);
    !looked.is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

/// Whether it is told that the network is down.
fn is_released(stream: &mut UnixStream) -> bool {
    let mut answer = [0; 2048];
    let length = stream.set_read_timeout(Some(SOON)).and_then(|()| stream.read(&mut answer)).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..length]);
    text.starts_with("HTTP/1.1 200 ") && text.contains("\"satisfied\":true")
}

fn ask(socket: &Path, path: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    // One that is refused may be closed before it has said what it wants.
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: netmon\r\n\r\n");
    Ok(stream)
}

/// The places at the Unix socket are taken; those over TCP are others.
fn by_tcp(agent: &Agent<'_>) -> Result<Metrics> {
    Metrics::parse(&agent.get_tcp("/metrics")?.body)
}

fn grown(before: &Metrics, after: &Metrics, name: &str, labels: &[(&str, &str)]) -> f64 {
    after.sum(name, labels) - before.sum(name, labels)
}

/// The agent's hard limit of open files.
fn limit_of(agent: &Agent<'_>) -> Result<String> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid()))?;
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files")).context("no such limit")?;
    line.split_whitespace().nth(1).map(str::to_owned).context("no hard limit")
}

fn set_limit(agent: &Agent<'_>, limits: &str) -> Result<()> {
    let prlimit = find_program("prlimit").context("prlimit (util-linux) is not installed")?;
    let pid = agent.pid().to_string();
    run(Command::new(prlimit).args(["--pid", &pid, &format!("--nofile={limits}")]), "").map(drop)
}
