//! The two files that say what names are: read again when they are others. `/etc/hosts` is `hosts(5)`.

use std::{
    collections::HashMap,
    fs::File,
    io::{ErrorKind, Read},
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// No more of a file is read. Lists of blocked hosts have some megabytes.
const MOST: u64 = 32 << 20;

/// A file that another program may rewrite, or put another in the place of.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
}

/// Inode, size, and the times of the last change of its content and of itself. A link is followed.
type Stamp = (u64, u64, (i64, i64), (i64, i64));

impl Watched {
    /// A file that was never looked at: the first look finds it changed, if it is there.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None }
    }

    /// Whether it is another than at the last look.
    pub(super) fn changed(&mut self) -> bool {
        let stamp = std::fs::metadata(&self.path)
            .map(|m| (m.ino(), m.size(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())))
            .ok();
        let changed = stamp != self.seen;
        self.seen = stamp;
        changed
    }

    /// Its text; empty when it can't be read, as the C library takes it.
    pub(super) fn read(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
        if let Err(error) = read
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %self.path.display(), "can't read it to its end");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The addresses that `hosts(5)` has for the names that are wanted, by name in lower case. Only these are kept: the
/// file may list a hundred thousand others.
pub(super) fn hosts(text: &str, wanted: impl Fn(&str) -> bool) -> HashMap<String, Vec<IpAddr>> {
    let mut found: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        // An address with a device in it can't be told to a probe.
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words.map(plain).filter(|name| wanted(name)) {
            let addresses = found.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    found
}

/// A name as it is compared: in lower case, without the dot at its end.
pub(super) fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_gives_every_address_of_a_wanted_name() {
        let text = "127.0.0.1 localhost # c\n10.0.0.5\tWeb.Example web # x 10.0.0.6\n2001:db8::5 web\n\
                    10.0.0.5 web\nbad web\nfe80::1%eth0 web\n10.0.0.9 other\n10.0.0.8";
        let all = hosts(text, |n| n != "other");
        let ips = |a: &[&str]| a.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(all["web"], ips(&["10.0.0.5", "2001:db8::5"]));
        assert_eq!(all["web.example"], ips(&["10.0.0.5"]));
        assert_eq!(all["localhost"], ips(&["127.0.0.1"]));
        assert_eq!(all.len(), 3);
        assert_eq!(plain("Web.Example."), "web.example");
    }

    #[test]
    fn a_file_is_told_as_changed_once_for_each_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let mut file = Watched::new(&path);
        assert!(!file.changed(), "there is none, and there was none");
        assert_eq!(file.read(), "");
        std::fs::write(&path, "a").unwrap();
        assert!(file.changed() && !file.changed());
        assert_eq!(file.read(), "a");
        let other = folder.path().join("other");
        std::fs::write(&other, "b").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(file.changed() && !file.changed(), "another file of the same size in its place");
        std::fs::remove_file(&path).unwrap();
        assert!(file.changed() && !file.changed());
    }
}
