//! What a monitor costs, in plain figures: `cargo bench -p netmon-client`.

#[path = "../tests/traced/mod.rs"]
mod traced;

use std::{
    fmt::Write as _,
    hint::black_box,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use netmon_client::{Client, Event, EventOptions, Monitor, State, Update};

/// Reads of one run, a fifth of a millisecond or so: on a busy machine some runs are left alone all through.
const READS: u32 = 20_000;
const RUNS: u32 = 3000;
const CHANGES: u64 = 300_000;
/// Changes written at one time; two such are fewer than a subscription holds.
const WINDOW: u64 = 500;
/// As its first argument, makes this program the one that is traced.
const READER: &str = "traced-reader";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let [first, socket, ..] = &arguments[..]
        && first == READER
    {
        let monitor = Monitor::connect(socket)?;
        return Ok(traced::read_loop(|| monitor.is_up())?);
    }
    // `cargo bench` says so; `cargo test --benches` does not, and has nothing to learn from figures.
    if !std::env::args().any(|word| word == "--bench") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    reads(&folder.path().join("reads"))?;
    system_calls(folder.path())?;
    changes(&folder.path().join("changes"))?;
    allocations(&folder.path().join("allocations"))?;
    Ok(())
}

/// An agent that says once that the network is up.
fn up(socket: &Path) -> std::io::Result<thread::JoinHandle<()>> {
    agent(socket, |mut stream| {
        // Until the monitor is gone.
        let _ = stream.write_all(text(1, 1).as_bytes()).and_then(|()| stream.read(&mut [0]).map(drop));
    })
}

/// One look at the state.
fn reads(socket: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let agent = up(socket)?;
    let monitor = Monitor::connect(socket)?;
    assert!(monitor.is_up(), "the agent said so");
    time("Monitor::is_up()", || monitor.is_up());
    time("Monitor::state()", || monitor.state() == State::Up);
    time("  without a look at its age", || monitor.state_unaged() == State::Up);
    drop(monitor);
    agent.join().expect("the agent's thread");
    Ok(())
}

/// System calls of this program as another process that reads.
fn system_calls(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let what = format!("system calls in {} reads", traced::READS);
    if let Some(why) = traced::obstacle() {
        println!("{what:<32} not counted: {why}");
        return Ok(());
    }
    let socket = folder.join("traced");
    let agent = up(&socket)?;
    let arguments = [READER.as_ref(), socket.as_os_str()];
    let calls = traced::system_calls(&std::env::current_exe()?, &arguments, folder)?;
    println!("{what:<32} {:>4} (strace)", calls.len());
    assert!(calls.is_empty(), "a read makes system calls: {calls:?}");
    agent.join().expect("the agent's thread");
    Ok(())
}

/// The shortest run.
fn time(what: &str, read: impl Fn() -> bool) {
    let one = || {
        let started = now();
        let up = (0..READS).filter(|_| black_box(&read)()).count();
        let took = started.elapsed();
        assert_eq!(up, READS as usize, "every read said up");
        took.as_nanos() as f64 / f64::from(READS)
    };
    let best = (0..RUNS).map(|_| one()).fold(f64::INFINITY, f64::min);
    println!("{what:<30} {best:>6.2} ns a read");
}

/// Changes through a monitor to a subscriber that takes each.
fn changes(socket: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (go, told) = std::sync::mpsc::channel::<u64>();
    let agent = agent(socket, move |mut stream| {
        let _ =
            told.into_iter().map(|seq| stream.write_all(text(seq, WINDOW).as_bytes())).find(Result::is_err);
    })?;
    go.send(1)?;
    let monitor = Monitor::connect(socket)?;
    let updates = monitor.subscribe();
    go.send(WINDOW + 1)?;
    go.send(2 * WINDOW + 1)?;
    let mut last = 0;
    let started = now();
    while last < CHANGES {
        match updates.recv_timeout(Duration::from_secs(60)) {
            Some(Update::Change(change)) => last = change.seq,
            other => panic!("{other:?} after {last}"),
        }
        // Two windows are under way at any time.
        if last > WINDOW && last % WINDOW == 0 {
            go.send(last + WINDOW + 1)?;
        }
    }
    let took = started.elapsed();
    println!("{:<30} {:>6.0} a second", "changes through a Monitor", last as f64 / took.as_secs_f64());
    drop((go, monitor));
    agent.join().expect("the agent's thread");
    Ok(())
}

/// What the way from the socket to a change allocates; a monitor adds one, the `Arc` that its subscribers share.
fn allocations(socket: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const COUNT: u64 = 2000;
    let agent = agent(socket, |mut stream| {
        let _ = stream.write_all(text(1, COUNT).as_bytes()).and_then(|()| stream.read(&mut [0]).map(drop));
    })?;
    let mut stream = Client::new(socket).event_stream(EventOptions::default())?;
    let mut read = |until: u64| -> Result<(), netmon_client::Error> {
        loop {
            match stream.read()? {
                Some(Event::Change(change)) if change.seq >= until => return Ok(()),
                Some(_) => {}
                None => return Err(netmon_client::Error::Disconnected),
            }
        }
    };
    // Buffers have grown by then.
    read(COUNT / 2)?;
    let mut result = Ok(());
    let info = allocation_counter::measure(|| result = read(COUNT));
    result?;
    let count = (COUNT - COUNT / 2) as f64;
    println!(
        "{:<30} {:>6.1} allocations, {:.0} bytes",
        "a change from the socket",
        info.count_total as f64 / count,
        info.bytes_total as f64 / count
    );
    drop(stream);
    agent.join().expect("the agent's thread");
    Ok(())
}

/// An agent that serves one stream.
fn agent(
    socket: &Path,
    serve: impl FnOnce(UnixStream) + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    let listener = UnixListener::bind(PathBuf::from(socket))?;
    Ok(thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.read(&mut [0; 4096]);
        let head = "HTTP/1.1 200 OK\r\nNetmon-Stale-After-Ms: 600000\r\n\r\n";
        if stream.write_all(head.as_bytes()).is_ok() {
            serve(stream);
        }
    }))
}

/// So many events like the agent's, the first with this number; the last state is up.
fn text(first: u64, count: u64) -> String {
    let mut out = String::new();
    for seq in first..first + count {
        let (state, previous) = if (first + count - seq) % 2 == 1 { ("up", "down") } else { ("down", "up") };
        // Infallible for a String.
        let _ = write!(
            out,
            "id: {seq}\nevent: state\ndata: {{\"seq\":{seq},\"at\":\"2026-01-01T00:00:00.000Z\",\"kind\":\"state\",\
             \"subject\":\"network\",\"state\":\"{state}\",\"previous\":\"{previous}\",\"reasons\":[{{\"code\":\
             \"no_carrier\",\"subject\":\"eth0\",\"detail\":\"eth0 has no carrier\",\"rule\":\"R2\"}}]}}\n\n"
        );
    }
    out
}

#[expect(clippy::disallowed_methods, reason = "a benchmark's own clock")]
fn now() -> Instant {
    Instant::now()
}
