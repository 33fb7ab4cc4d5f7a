//! A machine in software: qemu with one processor, a console into a file, a second serial port to us, no network.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::step::now;

/// `qemu-system-x86_64` and where its files are.
#[derive(Debug)]
pub struct Emulator {
    /// The folder it is unpacked in; `None` when the machine has it installed.
    pub unpacked: Option<PathBuf>,
    /// Whether to let the processor run the guest itself. Off unless asked for: inside virtual machines `/dev/kvm` may
    /// open and its guests still hang.
    pub kvm: bool,
}

/// What a machine is started with.
#[derive(Debug)]
pub struct Boot<'a> {
    pub kernel: &'a Path,
    pub image: &'a Path,
    /// Arguments of the first process.
    pub arguments: &'a [String],
    /// Where the console goes.
    pub console: &'a Path,
    /// It is ended then.
    pub limit: Duration,
}

/// MB; the suites leave half of it.
const MEMORY: &str = "768";

impl Emulator {
    /// Boots, hands each line of the second serial port to `hear`, and waits until the guest turned itself off.
    ///
    /// # Errors
    /// When it can't be started, fails, or runs longer than its limit.
    pub fn run(&self, boot: &Boot<'_>, mut hear: impl FnMut(&str)) -> Result<()> {
        let mut child = Guest(self.command(boot).spawn().context("starting qemu-system-x86_64")?);
        let output = BufReader::new(child.0.stdout.take().context("its output")?);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            output.split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let start = now();
        loop {
            match lines.recv_timeout(boot.limit.saturating_sub(start.elapsed())) {
                Ok(line) => hear(String::from_utf8_lossy(&line).trim_end()),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("still runs after {:?}; its console: {}", boot.limit, boot.console.display())
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.0.wait()?;
        if !status.success() {
            bail!("qemu-system-x86_64: {status}");
        }
        Ok(())
    }

    fn command(&self, boot: &Boot<'_>) -> Command {
        let mut command = match &self.unpacked {
            Some(root) => {
                let mut command = Command::new(root.join("usr/bin/qemu-system-x86_64"));
                command.env("LD_LIBRARY_PATH", library_path(root));
                for data in ["usr/share/qemu", "usr/share/seabios"] {
                    command.arg("-L").arg(root.join(data));
                }
                command
            }
            None => Command::new("qemu-system-x86_64"),
        };
        let processor = if self.kvm { ["kvm", "host"] } else { ["tcg", "max"] };
        command.args(["-machine", "q35", "-accel", processor[0], "-cpu", processor[1], "-smp", "1"]);
        command.args(["-m", MEMORY, "-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"]);
        command.arg("-serial").arg(prefixed("file:", boot.console)).args(["-serial", "stdio"]);
        command.arg("-kernel").arg(boot.kernel).arg("-initrd").arg(boot.image);
        // A panic ends the machine; mitigations cost most under emulation and change no figure.
        let line = "console=ttyS0 loglevel=4 panic=-1 mitigations=off rdinit=/init -- init";
        command.arg("-append").arg(format!("{line} {}", boot.arguments.join(" ")));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}

/// Ended with the value, whatever happened.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn library_path(root: &Path) -> OsString {
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
    std::env::join_paths(folders).unwrap_or_default()
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}
