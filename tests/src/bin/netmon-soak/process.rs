//! What the kernel tells of a process: its memory, threads, children, descriptors by kind, and BPF objects by their ids.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::table::Row;

/// What a descriptor of an anonymous inode may be, as `/proc/PID/fd` names it, and the column it counts in.
const ANONYMOUS: [(&str, &str); 8] = [
    ("[eventpoll]", "fd_epoll"),
    ("[eventfd]", "fd_eventfd"),
    ("[timerfd]", "fd_timerfd"),
    ("[signalfd]", "fd_signalfd"),
    ("inotify", "fd_inotify"),
    ("bpf-map", "fd_bpf_map"),
    ("bpf-prog", "fd_bpf_prog"),
    ("bpf_link", "fd_bpf_link"),
];

/// Tables of `/proc/PID/net`, the column of the inode in each, and the column they count in.
const SOCKETS: [(&str, usize, &str); 10] = [
    ("tcp", 9, "sock_tcp"),
    ("tcp6", 9, "sock_tcp"),
    ("udp", 9, "sock_udp"),
    ("udp6", 9, "sock_udp"),
    ("icmp", 9, "sock_ping"),
    ("icmp6", 9, "sock_ping"),
    ("raw", 9, "sock_ping"),
    ("raw6", 9, "sock_ping"),
    ("unix", 6, "sock_unix"),
    ("netlink", 9, "sock_netlink"),
];

/// Adds all that is known of process `pid` to `row`.
///
/// # Errors
/// When it is gone.
pub fn sample(pid: i32, row: &mut Row) -> Result<()> {
    let folder = format!("/proc/{pid}");
    let folder = Path::new(&folder);
    memory(folder, row)?;
    let status = fs::read_to_string(folder.join("status"))?;
    row.insert("threads".to_owned(), field(&status, "Threads").context("Threads")?);
    row.insert("children".to_owned(), children(pid) as f64);
    row.insert("cpu_s".to_owned(), cpu(&fs::read_to_string(folder.join("stat"))?).context("stat")?);
    descriptors(folder, row)?;
    let sockstat = fs::read_to_string(folder.join("net/sockstat"))?;
    row.insert("netns_sockets".to_owned(), field(&sockstat, "sockets: used").unwrap_or(0.0));
    Ok(())
}

fn memory(folder: &Path, row: &mut Row) -> Result<()> {
    let rollup = fs::read_to_string(folder.join("smaps_rollup"))?;
    for (name, column) in [("Rss", "rss_kib"), ("Pss", "pss_kib"), ("Anonymous", "anon_kib")] {
        row.insert(column.to_owned(), field(&rollup, name).context(name)?);
    }
    // What malloc has from brk(2); its other arenas and large blocks are in `Anonymous`.
    let maps = fs::read_to_string(folder.join("smaps"))?;
    let heap = maps.split_once("[heap]").and_then(|(_, after)| field(after, "Rss")).unwrap_or(0.0);
    row.insert("heap_kib".to_owned(), heap);
    Ok(())
}

/// The number after `name` and a colon or a space, in the first line that begins so.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix([':', ' ']))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// CPU time of this process, the load, seconds.
///
/// # Errors
/// The kernel does not tell.
pub fn own_cpu() -> Result<f64> {
    cpu(&fs::read_to_string("/proc/self/stat")?).context("stat")
}

/// Seconds of CPU time, user and system, of all its threads, ended ones included (proc(5): `stat`).
fn cpu(stat: &str) -> Option<f64> {
    // After the name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some((ticks(11)? + ticks(12)?) / a_second as f64)
}

/// Processes whose parent it is, those that nobody has waited for included.
fn children(pid: i32) -> usize {
    let stats = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<i32>().ok()
    });
    stats.filter(|parent| *parent == pid).count()
}

