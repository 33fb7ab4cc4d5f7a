//! A chain of network namespaces: the test's own, four routers, a destination.
//!
//! Link `i` (0 to 4) is 10.99.`i`.0/24 and fd99:`i`::/64, with 1 at its near end, named `right`, and 2 at its far end,
//! named `left`. So hop `n` of a trace is 2 of link `n - 1`.

#![expect(clippy::unwrap_used, reason = "what a test stands on fails the test")]

use std::{net::IpAddr, process::Command, sync::mpsc, thread::JoinHandle};

use nix::sched::{CloneFlags, unshare};

use crate::netns::{alone, ip};

/// Routers; the destination is one hop farther.
const ROUTERS: usize = 4;
/// How far the destination is.
pub const LAST: u8 = ROUTERS as u8 + 1;

type Job = Box<dyn FnOnce() + Send>;

/// A namespace and the thread that lives in it; it ends with the thread.
struct Node {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            at_once();
            for job in todo {
                job();
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    fn with<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || drop(done.send(job())));
        self.jobs.as_ref().unwrap().send(job).unwrap();
        result.recv().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the namespace's thread ran to the end");
        }
    }
}

/// The chain, seen from its near end.
pub struct World {
    nodes: Vec<Node>,
}

/// Runs a test at the near end of a chain of its own.
pub fn in_chain(name: &str, test: impl FnOnce(&World) + Send + 'static) {
    alone(name, || test(&World::new()));
}

impl World {
    fn new() -> Self {
        at_once();
        let nodes: Vec<Node> = (0..=ROUTERS).map(|_| Node::new()).collect();
        for (i, far) in nodes.iter().enumerate() {
            let peer = far.with(nix::unistd::gettid);
            let near = move || {
                ip(&format!("link add right type veth peer name left netns {peer}"));
                open("right", i, 1);
                if i == 0 {
                    to_the_right(i);
                }
            };
            if i == 0 {
                near();
            } else {
                nodes[i - 1].with(near);
            }
            far.with(move || {
                open("left", i, 2);
                free();
                if i == ROUTERS {
                    ip(&format!("route add default via 10.99.{i}.1"));
                    ip(&format!("-6 route add default via fd99:{i}::1"));
                } else if i > 0 {
                    ip(&format!("route add 10.99.0.0/24 via 10.99.{i}.1"));
                    ip(&format!("-6 route add fd99:0::/64 via fd99:{i}::1"));
                }
            });
        }
        for (n, router) in (1..).zip(&nodes[..ROUTERS]) {
            router.with(move || to_the_right(n));
        }
        sysctl("ipv4/ping_group_range", "0 2147483647");
        Self { nodes }
    }

    /// Does something at hop `n`.
    pub fn at<T: Send + 'static>(&self, n: u8, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.nodes[usize::from(n) - 1].with(job)
    }

    /// A command at hop `n`.
    pub fn shell(&self, n: u8, line: &str) {
        let line = line.to_owned();
        self.at(n, move || shell(&line));
    }

    /// A rule against what hop `n` itself sends.
    pub fn nft_output(&self, n: u8, rule: &str) {
        let chain = "nft add chain inet t o '{ type filter hook output priority 0; }'";
        self.shell(n, &format!("nft add table inet t && {chain} && nft add rule inet t o '{rule}'"));
    }

    /// The link after hop `n` takes packets up to this size.
    pub fn narrow(&self, n: u8, mtu: u32) {
        self.shell(n, &format!("ip link set right mtu {mtu}"));
        self.shell(n + 1, &format!("ip link set left mtu {mtu}"));
    }
}

/// Addresses can be used at once: a second's wait for those who have them already would be a second's round trip.
fn at_once() {
    sysctl("ipv6/conf/default/accept_dad", "0");
}

fn open(device: &str, link: usize, host: u8) {
    ip(&format!("addr add 10.99.{link}.{host}/24 dev {device}"));
    ip(&format!("-6 addr add fd99:{link}::{host}/64 dev {device} nodad"));
    ip(&format!("link set {device} up"));
}

fn to_the_right(link: usize) {
    ip(&format!("route add default via 10.99.{link}.2"));
    ip(&format!("-6 route add default via fd99:{link}::2"));
}

/// Passes packets on, and sends as many errors as are due.
fn free() {
    sysctl("ipv4/ip_forward", "1");
    sysctl("ipv6/conf/all/forwarding", "1");
    limit_errors("0");
}

/// So many milliseconds from one error to the next; 0: no limit.
pub fn limit_errors(millis: &str) {
    sysctl("ipv4/icmp_ratelimit", millis);
    sysctl("ipv6/icmp/ratelimit", millis);
}

/// The address by which hop `n` answers.
pub fn hop(n: u8, v6: bool) -> IpAddr {
    let link = n - 1;
    if v6 { format!("fd99:{link}::2") } else { format!("10.99.{link}.2") }.parse().unwrap()
}

/// Runs a command in the calling thread's namespace; it must succeed.
pub fn shell(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value).expect("sysctl");
}
