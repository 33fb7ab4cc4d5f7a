//! Hostile input, target by target: each takes bytes, makes of them what the outside could send, and hands it to the code
//! that reads it. What is promised of that code is asserted, here and at the ways in (`netmon_agent::fuzzing`).
//!
//! libFuzzer drives the targets (`src/main.rs`), and `tests/corpus.rs` replays what it has found on a stable toolchain.

pub mod corpus;
mod delimited;
mod exposition;
mod messages;
mod targets;

use std::fmt;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: in `targets.toml`, of its corpus, on the command line.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Bytes that may be held at once: so many, and so many for each byte of input.
    memory: (u64, u64),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

const fn target(name: &'static str, run: fn(&[u8]), memory: (u64, u64)) -> Target {
    Target { name, run, memory }
}

/// What a reader may hold whatever it reads.
const LITTLE: u64 = 1 << 20;
/// hickory makes room for as many records as a header promises, 65,535 at most; a broken message ends at the first.
const RECORDS: u64 = 8 << 20;
/// The same where a whole agent's outputs stand beside it.
const MUCH: u64 = 32 << 20;

/// All of them.
pub const TARGETS: &[Target] = &[
    target("netlink", targets::kernel::netlink, (LITTLE, 1024)),
    target("sock_diag", targets::kernel::sock_diag, (LITTLE, 1024)),
    target("proc_net", targets::kernel::proc_net, (LITTLE, 256)),
    target("bpf", targets::kernel::bpf, (LITTLE, 1024)),
    target("icmp", targets::probes::icmp, (LITTLE, 1024)),
    target("trace", targets::road::trace, (LITTLE, 4096)),
    target("dns", targets::names::dns, (RECORDS, 4096)),
    target("resolv_conf", targets::names::resolv_conf, (LITTLE, 1024)),
    target("http_answer", targets::http::answer, (LITTLE, 256)),
    target("http_events", targets::http::events, (LITTLE, 512)),
    target("http_request", targets::agent::request, (MUCH, 1024)),
    target("config", targets::config::config, (MUCH, 4096)),
    target("web_config", targets::web::web_config, (MUCH, 4096)),
    target("discovery", targets::found::discovery, (MUCH, 1024)),
    target("exit_codes", targets::text::exit_codes, (LITTLE, 256)),
    target("exposition", targets::text::exposition, (MUCH, 4096)),
    target("text", targets::text::text, (LITTLE, 1024)),
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Plays one input.
    ///
    /// # Panics
    /// Something does not keep what it promises.
    pub fn run(&self, bytes: &[u8]) {
        let held = allocation_counter::measure(|| (self.run)(bytes)).bytes_max;
        let (some, each) = self.memory;
        let most = some + each * bytes.len() as u64;
        assert!(held <= most, "{}: {held} bytes for {} of input, of {most}", self.name, bytes.len());
    }
}
