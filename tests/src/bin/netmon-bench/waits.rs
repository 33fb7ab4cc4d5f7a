//! How soon a program that waits for the network goes on when it is back, and whether it does while nothing passes: `netmon
//! wait` beside systemd-networkd-wait-online, which waits for the machine's own side to be configured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, await_until};
use netmon_tests::lab::{Fault, Netns, World};

use crate::quantile;

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// From the start of a program that waits until it certainly does.
const STARTED: Duration = Duration::from_secs(1);
const FOLDERS: [&str; 2] = ["/lib/systemd", "/usr/lib/systemd"];
/// A mount namespace of its own: what it writes to /run is for its own clients, and with a read-only /sys it does not wait
/// for udev, which does not run here.
const INSIDE: &str = "mount --make-rprivate / && mount -t tmpfs none /run/systemd && mount -o remount,bind,ro /sys && \
     mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp && \
     chown -R systemd-network: /run/systemd/netif && cp \"$1\" /run/systemd/network/ && exec \"$2\"";

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How often each.
    #[arg(long, default_value_t = 20)]
    runs: usize,
}

/// A carrier that comes back, and a blackhole that ends.
pub fn measure(arguments: &Arguments) -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    await_usable(&agent)?;
    let networkd = Networkd::start(&world.node)?;
    println!("from the end of an outage until who waits has gone on, {} times: median, most", arguments.runs);
    for blackhole in [false, true] {
        println!(
            "  {}",
            if blackhole { "a blackhole: the link is up, nothing comes back" } else { "the carrier" }
        );
        let (mut times, mut too_soon) = ([Vec::new(), Vec::new()], [0, 0]);
        for _ in 0..arguments.runs {
            await_usable(&agent)?;
            let fault =
                if blackhole { Some(world.blackhole()?) } else { world.carrier_down(0).map(|()| None)? };
            ensure!(agent.cli_code(&["wait", "--state", "down", "--timeout", "20s"])? == 0, "never down");
            let mut waiters =
                [agent.cli_spawn(&["wait", "--state", "usable"])?, networkd.wait(LONG.as_secs())?];
            thread::sleep(STARTED);
            let mut waited = [true, true];
            for (waiter, waited) in waiters.iter_mut().zip(&mut waited) {
                *waited = waiter.try_wait()?.is_none();
            }
            let mended = Mono::now();
            fault.map_or_else(|| world.carrier_up(0), Fault::mend)?;
            for (i, time) in ended(&mut waiters, mended)?.into_iter().enumerate() {
                match waited[i] {
                    true => times[i].push(time),
                    false => too_soon[i] += 1,
                }
            }
        }
        for (i, name) in
            ["netmon wait --state usable", "systemd-networkd-wait-online"].into_iter().enumerate()
        {
            let [median, most] = [0.5, 1.0].map(|q| quantile(&mut times[i], q).as_millis());
            let waited = if times[i].is_empty() {
                "never waited".to_owned()
            } else {
                format!("{median} ms, {most} ms")
            };
            println!("    {name:<30} {waited}; went on {} times while nothing passed", too_soon[i]);
        }
    }
    Ok(())
}

/// So many outages in short are flapping, which is no more than `degraded`.
fn await_usable(agent: &Agent<'_>) -> Result<()> {
    let code = agent.cli_code(&["wait", "--state", "usable", "--stable", "1s", "--timeout", "30s"])?;
    ensure!(code == 0, "the network is not usable: {}", agent.status()?);
    Ok(())
}

/// When each has ended, as it should.
fn ended(waiters: &mut [Child; 2], since: Mono) -> Result<[Duration; 2]> {
    let mut times = [None, None];
    let all = await_until(LONG, || {
        for (waiter, time) in waiters.iter_mut().zip(&mut times) {
            if time.is_none()
                && let Some(status) = waiter.try_wait()?
            {
                ensure!(status.success(), "who waited ended with {status}");
                *time = Some(Mono::now().since(since));
            }
        }
        Ok(times[0].zip(times[1]))
    })?;
    let (ours, theirs) = all.context("somebody waits forever")?;
    Ok([ours, theirs])
}

/// A systemd-networkd that has the node's first device.
struct Networkd {
    child: Child,
    waiter: PathBuf,
}

impl Networkd {
    fn start(node: &Netns) -> Result<Self> {
        let find = |name: &str| {
            let file = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
            file.with_context(|| format!("{name} is not installed: apt-get install systemd"))
        };
        let (program, waiter) = (find("systemd-networkd")?, find("systemd-networkd-wait-online")?);
        let network = node.folder()?.join("10-node.network");
        // It finds addresses and routes in place, and is to keep them.
        let text = "[Match]\nName=eth0\n[Network]\nKeepConfiguration=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
             [Link]\nRequiredForOnline=yes\n";
        fs::write(&network, text)?;
        let mut command = node.command("unshare");
        command.args(["--mount", "sh", "-c", INSIDE, "sh"]).arg(&network).arg(&program);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let networkd = Self { child: quiet.spawn().context("starting systemd-networkd")?, waiter };
        let online = await_until(LONG, || {
            // One that came before all is in place would look elsewhere.
            let mut waiter = networkd.wait(1)?;
            Ok(waiter.wait()?.success().then_some(()))
        })?;
        if online.is_none() {
            bail!("systemd-networkd does not find the node online");
        }
        Ok(networkd)
    }

    /// One that waits for it so many seconds, in its namespaces.
    fn wait(&self, seconds: u64) -> Result<Child> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.child.id().to_string(), "--mount", "--net"]);
        command.arg(&self.waiter).args(["--interface", "eth0", "--timeout", &seconds.to_string()]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().context("starting systemd-networkd-wait-online")
    }
}

impl Drop for Networkd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
