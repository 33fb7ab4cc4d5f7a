//! What an agent that is gone has left in the kernel: looked for after each kill, when no agent lives in the world.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_tests::agent::await_until;
use netmon_tests::lab::{World, find_program, run};
use nix::unistd::Pid;
use serde_json::Value;

/// Kinds of BPF objects, as bpftool calls them, and the word before their number in a descriptor's `fdinfo`.
const KINDS: [(&str, &str); 3] = [("prog", "prog_id:"), ("map", "map_id:"), ("link", "link_id:")];
/// What the kernel may take to free them: it waits until no processor can be using them (RCU).
const FREED: Duration = Duration::from_secs(10);
/// Where BPF objects are pinned, where that file system is mounted.
const PINS: &str = "/sys/fs/bpf";
/// Tables of sockets below `/proc/thread-self/net`.
const TABLES: [&str; 11] =
    ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "icmp", "icmp6", "netlink", "packet", "unix"];

/// BPF objects by kind and number.
pub type Objects = BTreeSet<(&'static str, u32)>;

/// How much of each kind was left by all kills together, and what was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leftovers {
    /// BPF programs, maps and links that killed agents had held.
    pub held: usize,
    /// Sockets that they had.
    pub open: usize,
    /// Of the objects, those that were still there.
    pub objects: usize,
    /// Pinned files that were not there before.
    pub pins: usize,
    /// Sockets of processes that are no more.
    pub sockets: usize,
    /// Processes in the node's network.
    pub processes: usize,
    /// Network namespaces of the run that stood at its end.
    pub namespaces: usize,
}

impl Leftovers {
    /// Takes in what one kill left.
    pub fn add(&mut self, more: Self) {
        self.held += more.held;
        self.open += more.open;
        self.objects += more.objects;
        self.pins += more.pins;
        self.sockets += more.sockets;
        self.processes += more.processes;
        self.namespaces += more.namespaces;
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.objects + self.pins + self.sockets + self.processes + self.namespaces > 0
    }
}

/// What there was before the first agent.
#[derive(Debug)]
pub struct Before {
    pins: BTreeSet<String>,
    sockets: BTreeSet<String>,
}

impl Before {
    /// As it is now.
    pub fn look(world: &World) -> Result<Self> {
        Ok(Self { pins: pins(), sockets: sockets(world)? })
    }

    /// How many sockets there are now that were not there before.
    pub fn open(&self, world: &World) -> Result<usize> {
        Ok(sockets(world)?.difference(&self.sockets).count())
    }

    /// What is left now of an agent that held these objects, and so many sockets, and is gone.
    pub fn after(&self, world: &World, held: &Objects, had: usize) -> Result<Leftovers> {
        let mut left = held.clone();
        // Those that are never freed are what is looked for.
        await_until(FREED, || {
            let loaded = loaded(&left)?;
            left.retain(|object| loaded.contains(object));
            Ok(left.is_empty().then_some(()))
        })?;
        let mut open = BTreeSet::new();
        await_until(FREED, || {
            open = sockets(world)?.difference(&self.sockets).cloned().collect();
            Ok(open.is_empty().then_some(()))
        })?;
        Ok(Leftovers {
            held: held.len(),
            open: had,
            objects: left.len(),
            pins: pins().difference(&self.pins).count(),
            sockets: open.len(),
            processes: processes(world)?,
            namespaces: 0,
        })
    }
}

/// What a living process holds.
pub fn held_by(pid: Pid) -> Objects {
    let mut held = Objects::new();
    // Descriptors, and the process itself, may be gone before they are read.
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        for (kind, word) in KINDS {
            let ids = text.lines().filter_map(|l| l.strip_prefix(word)?.trim().parse().ok());
            held.extend(ids.map(|id| (kind, id)));
        }
    }
    held
}

/// Network namespaces that this run made and that stand.
pub fn namespaces() -> usize {
    let ours = format!("nmt-{}-", std::process::id());
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().starts_with(&ours)).count()
}

/// Those of the kinds that are asked for which the kernel has now.
fn loaded(asked: &Objects) -> Result<Objects> {
    let kinds: BTreeSet<_> = asked.iter().map(|(kind, _)| *kind).collect();
    let bpftool = find_program("bpftool").context("bpftool is not installed: apt-get install bpftool")?;
    let mut found = Objects::new();
    for kind in kinds {
        let text = run(Command::new(&bpftool).args(["--json", kind, "show"]), "")?;
        let all: Vec<Value> = serde_json::from_str(&text).with_context(|| format!("bpftool {kind}"))?;
        found.extend(all.iter().filter_map(|o| Some((kind, u32::try_from(o["id"].as_u64()?).ok()?))));
    }
    Ok(found)
}

fn pins() -> BTreeSet<String> {
    fn walk(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            found.insert(entry.path().display().to_string());
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(Path::new(PINS), &mut found);
    found
}

/// Sockets of the node that belong to a file: what the kernel closes by itself, such as TIME-WAIT, belongs to none.
fn sockets(world: &World) -> Result<BTreeSet<String>> {
    world.node.run(|| {
        let mut found = BTreeSet::new();
        for table in TABLES {
            // A kernel without IPv6, or without packet sockets, has no such table.
            let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
            let mut lines = text.lines();
            let at = places(lines.next().unwrap_or_default());
            for line in lines {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let inode = match table {
                    // Their headings name fewer fields than there are.
                    "netlink" | "packet" => fields.last(),
                    "unix" => at.get("Inode").and_then(|at| fields.get(*at)),
                    _ => fields.get(9),
                };
                if let Some(inode) = inode.filter(|inode| **inode != "0") {
                    found.insert(format!("{table} {inode}"));
                }
            }
        }
        found
    })
}

/// Columns by their headings.
fn places(head: &str) -> BTreeMap<&str, usize> {
    head.split_whitespace().enumerate().map(|(at, name)| (name, at)).collect()
}

fn processes(world: &World) -> Result<usize> {
    use std::os::unix::fs::MetadataExt;
    let inode = world.node.inode()?;
    let entries = fs::read_dir("/proc")?.flatten();
    let numbers = entries.filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
    Ok(numbers.filter(|e| fs::metadata(e.path().join("ns/net")).is_ok_and(|m| m.ino() == inode)).count())
}
