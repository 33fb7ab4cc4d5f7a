//! The journal's socket. It is written on the log's thread, which waits for a journal that is full or away; whoever logs
//! never does.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, ErrorKind, IoSlice, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg},
};
use tracing::Level;

use super::{
    super::{queue::Sink, writer::count_lost},
    entry::{priority, put},
};
use crate::{output::rfc3339, sys::file_in_memory, time::Wall};

/// Where systemd's journal hears.
pub(super) const PATH: &str = "/run/systemd/journal/socket";

/// How long the first wait for a journal that does not take an entry is, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// An entry that comes later than this says when it was logged: the journal knows only when it got it.
const LATE: Duration = Duration::from_secs(1);

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// Where there is one. One that is full is one, too.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let journal = Self { socket, path: path.to_owned() };
        // What is empty it passes over.
        match journal.send(&[]) {
            Err(error) if !is_full(&error) => Err(error),
            _ => Ok(journal),
        }
    }

    fn send(&self, entry: &[u8]) -> io::Result<()> {
        // To the path each time, as systemd's own library does: another journal may have come by the same name.
        match self.socket.send_to(entry, &self.path) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => self.send_large(entry),
            sent => sent.map(drop),
        }
    }

    /// One too large for a datagram goes as a file in memory that nobody can change any more.
    fn send_large(&self, entry: &[u8]) -> io::Result<()> {
        let mut memory = File::from(file_in_memory(c"netmon-log")?);
        memory.write_all(entry)?;
        let seals =
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(memory.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
        let to = UnixAddr::new(&self.path)?;
        let (rights, flags) = ([memory.as_raw_fd()], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        let empty: [IoSlice<'_>; 0] = [];
        let control = [ControlMessage::ScmRights(&rights)];
        sendmsg(self.socket.as_raw_fd(), &empty, &control, flags, Some(&to))?;
        Ok(())
    }
}

impl Sink for Journal {
    fn write(&mut self, line: &[u8], logged: Wall) {
        let mut entry = Cow::Borrowed(line);
        let mut pause = PAUSES[0];
        loop {
            if matches!(entry, Cow::Borrowed(_)) && Wall::now().since(logged) > LATE {
                put(entry.to_mut(), "NETMON_LOGGED_AT", &rfc3339(logged));
            }
            match self.send(&entry) {
                Ok(()) => return,
                Err(error) if is_full(&error) || is_away(&error) => {
                    thread::sleep(pause);
                    pause = PAUSES[1].min(pause * 2);
                }
                // It will never take this one.
                Err(_) => return count_lost(1),
            }
        }
    }

    fn lost(&mut self, lines: u64) {
        let mut entry = Vec::new();
        put(&mut entry, "PRIORITY", priority(&Level::WARN));
        put(&mut entry, "SYSLOG_IDENTIFIER", "netmon");
        let message = format!("lines lost here, as the journal did not take them in time: {lines}");
        put(&mut entry, "MESSAGE", &message);
        self.write(&entry, Wall::now());
    }
}

fn is_full(error: &io::Error) -> bool {
    let full = [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::EINTR];
    error.raw_os_error().is_some_and(|errno| full.contains(&errno))
}

/// It is started again, or its place is not there yet.
fn is_away(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied)
        || error.raw_os_error().is_some_and(|errno| Errno::from_raw(errno) == Errno::ENOTCONN)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, sync::mpsc};

    use nix::{
        cmsg_space,
        sys::socket::{ControlMessageOwned, recvmsg},
    };

    use super::*;

    fn message(text: &str) -> Vec<u8> {
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", text);
        entry
    }

    fn text(heard: &[u8]) -> String {
        String::from_utf8_lossy(heard).into_owned()
    }

    /// Fills a socket that nobody reads; how many it took.
    fn fill(journal: &Journal) -> usize {
        let mut sent = 0;
        while journal.send(&message("before")).is_ok() {
            sent += 1;
        }
        sent
    }

    #[test]
    fn no_journal_is_told_at_once_and_a_full_one_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert_eq!(Journal::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        let heard = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(fill(&journal) > 0);
        assert!(is_full(&journal.send(&message("one more")).unwrap_err()));
        Journal::open(&path).unwrap();
        drop(heard);
        assert_eq!(Journal::open(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn what_a_full_journal_does_not_take_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let heard = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        let mut buffer = [0; 4096];
        // The empty one.
        heard.recv(&mut buffer).unwrap();
        let before = fill(&journal);
        let (begun, has_begun) = mpsc::channel();
        let writing = thread::spawn(move || {
            begun.send(()).unwrap();
            journal.write(&message("waited"), Wall::now());
        });
        has_begun.recv().unwrap();
        for n in 0..=before {
            let length = heard.recv(&mut buffer).unwrap();
            let expected = if n < before { "MESSAGE=before\n" } else { "MESSAGE=waited\n" };
            assert!(text(&buffer[..length]).starts_with(expected), "{n}");
        }
        writing.join().unwrap();
    }

    #[test]
    fn an_entry_waits_for_a_journal_that_comes_back_and_says_since_when() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        drop(first);
        fs::remove_file(&path).unwrap();
        let writing = thread::spawn(move || {
            let long_ago = Wall::from_nanos(Wall::now().as_nanos() - 60_000_000_000);
            journal.write(&message("waited"), long_ago);
            journal.lost(3);
        });
        let second = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 4096];
        let length = second.recv(&mut buffer).unwrap();
        let entry = text(&buffer[..length]);
        assert!(entry.starts_with("MESSAGE=waited\nNETMON_LOGGED_AT=20"), "{entry}");
        let length = second.recv(&mut buffer).unwrap();
        let entry = text(&buffer[..length]);
        assert!(entry.starts_with("PRIORITY=4\n") && entry.ends_with("in time: 3\n"), "{entry}");
        writing.join().unwrap();
    }

    #[test]
    fn a_large_entry_goes_as_a_sealed_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let heard = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        heard.recv(&mut [0; 8]).unwrap();
        let long = message(&"x".repeat(1 << 20));
        journal.write(&long, Wall::now());
        let mut control = cmsg_space!([std::os::fd::RawFd; 1]);
        let mut piece = [0; 16];
        let mut parts = [io::IoSliceMut::new(&mut piece)];
        let got =
            recvmsg::<()>(heard.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).unwrap();
        let rights = got.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::ScmRights(rights) => Some(rights),
            _ => None,
        });
        let path = format!("/proc/self/fd/{}", rights.unwrap()[0]);
        let file = File::open(&path).unwrap();
        assert_eq!(got.bytes, 0);
        let seals = SealFlag::from_bits_truncate(fcntl(file.as_fd(), FcntlArg::F_GET_SEALS).unwrap());
        assert!(seals.contains(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW));
        let mut content = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, long);
    }
}
