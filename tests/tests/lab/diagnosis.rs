//! Where the fault is: each place, named by the agent for a fault that is really there.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::time::Mono;
use netmon_tests::agent::{Agent, Metrics, Start, Witness, await_until, get};
use netmon_tests::lab::{Answer, Family, Netns, Options, Place, Way, What, World, unique};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("diagnosis::a_lost_carrier_is_the_link", carrier_lost),
    ("diagnosis::a_removed_address_is_the_address", address_removed),
    ("diagnosis::a_removed_route_is_the_route", route_removed),
    ("diagnosis::a_gateway_that_is_gone_from_the_link_is_the_neighbour", gateway_gone),
    ("diagnosis::a_gateway_that_answers_for_its_address_alone_is_the_gateway", gateway_silent),
    ("diagnosis::a_blackhole_behind_the_gateway_is_the_path_with_its_last_hop", blackhole_behind),
    ("diagnosis::a_blackhole_of_ipv6_alone_is_that_familys_path", ipv6_blackhole),
    ("diagnosis::a_blackhole_deeper_has_the_router_before_it_as_last_hop", blackhole_deeper),
    ("diagnosis::a_closed_port_is_the_port_and_a_filtered_one_too", port_closed),
    ("diagnosis::a_resolver_that_fails_is_dns", resolver_fails),
    ("diagnosis::a_hole_for_large_packets_is_the_path_mtu", mtu_hole),
    ("diagnosis::a_service_whose_answers_are_too_large_for_a_hole_is_the_path_mtu", http_through_a_hole),
    ("diagnosis::an_agent_that_was_stopped_is_local", agent_stopped),
    ("diagnosis::a_firewall_of_ones_own_is_local", own_firewall),
    ("diagnosis::a_host_that_is_not_on_its_link_is_the_neighbour", no_such_neighbour),
    ("diagnosis::a_thousand_targets_down_at_once_make_no_storm", storm),
];

const UP: Duration = Duration::from_secs(20);
/// R4's five seconds, two until a look begins, twelve for the look; and a machine that runs other trials.
const FOUND: Duration = Duration::from_secs(40);

/// For what a thousand targets' metrics take where the machine has other things to do.
const LARGE: Duration = Duration::from_secs(60);

const GATEWAY: &str = "10.77.1.1";

fn v4_only() -> Result<World> {
    World::with(Options { ipv6: false, ..Options::default() })
}

fn up<'a>(agent: &'a Agent<'a>) -> Result<Witness<'a>> {
    let witness = Witness::new(agent)?;
    witness.up(UP)?;
    Ok(witness)
}

/// The diagnosis of a target, or of the whole where none is named, once it satisfies `wanted`.
fn diagnosed(agent: &Agent<'_>, target: Option<&str>, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let found = await_until(FOUND, || Ok(Some(diagnosis(agent, target)?).filter(&wanted)))?;
    found.with_context(|| format!("{target:?} is not diagnosed so: {}", agent.status().unwrap_or_default()))
}

fn diagnosis(agent: &Agent<'_>, target: Option<&str>) -> Result<Value> {
    let status = agent.status()?;
    let of = match target {
        None => &status,
        Some(name) => {
            let mut all = status["targets"].as_array().into_iter().flatten();
            all.find(|t| t["name"] == name).with_context(|| format!("no target {name}"))?
        }
    };
    Ok(of["diagnosis"].clone())
}

fn at(place: &str) -> impl Fn(&Value) -> bool + '_ {
    move |d| d["where"] == place
}

/// At this place, by a look.
fn seen_at(place: &str) -> impl Fn(&Value) -> bool + '_ {
    move |d| d["where"] == place && d["took_ms"].as_u64() > Some(0)
}

/// Looks that were begun so far and have ended.
fn looks(agent: &Agent<'_>) -> Result<f64> {
    looks_in(&agent.metrics()?)
}

fn looks_in(metrics: &Metrics) -> Result<f64> {
    let count = |result: &str| metrics.value("netmon_diagnoses_total", &[("result", result)]);
    let all = ["located", "inconclusive", "failed"].map(count).into_iter().collect::<Option<Vec<_>>>();
    Ok(all.context("no netmon_diagnoses_total")?.iter().sum())
}

