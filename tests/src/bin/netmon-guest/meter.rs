//! Our figures of one namespace: the agent's library in a process of its own inside, as it reads the namespace of its
//! process's first thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use netmon_agent::observation::{IfIndex, TcpCounters, TcpReading};
use netmon_agent::source::bpf::{Kernel, Options};
use netmon_tests::lab::Netns;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

/// One reading, by names of devices; `-` is what no device has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    pub devices: BTreeMap<String, Figures>,
    pub unattributed_segments: u64,
    pub unattributed_resets: u64,
    /// Events that the kernel kept from a program because it was already running on that CPU.
    pub misses: u64,
    /// Events lost because a map was full.
    pub dropped: u64,
}

/// Of one device.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub segments: u64,
    pub resets_sent: u64,
    pub resets_received: u64,
    pub refused: u64,
}

/// The process inside. Ends with the value.
#[derive(Debug)]
pub struct Meter {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Meter {
    /// Loads and attaches inside `netns`.
    ///
    /// # Errors
    /// When the kernel takes none of it.
    pub fn start(netns: &Netns) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["meter", netns.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("its input")?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        let mut meter = Self { child, input, output };
        meter.read()?;
        Ok(meter)
    }

    /// Reads all figures.
    ///
    /// # Errors
    /// When the process inside is gone or its maps do not answer.
    pub fn read(&mut self) -> Result<Reading> {
        self.ask("read")
    }

    /// Forgets an interface, as the agent does at `RTM_DELLINK`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn forget(&mut self, index: u32) -> Result<()> {
        self.ask(&format!("forget {index}")).map(drop)
    }

    fn ask(&mut self, what: &str) -> Result<Reading> {
        writeln!(self.input, "{what}").context("the meter is gone")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the meter said {line:?}"))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process inside: answers each line of its input with a line of JSON.
pub fn serve(netns: &str) -> Result<()> {
    setns(File::open(format!("/run/netns/{netns}")).context("no such namespace")?, CloneFlags::CLONE_NEWNET)?;
    let mut kernel = Kernel::load(&Options::default());
    let bpf = kernel.capabilities().first().context("no capabilities")?;
    ensure!(bpf.ok, "{}: {}", bpf.name, bpf.detail);
    for line in std::io::stdin().lock().lines() {
        match line?.split_once(' ') {
            Some(("forget", index)) => {
                kernel.forget(IfIndex(index.parse()?), true);
            }
            Some(other) => bail!("no such request: {other:?}"),
            None => {}
        }
        // A residue counts when the next reading still shows it.
        kernel.read(false, interface_of);
        println!("{}", serde_json::to_string(&reading(&kernel.read(false, interface_of)))?);
    }
    Ok(())
}

fn reading(of: &TcpReading) -> Reading {
    let figures = |c: &TcpCounters| Figures {
        segments: c.retransmitted_segments.iter().sum(),
        resets_sent: c.resets_sent,
        resets_received: c.resets_received,
        refused: c.refused_connects,
    };
    Reading {
        devices: of.devices.iter().map(|(index, c)| (name(*index), figures(c))).collect(),
        unattributed_segments: of.unattributed.retransmitted_segments,
        unattributed_resets: of.unattributed.resets_sent,
        misses: of.programs.values().map(|program| program.recursion_misses).sum(),
        dropped: of.dropped.values().sum(),
    }
}

fn name(index: IfIndex) -> String {
    match index {
        IfIndex(0) => "-".to_owned(),
        IfIndex(n) => if_indextoname(n).map_or(format!("#{n}"), |name| name.to_string_lossy().into_owned()),
    }
}

fn interface_of(address: IpAddr) -> Option<IfIndex> {
    let mut all = getifaddrs().ok()?;
    let found = all.find(|a| {
        let storage = a.address.as_ref();
        let v4 = storage.and_then(|s| s.as_sockaddr_in()).map(|s| IpAddr::from(s.ip()));
        let v6 = storage.and_then(|s| s.as_sockaddr_in6()).map(|s| IpAddr::from(s.ip()));
        v4.or(v6) == Some(address)
    })?;
    Some(IfIndex(if_nametoindex(found.interface_name.as_str()).ok()?))
}
