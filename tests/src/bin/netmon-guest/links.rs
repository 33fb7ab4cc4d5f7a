//! Links upon links: what netlink tells of real bonds, VLANs, bridges and VRFs, and what the core makes of it.
//!
//! No target is probed: the verdicts are those of links and routes alone.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use netmon_agent::health::{Health, Settings, State, Watch};
use netmon_agent::observation::Observation;
use netmon_agent::source::netlink::{Netlink, Options};
use netmon_agent::time::{Moment, Mono};

use crate::pair::Pair;
use crate::report::{Case, Line, say};

/// Longer than an emulated machine takes to tell of a change.
const PATIENCE: Duration = Duration::from_secs(20);

/// One stack of links.
struct Stack {
    name: &'static str,
    /// Commands of `ip` in the node; there is one wire already, from its `va` to the peer's `vb`.
    node: &'static str,
    steps: &'static [Step],
}

/// What is done, and what a device has to read then.
struct Step {
    what: &'static str,
    node: &'static str,
    peer: &'static str,
    device: &'static str,
    state: State,
    /// `code/subject` of each reason, in order.
    reasons: &'static [&'static str],
}

const fn start(device: &'static str) -> Step {
    Step { what: "at the start", node: "", peer: "", device, state: State::Up, reasons: &[] }
}

const SECOND_WIRE: &str = "link add name vc type veth peer name vd netns PEER\nlink set vc up\n";

const STACKS: [Stack; 5] = [
    Stack {
        name: "bond, monitored",
        node: "link set va down
            link set vc down
            link add name bo type bond mode active-backup miimon 100
            link set va master bo
            link set vc master bo
            link set bo up
            addr add 10.98.9.1/24 dev bo
            route add default via 10.98.9.2 dev bo",
        steps: &PORTS,
    },
    Stack {
        // The kernel never takes the carrier of this one.
        name: "bond, not monitored",
        node: "link set va down
            link set vc down
            link add name bo type bond mode active-backup
            link set va master bo
            link set vc master bo
            link set bo up
            addr add 10.98.9.1/24 dev bo
            route add default via 10.98.9.2 dev bo",
        steps: &PORTS,
    },
    Stack {
        name: "bridge",
        node: "link add name bo type bridge
            link set va master bo
            link set vc master bo
            link set bo up
            addr add 10.98.9.1/24 dev bo
            route add default via 10.98.9.2 dev bo",
        steps: &PORTS,
    },
    Stack {
        name: "VLAN",
        node: "link add link va name va.7 type vlan id 7
            link set va.7 up
            addr add 10.98.7.1/24 dev va.7
            route add default via 10.98.7.2 dev va.7",
        steps: &[
            start("va.7"),
            Step { what: "the device below has no address", ..start("va") },
            Step {
                what: "the device below loses its carrier",
                peer: "link set vb down",
                state: State::Down,
                reasons: &["no_carrier/va.7", "no_carrier/va"],
                ..start("va.7")
            },
            Step { what: "it is back", peer: "link set vb up", ..start("va.7") },
            Step {
                what: "the device below is set down",
                node: "link set va down",
                state: State::Down,
                reasons: &["admin_down/va.7", "admin_down/va"],
                ..start("va.7")
            },
        ],
    },
    Stack {
        name: "VRF",
        node: "link add name red type vrf table 10
            link set red up
            link set va master red
            addr add 10.98.10.1/24 dev va
            route add default via 10.98.10.2 dev va table 10",
        steps: &[
            start("red"),
            Step { what: "its member", ..start("va") },
            Step {
                what: "its member loses its carrier",
                peer: "link set vb down",
                state: State::Down,
                reasons: &["no_usable_link/red", "no_carrier/va"],
                ..start("red")
            },
            Step { what: "it is back", peer: "link set vb up", ..start("red") },
            Step {
                what: "its member loses its address",
                node: "addr flush dev va",
                state: State::Down,
                reasons: &["no_usable_link/red", "no_address/va"],
                ..start("red")
            },
        ],
    },
];