fn carrier_lost() -> Result<()> {
    let world = World::new()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    witness.after("down", &["no_carrier/eth0"], UP, || world.carrier_down(0))?;
    // It stands in the event of the change itself.
    let told = witness.watch().expect(UP, |c| c["kind"] == "state" && c["state"] == "down");
    ensure!(told.as_ref().is_some_and(|c| c["diagnosis"]["where"] == "link"), "{told:?}");
    let whole = diagnosed(&agent, None, at("link"))?;
    ensure!(whole["detail"] == "eth0 has no carrier" && whole["took_ms"] == 0, "{whole}");
    diagnosed(&agent, Some("8.8.8.8"), at("link"))?;
    thread::sleep(Duration::from_secs(4));
    ensure!(looks(&agent)? == 0.0, "what its link explains was looked at: {:?}", agent.log.lines());
    witness.after("up", &[], UP, || world.carrier_up(0))?;
    ensure!(diagnosis(&agent, None)?.is_null() && diagnosis(&agent, Some("8.8.8.8"))?.is_null());
    Ok(())
}

fn address_removed() -> Result<()> {
    let world = v4_only()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    witness.after("down", &["no_address/eth0"], UP, || world.remove_address(0, Family::V4))?;
    diagnosed(&agent, None, at("address"))?;
    diagnosed(&agent, Some("8.8.8.8"), at("address")).map(drop)
}

fn route_removed() -> Result<()> {
    let world = v4_only()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    witness.after("degraded", &["target_down"], UP, || world.remove_route(0, Family::V4))?;
    diagnosed(&agent, Some("8.8.8.8"), at("route"))?;
    diagnosed(&agent, None, at("route"))?;
    thread::sleep(Duration::from_secs(4));
    ensure!(looks(&agent)? == 0.0, "what a missing route explains was looked at");
    Ok(())
}

fn gateway_gone() -> Result<()> {
    let world = v4_only()?;
    // The kernel asks for a neighbour again after seconds, not after three quarters of a minute.
    world.node.sysctl("ipv4/neigh/eth0/base_reachable_time_ms", "2000")?;
    world.node.sysctl("ipv4/neigh/eth0/delay_first_probe_time", "1")?;
    // What was resolved before that keeps the time it was given then.
    world.forget_neighbours(0)?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    let mut fault = None;
    witness.after("down", &["scope_down/gateway"], UP, || {
        fault = Some(world.blackhole()?);
        Ok(())
    })?;
    let gateway = diagnosed(&agent, Some("gateway-10.77.1.1"), at("neighbour"))?;
    let said = "the gateway 10.77.1.1 on eth0 does not answer for its address (ARP)";
    ensure!(gateway["detail"] == said, "{gateway}");
    diagnosed(&agent, None, at("neighbour"))?;
    // Found with the change or after it, it is told.
    let told = witness.watch().expect(UP, |c| c["kind"] == "state" && c["diagnosis"]["where"] == "neighbour");
    ensure!(told.is_some(), "{:?}", witness.watch().changes()?);
    witness.after("up", &[], UP, || fault.context("a fault")?.mend())?;
    Ok(())
}

fn gateway_silent() -> Result<()> {
    let world = v4_only()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    witness.after("down", &["scope_down/gateway"], UP, || {
        // It stays until the world ends.
        let _ = world.lose(Place::Uplink(0), Way::Both, What::Packets)?;
        Ok(())
    })?;
    diagnosed(&agent, None, at("gateway"))?;
    let gateway = diagnosed(&agent, Some("gateway-10.77.1.1"), at("gateway"))?;
    ensure!(gateway["detail"].as_str().is_some_and(|d| d.contains("link-layer address is")), "{gateway}");
    Ok(())
}

