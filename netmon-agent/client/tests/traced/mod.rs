//! A program that reads the state, under strace(1): which system calls it makes between two marks.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fs,
    hint::black_box,
    io::ErrorKind,
    os::unix::process::parent_id,
    path::Path,
    process::{Command, Stdio},
};

/// Reads between the marks.
pub const READS: u32 = 1_000_000;

/// The traced program: reads between two calls of getppid(2), which nothing else here makes.
pub fn read_loop(read: impl Fn() -> bool) -> Result<(), String> {
    let _ = parent_id();
    let up = (0..READS).filter(|_| black_box(&read)()).count();
    let _ = parent_id();
    if up == READS as usize {
        Ok(())
    } else {
        Err(format!("{up} of {READS} reads said that the network is up"))
    }
}

/// Why nothing can be traced here.
pub fn obstacle() -> Option<String> {
    let traced = Command::new("strace").args(["--output", "/dev/null", "true"]).stdin(Stdio::null()).output();
    match traced {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("strace: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Some("strace is not installed: apt-get install strace".to_owned())
        }
        Err(e) => Some(format!("strace: {e}")),
    }
}

/// Runs the program, and returns the system calls that its reader made between its marks. Files go to `folder`.
pub fn system_calls(program: &Path, arguments: &[&OsStr], folder: &Path) -> Result<VecDeque<String>, String> {
    let trace = folder.join("trace");
    let mut command = Command::new("strace");
    command.args(["--follow-forks", "--output"]).arg(&trace).arg(program).args(arguments);
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}: {said}", output.status));
    }
    between_marks(&fs::read_to_string(trace).map_err(|e| format!("the trace: {e}"))?)
}

/// What the thread that made the marks called between them.
pub fn between_marks(trace: &str) -> Result<VecDeque<String>, String> {
    let thread = |line: &str| line.split(' ').next().map(str::to_owned);
    let is_mark = |line: &str| line.contains("getppid(");
    // A call that another thread interrupts has a second line, `<... getppid resumed>`; signals and ends are no calls.
    let is_call = |line: &&str| line.contains('(') && !line.contains(" resumed>") && !line.contains(" --- ");
    let reader = trace.lines().find(|line| is_mark(line)).and_then(thread).ok_or("no mark in the trace")?;
    let own = trace.lines().filter(is_call).filter(|line| thread(line).as_ref() == Some(&reader));
    let mut calls: VecDeque<String> = own.skip_while(|line| !is_mark(line)).map(str::to_owned).collect();
    calls.pop_front();
    let end = calls.iter().position(|line| is_mark(line)).ok_or("no second mark in the trace")?;
    calls.truncate(end);
    Ok(calls)
}
