//! The Unix socket's file: never two agents on one, never anybody else's file touched.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::AsFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::stat::{Mode, fchmod},
    unistd::{Gid, Group, Uid, chown, geteuid},
};
use socket2::{Domain, SockAddr, Socket, Type};

/// Members of this group may use the socket.
pub(super) const GROUP: &str = "netmon";
/// Connections that may wait to be accepted; the kernel takes `net.core.somaxconn` where that is less.
const BACKLOG: i32 = 4096;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent holds the lock or answers at the socket.
    #[error("another agent already serves {}; stop it, or choose another path with --socket", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{} is a {what}, not a socket, and is left untouched; move it away, or choose another path with --socket", path.display())]
    NotASocket {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A dead socket of somebody else is in the way.
    #[error("{} is a socket of user {uid}, left untouched; remove it, or choose another path with --socket", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// The directory is missing and so is its parent.
    #[error("cannot make {} for the socket: {source}; make it, or choose another path with --socket", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen at {}: {source}; choose another path with --socket", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// The file of a bound socket. Dropping it removes the file, if it is still this one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    // The lock goes last: the next agent may come only when the socket is gone.
    _lock: Lock,
}

impl SocketFile {
    /// Binds `path`, mode 0660, group netmon where that exists, and listens. A dead socket of the own user is replaced.
    ///
    /// # Errors
    /// Whatever else is at the path is left untouched and named.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let failed = |source: io::Error| SocketError::Io { path: path.into(), source };
        let group = Group::from_name(GROUP).ok().flatten().map(|g| g.gid);
        make_directory(path, group)?;
        check_absent_or_socket(path)?;
        let lock = Lock::take(path)?;
        clear(path)?;

        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        // Linux makes the file with the socket's own mode: nobody else connects before the group is set.
        fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR).map_err(|e| failed(e.into()))?;
        socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
        let identity = identity(&fs::symlink_metadata(path).map_err(failed)?);
        let file = Self { path: path.into(), identity, _lock: lock };
        give_to_group(path, group);
        fs::set_permissions(path, mode(0o660)).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok((file, UnixListener::from(std::os::fd::OwnedFd::from(socket))))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| identity(&m) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make_directory(path: &Path, group: Option<Gid>) -> Result<(), SocketError> {
    let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) else { return Ok(()) };
    match fs::DirBuilder::new().mode(0o750).create(directory) {
        Ok(()) => {
            give_to_group(directory, group);
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(_) if directory.is_dir() => Ok(()),
        Err(source) => Err(SocketError::Directory { path: directory.into(), source }),
    }
}

/// An ordinary user can't give files away; the agent serves its own user then.
fn give_to_group(path: &Path, group: Option<Gid>) {
    if let Some(gid) = group
        && let Err(e) = chown(path, None::<Uid>, Some(gid))
    {
        tracing::info!("{} stays with this user alone: group {GROUP}: {e}", path.display());
    }
}

/// What is at the path, if it is a socket or nothing.
fn check_absent_or_socket(path: &Path) -> Result<Option<Metadata>, SocketError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SocketError::Io { path: path.into(), source }),
    };
    let kind = found.file_type();
    let what = match () {
        () if kind.is_socket() => return Ok(Some(found)),
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "regular file",
        () => "special file",
    };
    Err(SocketError::NotASocket { path: path.into(), what })
}

/// Removes a dead socket of the own user.
fn clear(path: &Path) -> Result<(), SocketError> {
    let Some(found) = check_absent_or_socket(path)? else { return Ok(()) };
    match UnixStream::connect(path) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            return Err(SocketError::Foreign { path: path.into(), uid: found.uid() });
        }
        Ok(_) | Err(_) => return Err(SocketError::InUse(path.into())),
    }
    if found.uid() != geteuid().as_raw() {
        return Err(SocketError::Foreign { path: path.into(), uid: found.uid() });
    }
    fs::remove_file(path).map_err(|source| SocketError::Io { path: path.into(), source })
}

/// A lock beside the socket, for as long as it lives; its file goes with it.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _held: Flock<File>,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, SocketError> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let failed = |source: io::Error| SocketError::Io { path: path.clone(), source };
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
                .open(&path)
                .map_err(failed)?;
            let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => held,
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Err(SocketError::InUse(socket.into())),
                Err((_, e)) => return Err(failed(e.into())),
            };
            // An agent that ended may have removed the file between the open and the lock: then the lock is of a file
            // that nobody else will find.
            let mine = held.metadata().map_err(failed)?;
            if fs::symlink_metadata(&path).is_ok_and(|m| identity(&m) == identity(&mine)) {
                return Ok(Self { path, _held: held });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn identity(m: &Metadata) -> (u64, u64) {
    (m.dev(), m.ino())
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/netmon.sock");
        (folder, path)
    }

    #[test]
    fn makes_the_directory_and_leaves_nothing() {
        let (folder, path) = folder();
        let (file, _listener) = SocketFile::bind(&path).unwrap();
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o750);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 0);
        let deep = folder.path().join("no/such/netmon.sock");
        assert!(matches!(SocketFile::bind(&deep), Err(SocketError::Directory { .. })));
    }

    #[test]
    fn two_agents_never_share() {
        let (_folder, path) = folder();
        let (first, _listener) = SocketFile::bind(&path).unwrap();
        assert!(matches!(SocketFile::bind(&path), Err(SocketError::InUse(p)) if p == path));
        UnixStream::connect(&path).unwrap();
        drop(first);
        SocketFile::bind(&path).unwrap();
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let (_folder, path) = folder();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let live = UnixListener::bind(&path).unwrap();
        assert!(matches!(SocketFile::bind(&path), Err(SocketError::InUse(_))));
        drop(live);
        let (_file, _listener) = SocketFile::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_untouched() {
        let (_folder, path) = folder();
        let parent = path.parent().unwrap();
        fs::create_dir(parent).unwrap();
        fs::write(&path, "precious").unwrap();
        let said = SocketFile::bind(&path).unwrap_err().to_string();
        assert!(
            said.contains(path.to_str().unwrap())
                && said.contains("regular file")
                && said.contains("--socket")
        );
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_eq!(fs::read_dir(parent).unwrap().count(), 1);

        let link = parent.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(
            SocketFile::bind(&link),
            Err(SocketError::NotASocket { what: "symbolic link", .. })
        ));
        assert!(matches!(SocketFile::bind(parent), Err(SocketError::NotASocket { what: "directory", .. })));
    }

    #[test]
    fn a_file_that_took_its_place_survives() {
        let (_folder, path) = folder();
        let (file, _listener) = SocketFile::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "new").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(120));
        assert!(SocketFile::bind(&path).unwrap_err().to_string().contains("--socket"));
    }
}
