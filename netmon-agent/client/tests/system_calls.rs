//! A read of the state makes no system call: a million of them, counted by strace(1). Where that is missing, or may not
//! trace, the trials are reported as ignored; with `CI` set in the environment that is a failure instead.

mod traced;

use std::{
    env,
    error::Error,
    ffi::OsStr,
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::ExitCode,
    thread,
};

use libtest_mimic::{Arguments, Failed, Trial};
use netmon_client::Monitor;

/// As its first argument, makes this program the one that is traced.
const READER: &str = "traced-reader";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    if let [first, which, socket] = &arguments[..]
        && first == READER
    {
        return match read(which, Path::new(socket)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e}");
                ExitCode::FAILURE
            }
        };
    }
    let obstacle = traced::obstacle();
    if let Some(why) = &obstacle {
        eprintln!("system calls can't be counted: {why}");
    }
    let ignored = obstacle.is_some() && env::var_os("CI").is_none();
    let readers = [Some("blocking"), cfg!(feature = "tokio").then_some("async")];
    let trials = readers.into_iter().flatten().map(|which| {
        Trial::test(format!("a_read_of_the_{which}_monitor_makes_no_system_call"), move || count(which))
            .with_ignored_flag(ignored)
    });
    let of_marks = Trial::test("only_the_readers_calls_between_its_marks_count", marks);
    libtest_mimic::run(&Arguments::from_args(), trials.chain([of_marks]).collect()).exit_code()
}

/// The reader.
fn read(which: &OsStr, socket: &Path) -> Result<(), Box<dyn Error>> {
    if which == "blocking" {
        let monitor = Monitor::connect(socket)?;
        return Ok(traced::read_loop(|| monitor.is_up())?);
    }
    #[cfg(feature = "tokio")]
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let monitor = netmon_client::aio::Monitor::connect(socket).await;
        traced::read_loop(|| monitor.is_up())
    })?;
    Ok(())
}

fn count(which: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket)?;
    // An agent that says once that the network is up, for ten minutes to come.
    let agent = thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.read(&mut [0; 4096]);
        let said = "HTTP/1.1 200 OK\r\nNetmon-Stale-After-Ms: 600000\r\n\r\nid: 1\nevent: state\ndata: {\"seq\":1,\
                    \"at\":\"2026-01-01T00:00:00.000Z\",\"kind\":\"state\",\"subject\":\"network\",\"state\":\"up\",\
                    \"previous\":\"unknown\",\"reasons\":[]}\n\n";
        // Until the reader is gone.
        let _ = stream.write_all(said.as_bytes()).and_then(|()| stream.read(&mut [0]).map(drop));
    });
    let arguments = [OsStr::new(READER), OsStr::new(which), socket.as_os_str()];
    let calls = traced::system_calls(&env::current_exe()?, &arguments, folder.path())?;
    let _ = agent.join();
    eprintln!("system calls in {} reads of the {which} monitor: {} (strace)", traced::READS, calls.len());
    if calls.is_empty() { Ok(()) } else { Err(format!("{calls:?}").into()) }
}

fn marks() -> Result<(), Failed> {
    let trace = "7 getppid( <unfinished ...>\n8 futex(0) = 0\n7 <... getppid resumed>) = 1\n7 read(3) = 1\n\
                 7 --- SIGALRM {si_signo=SIGALRM, si_code=SI_KERNEL} ---\n7 getppid() = 1\n7 write(1) = 1\n";
    assert_eq!(traced::between_marks(trace)?, ["7 read(3) = 1"]);
    assert!(traced::between_marks("7 getppid() = 1\n").is_err());
    assert!(traced::between_marks("7 read(3) = 1\n").is_err());
    Ok(())
}
