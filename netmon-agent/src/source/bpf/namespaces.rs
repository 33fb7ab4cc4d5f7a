//! Other network namespaces: what they are called, and how many of them there may be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    sync::Arc,
};

use netmon_ebpf::{DeviceName, Key};

use crate::observation::{IfName, TcpCounters, TcpNamespace, escape_bytes};

/// Namespaces that get a name of their own; those beyond are one together, for every one of them is a set of series.
const NAMED: usize = 256;
/// What those beyond are called.
const OTHER: &str = "other";
/// What stands for no device: of some events the kernel names only an address. No interface can be called that.
const NO_DEVICE: &str = "n/a";
/// Rows beyond this part of the map's room make the least busy give way.
const CROWDED: (usize, usize) = (3, 4);
/// Characters of a container's id, as the tools print it.
const CONTAINER_ID: usize = 12;

/// Rows of other namespaces, and what their interfaces are called: zeroes where that is not known.
type Rows = BTreeMap<Key, (TcpCounters, DeviceName)>;

/// Reads the other namespaces' rows into something that can be shown.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    names: HashMap<u32, String>,
    /// Rows of namespaces without a name of their own, as of the last reading. Such a one never gets a name later: its
    /// counts are in the sum already.
    nameless: BTreeMap<Key, TcpCounters>,
    /// What nameless rows had counted that are gone: the sum of all of them must not fall.
    gone: TcpCounters,
    /// When each row last grew, in readings, and what it had then.
    grown: HashMap<Key, (u64, u64)>,
    reading: u64,
    /// Rows that gave way.
    pub(super) evicted: u64,
    /// As last shown.
    pub(super) shown: Arc<[TcpNamespace]>,
}

impl Namespaces {
    /// Shows `rows`. A namespace keeps the name it was first given, for its series' sake.
    pub(super) fn show(&mut self, rows: &Rows) {
        let present: HashSet<u32> = rows.keys().map(|key| key.netns).collect();
        self.names.retain(|netns, _| present.contains(netns));
        let strangers: HashSet<u32> = self.nameless.keys().map(|key| key.netns).collect();
        let is_new = |netns: &&u32| !self.names.contains_key(netns) && !strangers.contains(netns);
        let new: BTreeSet<u32> = present.iter().filter(is_new).copied().collect();
        if !new.is_empty() && self.names.len() < NAMED {
            self.name(&new, &find_names(Path::new("/run/netns"), Path::new("/proc")));
        }
        let mut shown: BTreeMap<&str, BTreeMap<String, TcpCounters>> = BTreeMap::new();
        let mut nameless = BTreeMap::new();
        for (key, (counters, name)) in rows {
            let Some(namespace) = self.names.get(&key.netns) else {
                nameless.insert(*key, *counters);
                continue;
            };
            let device = match name[0] {
                0 if key.ifindex == 0 => NO_DEVICE.to_owned(),
                0 => format!("if{}", key.ifindex),
                _ => device_name(name),
            };
            shown.entry(namespace).or_default().entry(device).or_default().add(counters);
        }
        for (key, before) in &self.nameless {
            // A row that gave way and came back begins anew.
            if nameless.get(key).is_none_or(|now| weight(now) < weight(before)) {
                self.gone.add(before);
            }
        }
        self.nameless = nameless;
        if !self.nameless.is_empty() || weight(&self.gone) > 0 {
            let mut sum = self.gone;
            self.nameless.values().for_each(|counters| sum.add(counters));
            shown.insert(OTHER, [(OTHER.to_owned(), sum)].into());
        }
        let one = |(name, devices): (&str, _)| TcpNamespace { name: name.to_owned(), devices };
        self.shown = shown.into_iter().map(one).collect();
    }

    /// Which rows should give way so that a map with `room` has some again: those that have not grown for longest.
    pub(super) fn crowd_out(&mut self, rows: &Rows, room: usize) -> BTreeSet<Key> {
        self.reading += 1;
        self.grown.retain(|key, _| rows.contains_key(key));
        for (key, (counters, _)) in rows {
            let total = weight(counters);
            let grown = self.grown.entry(*key).or_insert((self.reading, total));
            if grown.1 != total {
                *grown = (self.reading, total);
            }
        }
        if rows.len() * CROWDED.1 <= room * CROWDED.0 {
            return BTreeSet::new();
        }
        let mut by_age: Vec<(u64, Key)> = self.grown.iter().map(|(key, (grown, _))| (*grown, *key)).collect();
        by_age.sort_unstable();
        by_age.truncate(rows.len().saturating_sub(room / 2));
        self.evicted += by_age.len() as u64;
        by_age.into_iter().map(|(_, key)| key).collect()
    }

    fn name(&mut self, new: &BTreeSet<u32>, found: &HashMap<u32, String>) {
        let free = NAMED.saturating_sub(self.names.len());
        for netns in new.iter().take(free) {
            // As /proc/PID/ns/net reads.
            let name = found.get(netns).cloned().unwrap_or_else(|| format!("net:[{netns}]"));
            self.names.insert(*netns, name);
        }
    }
}

fn weight(counters: &TcpCounters) -> u64 {
    counters.retransmits.iter().sum::<u64>()
        + counters.resets_sent
        + counters.resets_received
        + counters.active_opens
        + counters.passive_opens
        + counters.segments_sent
}

pub(super) fn device_name(name: &DeviceName) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    IfName::new(&name[..end]).escaped()
}

