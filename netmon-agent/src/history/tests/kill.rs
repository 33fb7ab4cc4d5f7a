//! A process that writes, killed at random moments: `NETMON_KILLS` times, 20 when it is not set.

use std::{
    env,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    health::{State, Subject},
    history::{Batch, Change, Reader, Sign, ThisRun, open},
    time::{Boot, Wall},
};

/// Where the process is to write that is killed.
const VICTIM: &str = "NETMON_HISTORY_VICTIM";

/// The process that is killed: writes batches without end, and says the number of each that is written.
#[test]
fn victim() {
    let Some(path) = env::var_os(VICTIM) else { return };
    let sign = |n: u64| Sign { seen: Boot::from_nanos(n + 1), offset: 0 };
    let started = Reader::new(Path::new(&path)).load(Wall::default());
    let mut n = started.ok().and_then(|r| r.changes.last().map(|c| c.seq + 1)).unwrap_or(0);
    let run = ThisRun { boot: "b".into(), started: Boot::from_nanos(n) };
    let mut store = open(Path::new(&path), &run, sign(n)).unwrap();
    loop {
        let changes = (n..n + 1 + n % 7).map(|seq| Change {
            run: 0,
            seq,
            at: Boot::from_nanos(seq),
            told: Wall::from_nanos(seq),
            subject: Subject::Target(format!("t{}", seq % 50)),
            previous: State::Up,
            state: State::Down,
            reasons: "x".repeat(seq as usize % 300),
            diagnosis: None,
        });
        let batch = Batch { changes: changes.collect(), ..Batch::default() };
        n += batch.len() as u64;
        store.append(&batch, sign(n)).unwrap();
        if n.is_multiple_of(97) {
            store.prune(Wall::default(), 2 << 20).unwrap();
        }
        // Whoever reads may be gone.
        let _ = writeln!(std::io::stdout(), "\nwritten {}", n - 1);
    }
}

#[test]
fn killed_at_any_moment_nothing_that_was_written_is_lost_and_nothing_is_half_there() {
    let kills = env::var("NETMON_KILLS").map_or(20, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let name = module_path!().split_once("::").unwrap().1;
    let mut wrote = false;
    for kill in 0..kills {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("{name}::victim"), "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        // Killed while it opens, while it writes, while it takes out what is old.
        // A machine that is busy with other things is given ever more time until something is written.
        let most = if wrote { 150_000 } else { 150_000 * (kill + 1) };
        let pause = Duration::from_micros(rand::random_range(0..most));
        let reader = thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            lines.filter_map(|l| l.strip_prefix("written ")?.parse::<u64>().ok()).last()
        });
        thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        let said = reader.join().unwrap();
        wrote |= said.is_some();
        if !path.exists() {
            assert_eq!(said, None);
            continue;
        }
        let reader = Reader::new(&path);
        let records = match reader.load(Wall::default()) {
            Ok(records) => records,
            Err(error) => panic!("kill {kill}: {error}"),
        };
        let numbers: Vec<u64> = records.changes.iter().map(|c| c.seq).collect();
        let last = numbers.last().copied();
        assert!(last >= said, "kill {kill}: {said:?} was written, {last:?} is there");
        // Without a hole from where the old was taken out; those that tell a subject's state stay before it.
        let hole = numbers.windows(2).rposition(|w| w[0] + 1 != w[1]);
        assert!(hole.is_none_or(|at| at < 50), "kill {kill}: a hole behind change {at:?}", at = hole);
        reader.check().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        if let Ok(output) = Command::new("sqlite3").arg(&path).arg("PRAGMA integrity_check").output() {
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok", "kill {kill}");
        }
    }
    assert!(wrote || kills == 0, "nothing was ever written");
}
