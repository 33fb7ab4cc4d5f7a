//! A network namespace of the test's own, and an engine in it that is listened to.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::{PoisonError, RwLock, mpsc},
    thread,
    time::Duration,
};

use netmon_agent::{
    observation::{
        Evidence, FailureReason, Method, Observation, ProbeDetail, ProbeEvent, ProbeOutcome, TargetId,
    },
    source::probe::{Engine, EngineHandle, Options, Sockets, TargetSpec},
    time::Mono,
};
use nix::sched::{CloneFlags, unshare};

/// Long past anything a test waits for, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` in a thread of its own, in a network namespace of its own where only the loopback device is, and up.
pub fn in_netns(test: impl FnOnce() + Send + 'static) {
    let _others = FLOOD.read().unwrap_or_else(PoisonError::into_inner);
    run_in_netns(test);
}

/// The same for a test that floods: namespaces share each processor's backlog (`net.core.netdev_max_backlog`), and what
/// it drops would be missing in another test.
pub fn alone_in_netns(test: impl FnOnce() + Send + 'static) {
    let _nobody_else = FLOOD.write().unwrap_or_else(PoisonError::into_inner);
    run_in_netns(test);
}

static FLOOD: RwLock<()> = RwLock::new(());

fn run_in_netns(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("SKIPPED: needs root");
            assert!(std::env::var_os("CI").is_none(), "skipped where nothing may be skipped");
            return;
        }
        shell("ip link set lo up");
        sysctl("ipv4/ping_group_range", "0 2147483647");
        sysctl("ipv4/icmp_ratelimit", "0");
        sysctl("ipv4/icmp_msgs_per_sec", "100000");
        sysctl("ipv6/icmp/ratelimit", "0");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command in the calling thread's namespace; it must succeed.
pub fn shell(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Loads nftables rules into the input chain, one a line.
pub fn nft_input(rules: &[String]) {
    nft("input", rules);
}

/// Loads nftables rules into the chain of this hook, one a line.
pub fn nft(hook: &str, rules: &[String]) {
    let mut line = format!(
        "nft add table inet t; nft add chain inet t {hook} '{{ type filter hook {hook} priority 0; }}'"
    );
    for rule in rules {
        line += &format!("; nft add rule inet t {hook} '{rule}'");
    }
    shell(&format!("set -e; {line}"));
}

pub fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value).expect("sysctl");
}

/// 127.0.0.`n`: every loopback address is a host of its own to the engine.
pub fn host(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, n).into()
}

/// A target probed `count` times, quickly.
pub fn target(id: u32, address: IpAddr, method: Method, count: u64) -> TargetSpec {
    TargetSpec {
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(1),
        count: Some(count),
        ..TargetSpec::new(TargetId(id), vec![address], method)
    }
}

/// An engine and all it has said.
pub struct Probing {
    pub engine: EngineHandle,
    heard: mpsc::Receiver<Vec<Observation>>,
    pub events: Vec<ProbeEvent>,
}

impl Probing {
    pub fn start() -> Self {
        Self::hearing(|_| {})
    }

    /// `hear` is called on the engine's thread first.
    pub fn hearing(mut hear: impl FnMut(&[Observation]) + Send + 'static) -> Self {
        let (sender, heard) = mpsc::channel();
        let engine = Engine::start(Sockets::open(), Options { jitter: 0.0 }, move |seen| {
            hear(&seen);
            let _ = sender.send(seen);
        });
        Self { engine: engine.expect("an engine"), heard, events: Vec::new() }
    }

    /// Listens until `done`; fails when that does not come.
    pub fn until(&mut self, done: impl Fn(&[ProbeEvent]) -> bool) {
        let deadline = Mono::now() + PATIENCE;
        while !done(&self.events) {
            let left = deadline.since(Mono::now());
            let Ok(seen) = self.heard.recv_timeout(left) else {
                panic!("waited in vain; heard {:#?}\n{:?}", self.events, self.engine.stats())
            };
            for observation in seen {
                match observation.evidence {
                    Evidence::Probe(event) => self.events.push(event),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Probes these until each has had its `count` settled.
    pub fn run(&mut self, targets: Vec<TargetSpec>) {
        let wanted: u64 = targets.iter().filter_map(|t| t.count).sum();
        self.engine.set_targets(targets);
        self.until(|events| events.iter().filter(|e| settles(&e.outcome)).count() as u64 >= wanted);
    }

    /// What a target's probes came to, `Sent` and `Detail` left out.
    pub fn outcomes(&self, id: u32) -> Vec<&ProbeOutcome> {
        let of = |o: &&ProbeOutcome| !matches!(o, ProbeOutcome::Sent | ProbeOutcome::Detail(_));
        self.events.iter().filter(|e| e.target == TargetId(id)).map(|e| &e.outcome).filter(of).collect()
    }

    /// What was told of a target beside.
    pub fn details(&self, id: u32) -> Vec<ProbeDetail> {
        let of = |e: &&ProbeEvent| e.target == TargetId(id);
        let detail = |e: &ProbeEvent| match &e.outcome {
            ProbeOutcome::Detail(detail) => Some((**detail).clone()),
            _ => None,
        };
        self.events.iter().filter(of).filter_map(detail).collect()
    }

    /// Whether every one of a target's probes was answered, and answered once.
    pub fn all_answered(&self, id: u32) -> bool {
        let outcomes = self.outcomes(id);
        !outcomes.is_empty() && outcomes.iter().all(|o| matches!(o, ProbeOutcome::Reply { .. }))
    }

    /// Whether a target's probes failed with just this, as far as anything is known of them: on a busy machine the
    /// engine may have run late, and then a time-out proves nothing.
    pub fn all_failed(&self, id: u32, reason: FailureReason, reporter: Option<IpAddr>) -> bool {
        let mut known = self.outcomes(id);
        known.retain(|o| !matches!(o, ProbeOutcome::Inconclusive { .. } | ProbeOutcome::Corrupted));
        !known.is_empty() && known.iter().all(|o| **o == ProbeOutcome::Failed { reason, reporter })
    }
}

pub fn settles(outcome: &ProbeOutcome) -> bool {
    use ProbeOutcome::{Failed, Inconclusive, Reply};
    matches!(outcome, Reply { .. } | Failed { .. } | Inconclusive { .. })
}
