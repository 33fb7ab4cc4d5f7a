//! The Debian packages the tests need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::kernels::packages::Mirrors;
use crate::step::{run, target};

/// Program and package of what the tests call.
const NEEDED: [(&str, &str); 17] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("ethtool", "ethtool"),
    ("strace", "strace"),
    ("bpftool", "bpftool"),
    ("xz", "xz-utils"),
    ("shellcheck", "shellcheck"),
    // What the examples are of: a few seconds, and 25 MB with what restic, rclone and borg bring along.
    ("systemd-analyze", "systemd"),
    ("python3", "python3"),
    ("curl", "curl"),
    ("restic", "restic"),
    ("rclone", "rclone"),
    ("borg", "borgbackup"),
    ("socat", "socat"),
    // Some ten seconds, and 133 MB with what they bring along: the page is tried in a browser.
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
];
/// Only unpacked, never installed: their packages would start servers.
const UNPACKED: [(&str, &str); 2] =
    [("promtool", "prometheus"), ("prometheus-node-exporter", "prometheus-node-exporter")];

/// Program and package of what probes are held against.
const PEERS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("ping", "iputils-ping"), ("fping", "fping"), ("tcpdump", "tcpdump")];
/// Those of them whose packages would start servers.
const PEERS_UNPACKED: [(&str, &str); 2] = [
    ("prometheus-blackbox-exporter", "prometheus-blackbox-exporter"),
    ("prometheus-smokeping-prober", "prometheus-smokeping-prober"),
];

/// What packs, each in its own format.
const PACKERS: [(&str, &str); 4] =
    [("dpkg-buildpackage", "dpkg-dev"), ("dh", "debhelper"), ("rpmbuild", "rpm"), ("buildah", "buildah")];
/// What looks at the packages, and makes the roots into which they are installed.
const CHECKERS: [(&str, &str); 5] = [
    ("lintian", "lintian"),
    ("rpmlint", "rpmlint"),
    ("mmdebstrap", "mmdebstrap"),
    ("shellcheck", "shellcheck"),
    ("crun", "crun"),
];

/// Installs what the tests miss when this is root on Debian; otherwise says what it is.
///
/// # Errors
/// When a package cannot be had.
pub fn provide() -> Result<()> {
    have(&NEEDED, &UNPACKED)
}

/// Likewise the programs that probes are held against.
///
/// # Errors
/// When a package cannot be had.
pub fn provide_peers() -> Result<()> {
    have(&PEERS, &PEERS_UNPACKED)
}

/// Likewise what makes packages.
///
/// # Errors
/// When a package cannot be had.
pub fn provide_packers() -> Result<()> {
    have(&PACKERS, &[])
}

/// Likewise what proves them.
///
/// # Errors
/// When a package cannot be had.
pub fn provide_checkers() -> Result<()> {
    have(&CHECKERS, &[])
}

/// Likewise what libFuzzer is compiled with.
///
/// # Errors
/// When a package cannot be had.
pub fn provide_compiler() -> Result<()> {
    have(&[("c++", "g++")], &[])
}

/// Likewise one program, of this package.
///
/// # Errors
/// When the package cannot be had.
pub fn provide_named(program: &str, package: &str) -> Result<()> {
    if find(program).is_some() || !is_root() || find("apt-get").is_none() {
        return Ok(());
    }
    run(apt_get().args(["--quiet", "update"]))?;
    run(apt_get().args(["--quiet", "--yes", "--no-install-recommends", "install", package]))
}

fn have(installed: &[(&str, &'static str)], unpacked: &[(&str, &'static str)]) -> Result<()> {
    let missing = |programs: &[(&str, &'static str)]| -> Vec<&'static str> {
        programs.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect()
    };
    let (installed, unpacked) = (missing(installed), missing(unpacked));
    if installed.is_empty() && unpacked.is_empty() {
        println!("nothing is missing");
        return Ok(());
    }
    let root = is_root();
    if !root || find("apt-get").is_none() {
        let wanted = [installed, unpacked].concat().join(" ");
        let why = if root { "there is no apt-get here" } else { "installing needs root" };
        println!("missing, and {why}: apt-get install {wanted}");
        return Ok(());
    }
    run(apt_get().args(["--quiet", "update"]))?;
    if !installed.is_empty() {
        run(apt_get().args(["--quiet", "--yes", "--no-install-recommends", "install"]).args(&installed))?;
    }
    unpacked.into_iter().try_for_each(unpack)
}

/// Where programs of unpacked packages are.
pub fn unpacked() -> PathBuf {
    target().join("debian/usr/bin")
}

/// Whether this process is root's, by its effective user.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let users = status.lines().find_map(|l| l.strip_prefix("Uid:"));
    users.and_then(|u| u.split_whitespace().nth(1)) == Some("0")
}

/// Downloads a package and unpacks it below `target/`.
fn unpack(package: &str) -> Result<()> {
    let folder = target().join("debian");
    fs::create_dir_all(&folder)?;
    // apt fetches as a user of its own where it can, who may not write here; root may.
    run(apt_get()
        .args(["--quiet", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(&folder))?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&path).arg(&folder)).context("unpacking")?;
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Where this machine has Debian from: the mirror of its own sources, or Debian's public one.
pub fn mirror() -> String {
    Mirrors::of_machine().main
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Where a program is: in `PATH`, in the system's own folders, or unpacked.
pub fn find(program: &str) -> Option<PathBuf> {
    folders().into_iter().map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Where programs are looked for.
pub fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = [Path::new("/usr/sbin").to_owned(), Path::new("/sbin").to_owned(), unpacked()];
    std::env::split_paths(&path).chain(own).collect()
}
