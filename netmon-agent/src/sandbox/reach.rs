//! Which files the configuration leads to. Pure: nothing here looks at the disk.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    config::{Config, Credentials, SourceKind},
    observation::Method,
    output::notify::{Means, webhook::Secret},
};

/// What the agent reads on every machine: resolvers, hosts, time zones and trusted certificates; the kernel's counters and
/// devices; where programs that keep the resolvers put them, and the names of network namespaces.
const SYSTEM: [&str; 9] = [
    "/etc",
    "/usr",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/connman",
    "/run/netns",
];

/// Variables that name files or directories of trusted certificates (openssl(1)), and systemd's credentials.
const NAMED: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "CREDENTIALS_DIRECTORY"];

/// Files that stay within reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Directories whose files are read.
    pub read: BTreeSet<PathBuf>,
    /// Files that are read, each in a directory that is read with it, so that one that takes its place is read too.
    pub files: BTreeSet<PathBuf>,
    /// Directories whose files are written, made, renamed and removed.
    pub write: BTreeSet<PathBuf>,
    /// Directories from which files are removed.
    pub remove: BTreeSet<PathBuf>,
}

impl Reach {
    /// Of this configuration, read from `file`; `log` is the log's file; `variable` gives what the environment says.
    pub fn of(
        config: &Config,
        file: &Path,
        log: Option<&Path>,
        variable: impl Fn(&str) -> Option<PathBuf>,
    ) -> Self {
        let mut reach = Self { read: SYSTEM.iter().map(PathBuf::from).collect(), ..Self::default() };
        for named in NAMED {
            reach.read.extend(variable(named));
        }
        reach.files.insert(file.to_owned());
        reach.files.extend(named_files(config));
        for source in &config.discovery.sources {
            if let SourceKind::Files { files, .. } = &source.kind {
                // A directory that is made anew is another one: so the one above it.
                let folders = files.iter().filter_map(|pattern| pattern.parent());
                reach.read.extend(folders.map(|folder| above(folder).to_owned()));
            }
        }
        let folder = |path: &Path| path.parent().map(Path::to_owned);
        reach.write.extend(config.history.as_ref().and_then(|history| folder(&history.path)));
        // Added targets are kept beside the ledger, also where none is kept.
        reach.write.extend(folder(&config.ledger.path));
        reach.write.extend(log.and_then(folder));
        reach
    }

    /// With the directory of this socket, whose file is removed at the end.
    pub fn removing(mut self, socket: Option<&Path>) -> Self {
        self.remove.extend(socket.and_then(Path::parent).map(Path::to_owned));
        self
    }

    /// With files that another file names.
    pub fn reading(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.files.extend(files);
        self
    }

    /// Whether what is written by the agent could be this file.
    pub fn writes(&self, file: &Path) -> bool {
        self.write.iter().any(|folder| file.starts_with(folder))
    }

    /// Those that the other leads to and this one does not.
    pub fn lacks<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Path> {
        let of_files =
            self.files.iter().filter_map(|file| file.parent()).filter(|folder| folder.parent().is_some());
        let folders: Vec<&Path> =
            self.read.iter().chain(&self.write).map(PathBuf::as_path).chain(of_files).collect();
        let has = move |path: &&PathBuf| {
            self.files.contains(*path) || folders.iter().any(|folder| path.starts_with(folder))
        };
        other.files.iter().chain(&other.read).filter(move |path| !has(path)).map(PathBuf::as_path)
    }
}

/// The directory above, unless that is all there is.
fn above(folder: &Path) -> &Path {
    folder.parent().filter(|above| above.parent().is_some()).unwrap_or(folder)
}

