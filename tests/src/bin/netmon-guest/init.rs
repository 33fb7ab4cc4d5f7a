//! The first process of a guest: file systems, modules, the suites as a child, and off.

use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::kmod::init_module;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// Where the image has its modules, and a file `order` that names them, each after those it needs.
const MODULES: &str = "/modules";
/// The serial port whose far end is `cargo xtask kernels`; the first one is the console.
const REPORT: &str = "/dev/ttyS1";
/// Set for what runs in a guest.
const GUEST: &str = "NETMON_GUEST";
const MOUNTS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tracefs", "/sys/kernel/tracing"),
];

/// Runs `suites` and turns the machine off. Comes back only when even that fails.
///
/// # Errors
/// When the machine can't be turned off.
pub fn become_init(suites: &[String]) -> Result<()> {
    ensure!(std::process::id() == 1, "`init` is for the first process of a machine: use `run`");
    if let Err(e) = prepare().and_then(|()| work(suites)) {
        eprintln!("netmon-guest: {e:#}");
    }
    reboot(RebootMode::RB_POWER_OFF).context("turning off")?;
    Ok(())
}

/// Whether this machine was made for the suites, and ends with them.
pub fn is_guest() -> bool {
    std::env::var_os(GUEST).is_some()
}

fn prepare() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).or_else(|e| if Path::new(place).is_dir() { Ok(()) } else { Err(e) })?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting {place}"))?;
    }
    let order = fs::read_to_string(format!("{MODULES}/order")).context("no list of modules")?;
    for name in order.lines() {
        let module = fs::read(format!("{MODULES}/{name}.ko")).with_context(|| name.to_owned())?;
        match init_module(&module, c"" as &CStr) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e).with_context(|| format!("module {name}")),
        }
    }
    Ok(())
}

/// The suites run in a process of their own: what ends it does not end the kernel.
fn work(suites: &[String]) -> Result<()> {
    let report = OpenOptions::new().write(true).open(REPORT).context(REPORT)?;
    let status = Command::new("/proc/self/exe")
        .arg("run")
        .args(suites)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env(GUEST, "1")
        .stdout(report)
        .status()
        .context("starting the suites")?;
    eprintln!("netmon-guest: suites ended with {:?}, signal {:?}", status.code(), status.signal());
    Ok(())
}