fn descriptors(folder: &Path, row: &mut Row) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for column in ["fd_all", "fd_file", "fd_pipe", "fd_socket", "fd_anon", "sock_other"] {
        counts.insert(column, 0);
    }
    for (_, column) in ANONYMOUS {
        counts.insert(column, 0);
    }
    let kinds = sockets(folder);
    for (_, _, column) in SOCKETS {
        counts.insert(column, 0);
    }
    let mut add = |column: &'static str| *counts.entry(column).or_default() += 1;
    for entry in fs::read_dir(folder.join("fd"))? {
        // One may be closed while the folder is read.
        let Ok(to) = fs::read_link(entry?.path()) else { continue };
        let to = to.to_string_lossy().into_owned();
        add("fd_all");
        match to.split_once(':') {
            Some(("socket", inode)) => {
                add("fd_socket");
                let inode = inode.trim_matches(['[', ']']);
                add(kinds.get(inode).copied().unwrap_or("sock_other"));
            }
            Some(("pipe", _)) => add("fd_pipe"),
            Some(("anon_inode", what)) => {
                add("fd_anon");
                if let Some((_, column)) = ANONYMOUS.iter().find(|(name, _)| *name == what) {
                    add(column);
                }
            }
            _ => add("fd_file"),
        }
    }
    row.extend(counts.into_iter().map(|(column, n)| (column.to_owned(), n as f64)));
    bpf(folder, row)
}

/// The kind of each socket of the process's network namespace, by its inode.
fn sockets(folder: &Path) -> BTreeMap<String, &'static str> {
    let mut kinds = BTreeMap::new();
    for (table, at, column) in SOCKETS {
        let text = fs::read_to_string(folder.join("net").join(table)).unwrap_or_default();
        let inodes = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(at));
        kinds.extend(inodes.map(|inode| (inode.to_owned(), column)));
    }
    kinds
}

/// BPF objects that it holds, each by its id, and the kernel memory of its maps (`/proc/PID/fdinfo`).
fn bpf(folder: &Path, row: &mut Row) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut bytes = 0.0;
    for entry in fs::read_dir(folder.join("fdinfo"))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let first = ["link_id", "prog_id", "map_id"].into_iter().find_map(|n| Some((n, field(&text, n)?)));
        // A link tells of its program too.
        if let Some((name, id)) = first
            && seen.insert((name, id as u64))
            && name == "map_id"
        {
            bytes += field(&text, "memlock").unwrap_or(0.0);
        }
    }
    let count = |name: &str| seen.iter().filter(|(n, _)| *n == name).count() as f64;
    row.insert("bpf_maps".to_owned(), count("map_id"));
    row.insert("bpf_programs".to_owned(), count("prog_id"));
    row.insert("bpf_links".to_owned(), count("link_id"));
    row.insert("bpf_map_kib".to_owned(), bytes / 1024.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_whole() {
        let pipe = std::io::pipe().unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut row = Row::new();
        sample(std::process::id() as i32, &mut row).unwrap();
        for column in ["rss_kib", "pss_kib", "anon_kib", "threads", "fd_all", "fd_file"] {
            assert!(row[column] > 0.0, "{column}: {row:?}");
        }
        assert!(row["fd_pipe"] >= 2.0 && row["sock_udp"] >= 1.0, "{row:?}");
        let kinds = ["fd_file", "fd_pipe", "fd_socket", "fd_anon"].iter().map(|k| row[*k]).sum::<f64>();
        assert_eq!(kinds, row["fd_all"], "{row:?}");
        drop((pipe, socket));
    }

    #[test]
    fn fields_are_found_by_their_whole_names() {
        let text = "Pss_Anon: 3 kB\nPss:    12 kB\nmap_id:\t7\nsockets: used 31\n";
        assert_eq!(field(text, "Pss"), Some(12.0));
        assert_eq!(field(text, "map_id"), Some(7.0));
        assert_eq!(field(text, "sockets: used"), Some(31.0));
        assert_eq!(field(text, "map"), None);
        let stat = "1 (a) b) c) S 1 1 1 0 -1 4194560 1 1 1 1 250 50 1 1 20";
        assert!(cpu(stat).is_some_and(|s| s > 0.0));
    }
}
