//! The proof of the packages: what linters say, and what becomes of a root into which each is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::programs::output;
use super::{Made, VERSION, deb, epoch, fresh, metadata, tools};
use crate::debian;
use crate::step::{Steps, cargo, root, run, target};

/// Every proof; each needs root.
///
/// # Errors
/// At the first that fails.
pub fn all(steps: &mut Steps, made: &Made) -> Result<()> {
    ensure!(
        debian::is_root(),
        "the packages are made; to prove them, by installing each in a root, takes root"
    );
    steps.measure("what checks", |_| debian::provide_checkers())?;
    steps.measure("manifests", |_| metadata::check())?;
    steps.measure("lintian", |_| lintian(&made.deb))?;
    steps.measure("rpmlint", |_| rpmlint(&made.rpm))?;
    steps.measure("terms of the crates", |_| deny(&["licenses", "bans", "sources"]))?;
    steps.measure("advisories", |_| advisories())?;
    let mut roots = Vec::new();
    steps.measure("fresh roots", |_| {
        for (suite, with) in [("bookworm", "systemd-sysv,procps"), ("bullseye", "systemd-sysv")] {
            roots.push(debian_root(suite, with)?);
        }
        Ok(())
    })?;
    steps.measure("Debian 11, with its glibc and systemd", |_| older(&made.deb, &roots[1]))?;
    steps.measure("the RPM in a root", |_| rpm_root(made, &roots[0]))?;
    let next = target().join("dist/work/next");
    let mut newer = PathBuf::new();
    steps.measure("a newer package", |_| {
        newer = deb::build(&root(), &made.tree, &next, &format!("{VERSION}+next"), epoch(&root())?)?;
        Ok(())
    })?;
    let trials = ["test", "--package", "netmon-tests", "--test", "lab", "--", "--nocapture", "package::"];
    steps.run(
        "the packages in the lab",
        cargo(&trials)
            .env("NETMON_BIN", &made.binary)
            .env("NETMON_DEB", &made.deb)
            .env("NETMON_DEB_NEXT", &newer)
            .env("NETMON_DEBIAN_ROOT", &roots[0])
            .env("NETMON_CONTAINER_ROOT", made.container.join("root")),
    )
}

fn lintian(package: &Path) -> Result<()> {
    let options = ["--fail-on", "error,warning", "--display-info", "--show-overrides", "--allow-root"];
    run(Command::new("lintian").args(options).arg(package))
}

/// What it finds that is no choice of ours: see `rpmlint.toml`.
fn rpmlint(package: &Path) -> Result<()> {
    let configuration = root().join("netmon-agent/packaging/rpm/rpmlint.toml");
    run(Command::new("rpmlint").args(["--strict", "--config"]).arg(configuration).arg(package))?;
    for (what, option) in [("needs", "--requires"), ("scripts", "--scripts")] {
        let said = output(Command::new("rpm").args(["--query", option, "--package"]).arg(package))?;
        println!("{what}:\n{said}");
    }
    Ok(())
}

fn deny(checks: &[&str]) -> Result<()> {
    let mut command = tools::subcommand("deny");
    command.args(["--manifest-path", "netmon-agent/Cargo.toml", "--config", "deny.toml"]);
    run(command.args(["check", "--hide-inclusion-graph"]).args(checks))
}

/// Known faults of the crates, where the list of them can be had: without it that is said, and nothing is known.
fn advisories() -> Result<()> {
    let mut fetch = tools::subcommand("deny");
    match output(fetch.args([
        "--manifest-path",
        "netmon-agent/Cargo.toml",
        "--config",
        "deny.toml",
        "fetch",
        "db",
    ])) {
        Ok(_) => deny(&["advisories"]),
        Err(e) => {
            println!("NOT CHECKED: the list of advisories can't be had here: {e:#}");
            Ok(())
        }
    }
}