/// Names of namespaces by inode: those of `ip netns`, else the id of the container whose process is in it.
fn find_names(run: &Path, proc: &Path) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for process in entries(proc).filter(|entry| entry.to_str().is_some_and(is_number)) {
        let folder = proc.join(&process);
        let Ok(namespace) = fs::metadata(folder.join("ns/net")) else { continue };
        let inode = namespace.ino() as u32;
        if names.contains_key(&inode) {
            continue;
        }
        let cgroup = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        if let Some(id) = container_id(&cgroup) {
            names.insert(inode, id.to_owned());
        }
    }
    // Last, for a name that a person gave is the better one.
    for name in entries(run) {
        if let Ok(namespace) = fs::metadata(run.join(&name)) {
            names.insert(namespace.ino() as u32, escape_bytes(name.as_bytes()));
        }
    }
    names
}

fn entries(folder: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The id of a container in the path of a control group: 64 hexadecimal digits, as Docker, containerd, CRI-O and
/// Podman have it; its first twelve, as their tools print it.
pub(super) fn container_id(cgroup: &str) -> Option<&str> {
    let digits = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroup.split(|c: char| !c.is_ascii_alphanumeric()).find(digits).map(|id| &id[..CONTAINER_ID])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn key(netns: u32, ifindex: u32) -> Key {
        Key { netns, ifindex }
    }

    fn opened(active_opens: u64) -> (TcpCounters, DeviceName) {
        (TcpCounters { active_opens, ..TcpCounters::default() }, DeviceName::default())
    }

    #[test]
    fn a_container_is_named_by_its_id() {
        for path in [
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!("0::/kubepods.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{ID}.scope\n"),
            format!("12:pids:/docker/{ID}\n0::/\n"),
        ] {
            assert_eq!(container_id(&path), Some("0123456789ab"), "{path}");
        }
        assert_eq!(container_id("0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }

    #[test]
    fn names_are_found_and_kept() {
        let mut namespaces = Namespaces::default();
        let found = HashMap::from([(11, "blue".to_owned())]);
        namespaces.name(&BTreeSet::from([11, 12]), &found);
        assert_eq!(namespaces.names[&11], "blue");
        assert_eq!(namespaces.names[&12], "net:[12]");
        let mut rows = BTreeMap::from([(key(11, 2), opened(1)), (key(11, 3), opened(2))]);
        if let Some((_, name)) = rows.get_mut(&key(11, 2)) {
            name[..4].copy_from_slice(b"et\"0");
        }
        namespaces.show(&rows);
        let shown = &namespaces.shown;
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].name, "blue");
        assert_eq!(shown[0].devices.values().map(|c| c.active_opens).collect::<Vec<_>>(), [1, 2]);
        assert!(shown[0].devices.contains_key("if3"), "{shown:?}");
        assert!(!namespaces.names.contains_key(&12), "gone with its rows");
    }

    #[test]
    fn namespaces_without_end_are_one_together() {
        let mut namespaces = Namespaces::default();
        let all: BTreeSet<u32> = (1..=1000).collect();
        namespaces.name(&all, &HashMap::new());
        let rows: Rows = (1..=1000).map(|netns| (key(netns, 2), opened(1))).collect();
        namespaces.show(&rows);
        assert_eq!(namespaces.shown.len(), NAMED + 1);
        let other = namespaces.shown.iter().find(|namespace| namespace.name == OTHER).unwrap();
        assert_eq!(other.devices[OTHER].active_opens, 1000 - NAMED as u64);
    }

    #[test]
    fn the_sum_of_the_nameless_never_falls() {
        let mut namespaces = Namespaces::default();
        let rows = |opens: u64, netns: std::ops::RangeInclusive<u32>| -> Rows {
            netns.map(|netns| (key(netns, 2), opened(opens))).collect()
        };
        let mut other = |rows: &Rows| {
            namespaces.show(rows);
            let other = namespaces.shown.iter().find(|namespace| namespace.name == OTHER);
            other.map_or(0, |namespace| namespace.devices[OTHER].active_opens)
        };
        assert_eq!(other(&rows(3, 1..=NAMED as u32)), 0);
        assert_eq!(other(&rows(3, 1..=300)), 3 * 44);
        // Those with a name are gone, and the others stay what they were, without one.
        assert_eq!(other(&rows(3, 257..=300)), 3 * 44);
        // Twenty gave way.
        assert_eq!(other(&rows(3, 257..=280)), 3 * 44);
        let mut back = rows(3, 257..=280);
        // Names are free by now: ten that came back have one.
        back.extend(rows(1, 281..=290));
        assert_eq!(other(&back), 3 * 44);
        back.insert(key(257, 2), opened(1));
        assert_eq!(other(&back), 3 * 44 + 1, "begun anew between two readings");
    }

    #[test]
    fn the_quietest_rows_give_way() {
        let mut namespaces = Namespaces::default();
        let mut rows: Rows = (1..=70).map(|netns| (key(netns, 2), opened(1))).collect();
        assert!(namespaces.crowd_out(&rows, 100).is_empty());
        rows.extend((60..=70).map(|netns| (key(netns, 2), opened(2))));
        rows.extend((71..=90).map(|netns| (key(netns, 2), opened(1))));
        let out = namespaces.crowd_out(&rows, 100);
        assert_eq!(out.len(), 40);
        assert!(out.iter().all(|key| key.netns < 60), "those that grew or are new stay: {out:?}");
        assert_eq!(namespaces.evicted, 40);
    }

    #[test]
    fn this_machine_names_what_ip_netns_has() {
        let names = find_names(Path::new("/run/netns"), Path::new("/proc"));
        let listed = entries(Path::new("/run/netns")).count();
        assert!(names.len() >= listed.min(1));
    }
}
