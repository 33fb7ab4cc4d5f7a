//! Children that have nothing of the agent's but what they are given.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::SigSet,
};

use super::spawn_in_group;

/// Open files that a program may expect to be allowed by its soft limit: those that `select(2)` can name. The agent raises
/// its own.
const FILES: u64 = 1024;

/// Descriptors that are looked at one by one where the kernel's `close_range(2)` is too old (before Linux 5.11): far more
/// than anybody leaves to a service.
const LOOKED_AT: libc::c_int = 4096;

/// Starts `command` as the leader of a process group of its own, with no descriptor but the three standard ones, no
/// ambient capability, no blocked signal, and the usual soft limit of open files.
///
/// # Errors
/// The program can't be executed, or there is no room for a process.
pub fn spawn_apart(command: &mut Command) -> io::Result<Child> {
    let limits = getrlimit(Resource::RLIMIT_NOFILE);
    let prepare = move || -> io::Result<()> {
        keep_descriptors();
        // A kernel without ambient capabilities (before 4.3) has none to give on.
        // SAFETY: the call takes numbers alone.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
        // A limit that can't be set is no reason not to tell anybody.
        if let Ok((soft, hard)) = limits {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.min(FILES), hard);
        }
        Ok(())
    };
    // SAFETY: between fork and exec only close_range, fcntl, prctl and setrlimit are called, which are system calls and
    // no more; nothing is allocated or locked, also not by the conversion of an error.
    unsafe { command.pre_exec(prepare) };
    spawn_in_group(command, None, SigSet::empty())
}

/// Marks every descriptor above the standard ones to be closed when the program begins, and not before: the standard
/// library tells by one of them that it could not.
fn keep_descriptors() {
    // SAFETY: the call takes numbers alone, and closes nothing.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return;
    }
    for fd in 3..LOOKED_AT {
        // SAFETY: the call takes numbers alone; a number that is no descriptor is an error, which is no matter.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd, process::Stdio};

    use super::*;

    fn said(script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        let output = spawn_apart(&mut command).unwrap().wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_child_has_three_descriptors_the_usual_limit_and_no_ambient_capability() {
        // One that is inherited, as from a careless parent of the agent's.
        let file = File::open("/dev/null").unwrap();
        // SAFETY: the number is that of an open file; the copy is left open until the test ends.
        let inherited = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, 50) };
        assert!(inherited >= 50);
        let open = said("ls /proc/self/fd");
        // The fourth is the listing's own.
        assert_eq!(open.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
        assert!(said("ulimit -Sn").trim().parse::<u64>().unwrap() <= FILES);
        assert_eq!(said("grep ^CapAmb /proc/self/status").trim(), "CapAmb:\t0000000000000000");
    }

    #[test]
    fn what_cannot_be_executed_is_an_error() {
        let error = spawn_apart(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