/// A root of Debian, made once.
fn debian_root(suite: &str, with: &str) -> Result<PathBuf> {
    let folder = target().join("roots").join(suite);
    if folder.join("etc/debian_version").exists() {
        println!("{} is there", folder.display());
        return Ok(folder);
    }
    println!("downloading Debian's {suite} into {}: some minutes", folder.display());
    let half = fresh(&target().join("roots/half"))?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=apt"]);
    if !with.is_empty() {
        command.arg(format!("--include={with}"));
    }
    let mirror = debian::mirror();
    run(command.arg(suite).arg(&half).arg(mirror))?;
    fs::rename(&half, &folder)?;
    Ok(folder)
}

/// The package is installed beside a glibc and a systemd that are older than those of the machine that built it: units are
/// understood, and the program probes its own loopback, in a network namespace of its own.
fn older(package: &Path, base: &Path) -> Result<()> {
    let folder = fresh(&target().join("dist/work/older"))?;
    let script = r#"
        cd "$1"; mkdir upper merged; mount -t tmpfs tmpfs upper; mkdir upper/upper upper/work
        mount -t overlay overlay -o "lowerdir=$2,upperdir=upper/upper,workdir=upper/work" merged
        mount -t proc proc merged/proc; mount -t sysfs -o ro sysfs merged/sys; ip link set lo up
        # systemd-analyze looks for the one hierarchy of cgroups that it knows.
        mount -t cgroup2 cgroup2 merged/sys/fs/cgroup; mount -o remount,bind,ro merged/sys/fs/cgroup
        cp "$3" merged/tmp/netmon.deb; echo "127.0.0.1 localhost" >merged/etc/hosts
        chroot merged ldd --version | head -1; chroot merged systemctl --version | head -1
        chroot merged dpkg --install /tmp/netmon.deb
        chroot merged systemd-analyze verify --man=no netmon.service netmon.socket netmon-online.target \
            netmon-wait@usable.service
        chroot merged netmon probe -c 3 -i 0.2 -q 127.0.0.1 ::1
        chroot merged netmon probe -c 2 -i 0.2 -q localhost
        chroot merged dpkg --purge netmon"#;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "-"]);
    run(command.arg(folder).arg(base).arg(package))
}

/// Installed with `rpm --root`, verified, removed: what is then left of it.
fn rpm_root(made: &Made, base: &Path) -> Result<()> {
    let folder = fresh(&target().join("dist/work/rpm-root"))?;
    let script = r#"
        cd "$1"; mkdir upper work merged; mount -t tmpfs tmpfs upper; mkdir upper/upper upper/work
        mount -t overlay overlay -o "lowerdir=$2,upperdir=upper/upper,workdir=upper/work" merged
        mount -t proc proc merged/proc; mount -t tmpfs tmpfs merged/run
        list() { (cd merged; find . -xdev \( -path ./proc -o -path ./run -o -path ./var/lib/rpm -o -path ./root/.rpmdb \) -prune -o -print | sort); }
        list >before
        # Debian's root knows of no RPMs, so what they need is not asked for.
        rpm --root "$1/merged" --nodeps --install "$3"
        rpm --root "$1/merged" --verify --nodeps netmon
        chroot merged id netmon
        chroot merged cat /etc/sysctl.d/60-netmon.conf
        chroot merged netmon --version; chroot merged netmon config check
        list >installed; echo "files and folders of it: $(comm -13 before installed | wc -l)"
        rpm --root "$1/merged" --erase netmon
        list >after; echo "left after its removal:"; comm -13 before after"#;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "-"]);
    let said = output(command.arg(&folder).arg(base).arg(&made.rpm))?;
    println!("{said}");
    let (_, left) = said.split_once("left after its removal:\n").context("the script ended early")?;
    // The former user database, and a folder that every RPM distribution has of its own, and Debian has not.
    let known =
        |line: &str| line.ends_with('-') || ["./etc/.pwd.lock", "./usr/share/licenses"].contains(&line);
    let unknown: Vec<_> = left.lines().filter(|line| !known(line)).collect();
    if !unknown.is_empty() {
        bail!("its removal leaves {unknown:?}");
    }
    Ok(())
}
