//! Backup jobs in shell, against real servers, over a link that dies in mid-transfer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Witness, await_until};
use netmon_tests::lab::{SERVER_V4, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::example;

const PROBES: Duration = Duration::from_secs(20);
/// Far beyond what a job takes, even on a loaded machine.
const LONG: Duration = Duration::from_secs(240);
/// How long the link is dead: longer than the ten seconds after which the jobs' connections give up.
const OUTAGE: Duration = Duration::from_secs(20);

/// What is backed up: so many files of so many bytes, which take a quarter of a minute at the jobs' pace.
const FILES: usize = 12;
const BYTES: usize = 2 << 20;

pub fn restic() -> Result<()> {
    let world = World::new()?;
    let job = Job::new(&world)?;
    let address = format!("{SERVER_V4}:8000");
    let _server = job.serve(&["rclone", "serve", "restic", "--addr", &address], &[&job.far])?;
    let environment = [
        ("RESTIC_REPOSITORY", format!("rest:http://{address}/")),
        ("RESTIC_PASSWORD", "lab".to_owned()),
        ("RESTIC_CACHE_DIR", job.folder.join("cache").display().to_string()),
    ];
    let restic = |arguments: &[&str]| job.here("restic", arguments, &environment);
    restic(&["init"])?;
    // Packs of 4 MiB, so that some have arrived when the link dies.
    let arguments = ["--pack-size", "4", "--limit-upload", "2048"];
    let said = job.outlives_an_outage("shell/restic.sh", &arguments, &environment, false)?;
    eprintln!("{said}");
    let restored = job.folder.join("restored");
    restic(&["restore", "latest", "--target", &restored.display().to_string()])?;
    job.is_the_same(&restored.join(job.near.strip_prefix("/")?))
}

pub fn rclone() -> Result<()> {
    let world = World::new()?;
    let job = Job::new(&world)?;
    let address = format!("{SERVER_V4}:8000");
    let _server = job.serve(&["rclone", "serve", "webdav", "--addr", &address], &[&job.far])?;
    let environment = [
        ("RCLONE_CONFIG_FAR_TYPE", "webdav".to_owned()),
        ("RCLONE_CONFIG_FAR_URL", format!("http://{address}/")),
    ];
    let said = job.outlives_an_outage("shell/rclone.sh", &["--bwlimit", "2M"], &environment, true)?;
    eprintln!("{said}");
    job.is_the_same(&job.far)
}

pub fn borg() -> Result<()> {
    let world = World::new()?;
    let job = Job::new(&world)?;
    // As with sshd's ClientAliveInterval the far side notices a dead connection, too, and lets go of the lock.
    let keep = "keepalive,keepidle=4,keepintvl=2,keepcnt=3";
    let listen = format!("TCP-LISTEN:8022,bind={SERVER_V4},reuseaddr,fork,{keep}");
    let _server = job.serve(&["socat", &listen, "EXEC:borg serve"], &[])?;
    // In place of ssh, whose ServerAliveInterval finds a dead connection: option 18 of TCP, TCP_USER_TIMEOUT, in
    // milliseconds (tcp(7)).
    let rsh = job.folder.join("rsh");
    fs::write(&rsh, format!("#!/bin/sh\nexec socat - TCP:{SERVER_V4}:8022,setsockopt-int=6:18:8000\n"))?;
    let environment = [
        ("BORG_REPO", format!("ssh://far{}", job.far.join("repo").display())),
        ("BORG_RSH", format!("sh {}", rsh.display())),
        ("BORG_OPTIONS", "--upload-ratelimit 2048".to_owned()),
        ("BORG_PASSPHRASE", "lab".to_owned()),
        ("BORG_BASE_DIR", job.folder.join("base").display().to_string()),
    ];
    let borg = |arguments: &[&str]| job.here("borg", arguments, &environment);
    borg(&["init", "--encryption", "repokey"])?;
    let said = job.outlives_an_outage("shell/borg.sh", &[], &environment, true)?;
    eprintln!("{said}");
    borg(&["check", "--verify-data"])?;
    let restored = job.folder.join("restored");
    fs::create_dir(&restored)?;
    let list = borg(&["list", "--short", "--last", "1"])?;
    job.command("borg", &environment)
        .args(["extract", &format!("::{}", list.trim())])
        .current_dir(&restored)
        .status()?;
    job.is_the_same(&restored.join(job.near.strip_prefix("/")?))
}

/// The ground of a job: what it backs up and where to.
struct Job<'a> {
    world: &'a World,
    folder: PathBuf,
    near: PathBuf,
    far: PathBuf,
}

impl<'a> Job<'a> {
    fn new(world: &'a World) -> Result<Self> {
        // On disk, not in the memory that the lab's own folders are in.
        let folder = world.node.folder()?;
        let (near, far) = (folder.join("near"), folder.join("far"));
        fs::create_dir_all(&near)?;
        fs::create_dir_all(&far)?;
        for n in 0..FILES {
            let mut bytes = vec![0; BYTES];
            rand::fill(&mut bytes[..]);
            fs::write(near.join(format!("{n}.bin")), bytes)?;
        }
        Ok(Self { world, folder, near, far })
    }