fn blackhole_behind() -> Result<()> {
    let world = v4_only()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    let mut fault = None;
    witness.after("degraded", &["target_down"], UP, || {
        fault = Some(world.blackhole_behind()?);
        Ok(())
    })?;
    let told = witness.watch().expect(UP, |c| c["kind"] == "target" && c["state"] == "down");
    ensure!(told.as_ref().is_some_and(|c| c["diagnosis"]["where"] == "path"), "at once: {told:?}");
    let whole = diagnosed(&agent, None, seen_at("path"))?;
    eprintln!("{whole}");
    ensure!(whole["last_hop"]["addresses"][0] == GATEWAY, "{whole}");
    ensure!(whole["hops"].as_array().is_some_and(|h| !h.is_empty()) && whole["reached"] == false, "{whole}");
    ensure!(whole["source"] == "10.77.1.2", "{whole}");
    let said = "everything beyond gateway 10.77.1.1 is silent, the gateway answers";
    ensure!(whole["detail"].as_str().is_some_and(|d| d.ends_with(said)), "{whole}");
    let name = whole["target"].as_str().context("the target that showed it")?;
    let target = diagnosed(&agent, Some(name), seen_at("path"))?;
    ensure!(target["detail"] == whole["detail"], "{target}");

    let is_finding =
        |c: &Value| c["state"] == c["previous"] && c["diagnosis"]["last_hop"]["addresses"][0] == GATEWAY;
    for kind in ["target", "state"] {
        let found = witness.watch().expect(UP, |c| c["kind"] == kind && is_finding(c));
        ensure!(found.is_some(), "no word of {kind} to those who follow: {:?}", witness.watch().changes()?);
    }
    ensure!(agent.log.await_line(UP, |l| l.contains("network diagnosed") && l.contains("path:")).is_some());
    let text = String::from_utf8_lossy(&agent.cli_output(&["status"])?.stdout).into_owned();
    ensure!(text.contains("  where: path: "), "{text}");
    ensure!(looks(&agent)? >= 1.0);
    witness.after("up", &[], UP, || fault.context("a fault")?.mend())?;
    ensure!(diagnosis(&agent, Some(name))?.is_null() && diagnosis(&agent, None)?.is_null());
    Ok(())
}

fn ipv6_blackhole() -> Result<()> {
    let world = World::new()?;
    let config = "[[target]]\nname = \"six\"\nhost = \"2001:db8:113::10\"\n";
    let agent = Start::new(&world)?.config(config).start()?;
    let witness = up(&agent)?;
    let gateway = world.gateway_address(0, Family::V6).to_string();
    let mut fault = None;
    witness.after("degraded", &["target_down/six"], UP, || {
        fault = Some(world.lose(Place::Wan(0), Way::Both, What::Ipv6)?);
        Ok(())
    })?;
    let found = diagnosed(&agent, Some("six"), seen_at("path"))?;
    ensure!(found["last_hop"]["addresses"][0] == *gateway, "{found}");
    let said = format!("the gateway {gateway} on eth0 answers, the target behind it does not");
    ensure!(found["detail"].as_str().is_some_and(|d| d.ends_with(&said)), "{found}");
    fault.context("a fault")?.mend()
}

fn blackhole_deeper() -> Result<()> {
    let world = v4_only()?;
    let far = Netns::create(&unique("far"))?;
    world.internet.ip(&format!(
        "link add far0 type veth peer name eth0 netns {}
         addr add 198.51.100.1/24 dev far0
         link set far0 up",
        far.name()
    ))?;
    world.internet.sysctl("ipv4/ip_forward", "1")?;
    far.ip("addr add 198.51.100.9/24 dev eth0
         link set eth0 up
         route add 0.0.0.0/0 via 198.51.100.1")?;
    let config = "[[target]]\nname = \"far\"\nhost = \"198.51.100.9\"\nprobe = \"tcp\"\nport = 443\n";
    let listener = far.run(|| TcpListener::bind("198.51.100.9:443"))??;
    let agent = Start::new(&world)?.config(config).start()?;
    let witness = up(&agent)?;
    far.nft(
        "table netdev hole {
         chain c {
         type filter hook ingress device \"eth0\" priority 0
         meta protocol ip drop
         }
         }
         ",
    )?;
    let found = diagnosed(&agent, Some("far"), seen_at("path"))?;
    ensure!(found["last_hop"]["addresses"][0] == "10.77.101.2" && found["last_hop"]["hop"] == 2, "{found}");
    ensure!(found["method"] == "tcp port 443", "{found}");
    diagnosed(&agent, None, seen_at("path"))?;
    drop((listener, witness));
    Ok(())
}

