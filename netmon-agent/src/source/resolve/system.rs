//! The resolvers that the system names, followed.

use std::path::Path;

use super::{
    conf::{self, Nameserver},
    files::Watched,
};

/// Looks at `resolv.conf(5)` when it is told to: one system call while that stays the same.
#[derive(Debug)]
pub struct SystemResolvers(Watched);

impl SystemResolvers {
    /// Of this file.
    pub fn new(path: &Path) -> Self {
        Self(Watched::new(path))
    }

    /// Those that it names, three at most; none unless the file is another than at the last look.
    pub fn news(&mut self) -> Option<Vec<Nameserver>> {
        self.0.changed().then(|| conf::nameservers(&self.0.read()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_news_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let mut resolvers = SystemResolvers::new(&path);
        assert_eq!(resolvers.news(), None);
        let write = |text: &str| {
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, &path).unwrap();
        };
        let of = |address: &str, zone: Option<&str>| Nameserver {
            address: address.parse().unwrap(),
            zone: zone.map(str::to_owned),
        };
        write("nameserver 10.0.0.1\nnameserver bad\nnameserver fe80::1%eth0\n");
        assert_eq!(resolvers.news(), Some(vec![of("10.0.0.1", None), of("fe80::1", Some("eth0"))]));
        assert_eq!(resolvers.news(), None);
        write("");
        assert_eq!(resolvers.news(), Some(Vec::new()));
    }
}
