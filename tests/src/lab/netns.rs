//! One network namespace with a name, removed on drop together with whatever runs in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::{find_program, run};

const PREFIX: &str = "nmt";
const FOLDER: &str = "/run/netns";
/// Where `ip netns exec` looks for a namespace's own files of `/etc`.
const ETC: &str = "/etc/netns";
/// Files of the lab, one folder a namespace.
const FILES: &str = "/run/nmt";

/// Namespaces of this process that still stand, for [`remove_all`].
static LIVING: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A network namespace of ours.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes the namespace `name` with loopback up, after sweeping what dead runs left.
    ///
    /// # Errors
    /// Without root, without `ip`, or when the name is taken.
    pub fn create(name: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        run(Command::new(program("ip")?).args(["netns", "add", name]), "")?;
        LIVING.lock().unwrap_or_else(|e| e.into_inner()).push(name.to_owned());
        let netns = Self { name: name.to_owned() };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inode that names it to the kernel (`/proc/PID/ns/net`).
    pub fn inode(&self) -> Result<u64> {
        Ok(fs::metadata(self.path())?.ino())
    }

    /// A command that runs inside, with the files of `/etc/netns/NAME` in place of those of `/etc`.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs lines of `ip` commands inside.
    ///
    /// # Errors
    /// At the first line that `ip` refuses; those before it are done.
    pub fn ip(&self, lines: &str) -> Result<()> {
        run(Command::new(program("ip")?).args(["-n", &self.name, "-batch", "-"]), lines).map(drop)
    }

    /// Feeds rules to `nft` inside.
    ///
    /// # Errors
    /// When it refuses them; then nothing of them is in force.
    pub fn nft(&self, rules: &str) -> Result<()> {
        let nft = program("nft")?;
        self.run(|| run(Command::new(nft).args(["-f", "-"]), rules).map(drop))?
    }

    /// Sets a sysctl of the network, by its path below `/proc/sys/net`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.run(|| fs::write(format!("/proc/sys/net/{path}"), value))?
            .with_context(|| format!("{}: net/{path} = {value}", self.name))
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    ///
    /// Files of `/proc` are read by `/proc/thread-self/net` there: `/proc/net` is that of the first thread.
    ///
    /// # Errors
    /// When the namespace is gone. A panic of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| self.enter().map(|()| work()))
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p))
        })
    }

    /// Moves the calling thread, and every thread and process it will start, into the namespace.
    pub fn enter(&self) -> Result<()> {
        let file = fs::File::open(self.path()).with_context(|| format!("namespace {} is gone", self.name))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", self.name))
    }

    /// A new folder for files that belong to this namespace and go with it.
    pub fn folder(&self) -> Result<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = Path::new(FILES).join(&self.name).join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// The folder whose files programs of this namespace see in place of those of `/etc`.
    pub fn etc(&self) -> Result<PathBuf> {
        let folder = Path::new(ETC).join(&self.name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
        LIVING.lock().unwrap_or_else(|e| e.into_inner()).retain(|n| *n != self.name);
    }
}

/// A name that no other run and no other world of this run has: `nmt-PID-N-ROLE`.
pub fn unique(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}-{}-{}-{role}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes every namespace this process made: for the way out by a signal, where no drop runs.
pub(super) fn remove_all() {
    for name in std::mem::take(&mut *LIVING.lock().unwrap_or_else(|e| e.into_inner())) {
        remove(&name);
    }
}

fn program(name: &str) -> Result<PathBuf> {
    find_program(name).ok_or_else(|| anyhow!("`{name}` is not installed"))
}

/// Ends what runs in the namespace, removes it and its files, and ends what was on its way into it.
fn remove(name: &str) {
    let path = Path::new(FOLDER).join(name);
    let inside = fs::metadata(&path).ok().map(|m| (m.dev(), m.ino()));
    end_processes(inside);
    let removed = run(Command::new("ip").args(["netns", "del", name]), "");
    if let Err(e) = removed
        && path.exists()
    {
        eprintln!("lab: {e:#}");
    }
    end_processes(inside);
    for files in [ETC, FILES] {
        let _ = fs::remove_dir_all(Path::new(files).join(name));
    }
}

/// Ends every process in the namespace of this device and inode.
fn end_processes(namespace: Option<(u64, u64)>) {
    let Some(namespace) = namespace else { return };
    for pid in processes().filter(|pid| *pid != Pid::this()) {
        if fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| (m.dev(), m.ino()) == namespace) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// Removes the namespaces and files of runs whose process is no more.
fn sweep() {
    for folder in [FOLDER, ETC, FILES] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut parts = name.split('-');
            let ours = parts.next() == Some(PREFIX);
            let owner = parts.next().and_then(|pid| pid.parse::<u32>().ok()).filter(|_| ours);
            match owner {
                Some(pid) if Path::new(&format!("/proc/{pid}")).exists() => {}
                Some(_) if folder == FOLDER => remove(&name),
                Some(_) => _ = fs::remove_dir_all(entry.path()),
                None => {}
            }
        }
    }
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}
