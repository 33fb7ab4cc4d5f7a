//! How the agent shuts itself in: what of its configuration needs which file or privilege, and who runs its commands.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
};

use caps::Capability as Cap;
use socket2::SockRef;

use super::Options;
use crate::{
    capability::Capability,
    config::{Config, DEFAULT_PATH, TargetConfig},
    observation::{Method, PathOptions},
    output::notify::{Means, Runner},
    sandbox::{self, Kept, Mode, Reach},
};

/// The capability of running hook commands.
const HOOKS: &str = "hooks";

/// Which files the agent reaches under this configuration.
pub(super) fn reach(config: &Config, path: Option<&Path>, log: Option<&Path>) -> Reach {
    let log = log.map(absolute);
    let mut reach =
        Reach::of(config, &file(path), log.as_deref(), |name| std::env::var_os(name).map(Into::into));
    let history = config.history.as_ref().map(|history| history.path.as_path());
    reach.write.extend([log.as_deref(), history].into_iter().flatten().filter_map(led_to));
    reach
}

/// What the name of a file that is written leads to where it is a link: the folder of a file, a device itself.
fn led_to(name: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(name).ok().filter(|real| real != name)?;
    if real.is_file() { real.parent().map(Path::to_owned) } else { Some(real) }
}

/// Makes the log's folder, which nobody can once the agent is shut in. Where that fails, so does the log, and says why.
pub(super) fn make_room(log: Option<&Path>) {
    if let Some(folder) = log.and_then(Path::parent) {
        let _ = fs::create_dir_all(folder);
    }
}

/// The configuration's file.
fn file(path: Option<&Path>) -> PathBuf {
    absolute(path.unwrap_or(Path::new(DEFAULT_PATH)))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Targets that are configured, and one for each source of others.
fn samples(config: &Config) -> impl Iterator<Item = &TargetConfig> {
    config.targets.iter().chain(config.discovery.sources.iter().map(|source| source.template.sample()))
}

/// The ways of their own that ICMP probes take: a raw socket for each has to be opened while that is allowed.
pub(super) fn ways(config: &Config) -> Vec<PathOptions> {
    let mut ways: Vec<PathOptions> = Vec::new();
    for target in samples(config).filter(|target| target.method == Method::Icmp) {
        if *target.path != PathOptions::default() && !ways.contains(&target.path) {
            ways.push((*target.path).clone());
        }
    }
    ways
}

/// Capabilities that the agent can't do without here.
pub(super) fn kept(config: &Config) -> Vec<Kept> {
    let mut kept = Vec::new();
    if samples(config).any(|target| target.path.mark != 0) {
        // From Linux 5.17 on the lesser of both will do.
        let marks = |capability: &Cap| sandbox::works_with(*capability, marks);
        kept.extend([Cap::CAP_NET_RAW, Cap::CAP_NET_ADMIN].into_iter().find(marks).map(|capability| Kept {
            capability,
            reason: "for packets with a firewall mark",
            remedy: "leave `mark` out of the configuration, and restart the agent",
        }));
    }
    kept
}

/// Whether a socket can be given a mark now.
fn marks() -> bool {
    let socket = UdpSocket::bind(("127.0.0.1", 0));
    socket.is_ok_and(|socket| SockRef::from(&socket).set_mark(1).is_ok())
}

/// Who runs commands, if there is anybody, and what is to be said of it.
pub(super) struct Running {
    pub(super) runner: Option<Runner>,
    pub(super) capability: Option<Capability>,
}

/// Begins the process that runs commands. It is there without any as well: a reload may bring some.
pub(super) fn runner(options: &Options, reach: &Reach) -> Running {
    let Options { config, config_path, .. } = options;
    let file = file(config_path.as_deref());
    // An agent that could write what it is then asked to run could run anything.
    let protected = config.sandbox == Mode::Off || (sandbox::landlock_supported() && !reach.writes(&file));
    let wanted = config.notifiers.iter().any(|notifier| matches!(notifier.means, Means::Command(_)));
    match Runner::begin(config_path.as_deref(), protected) {
        Ok(runner) => {
            let whose = format!("run by process {}, which has no privileges", runner.id());
            let detail = match protected {
                true => whose,
                false => format!("{whose}; a command that a reload brings takes a restart"),
            };
            let capability = wanted.then(|| Capability::works(HOOKS, detail));
            Running { runner: Some(runner), capability }
        }
        Err(error) => {
            let remedy = "let the agent execute /proc/self/exe, and make room for a process (TasksMax=)";
            let missing =
                || Capability::missing(HOOKS, format!("no process to run commands: {error}"), remedy);
            Running { runner: None, capability: wanted.then(missing) }
        }
    }
}

/// Says what a new configuration leads to that the agent can't reach any more.
pub(super) fn warn_of_what_is_new(before: &Reach, now: &Reach, config: &Config) {
    if sandbox::landlock_supported() {
        for path in before.lacks(now) {
            tracing::warn!(path = %path.display(), "out of reach since the agent's start, as it is new in the configuration: restart it");
        }
    }
    let marked = samples(config).any(|target| target.path.mark != 0);
    let held = [Cap::CAP_NET_RAW, Cap::CAP_NET_ADMIN]
        .iter()
        .any(|c| caps::has_cap(None, caps::CapSet::Effective, *c).unwrap_or(false));
    if marked && !held {
        tracing::warn!("a mark takes a privilege that the agent has given up, or never had: restart it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("t")).unwrap()
    }

    #[test]
    fn each_way_of_icmp_is_opened_once() {
        let text = "[[target]]\nhost = \"10.0.0.1\"\ndscp = 46\n[[target]]\nhost = \"10.0.0.2\"\ndscp = 46\n\
            [[target]]\nhost = \"10.0.0.3\"\n[[target]]\nhost = \"10.0.0.4\"\nprobe = \"tcp\"\nport = 1\nttl = 7\n\
            [[discovery.file_sd]]\nfiles = [\"/x/*.json\"]\nttl = 9\n";
        let ways = ways(&config(text));
        assert_eq!(
            ways.iter().map(|way| (way.dscp, way.ttl)).collect::<Vec<_>>(),
            [(46, None), (0, Some(9))]
        );
    }

    #[test]
    fn a_configuration_without_marks_keeps_nothing() {
        assert_eq!(kept(&config("")), []);
    }
}
