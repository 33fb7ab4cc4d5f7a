//! What a step leaves running. A program that outlives the test which began it holds the step's output open, so that whoever
//! reads it waits for ever: such programs become this process's children, are named, and end.

use std::fs;
use std::io;
use std::process::Child;

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

/// From now on what loses its parent below this process becomes its child (`PR_SET_CHILD_SUBREAPER`, prctl(2)).
///
/// # Errors
/// When the kernel refuses.
pub fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(true)?)
}

/// Waits until this child has ended, and leaves it to be waited for. Others that end meanwhile are gone for good, as they
/// would be with init.
///
/// # Errors
/// When it is no child, or the kernel refuses.
pub fn attend(child: &Child) -> io::Result<()> {
    loop {
        let ended = match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) => status.pid(),
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(e.into()),
        };
        match ended {
            Some(pid) if pid.as_raw().cast_unsigned() == child.id() => return Ok(()),
            Some(pid) => drop(waitpid(pid, None)),
            None => {}
        }
    }
}

/// Ends all children, and theirs as they come, and tells their names. To be called while none is wanted.
///
/// # Errors
/// When `/proc` can't be read, or the kernel refuses.
pub fn end() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    loop {
        for (pid, name) in children()? {
            // One that is being ended is still there.
            if !names.contains(&name) {
                names.push(name);
            }
            // It may have ended by itself.
            let _ = kill(pid, Signal::SIGKILL);
        }
        // One at a time: what it leaves behind is a child as well, once it is gone.
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(names),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The names of those that have not ended, by the parent that `/proc/PID/status` names.
fn children() -> io::Result<Vec<(Pid, String)>> {
    let parent = format!("PPid:\t{}", std::process::id());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may be gone by now.
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let is_ended = status.lines().any(|line| line.starts_with("State:\tZ"));
        if !is_ended && status.lines().any(|line| line == parent) {
            let name = status.lines().next().and_then(|line| line.strip_prefix("Name:\t")).unwrap_or("?");
            found.push((Pid::from_raw(pid), format!("{name} ({pid})")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// In a process of its own, since it would end the children of other tests.
    #[test]
    fn what_a_step_leaves_running_ends_and_is_named() {
        if std::env::var_os("NETMON_LEFTOVERS").is_none() {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "leftovers::tests::what_a_step_leaves_running_ends_and_is_named"]);
            let output = command.env("NETMON_LEFTOVERS", "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            return assert!(output.status.success() && said.contains("1 passed"), "{said}");
        }
        adopt().unwrap();
        // One that ends meanwhile, and one that is stopped and holds the output.
        let script = "sleep 0.01 & (sleep 1000 & kill -STOP $!; exit)& sleep 0.2; exit 7";
        let mut step = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        attend(&step).unwrap();
        assert_eq!(step.wait().unwrap().code(), Some(7));
        let names = end().unwrap();
        // `sh`, if it was stopped before it became `sleep`.
        assert!(names.len() == 1 && names[0].starts_with('s'), "{names:?}");
        assert_eq!(end().unwrap(), Vec::<String>::new());
        // Nobody has its output open any more.
        let mut said = String::new();
        io::Read::read_to_string(&mut step.stdout.take().unwrap(), &mut said).unwrap();
    }
}
