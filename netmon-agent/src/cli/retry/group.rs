//! The child and its process group.

use std::{
    fs, io,
    os::{fd::BorrowedFd, unix::process::ExitStatusExt},
    process::{Command, ExitStatus},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use super::codes::Exit;
use crate::sys;

/// A process group of ours: its leader, which is the child, and whatever that has started in it.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
}

/// What became of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It stands still, by this signal.
    Stopped(Signal),
    /// It goes on.
    Continued,
    /// It ended. Its number, and so the group's, stays taken until [`Group::bury`].
    Ended(Exit),
}

impl Group {
    /// Starts `command` as a group of its own, at the foreground of `terminal` where there is one.
    ///
    /// # Errors
    /// It can't be executed.
    pub(super) fn start(
        command: &mut Command,
        terminal: Option<BorrowedFd<'_>>,
        mask: SigSet,
    ) -> io::Result<Self> {
        let child = sys::spawn_in_group(command, terminal, mask)?;
        Ok(Self { leader: Pid::from_raw(child.id() as i32) })
    }

    /// The group's number.
    pub(super) fn id(&self) -> Pid {
        self.leader
    }

    /// What became of the child since the last question; call it until there is nothing more.
    pub(super) fn event(&self) -> Option<Event> {
        let quick = WaitPidFlag::WNOHANG;
        // The end is looked at without being taken, the others are taken.
        for flags in
            [WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT]
        {
            match waitid(Id::Pid(self.leader), quick | flags) {
                Ok(WaitStatus::Stopped(_, signal)) => return Some(Event::Stopped(signal)),
                Ok(WaitStatus::Continued(_)) => return Some(Event::Continued),
                Ok(WaitStatus::Exited(_, code)) => return Some(Event::Ended(Exit::Code(code as u8))),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return Some(Event::Ended(Exit::Signal(signal as i32)));
                }
                // A real-time signal, for which nix has no name.
                Err(Errno::EINVAL) => return self.end_by_proc(),
                _ => {}
            }
        }
        None
    }

    /// Whether the child has ended, which [`Group::event`] may not have told yet.
    pub(super) fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(
            waitid(Id::Pid(self.leader), flags),
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR | Errno::ECHILD)
        )
    }

    /// The last field of `/proc/PID/stat` of one that ended: its status as wait(2) tells it.
    fn end_by_proc(&self) -> Option<Event> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.leader)).ok()?;
        let status = stat.trim_end().rsplit_once(' ')?.1.parse().ok()?;
        Some(Event::Ended(ExitStatus::from_raw(status).into()))
    }

    /// Sends a signal to every member.
    pub(super) fn signal(&self, signal: Signal) {
        // Members that have another user by now can't be signalled, and a group that is empty needs none.
        let _ = killpg(self.leader, signal);
    }

    /// Whether somebody else than the child, which has ended, is still in the group.
    pub(super) fn has_others(&self) -> bool {
        let Ok(processes) = fs::read_dir("/proc") else { return false };
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let leader = self.leader.as_raw();
        pids.filter(|pid| *pid != leader)
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
            .any(|stat| member(&stat, leader))
    }

    /// Takes the child's end from the kernel.
    pub(super) fn bury(self) {
        while waitid(Id::Pid(self.leader), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
    }
}

/// Whether this line of `/proc/PID/stat` is of a living process of the group (proc_pid_stat(5)): after the name, which may
/// hold anything, come the state, the parent and the group.
fn member(stat: &str, group: i32) -> bool {
    let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let state = fields.next().unwrap_or("Z");
    !matches!(state, "Z" | "X" | "") && fields.nth(1).and_then(|g| g.parse().ok()) == Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Group {
        let mut command = Command::new("sh");
        Group::start(command.args(["-c", script]), None, SigSet::empty()).unwrap()
    }

    fn next(group: &Group) -> Event {
        loop {
            if let Some(event) = group.event() {
                return event;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    #[test]
    fn its_life_is_told_to_the_end() {
        let group = start("kill -STOP $$; exit 7");
        assert_eq!(next(&group), Event::Stopped(Signal::SIGSTOP));
        group.signal(Signal::SIGCONT);
        assert_eq!(next(&group), Event::Continued);
        assert_eq!(next(&group), Event::Ended(Exit::Code(7)));
        assert_eq!(next(&group), Event::Ended(Exit::Code(7)), "until it is buried");
        assert!(!group.has_others());
        group.bury();
        let group = start("kill -40 $$");
        assert_eq!(next(&group), Event::Ended(Exit::Signal(40)), "a real-time signal");
        group.bury();
    }

    #[test]
    fn who_is_left_in_the_group_is_found_and_ended() {
        let group = start("sleep 1000 & kill -KILL $$");
        assert_eq!(next(&group), Event::Ended(Exit::Signal(9)));
        assert!(group.has_others());
        group.signal(Signal::SIGKILL);
        while group.has_others() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        group.bury();
    }

    #[test]
    fn a_members_line_is_read_whatever_its_name() {
        assert!(member("12 (a) b) S 1 77 77 0", 77));
        assert!(!member("12 (x) S 77 1 1 0", 77));
        assert!(!member("12 (x) Z 1 77 77 0", 77), "the dead are no members");
        assert!(!member("", 77) && !member("12 (x", 77));
    }
}