fn port_closed() -> Result<()> {
    let world = v4_only()?;
    let listen = |port: u16| world.internet.run(|| TcpListener::bind(("203.0.113.10", port)));
    let (closing, filtered) = (listen(8443)??, listen(8444)??);
    let target = |port: u16| {
        format!("[[target]]\nname = \"t{port}\"\nhost = \"203.0.113.10\"\nprobe = \"tcp\"\nport = {port}\n")
    };
    let agent = Start::new(&world)?.config(&(target(8443) + &target(8444))).start()?;
    let witness = up(&agent)?;
    witness.after("degraded", &["target_down/t8443"], UP, || {
        drop(closing);
        Ok(())
    })?;
    let found = diagnosed(&agent, Some("t8443"), at("port"))?;
    ensure!(found["detail"] == "port 8443 of 203.0.113.10 is closed, the host answers", "{found}");
    ensure!(found["took_ms"] == 0, "the refusal says it all: {found}");
    world.gateways[0].nft(
        "table inet filter {
         chain f {
         type filter hook forward priority 0
         tcp dport 8444 drop
         }
         }
         ",
    )?;
    let found = diagnosed(&agent, Some("t8444"), seen_at("port"))?;
    ensure!(found["last_hop"]["addresses"][0] == GATEWAY, "{found}");
    drop((filtered, witness));
    Ok(())
}

fn resolver_fails() -> Result<()> {
    let world = v4_only()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    for answer in [Answer::Servfail, Answer::Silence] {
        witness.after("degraded", &["target_down"], UP, || {
            world.resolver.answer(answer);
            Ok(())
        })?;
        diagnosed(&agent, Some("dns-10.77.1.1"), at("dns"))?;
        diagnosed(&agent, None, at("dns"))?;
        witness.after("up", &[], UP, || {
            world.resolver.answer(Answer::Yes);
            Ok(())
        })?;
    }
    Ok(())
}

fn mtu_hole() -> Result<()> {
    let world = v4_only()?;
    let config = "[[target]]\nname = \"large\"\nhost = \"203.0.113.10\"\nsize = 1400\ndont_fragment = true\n";
    let agent = Start::new(&world)?.config(config).start()?;
    let witness = up(&agent)?;
    witness.after("degraded", &["target_down/large"], UP, || hole(&world))?;
    let found = diagnosed(&agent, Some("large"), at("path_mtu"))?;
    eprintln!("{found}");
    ensure!(found["path_mtu"] == 1300 && found["reached"] == true, "{found}");
    let said = "packets over 1300 bytes vanish beyond hop 1, 10.77.1.1, without a word";
    ensure!(found["detail"] == said, "{found}");
    diagnosed(&agent, None, at("path_mtu")).map(drop)
}

/// Lets nothing larger through gateway 0.
fn hole(world: &World) -> Result<()> {
    world.gateways[0].nft(
        "table inet hole {
         chain f {
         type filter hook forward priority 0
         meta length > 1300 drop
         }
         }
         ",
    )
}