    /// Starts a server in the internet and waits until it listens.
    fn serve(&self, line: &[&str], paths: &[&Path]) -> Result<Server> {
        let mut command = self.world.internet.command(line[0]);
        command.args(&line[1..]).args(paths).env("HOME", &self.folder);
        let log = fs::File::create(self.folder.join("server.log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Server(child);
        let port = if line[0] == "socat" { 8022 } else { 8000 };
        let listens = await_until(PROBES, || {
            ensure!(server.0.try_wait()?.is_none(), "{line:?} ended: {}", self.server_said());
            let connected = self.world.node.run(|| {
                std::net::TcpStream::connect_timeout(&(SERVER_V4, port).into(), Duration::from_secs(1))
                    .is_ok()
            })?;
            Ok(connected.then_some(()))
        })?;
        listens.with_context(|| format!("{line:?} does not listen: {}", self.server_said()))?;
        Ok(server)
    }

    fn server_said(&self) -> String {
        fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// A command in the node.
    fn command(&self, program: impl AsRef<Path>, environment: &[(&str, String)]) -> Command {
        let mut command = self.world.node.command(program);
        command.envs(environment.iter().cloned()).env("HOME", &self.folder).stdin(Stdio::null());
        command
    }

    /// Runs it to its end, which has to be a good one.
    fn here(&self, program: &str, arguments: &[&str], environment: &[(&str, String)]) -> Result<String> {
        let output = self.command(program, environment).args(arguments).output()?;
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
        ensure!(output.status.success(), "{program} {arguments:?}: {}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs the script while the link dies: before it begins, and again when a quarter has arrived. It ends well all the
    /// same; `cut` says that the outage must have cost an attempt.
    fn outlives_an_outage(
        &self,
        script: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
        cut: bool,
    ) -> Result<String> {
        let world = self.world;
        let agent = Agent::start(world)?;
        Witness::new(&agent)?.up(PROBES)?;
        world.carrier_down(0)?;
        ensure!(
            agent.cli_code(&["wait", "--state", "down", "--timeout", "20s"])? == 0,
            "{}",
            agent.status()?
        );

        let log = self.folder.join("job.log");
        let out = fs::File::create(&log)?;
        let mut command = self.command(example(script), environment);
        command.args(arguments).arg(&self.near);
        if script.contains("rclone") {
            command.arg("far:");
        }
        let path = format!("{}:{}", self.bin()?.display(), std::env::var("PATH")?);
        command.env("PATH", path).env("NETMON_SOCKET", &agent.socket);
        let mut child = command.stdout(out.try_clone()?).stderr(out).spawn()?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        agent.await_waiters(1)?;
        thread::sleep(Duration::from_secs(1));
        let arrived = bytes_below(&self.far);
        world.carrier_up(0)?;

        let quarter = arrived + (FILES * BYTES / 4) as u64;
        let begun = await_until(LONG, || {
            if let Some(status) = child.try_wait()? {
                bail!("{script} ended before a quarter had arrived: {status}: {}", said());
            }
            Ok((bytes_below(&self.far) >= quarter).then_some(()))
        })?;
        ensure!(begun.is_some(), "no progress: {}\n{}", said(), self.server_said());
        world.carrier_down(0)?;
        thread::sleep(OUTAGE);
        ensure!(child.try_wait()?.is_none(), "{script} gave up within the outage: {}", said());
        world.carrier_up(0)?;
        let back = Mono::now();
        let ended = await_until(LONG, || Ok(child.try_wait()?))?;
        let Some(status) = ended else {
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            bail!("{script} still runs: {}\n{}", said(), self.server_said());
        };
        ensure!(status.code() == Some(0), "{script}: {status}: {}\n{}", said(), self.server_said());
        ensure!(
            !cut || said().contains("refunded=true"),
            "the outage cut no attempt, or cost one: {}",
            said()
        );
        Ok(format!("{script}: done {:.1?} after the link's return\n{}", Mono::now().since(back), said()))
    }

    /// A folder with `netmon` in it, for the scripts' `PATH`.
    fn bin(&self) -> Result<PathBuf> {
        let bin = self.folder.join("bin");
        fs::create_dir_all(&bin)?;
        let link = bin.join("netmon");
        if !link.exists() {
            std::os::unix::fs::symlink(netmon_tests::agent::binary()?, link)?;
        }
        Ok(bin)
    }

    /// Whether each file is there, byte by byte.
    fn is_the_same(&self, other: &Path) -> Result<()> {
        for n in 0..FILES {
            let name = format!("{n}.bin");
            let (sent, kept) = (fs::read(self.near.join(&name))?, fs::read(other.join(&name)));
            let kept = kept.with_context(|| format!("{name} below {}", other.display()))?;
            ensure!(sent == kept, "{name} is another");
        }
        Ok(())
    }
}

/// A server, ended on drop.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes of all files below a folder. Files that come and go meanwhile count as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
