//! The world: node – gateway – internet, and the faults between them.

mod cgroup;
mod command;
mod counters;
mod dns;
mod fault;
mod link;
mod netns;
mod server;
mod service;
mod signals;
mod switch;
mod traffic;
mod world;

pub use cgroup::MemoryGroup;
pub use command::{find_program, run};
pub use counters::{Counters, growth};
pub use dns::{Answer, Records, Resolver};
pub use fault::{Code, Fault, Place, Way, What};
pub use netns::{Netns, unique};
pub use server::{DISCARD, ECHO, Server};
pub use signals::{Watchdog, clean_up_on_signals};
pub use switch::Switch;
pub use traffic::{Bulk, abort_connections, refused_connections};
pub use world::{Family, Options, SERVER_V4, SERVER_V6, World};

/// Why no world can be made here, in one line with what would help; `None` when it can.
pub fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some(
            "network namespaces need root: run it again as root (sudo -E cargo xtask test)".to_owned(),
        );
    }
    let missing: Vec<_> = [("ip", "iproute2"), ("nft", "nftables"), ("ping", "iputils-ping")]
        .into_iter()
        .filter(|(p, _)| find_program(p).is_none())
        .collect();
    if !missing.is_empty() {
        let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        return Some(format!("missing programs: apt-get install {}", packages.join(" ")));
    }
    Netns::create(&unique("try")).err().map(|e| {
        format!("no network namespace can be made here ({e:#}): a privileged container or a VM is needed")
    })
}