/// Answers every request with a page that takes several packets; it ends with its drop.
struct Pages {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pages {
    fn serve(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let page = format!("HTTP/1.1 200 OK\r\nX: {0}\r\nContent-Length: 0\r\n\r\n", "x".repeat(4000));
        let work = move || {
            let mut held = VecDeque::new();
            while !told.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                // One that goes is no concern of the others. Those that stay are kept for a while, for a close with
                // the request unread would be a reset.
                let _ = stream.set_nonblocking(false).and_then(|()| stream.write_all(page.as_bytes()));
                held.push_back(stream);
                held.drain(..held.len().saturating_sub(16));
            }
        };
        Ok(Self { ended, thread: Some(thread::spawn(work)) })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn http_through_a_hole() -> Result<()> {
    let world = v4_only()?;
    let _pages = Pages::serve(world.internet.run(|| TcpListener::bind("203.0.113.10:8080"))??)?;
    let config = "[[target]]\nname = \"web\"\nprobe = \"http\"\nurl = \"http://203.0.113.10:8080/\"\n";
    let agent = Start::new(&world)?.config(config).start()?;
    let witness = up(&agent)?;
    witness.after("degraded", &["target_down/web"], UP, || hole(&world))?;
    let found = diagnosed(&agent, Some("web"), at("path_mtu"))?;
    ensure!(found["path_mtu"] == 1300 && found["method"] == "tcp port 8080", "{found}");
    Ok(())
}

fn agent_stopped() -> Result<()> {
    let world = v4_only()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    agent.signal(Signal::SIGSTOP)?;
    thread::sleep(Duration::from_secs(5));
    agent.signal(Signal::SIGCONT)?;
    let told = witness.watch().expect(UP, |c| c["kind"] == "state" && c["diagnosis"]["where"] == "local");
    let told = told.with_context(|| format!("{:?}", witness.watch().changes()))?;
    ensure!(told["state"] == "unknown" && told["reasons"][0]["code"] == "stalled", "{told}");
    witness.up(UP)?;
    ensure!(looks(&agent)? == 0.0 && diagnosis(&agent, None)?.is_null());
    Ok(())
}

fn own_firewall() -> Result<()> {
    let world = v4_only()?;
    let agent = Agent::start(&world)?;
    let witness = up(&agent)?;
    witness.after("degraded", &["target_down/1.1.1.1"], UP, || {
        world.node.nft(
            "table inet own {
             chain o {
             type filter hook output priority 0
             ip daddr 1.1.1.1 drop
             }
             }
             ",
        )
    })?;
    diagnosed(&agent, None, seen_at("local"))?;
    let found = diagnosed(&agent, Some("1.1.1.1"), seen_at("local"))?;
    let said = "this machine's own firewall or routing forbids packets to 1.1.1.1";
    ensure!(found["detail"] == said, "{found}");
    Ok(())
}

fn no_such_neighbour() -> Result<()> {
    let world = v4_only()?;
    let config = "[[target]]\nname = \"nobody\"\nhost = \"10.77.1.99\"\n";
    let agent = Start::new(&world)?.config(config).start()?;
    diagnosed(&agent, Some("nobody"), seen_at("neighbour")).map(drop)
}

fn storm() -> Result<()> {
    const TARGETS: u32 = 1000;
    const INTERVAL: f64 = 2.0;
    let world = v4_only()?;
    world.internet.ip("route add local 198.18.0.0/16 dev lo")?;
    let mut config = String::from("[limits]\ncpu = \"off\"\n[metrics]\nlean = true\n");
    for i in 0..TARGETS {
        let (name, a, b) = (i, i / 250, 1 + i % 250);
        // Writing to a String can't fail.
        let _ = write!(config, "[[target]]\nname = \"t{name}\"\nhost = \"198.18.{a}.{b}\"\n");
    }
    // By the log as far as can be: status and metrics of so many are large.
    let agent = Start::new(&world)?.config(&config).spawn()?;
    ensure!(
        agent.log.await_line(UP, |l| l.contains("network is up")).is_some(),
        "{:?}",
        agent.log.lines().last()
    );
    let fault = world.blackhole_behind()?;
    let begun = Mono::now();
    let placed = || {
        let lines = agent.log.lines();
        // One may go down twice, on a machine with other things to do.
        let names = lines.iter().filter(|l| l.contains("\"path: ")).filter_map(|l| {
            l.split_once("\"message\":\"target t")?.1.split_once(" is down").map(|(name, _)| name.to_owned())
        });
        names.collect::<BTreeSet<_>>().len()
    };
    let all = await_until(FOUND, || {
        thread::sleep(Duration::from_millis(200));
        Ok((placed() == TARGETS as usize).then(|| Mono::now().since(begun)))
    })?;
    let all = all.with_context(|| format!("{} of them have a place", placed()))?;
    // What the bursts of R4 asked for has left by now.
    thread::sleep(Duration::from_secs(5));
    let metrics = || {
        let at = Mono::now();
        Ok::<_, anyhow::Error>((at, Metrics::parse(&get(&agent.socket, "/metrics", LARGE)?.body)?))
    };
    let (from, before) = metrics()?;
    thread::sleep(Duration::from_secs(20));
    let (to, after) = metrics()?;
    let sent = |m: &Metrics| m.sum("netmon_probes_total", &[]);
    let expected = to.since(from).as_secs_f64() * f64::from(TARGETS + 5) / INTERVAL;
    let pace = (sent(&after) - sent(&before)) / expected;
    let (looks, since) = (looks_in(&after)?, to.since(begun));
    let full = after.value("netmon_diagnoses_total", &[("result", "queue_full")]);
    eprintln!(
        "{TARGETS} down, each with its place after {all:.1?}; {looks} looks in {since:.1?}, pace {pace:.3}"
    );
    ensure!((0.9..1.1).contains(&pace), "probes at {pace:.3} of their pace");
    // Six in any minute.
    let most = 6.0 * (since.as_secs_f64() / 60.0).ceil();
    ensure!((1.0..=most).contains(&looks), "{looks} looks in {since:?}");
    ensure!(full.is_some_and(|n| n > 900.0), "{full:?} found the queue full");
    let told = agent.log.await_line(UP, |l| l.contains("network diagnosed"));
    ensure!(told.as_ref().is_some_and(|l| l.contains("everything beyond gateway")), "{told:?}");
    fault.mend()
}