/// Files that are named outright: secrets and certificates.
fn named_files(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let samples = config.discovery.sources.iter().map(|source| source.template.sample());
    for target in config.targets.iter().chain(samples) {
        if let Method::Http(request) = &target.method {
            files.extend(request.ca_file.clone());
        }
    }
    for source in &config.discovery.sources {
        if let SourceKind::Http(server) = &source.kind {
            files.extend(server.request.ca_file.clone());
            match &server.credentials {
                Some(Credentials::Bearer(file) | Credentials::Basic(_, file)) => files.push(file.clone()),
                None => {}
            }
        }
    }
    for notifier in &config.notifiers {
        if let Means::Webhook(webhook) = &notifier.means {
            files.extend(webhook.ca_file.clone());
            for secret in [&webhook.secret, &webhook.authorization] {
                if let Some(Secret::File(file)) = secret {
                    files.push(file.clone());
                }
            }
        }
    }
    if let Some(otlp) = &config.otlp {
        files.extend(otlp.ca_file.clone());
        files.extend(otlp.header_files.iter().map(|(_, file)| file.clone()));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Reach {
        let config = Config::parse(text, Path::new("/c/netmon.toml")).unwrap();
        let variable = |name: &str| (name == "SSL_CERT_DIR").then(|| "/certs".into());
        let socket = Path::new("/run/netmon/netmon.sock");
        Reach::of(&config, Path::new("/c/netmon.toml"), None, variable).removing(Some(socket))
    }

    fn paths(all: &BTreeSet<PathBuf>) -> Vec<&str> {
        all.iter().map(|path| path.to_str().unwrap()).filter(|path| !SYSTEM.contains(path)).collect()
    }

    #[test]
    fn without_a_configuration_it_is_little() {
        let reach = of("");
        assert_eq!(paths(&reach.read), ["/certs"]);
        assert_eq!(paths(&reach.files), ["/c/netmon.toml"]);
        assert_eq!(paths(&reach.write), ["/var/lib/netmon"]);
        assert_eq!(paths(&reach.remove), ["/run/netmon"]);
    }

    #[test]
    fn every_file_that_is_named_is_within_reach() {
        let reach = of("[history]\npath = \"/srv/h/h.db\"\n\
             [[target]]\nurl = \"https://a.example\"\nprobe = \"http\"\nca_file = \"/a/ca.pem\"\n\
             [[discovery.file_sd]]\nfiles = [\"/srv/targets/*.json\", \"/one/x.json\"]\n\
             [[discovery.http_sd]]\nurl = \"https://b.example/t\"\nbearer_token_file = \"/b/token\"\nurl_ca_file = \"/b/ca\"\n\
             [[notify.webhook]]\nurl = \"https://c.example/h\"\nsecret_file = \"/s/1\"\nauthorization_file = \"/s/2\"\nca_file = \"/s/ca\"\n\
             [otlp]\nendpoint = \"https://d.example\"\nheader_files = { a = \"/o/h\" }\nca_file = \"/o/ca\"\n");
        assert_eq!(
            paths(&reach.files),
            ["/a/ca.pem", "/b/ca", "/b/token", "/c/netmon.toml", "/o/ca", "/o/h", "/s/1", "/s/2", "/s/ca"]
        );
        assert_eq!(paths(&reach.read), ["/certs", "/one", "/srv"]);
        assert_eq!(paths(&reach.write), ["/srv/h"]);
        assert!(reach.writes(Path::new("/srv/h/netmon.toml")) && !reach.writes(Path::new("/srv/hh")));
    }

    #[test]
    fn what_a_reload_adds_is_told() {
        let (before, after) = (
            of("[[discovery.file_sd]]\nfiles = [\"/srv/a/*.json\"]"),
            of("[[discovery.file_sd]]\nfiles = [\"/srv/b/*.json\", \"/new/x/y.json\"]\n\
                [[notify.webhook]]\nurl = \"https://c.example/h\"\nsecret_file = \"/s/1\""),
        );
        assert_eq!(before.lacks(&before).count(), 0);
        let lacking: Vec<&Path> = before.lacks(&after).collect();
        assert_eq!(lacking, [Path::new("/s/1"), Path::new("/new")]);
    }
}
