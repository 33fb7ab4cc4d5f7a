//! Targets that come and go: over the socket, in a file that is watched, by a reload; always under new names.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_tests::lab::{Family, World};
use nix::sys::signal::{Signal, kill};

use super::receiver::PORT;
use super::{Load, lock, some};

/// Hosts of the internet in 198.18.N.0/24 (RFC 2544), by N: those of the configuration, of the file, of the socket, of reloads.
pub const HOSTS: [usize; 4] = [250, 40, 40, 20];

/// Which targets there are, and where they stand.
#[derive(Debug)]
pub struct Targets {
    config: PathBuf,
    found: PathBuf,
    /// The configuration without the targets that change.
    base: String,
    added: Mutex<Vec<String>>,
}

impl Targets {
    /// Of a world whose internet has [`HOSTS`], for an agent with its files in `folder`; `count` stay.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(world: &World, folder: &Path, count: usize) -> Result<Self> {
        let resolver = world.gateway_address(0, Family::V4).to_string();
        let mut base = settings(folder);
        for n in 0..count {
            let host = format!("198.18.0.{}", n % HOSTS[0] + 1);
            let (host, how) = match n % 10 {
                7 => (host, "probe = \"tcp\"\nport = 80"),
                8 => (resolver.clone(), "probe = \"dns\"\nquery = \"example.com\""),
                9 => (host, "probe = \"udp\"\nport = 33434\nexpect = \"unreachable\""),
                _ => (host, "probe = \"icmp\""),
            };
            // Writing to a String can't fail.
            let _ = write!(base, "[[target]]\nname = \"fixed-{n}\"\nhost = \"{host}\"\n{how}\n");
        }
        for n in 1..=5 {
            let _ = write!(base, "[[target]]\nname = \"web-{n}\"\nurl = \"http://198.18.0.{n}:{PORT}/\"\n");
        }
        let targets = Self {
            config: folder.join("netmon.toml"),
            found: folder.join("found.json"),
            base,
            added: Mutex::default(),
        };
        targets.write_found(0, 0)?;
        Ok(targets)
    }

    /// The configuration that the agent starts with.
    pub fn config(&self) -> &str {
        &self.base
    }

    fn write_config(&self, first: usize, count: usize) -> Result<()> {
        let mut text = self.base.clone();
        for n in 0..count {
            let (name, host) = (first + n, n % HOSTS[3] + 1);
            let _ = write!(text, "[[target]]\nname = \"reloaded-{name}\"\nhost = \"198.18.3.{host}\"\n");
        }
        replace(&self.config, &text)
    }

    fn write_found(&self, first: usize, count: usize) -> Result<()> {
        let group = |n: usize| {
            let (name, host) = (first + n, n % HOSTS[1] + 1);
            format!("{{\"targets\":[\"198.18.1.{host}\"],\"labels\":{{\"__netmon_name\":\"found-{name}\"}}}}")
        };
        replace(&self.found, &format!("[{}]", (0..count).map(group).collect::<Vec<_>>().join(",")))
    }
}

impl Load {
    /// Adds and removes targets over the socket.
    pub(super) fn churn_targets(&self) -> Result<()> {
        let mut next = 0;
        while let Some(turn) = self.turn() {
            for _ in 0..rand::random_range(1..8) {
                let (name, host) = (format!("added-{next}"), next % HOSTS[2] + 1);
                let persist = next % 4 == 0;
                next += 1;
                let body = format!("{{\"host\":\"198.18.2.{host}\",\"persist\":{persist}}}");
                self.expect(&format!("PUT /v1/targets/{name}"), &body, &[200]);
                self.count("targets_put", 1.0);
                lock(&self.targets.added).push(name);
            }
            while lock(&self.targets.added).len() > HOSTS[2] {
                self.remove_one();
            }
            drop(turn);
            self.between(some(2_000));
        }
        Ok(())
    }

    /// Removes the target that was added first; whether there was one.
    fn remove_one(&self) -> bool {
        let oldest = {
            let mut added = lock(&self.targets.added);
            (!added.is_empty()).then(|| added.remove(0))
        };
        let Some(name) = oldest else { return false };
        self.expect(&format!("DELETE /v1/targets/{name}"), "", &[200, 204]);
        self.count("targets_removed", 1.0);
        true
    }

    /// Rewrites the file of discovery, and now and then leaves it broken for a moment.
    pub(super) fn rewrite_files(&self) -> Result<()> {
        let mut next = 0;
        while let Some(turn) = self.turn() {
            self.targets.write_found(next, rand::random_range(0..=HOSTS[1]))?;
            self.count("files_rewritten", 1.0);
            next += rand::random_range(0..HOSTS[1]);
            if rand::random_bool(0.1) {
                self.pause(Duration::from_millis(500));
                replace(&self.targets.found, "[{\"targets\": [")?;
            }
            drop(turn);
            self.between(some(8_000));
        }
        Ok(())
    }

    /// Reloads the configuration with other targets in it.
    pub(super) fn reload(&self) -> Result<()> {
        let mut next = 0;
        while let Some(turn) = self.turn() {
            self.targets.write_config(next, rand::random_range(0..=HOSTS[3]))?;
            kill(self.pid, Signal::SIGHUP).context("SIGHUP")?;
            self.count("reloads", 1.0);
            next += rand::random_range(0..HOSTS[3]);
            drop(turn);
            self.between(Duration::from_secs(4) + some(16_000));
        }
        Ok(())
    }

    /// Takes away every target that was not there at the beginning.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn restore_targets(&self) -> Result<()> {
        while self.remove_one() {}
        self.targets.write_found(0, 0)?;
        self.targets.write_config(0, 0)?;
        kill(self.pid, Signal::SIGHUP).context("SIGHUP")
    }
}

/// All but the targets: everything is on, nothing is damped, and what is kept is small enough to be full soon.
fn settings(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let (history, log, found) = (at("history.db"), at("netmon.log"), at("found.json"));
    format!(
        "[limits]\ncpu = \"off\"\nmemory = \"off\"\n\
         [kernel]\nrtt_samples = true\n\
         [metrics]\nwindows = true\n\
         [history]\npath = \"{history}\"\nretention = \"1h\"\nmax_size = \"4MiB\"\n\
         [log]\nfile = \"{log}\"\nmax_size = \"256KiB\"\nmax_files = 3\n\
         [health]\nflap_half_life = \"1s\"\nflap_suppress = 1000000\ndegraded_dwell = \"0s\"\n\
         [[notify.command]]\nname = \"hook\"\ncommand = [\"sh\", \"-c\", \"cat >/dev/null; echo {{subject}} {{state}}\"]\n\
         subjects = [\"network\", \"device:*\"]\n\
         [[notify.webhook]]\nname = \"web\"\nurl = \"http://127.0.0.1:{PORT}/\"\ninsecure = true\nallow_private = true\n\
         subjects = [\"network\", \"device:*\", \"target:fixed-1*\"]\nqueue = 50\n\
         [[discovery.file_sd]]\nname = \"soak\"\nfiles = [\"{found}\"]\nprobe = \"icmp\"\n"
    )
}

/// Whole or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path).with_context(|| path.display().to_string())
}
