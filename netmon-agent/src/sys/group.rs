//! Children in a process group of their own, as a shell starts its jobs.

use std::{
    io,
    os::{fd::BorrowedFd, unix::process::CommandExt},
    process::{Child, Command},
};

use nix::{
    sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    unistd::{Pid, getpid, setpgid, tcsetpgrp},
};

/// Starts `command` as the leader of a process group of its own, with `mask` as its blocked signals, and, where there is
/// a `terminal`, as its foreground group: before the program begins, so that it never finds itself in the background.
///
/// # Errors
/// The program can't be executed, or there is no room for a process.
pub fn spawn_in_group(
    command: &mut Command,
    terminal: Option<BorrowedFd<'_>>,
    mask: SigSet,
) -> io::Result<Child> {
    let terminal = terminal.map(|terminal| terminal.try_clone_to_owned()).transpose()?;
    let prepare = move || -> io::Result<()> {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        if let Some(terminal) = &terminal {
            // A group in the background is stopped for this, unless it blocks the signal (tcsetpgrp(3)).
            let ttou = SigSet::from(Signal::SIGTTOU);
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ttou), None)?;
            // The terminal may have gone away meanwhile, which is no reason not to run.
            let _ = tcsetpgrp(terminal, getpid());
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        Ok(())
    };
    // SAFETY: between fork and exec only setpgid, tcsetpgrp, getpid and sigprocmask are called, all of them
    // async-signal-safe (signal-safety(7)); nothing is allocated or locked, also not by the conversion of an error.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// Lets children that end wait for their parent to ask. Whoever started this process may have ignored SIGCHLD, which is
/// inherited, and then nobody ever learns of their end (sigaction(2)).
///
/// # Errors
/// The system call's.
pub fn keep_ended_children() -> nix::Result<()> {
    // SAFETY: no handler is installed, so nothing runs in signal context.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

#[cfg(test)]
mod tests {
    use nix::unistd::getpgrp;

    use super::*;

    #[test]
    fn a_child_leads_its_own_group_and_has_the_mask_it_is_given() {
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGUSR2);
        // No shell: one may change its mask.
        let fields = ["-e", "^Pid", "-e", "^NSpgid", "-e", "^SigBlk", "/proc/self/status"];
        let mut command = Command::new("grep");
        command.args(fields).stdout(std::process::Stdio::piped());
        let output = spawn_in_group(&mut command, None, blocked).unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let value = |name: &str| said.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim();
        assert_eq!(value("NSpgid:"), value("Pid:"), "{said}");
        assert_ne!(value("Pid:"), getpgrp().to_string());
        assert_eq!(value("SigBlk:"), "0000000000000800");
    }

    #[test]
    fn what_cannot_be_executed_is_an_error() {
        let error =
            |name: &str| spawn_in_group(&mut Command::new(name), None, SigSet::empty()).unwrap_err().kind();
        assert_eq!(error("/no/such/program"), io::ErrorKind::NotFound);
        assert_eq!(error("/etc/passwd"), io::ErrorKind::PermissionDenied);
    }
}
