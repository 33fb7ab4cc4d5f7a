//! Probes: round trips while the wall clock steps, and a VRF's routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::observation::{
    Evidence, Method, Observation, PathOptions, ProbeOutcome, StampSource, TargetId,
};
use netmon_agent::source::probe::{Engine, EngineHandle, Options, Sockets, TargetSpec};
use netmon_agent::time::{Mono, Wall};
use netmon_tests::lab::{Counters, Netns, growth};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use crate::init::is_guest;
use crate::pair::{Pair, TOPOLOGIES};
use crate::report::{Case, Line, say};

/// Probes of a case, and how often: so that some are always under way.
const COUNT: u64 = 600;
const PACE: Duration = Duration::from_millis(10);
/// The peer's answers are held back so long, by netem.
const DELAY: Duration = Duration::from_millis(20);
/// What the emulated machine may add. A step of the clock would add an hour.
const SLOW: Duration = Duration::from_millis(800);
const HOUR: Duration = Duration::from_secs(3600);
/// Steps, forth and back by turns.
const STEPS: u32 = 12;
const TO: Ipv4Addr = Ipv4Addr::new(10, 98, 1, 2);

/// All cases.
pub fn suite() -> Result<()> {
    clock()?;
    vrf()
}

/// An hour forth and back while probes are under way.
fn clock() -> Result<()> {
    ensure!(is_guest(), "the clock of a machine that others use is not to be stepped: run it as a guest");
    let pair = Pair::new()?;
    pair.lay(&TOPOLOGIES[0])?;
    let delay = DELAY.as_millis();
    // In the peer: what answers leave late by.
    pair.peer.run(|| {
        let tc = std::process::Command::new("tc")
            .args(["qdisc", "add", "dev", "vb", "root", "netem", "delay", &format!("{delay}ms")])
            .status();
        let status = tc.context("tc")?;
        ensure!(status.success(), "tc: {status}");
        Ok(())
    })??;
    let listener = pair.peer.run(|| TcpListener::bind((TO, 0)))??;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    for (name, method) in [("ICMP", Method::Icmp), ("TCP", Method::Tcp { port })] {
        let start = Wall::now();
        let began = Mono::now();
        let target =
            TargetSpec { interval: PACE, count: Some(COUNT), timeout: HOUR, ..spec(TO.into(), method) };
        let (engine, heard) = start_in(&pair.node, vec![target])?;
        let mut settled = Vec::new();
        for step in 0..STEPS {
            settled.extend(listen(&heard, COUNT as usize / STEPS as usize));
            // Set by what has passed on the clock that never steps, so that nothing adds up.
            let now = start + Mono::now().since(began);
            set_clock(if step % 2 == 0 { now + HOUR } else { now })?;
        }
        settled.extend(listen(&heard, COUNT as usize - settled.len()));
        let stats = engine.stats();
        engine.stop();
        set_clock(start + Mono::now().since(began))?;
        let true_ones =
            settled.iter().filter(|rtt| rtt.is_some_and(|rtt| (DELAY..DELAY + SLOW).contains(&rtt)));
        let mut case = Case {
            suite: "probe",
            case: format!("clock steps of an hour, {name}"),
            figure: "round trips",
            kernel: COUNT,
            ours: true_ones.count() as u64,
            devices: BTreeMap::from([
                ("steps".to_owned(), STEPS.into()),
                ("stepped upon".to_owned(), stats.clock_steps),
                ("kernel's stamps".to_owned(), stats.stamps[StampSource::Kernel as usize]),
            ]),
            ..Case::default()
        };
        if case.ours != case.kernel {
            let is_odd =
                |rtt: &&Option<Duration>| rtt.is_none_or(|rtt| !(DELAY..DELAY + SLOW).contains(&rtt));
            let odd: Vec<_> = settled.iter().filter(is_odd).collect();
            case.wrong = format!("not a round trip of {delay} ms: {odd:?}");
        }
        if name == "ICMP" && stats.clock_steps == 0 {
            case.wrong = "no probe was under way at any step: nothing was tried".to_owned();
        }
        say(&Line::Case(case));
    }
    Ok(())
}

/// What is reached by a VRF's routes alone, told by the peer's own count of echo requests.
fn vrf() -> Result<()> {
    let topology = TOPOLOGIES.iter().find(|t| t.name == "VRF").context("no such topology")?;
    let pair = Pair::new()?;
    pair.lay(topology)?;
    let to = IpAddr::from([10, 98, 10, 2]);
    let device =
        |name: &str| Arc::new(PathOptions { device: Some(name.to_owned()), ..PathOptions::default() });
    for (name, path, arrive) in
        [("no VRF", Arc::default(), 0), ("VRF", device("vrf0"), 20), ("its port", device("va"), 20)]
    {
        let before = Counters::read(&pair.peer)?;
        let few = TargetSpec { interval: PACE, count: Some(20), path, ..spec(to, Method::Icmp) };
        let (engine, heard) = start_in(&pair.node, vec![few])?;
        let replies = listen(&heard, 20).iter().flatten().count() as u64;
        engine.stop();
        let arrived = growth(&before, &Counters::read(&pair.peer)?, "IcmpInEchos");
        let wrong =
            if (arrived, replies) == (arrive, arrive) { String::new() } else { format!("{arrive} expected") };
        let case = format!("by {name}");
        say(&Line::Case(Case {
            suite: "probe",
            case,
            figure: "InEchos",
            kernel: arrived,
            ours: replies,
            wrong,
            ..Case::default()
        }));
    }
    Ok(())
}

fn spec(to: IpAddr, method: Method) -> TargetSpec {
    TargetSpec::new(TargetId(1), vec![to], method)
}

/// An engine inside a namespace.
fn start_in(
    netns: &Netns,
    targets: Vec<TargetSpec>,
) -> Result<(EngineHandle, mpsc::Receiver<Vec<Observation>>)> {
    let (sender, heard) = mpsc::channel();
    let engine = netns.run(|| {
        // Whoever listened may be done.
        Engine::start(Sockets::open(), Options { jitter: 0.0 }, move |seen| drop(sender.send(seen)))
    })??;
    engine.set_targets(targets);
    Ok((engine, heard))
}

/// The round trips of the next so many probes, none for one without; fewer when nothing more comes.
fn listen(heard: &mpsc::Receiver<Vec<Observation>>, count: usize) -> Vec<Option<Duration>> {
    let mut settled = Vec::new();
    while settled.len() < count
        && let Ok(seen) = heard.recv_timeout(Duration::from_secs(30))
    {
        settled.extend(seen.iter().filter_map(|observation| match &observation.evidence {
            Evidence::Probe(event) => match event.outcome {
                ProbeOutcome::Reply { rtt, .. } => Some(Some(rtt)),
                ProbeOutcome::Failed { .. } | ProbeOutcome::Inconclusive { .. } => Some(None),
                _ => None,
            },
            _ => None,
        }));
    }
    settled
}

/// Sets the clock of a machine that is ours alone.
pub fn set_clock(to: Wall) -> Result<()> {
    let time = TimeSpec::from_duration(Duration::from_nanos(to.as_nanos()));
    clock_settime(ClockId::CLOCK_REALTIME, time).context("setting the clock")
}
