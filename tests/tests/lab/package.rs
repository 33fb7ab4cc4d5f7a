//! The packages of `cargo xtask dist`, each in a root of its own. Without them there is nothing to try: ignored.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Failed, Trial};
use netmon_tests::agent::{Machine, await_until, get};
use netmon_tests::lab::{Options, World, find_program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::attempt;

/// Far beyond what anything here takes, even on a loaded machine.
const LONG: Duration = Duration::from_secs(60);
const AGENT: &str = "netmon.service";

/// The trials; each is ignored where the environment does not name what it tries.
pub fn trials() -> impl Iterator<Item = Trial> {
    let one = |name, needs: &[&str], scenario: fn() -> Result<()>| {
        let told = needs.iter().all(|variable| env::var_os(variable).is_some());
        Trial::test(name, move || -> Result<(), Failed> { attempt(name, scenario) }).with_ignored_flag(!told)
    };
    [
        one(
            "package::the_debian_package_installs_starts_upgrades_and_purges",
            &["NETMON_DEB", "NETMON_DEB_NEXT", "NETMON_DEBIAN_ROOT"],
            debian,
        ),
        one("package::the_container_has_all_that_it_needs", &["NETMON_CONTAINER_ROOT"], container),
    ]
    .into_iter()
}

/// A file that the environment names.
fn named(variable: &str) -> Result<PathBuf> {
    let path = PathBuf::from(env::var_os(variable).with_context(|| variable.to_owned())?);
    path.canonicalize().with_context(|| path.display().to_string())
}

/// Installed, it runs with all its capabilities; upgraded, with the configuration and the ledger it had; removed, it leaves
/// these; purged, nothing but its user.
fn debian() -> Result<()> {
    // Closed, as the kernel has it: the package opens it for its group.
    let world = World::with(Options { ping_sockets: false, ..Options::default() })?;
    let (deb, next) = (named("NETMON_DEB")?, named("NETMON_DEB_NEXT")?);
    let machine = Machine::boot(&world, &named("NETMON_DEBIAN_ROOT")?, &[deb.clone(), next.clone()])?;
    let inside = |deb: &Path| format!("/opt/files/{}", deb.file_name().unwrap_or_default().display());
    let before = files(&machine)?;

    eprintln!("== installation\n{}", machine.run("dpkg", &["--install", &inside(&deb)])?);
    ensure!(machine.property(AGENT, "ActiveState")? == "active", "{}", state(&machine));
    ensure!(machine.property(AGENT, "UnitFileState")? == "enabled");
    ensure!(machine.property("netmon.socket", "UnitFileState")? == "disabled");
    working(&machine)?;
    let gid = machine.run("getent", &["group", "netmon"])?;
    let gid = gid.split(':').nth(2).context("a group has a number")?.to_owned();
    ensure!(ping_range(&machine)? == [gid.clone(), gid], "{:?}", ping_range(&machine)?);
    let security = machine.run("systemd-analyze", &["security", "--no-pager", "--threshold=15", AGENT])?;
    eprintln!("{}", security.lines().last().unwrap_or_default());
    for page in ["netmon.1.gz", "netmon-wait.1.gz"] {
        ensure!(machine.path(&format!("/usr/share/man/man1/{page}")).exists(), "no {page}");
    }
    let units = ["netmon.service", "netmon.socket", "netmon-online.target", "netmon-wait@usable.service"];
    let verified = machine.run("systemd-analyze", &[&["verify", "--man=no"][..], &units].concat())?;
    ensure!(verified.is_empty(), "{verified}");
    ensure!(machine.output("systemctl", &["start", "netmon-wait@usable.service"])?.1, "{}", state(&machine));

    // What somebody wrote stays over an upgrade, and the agent is another.
    let config = machine.path("/etc/netmon/netmon.toml");
    let text = format!("{}\n# Ours.\n", fs::read_to_string(&config)?);
    fs::write(&config, &text)?;
    let (pid, ledger) = (machine.property(AGENT, "MainPID")?, machine.path("/var/lib/netmon/history.db"));
    ensure!(ledger.exists(), "no ledger");
    eprintln!("== upgrade\n{}", machine.run("dpkg", &["--install", &inside(&next)])?);
    ensure!(machine.property(AGENT, "ActiveState")? == "active", "{}", state(&machine));
    ensure!(machine.property(AGENT, "MainPID")? != pid, "the old one runs on");
    ensure!(fs::read_to_string(&config)? == text && ledger.exists(), "configuration or ledger lost");
    working(&machine)?;
    // The same again is no harm either.
    machine.run("dpkg", &["--install", &inside(&next)])?;
    working(&machine)?;

    eprintln!("== removal\n{}", machine.run("dpkg", &["--remove", "netmon"])?);
    ensure!(machine.output("systemctl", &["is-active", AGENT])?.0 == "inactive", "{}", state(&machine));
    ensure!(!machine.path("/run/netmon").exists(), "/run/netmon is left");
    ensure!(fs::read_to_string(&config)? == text && ledger.exists(), "a removal is no purge");
    ensure!(ping_range(&machine)? == ["1", "0"], "{:?}", ping_range(&machine)?);

    eprintln!("== and back, then purge\n{}", machine.run("dpkg", &["--install", &inside(&deb)])?);
    working(&machine)?;
    fs::write(machine.path("/var/log/netmon/netmon.log"), "a line\n")?;
    eprintln!("{}", machine.run("dpkg", &["--purge", "netmon"])?);
    ensure!(ping_range(&machine)? == ["1", "0"], "{:?}", ping_range(&machine)?);
    let failed = machine.run("systemctl", &["list-units", "--failed", "--plain", "--no-legend"])?;
    ensure!(!failed.contains("netmon"), "{failed}");
    let after = files(&machine)?;
    let changed: Vec<_> = before
        .keys()
        .chain(after.keys())
        .filter(|path| before.get(*path) != after.get(*path))
        .filter(|path| !of_the_system(path))
        .collect();
    ensure!(changed.is_empty(), "a purge leaves {changed:?}");
    eprintln!("{} files and folders before, and the same after", before.len());
    Ok(())
}

/// The agent answers, with every capability, and finds the network usable.
fn working(machine: &Machine<'_>) -> Result<()> {
    machine.run("netmon", &["wait", "--state", "up", "--timeout", "30s"])?;
    let status = machine.get("/v1/status")?.json()?;
    let capabilities = status["agent"]["capabilities"].as_object().context("no capabilities")?;
    let missing: Vec<_> = capabilities.iter().filter(|(_, c)| c["ok"] != true).collect();
    ensure!(missing.is_empty(), "{missing:?}");
    let raw = capabilities.iter().find(|(_, c)| c.to_string().contains("raw socket"));
    ensure!(raw.is_none(), "{raw:?}");
    Ok(())
}

fn state(machine: &Machine<'_>) -> String {
    let status = machine.output("systemctl", &["status", "--full", "--no-pager", AGENT]).map(|o| o.0);
    let journal = machine.output("journalctl", &["--no-pager", "--unit", AGENT]).map(|o| o.0);
    format!("{}\n{}", status.unwrap_or_default(), journal.unwrap_or_default())
}

fn ping_range(machine: &Machine<'_>) -> Result<[String; 2]> {
    let text = machine.run("cat", &["/proc/sys/net/ipv4/ping_group_range"])?;
    let mut words = text.split_whitespace().map(str::to_owned);
    Ok([words.next().context("a range")?, words.next().context("a range")?])
}

/// Every file and folder of the root and of what lies in memory, with owner and mode, and of files the size.
fn files(machine: &Machine<'_>) -> Result<BTreeMap<String, String>> {
    let (folder, file) = ("%p\\t%y %m %U:%G\\n", "%p\\t%y %m %U:%G %s %l\\n");
    let list = ["/", "/run", "-xdev", "(", "-type", "d", "-printf", folder, ")", "-o", "-printf", file];
    let list = machine.run("find", &list)?;
    Ok(list
        .lines()
        .filter_map(|l| l.split_once('\t'))
        .map(|(p, what)| (p.to_owned(), what.to_owned()))
        .collect())
}

/// What a package changes by being installed at all, whichever it is: the databases of packages and users with their logs and
/// former states, and what systemd writes for itself meanwhile.
fn of_the_system(path: &str) -> bool {
    const OWN: [&str; 12] = [
        "/var/lib/dpkg",
        "/var/log/dpkg.log",
        "/var/log/journal",
        "/var/log/wtmp",
        "/var/lib/systemd",
        "/var/cache/man",
        "/run/systemd",
        "/run/log",
        "/run/utmp",
        "/run/dbus",
        "/run/udev",
        "/run/lock",
    ];
    const USERS: [&str; 6] =
        ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid"];
    let users = path.strip_suffix('-').unwrap_or(path);
    OWN.iter().any(|own| path.starts_with(own)) || USERS.contains(&users) || path == "/etc/.pwd.lock"
}

/// The container under a real engine's runtime, with the user, capabilities and limits of the DaemonSet: everything works. As
/// the image's own user, without any capability, it works too, less what it lacks.
fn container() -> Result<()> {
    let root = named("NETMON_CONTAINER_ROOT")?;
    let crun = find_program("crun").context("no crun: apt-get install crun")?;
    for (uid, capabilities) in [(0, &["CAP_BPF", "CAP_PERFMON", "CAP_NET_RAW"][..]), (65532, &[])] {
        let world = World::with(Options { ping_sockets: false, ..Options::default() })?;
        let bundle = world.node.folder()?;
        fs::create_dir_all(bundle.join("socket"))?;
        std::os::unix::fs::chown(bundle.join("socket"), Some(uid), Some(65532))?;
        let wanted = engine_configuration(&root, &bundle, world.node.name(), uid, capabilities);
        fs::write(bundle.join("config.json"), serde_json::to_vec(&wanted)?)?;
        let mut running = Running(
            Command::new("unshare")
                // In its view there is one hierarchy of cgroups: it knows no two beside one another.
                .args(["--mount", "sh", "-euc", "mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec \"$@\"", "-"])
                .arg(&crun)
                .args(["--cgroup-manager=disabled", "--root"])
                .arg(bundle.join("crun"))
                .args(["run", "--bundle"])
                .arg(&bundle)
                .arg(world.node.name())
                .stdin(Stdio::null())
                .spawn()?,
        );
        let path = bundle.join("socket/netmon.sock");
        let status = await_until(LONG, || {
            let ended = running.0.try_wait()?;
            ensure!(ended.is_none(), "as {uid} it has ended: {ended:?}");
            let answer = get(&path, "/v1/status", LONG).ok().and_then(|r| r.json().ok());
            Ok(answer.filter(|s| s["state"] == "up"))
        })?;
        let status = status.with_context(|| format!("as {uid} it does not become up"))?;
        let found = status["agent"]["capabilities"].as_object().context("no capabilities")?;
        let missing: Vec<_> = found.iter().filter(|(_, c)| c["ok"] != true).map(|(n, _)| n).collect();
        eprintln!("as {uid} with {capabilities:?}: {}, without {missing:?}", status["state"]);
        ensure!(missing.is_empty() != capabilities.is_empty(), "as {uid}: {missing:?}");
        ensure!(get(&path, "/healthz", LONG)?.status == 200, "/healthz");
    }
    Ok(())
}

/// What an engine would tell its runtime: read-only root, no new privileges, all capabilities dropped but those named, the
/// node's network, every other namespace its own.
fn engine_configuration(root: &Path, bundle: &Path, network: &str, uid: u32, capabilities: &[&str]) -> Value {
    let mount = |to: &str, kind: &str, options: &[&str]| json!({ "destination": to, "type": kind, "source": kind, "options": options });
    let own = |to: &str| mount(to, "tmpfs", &["nosuid", "nodev", "mode=0777"]);
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": root, "readonly": true },
        "process": {
            "user": { "uid": uid, "gid": 65532 },
            "args": ["/usr/bin/netmon", "run", "--socket", "/run/netmon/netmon.sock"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            own("/tmp"),
            own("/var/lib/netmon"),
            {
                "destination": "/run/netmon", "type": "bind", "source": bundle.join("socket"),
                "options": ["bind", "rw"],
            },
        ],
        "linux": {
            "namespaces": [
                { "type": "network", "path": format!("/run/netns/{network}") },
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/irq", "/proc/bus"],
        },
    })
}

/// A process that ends with the trial, and what it started with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The runtime passes it on to the container, which ends and is taken away.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