/// Two ports under `bo`.
const PORTS: [Step; 6] = [
    start("bo"),
    Step { what: "a port has no address", ..start("va") },
    Step {
        what: "one port is lost",
        peer: "link set vb down",
        state: State::Degraded,
        reasons: &["port_down/va"],
        ..start("bo")
    },
    Step {
        what: "both are",
        peer: "link set vd down",
        state: State::Down,
        reasons: &["no_carrier/bo", "no_carrier/va", "no_carrier/vc"],
        ..start("bo")
    },
    Step {
        what: "the second is back",
        peer: "link set vd up",
        state: State::Degraded,
        reasons: &["port_down/va"],
        ..start("bo")
    },
    Step { what: "both are back", peer: "link set vb up", ..start("bo") },
];

/// All cases.
pub fn suite() -> Result<()> {
    STACKS.iter().try_for_each(over)
}

fn over(stack: &Stack) -> Result<()> {
    let pair = Pair::new()?;
    pair.ip(&pair.node, SECOND_WIRE)?;
    pair.ip(&pair.peer, "link set vd up")?;
    pair.ip(&pair.node, stack.node)?;
    let mut core = Core::new(&pair)?;
    for step in stack.steps {
        // Before the first command: it may be over before the last one is.
        let began = Mono::now();
        for (netns, lines) in [(&pair.node, step.node), (&pair.peer, step.peer)] {
            if !lines.is_empty() {
                pair.ip(netns, lines)?;
            }
        }
        let found = core.until(step);
        let took = Mono::now().since(began).as_millis() as u64;
        let wrong = match &found {
            None => String::new(),
            Some(found) => format!("{} is {found}, not {} by {:?}", step.device, step.state, step.reasons),
        };
        say(&Line::Case(Case {
            suite: "links",
            case: format!("{}: {}", stack.name, step.what),
            figure: "verdicts",
            kernel: 1,
            ours: u64::from(found.is_none()),
            devices: [("milliseconds".to_owned(), took)].into(),
            wrong,
            ..Case::default()
        }));
    }
    Ok(())
}

/// The core, and what netlink tells it of the node.
struct Core {
    health: Health,
    heard: mpsc::Receiver<Observation>,
}

impl Core {
    fn new(pair: &Pair) -> Result<Self> {
        let (sender, heard) = mpsc::channel();
        let netns = pair.node.name().to_owned();
        // It ends with the guest: what it would tell then, nobody listens to.
        std::thread::spawn(move || {
            if let Err(e) = listen(&netns, sender) {
                eprintln!("netlink in {netns}: {e:#}");
            }
        });
        let watch = Watch::new(&["*".to_owned()], &["lo".to_owned()])?;
        // What comes and goes here by turns is not to be damped.
        let half_life = Duration::from_millis(1);
        let settings = Settings { flap_half_life: half_life, flap_suppress: u32::MAX, ..Settings::default() };
        Ok(Self { health: Health::new(Moment::now(), settings, watch, true), heard })
    }

    /// Listens until the device reads as it should; what it reads instead, if it does not come to that.
    fn until(&mut self, step: &Step) -> Option<String> {
        let deadline = Mono::now() + PATIENCE;
        loop {
            let now = Moment::now();
            while self.health.poll_timeout() <= now.mono {
                self.health.handle_timeout(now);
            }
            while self.health.poll_event().is_some() {}
            let read = self.read(step.device);
            if read == Some((step.state, step.reasons.iter().map(|r| (*r).to_owned()).collect())) {
                return None;
            }
            if now.mono >= deadline {
                return Some(
                    read.map_or("not there".to_owned(), |(state, why)| format!("{state} by {why:?}")),
                );
            }
            if let Ok(observation) = self.heard.recv_timeout(Duration::from_millis(200)) {
                self.health.handle(Moment::now(), observation);
            }
        }
    }

    fn read(&self, device: &str) -> Option<(State, Vec<String>)> {
        let device = self.health.devices().find(|d| d.name == device)?;
        let reasons = device.verdict.reasons.iter().map(|r| format!("{}/{}", r.code, r.subject));
        Some((device.verdict.state, reasons.collect()))
    }
}

/// Tells all that netlink tells of this namespace.
fn listen(netns: &str, sender: mpsc::Sender<Observation>) -> Result<()> {
    let file = std::fs::File::open(format!("/run/netns/{netns}")).context(netns.to_owned())?;
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let netlink = Netlink::open(&Options::default())?;
        Err(netlink.run(move |observation| drop(sender.send(observation))).await.into())
    })
}
