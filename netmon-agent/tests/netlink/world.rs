//! A network namespace that a test has to itself, and a source that listens in it.

#![expect(clippy::unwrap_used, reason = "what a test stands on fails the test")]

use std::{
    ffi::OsStr,
    io::Write,
    net::IpAddr,
    os::unix::ffi::OsStrExt,
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use netmon_agent::{
    observation::{
        Evidence, IfIndex, IfName, Link, LinkStats, Network, NetworkChange, Observation, SourceKind,
    },
    source::netlink::{Counters, Netlink, Options, read},
    time::Mono,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tokio::sync::oneshot;

use crate::netns::run;

/// However slow the machine, it is done by then.
const DEADLINE: Duration = Duration::from_secs(30);

/// Mounts this namespace's sysfs over `/sys`, for this thread and those it starts alone.
pub fn own_sysfs() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
}

/// `ip` with words of any bytes.
pub fn ip_bytes(words: &[&[u8]]) {
    run(&words.iter().map(|w| OsStr::from_bytes(w).to_owned()).collect::<Vec<_>>());
}

/// What `ip -j` says.
pub fn json(words: &str) -> serde_json::Value {
    let output = Command::new("ip").arg("-j").args(words.split(' ')).output().expect("iproute2");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Many commands by one `ip`; all must succeed.
pub fn ip_batch(commands: impl IntoIterator<Item = String>) {
    assert!(batch(&["-batch", "-"], commands));
}

/// Many commands by one `ip`; some may fail.
pub fn ip_batch_forced(commands: impl IntoIterator<Item = String>) {
    batch(&["-force", "-batch", "-"], commands);
}

fn batch(options: &[&str], commands: impl IntoIterator<Item = String>) -> bool {
    let mut child = Command::new("ip")
        .args(options)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("iproute2");
    let text: Vec<String> = commands.into_iter().collect();
    child.stdin.take().unwrap().write_all((text.join("\n") + "\n").as_bytes()).unwrap();
    child.wait().unwrap().success()
}

/// A source that runs, and the network as its changes applied one by one make it.
pub struct World {
    pub network: Network,
    pub counters: Arc<Counters>,
    /// Every change since the test last cleared it.
    pub seen: Vec<NetworkChange>,
    /// From each gap to the dump that ends it.
    pub gap_to_dump: Vec<Duration>,
    gap: Option<Mono>,
    options: Options,
    /// While a test holds it, the source does not go on after its next event, so that its buffer overflows.
    pub gate: Arc<Mutex<()>>,
    observations: mpsc::Receiver<(Mono, Observation)>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    pub fn start(options: Options) -> Self {
        let (sender, observations) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (say_counters, counters) = mpsc::channel();
        let gate = Arc::new(Mutex::new(()));
        let held = Arc::clone(&gate);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let source = Netlink::open(&options).unwrap();
                say_counters.send(source.counters()).unwrap();
                let emit = |o| {
                    let at = Mono::now();
                    drop(held.lock());
                    drop(sender.send((at, o)));
                };
                tokio::select! {
                    error = source.run(emit) => panic!("{error}"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            network: Network::default(),
            counters: counters.recv().unwrap(),
            seen: Vec::new(),
            gap_to_dump: Vec::new(),
            gap: None,
            options,
            gate,
            observations,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Takes in what comes until the network is like this.
    pub fn until(&mut self, what: &str, reached: impl Fn(&Network) -> bool) {
        let deadline = Mono::now() + DEADLINE;
        while !reached(&self.network) {
            let left = deadline.since(Mono::now());
            assert!(self.take(left).is_some(), "waited in vain for {what}: {:#?}", self.network);
        }
    }

    /// When the change of this form was emitted.
    pub fn emitted(&mut self, what: &str, form: impl Fn(&NetworkChange) -> bool) -> Mono {
        loop {
            self.seen.clear();
            let at = self.take(DEADLINE).unwrap_or_else(|| panic!("waited in vain for {what}"));
            if self.seen.iter().any(&form) {
                return at;
            }
        }
    }

    /// Takes in what comes until nothing has come for so long.
    pub fn idle(&mut self, quiet: Duration) {
        while self.take(quiet).is_some() {}
    }

    /// Takes in what comes until the network is what a source that starts now would tell first. Fails if that does
    /// not come about: the source then rests on something that is not so.
    pub fn equals_a_fresh_dump(&mut self) {
        let deadline = Mono::now() + DEADLINE;
        loop {
            self.idle(Duration::from_millis(20));
            let fresh = quiet(read(&self.options).unwrap());
            let ours = quiet(self.network.clone());
            if ours == fresh {
                return;
            }
            assert!(Mono::now() < deadline, "from events: {ours:#?}\nfrom a fresh dump: {fresh:#?}");
        }
    }

    /// Checks links and addresses against what iproute2 reads of the same kernel. Names must be UTF-8.
    pub fn agrees_with_ip(&self) {
        let network = &self.network;
        let told = json("-d addr show");
        let told = told.as_array().unwrap();
        assert_eq!(told.len(), network.links.len());
        for told in told {
            let link = &network.links[&IfIndex(told["ifindex"].as_u64().unwrap() as u32)];
            let flags: Vec<&str> =
                told["flags"].as_array().unwrap().iter().filter_map(|f| f.as_str()).collect();
            assert_eq!(link.name, IfName::new(told["ifname"].as_str().unwrap()));
            assert_eq!(u64::from(link.mtu), told["mtu"].as_u64().unwrap());
            assert_eq!(link.oper.as_str(), told["operstate"].as_str().unwrap().to_lowercase());
            assert_eq!(link.admin_up, flags.contains(&"UP"), "{told}");
            assert_eq!(link.carrier, flags.contains(&"LOWER_UP"), "{told}");
            assert_eq!(link.loopback, flags.contains(&"LOOPBACK"));
            assert_eq!(link.kind.as_deref(), told["linkinfo"]["info_kind"].as_str());
            let master = link.master.map(|m| network.links[&m].name.escaped());
            assert_eq!(master.as_deref(), told["master"].as_str());
            let mac: Vec<String> = link.mac.iter().flatten().map(|b| format!("{b:02x}")).collect();
            assert_eq!(mac.join(":"), told["address"].as_str().unwrap());
            let mut theirs: Vec<(IpAddr, u64)> = told["addr_info"]
                .as_array()
                .unwrap()
                .iter()
                .map(|a| (a["local"].as_str().unwrap().parse().unwrap(), a["prefixlen"].as_u64().unwrap()))
                .collect();
            theirs.sort_unstable();
            let ours: Vec<_> =
                network.addresses_of(link.index).map(|a| (a.address, u64::from(a.prefix_len))).collect();
            assert_eq!(ours, theirs);
        }
    }

    fn take(&mut self, wait: Duration) -> Option<Mono> {
        let (at, observation) = self.observations.recv_timeout(wait).ok()?;
        match observation.evidence {
            Evidence::Network(change) => {
                if matches!(change, NetworkChange::Dump(_))
                    && let Some(gap) = self.gap.take()
                {
                    self.gap_to_dump.push(observation.at.since(gap));
                }
                self.seen.push(change.clone());
                self.network.apply(change);
            }
            Evidence::Gap(SourceKind::Netlink) => self.gap = Some(observation.at),
            other => panic!("{other:?}"),
        }
        Some(at)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the source ran to the end");
        }
    }
}

/// Without traffic counters, which never stand still.
fn quiet(mut network: Network) -> Network {
    for link in network.links.values_mut() {
        *link = Link { stats: LinkStats::default(), ..link.clone() };
    }
    network
}
