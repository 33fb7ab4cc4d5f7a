//! R2 and R2b where one device stands on another: bonds, bridges, VLANs, VRFs.

use super::*;

fn device(index: u32, name: &str, kind: Option<&str>) -> Link {
    Link {
        index: IfIndex(index),
        name: IfName::new(name),
        kind: kind.map(str::to_owned),
        admin_up: true,
        carrier: true,
        oper: OperState::Up,
        ..Link::default()
    }
}

/// The usual uplink is a device of this kind, index 2, with two ports that are no others' business.
fn over_ports(kind: &str, name: &str) -> World {
    let mut n = uplink(2, name, "10.0.0.2", "10.0.0.1");
    n.links.get_mut(&IfIndex(2)).unwrap().kind = Some(kind.to_owned());
    for (index, name) in [(3, "eth1"), (4, "eth2")] {
        let port = Link { master: Some(IfIndex(2)), ..device(index, name, None) };
        n.links.insert(port.index, port);
    }
    settled(n)
}

/// Runs until all is known; it has to be up then.
fn settled(n: Network) -> World {
    let mut w = World::new(Settings::default(), n);
    w.run(5000);
    assert_eq!(w.state(), State::Up, "{:?}", w.health.verdict());
    w.changes.clear();
    w
}

impl World {
    fn change(&mut self, index: u32, change: impl FnOnce(&mut Link)) {
        let mut link = self.health.network().links[&IfIndex(index)].clone();
        change(&mut link);
        self.network(NetworkChange::Link(Box::new(link)));
    }

    fn verdict_of(&self, name: &str) -> &Verdict {
        &self.health.devices().find(|d| d.name == name).unwrap().verdict
    }

    /// A device's state, and its reasons as `code/subject`.
    fn told(&self, name: &str) -> (State, Vec<String>) {
        let verdict = self.verdict_of(name);
        (verdict.state, verdict.reasons.iter().map(|r| format!("{}/{}", r.code, r.subject)).collect())
    }

    fn overall(&self) -> Vec<String> {
        self.health.verdict().reasons.iter().map(|r| format!("{}/{}", r.code, r.subject)).collect()
    }
}

fn reasons(all: &[&str]) -> Vec<String> {
    all.iter().map(|r| (*r).to_owned()).collect()
}

#[test]
fn r2_a_port_has_no_address_by_design() {
    for kind in ["bond", "bridge", "team"] {
        let w = over_ports(kind, "up0");
        for port in ["eth1", "eth2"] {
            assert_eq!(w.told(port), (State::Up, vec![]), "{kind}");
        }
    }
}

#[test]
fn r2b_a_lost_port_degrades_its_master_and_names_the_port() {
    for kind in ["bond", "bridge", "team"] {
        let mut w = over_ports(kind, "up0");
        w.change(3, |l| l.carrier = false);
        assert_eq!(
            w.told("up0"),
            (State::Degraded, reasons(&["port_down/eth1"])),
            "{kind}, in the same instant"
        );
        assert_eq!(w.verdict_of("up0").reasons[0].detail, "eth1 has no carrier; up0 has eth2 left");
        assert_eq!(w.told("eth1"), (State::Down, reasons(&["no_carrier/eth1"])));
        assert_eq!((w.state(), w.overall()), (State::Degraded, reasons(&["port_down/eth1"])), "told once");
        w.change(3, |l| l.carrier = true);
        assert_eq!((w.told("up0").0, w.state()), (State::Up, State::Up));
    }
}

#[test]
fn r2b_a_port_that_never_served_or_has_left_is_no_fault() {
    let mut n = over_ports("bond", "bond0").health.network().clone();
    n.links.get_mut(&IfIndex(4)).unwrap().carrier = false;
    let mut w = settled(n);
    assert_eq!(w.told("bond0"), (State::Up, vec![]));
    w.change(4, |l| l.carrier = true);
    w.change(4, |l| l.carrier = false);
    assert_eq!(w.told("bond0").0, State::Degraded, "now it has served");
    w.network(NetworkChange::LinkGone(IfIndex(4)));
    assert_eq!(w.told("bond0"), (State::Up, vec![]));
}

#[test]
fn r2_the_last_port_takes_its_master_with_it_before_the_kernel_says_so() {
    for kind in ["bond", "bridge", "team"] {
        let mut w = over_ports(kind, "up0");
        w.change(3, |l| l.admin_up = false);
        w.change(4, |l| l.carrier = false);
        let all = reasons(&["no_carrier/up0", "admin_down/eth1", "no_carrier/eth2"]);
        assert_eq!(w.told("up0"), (State::Down, all.clone()), "{kind}");
        assert_eq!(w.verdict_of("up0").reasons[0].detail, "up0 is down with all its ports: eth1, eth2");
        assert_eq!((w.state(), w.overall()[..3].to_vec()), (State::Down, all), "in the same instant");
        assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::ExplainedByLink)));
        // The kernel's own word comes late, and changes nothing.
        w.changes.clear();
        w.link(|l| (l.carrier, l.oper) = (false, OperState::Down));
        assert_eq!(w.changes, []);
        w.link(|l| (l.carrier, l.oper) = (true, OperState::Up));
        assert_eq!(w.state(), State::Down, "no port, whatever the kernel says");
        w.change(3, |l| l.admin_up = true);
        w.until(State::Degraded, 3000);
        w.change(4, |l| l.carrier = true);
        w.until(State::Up, 3000);
    }
}

#[test]
fn r2_a_master_without_ports_is_taken_by_the_kernels_word() {
    for kind in ["bond", "bridge"] {
        let mut n = uplink(2, "up0", "10.0.0.2", "10.0.0.1");
        n.links.get_mut(&IfIndex(2)).unwrap().kind = Some(kind.to_owned());
        let mut w = settled(n);
        w.link(|l| l.carrier = false);
        assert_eq!(w.told("up0"), (State::Down, reasons(&["no_carrier/up0"])));
    }
}

#[test]
fn r2_a_master_of_another_kind_does_not_hang_on_its_port() {
    // As a virtual function under a synthetic device (netvsc): that serves without it.
    let mut n = uplink(2, "eth0", "10.0.0.2", "10.0.0.1");
    let port = Link { master: Some(IfIndex(2)), ..device(3, "eth1", None) };
    n.links.insert(port.index, port);
    let mut w = settled(n);
    w.change(3, |l| l.carrier = false);
    assert_eq!(w.told("eth0"), (State::Up, vec![]));
}

#[test]
fn r2b_a_port_whose_master_is_not_watched_speaks_for_itself() {
    let n = over_ports("bridge", "br-x").health.network().clone();
    let mut w = settled(n);
    let watch = Watch::new(&["*".into()], &["br-*".into()]).unwrap();
    w.health.configure(w.moment(), Settings::default(), watch);
    w.change(3, |l| l.carrier = false);
    assert_eq!((w.state(), w.overall()), (State::Degraded, reasons(&["no_carrier/eth1"])));
}

/// The usual uplink is a VLAN, index 2, on eth0, index 3, which has no address.
fn over_vlan() -> World {
    let mut n = uplink(2, "eth0.5", "10.0.0.2", "10.0.0.1");
    let vlan = n.links.get_mut(&IfIndex(2)).unwrap();
    (vlan.kind, vlan.lower) = (Some("vlan".to_owned()), Some(IfIndex(3)));
    n.links.insert(IfIndex(3), device(3, "eth0", None));
    settled(n)
}

#[test]
fn r2_a_lower_device_explains_what_stands_on_it() {
    let mut w = over_vlan();
    assert_eq!(w.told("eth0"), (State::Up, vec![]), "it needs no address of its own");
    w.change(3, |l| l.carrier = false);
    let both = reasons(&["no_carrier/eth0.5", "no_carrier/eth0"]);
    assert_eq!(w.told("eth0.5"), (State::Down, both.clone()));
    assert_eq!(w.verdict_of("eth0.5").reasons[0].detail, "eth0.5 is down with eth0, on which it stands");
    assert_eq!((w.state(), w.overall()[..2].to_vec()), (State::Down, both));

    // The kernel sets a VLAN down with the device below it, but not that with a VLAN.
    let mut w = over_vlan();
    w.change(3, |l| (l.admin_up, l.carrier) = (false, false));
    w.change(2, |l| (l.admin_up, l.carrier) = (false, false));
    assert_eq!(w.told("eth0.5").1, reasons(&["admin_down/eth0.5", "admin_down/eth0"]));
    let mut w = over_vlan();
    w.change(3, |l| l.carrier = false);
    w.change(2, |l| (l.admin_up, l.carrier) = (false, false));
    assert_eq!(w.told("eth0.5").1, reasons(&["admin_down/eth0.5"]), "somebody set it down by itself");
}

#[test]
fn r2_a_lower_device_of_a_vlan_in_a_bridge_needs_no_address() {
    let mut n = uplink(2, "br5", "10.0.0.2", "10.0.0.1");
    n.links.get_mut(&IfIndex(2)).unwrap().kind = Some("bridge".to_owned());
    let vlan =
        Link { master: Some(IfIndex(2)), lower: Some(IfIndex(4)), ..device(3, "eth0.5", Some("vlan")) };
    n.links.insert(vlan.index, vlan);
    n.links.insert(IfIndex(4), device(4, "eth0", None));
    let mut w = settled(n);
    assert_eq!(w.told("eth0"), (State::Up, vec![]));
    w.change(4, |l| l.carrier = false);
    let all = reasons(&["no_carrier/br5", "no_carrier/eth0.5", "no_carrier/eth0"]);
    assert_eq!(w.told("br5"), (State::Down, all), "through both layers, to the one that is to blame");
}

#[test]
fn r2_a_device_that_nothing_stands_on_needs_an_address() {
    let mut n = over_vlan().health.network().clone();
    n.links.insert(IfIndex(4), device(4, "eth1", None));
    let tunnel = Link { lower: Some(IfIndex(4)), ..device(5, "tun6", Some("sit")) };
    n.links.insert(tunnel.index, tunnel);
    let w = settled(n);
    assert_eq!(w.told("eth1"), (State::Down, reasons(&["no_address/eth1"])), "a tunnel goes by a route");
}

#[test]
fn r2_a_loop_of_lower_devices_ends() {
    let mut w = over_vlan();
    w.change(3, |l| (l.kind, l.lower) = (Some("vlan".to_owned()), Some(IfIndex(2))));
    assert_eq!(w.told("eth0.5").0, State::Up);
}

/// The usual uplink, and a VRF, index 9, with one member, index 3, that has a default route of its own.
fn beside_vrf() -> World {
    let mut n = uplink(2, "eth0", "10.0.0.2", "10.0.0.1");
    let mut inner = uplink(3, "eth1", "10.1.0.2", "10.1.0.1");
    inner.links.get_mut(&IfIndex(3)).unwrap().master = Some(IfIndex(9));
    inner.routes.iter_mut().for_each(|r| r.table = 10);
    n.links.extend(inner.links);
    n.addresses.extend(inner.addresses);
    n.routes.extend(inner.routes);
    let vrf = Link { table: Some(10), ..device(9, "red", Some("vrf")) };
    n.links.insert(vrf.index, vrf);
    settled(n)
}

#[test]
fn r2_a_vrf_is_as_usable_as_its_best_member() {
    let mut w = beside_vrf();
    assert_eq!(w.told("red"), (State::Up, vec![]), "it needs no address");
    w.change(3, |l| l.carrier = false);
    let both = reasons(&["no_usable_link/red", "no_carrier/eth1"]);
    assert_eq!(w.told("red"), (State::Down, both));
    assert_eq!(
        (w.state(), w.overall()),
        (State::Degraded, reasons(&["no_carrier/eth1", "no_usable_link/red"]))
    );
    w.change(3, |l| l.carrier = true);
    let address = w.health.network().addresses_of(IfIndex(3)).next().unwrap().clone();
    w.network(NetworkChange::AddressGone(address));
    assert_eq!(w.told("eth1").1, reasons(&["no_address/eth1"]), "a member serves by its own address");
    w.change(3, |l| l.master = None);
    assert_eq!(w.told("red").1, reasons(&["no_usable_link/red"]), "without members");
}

#[test]
fn r2_a_vrfs_default_route_is_not_the_machines() {
    let mut w = beside_vrf();
    w.link(|l| l.carrier = false);
    assert_eq!(w.state(), State::Down, "what is not bound to the VRF can't go by it");
    assert_eq!(w.target("a"), (State::Down, Some(ReasonCode::ExplainedByLink)));
}

#[test]
fn r3_a_target_in_a_vrf_is_the_vrfs() {
    let mut w = beside_vrf();
    let mut specs: Vec<_> = w.health.targets().map(|t| t.spec.clone()).collect();
    let mut inner = target(7, "inner", "red", "9.9.9.9", Role::Plain);
    inner.link = Some(IfIndex(9));
    specs.push(inner);
    w.health.set_targets(w.moment(), specs.clone());
    w.run(5000);
    assert_eq!(w.target("inner"), (State::Up, None));
    w.link(|l| l.carrier = false);
    assert_eq!(w.target("inner"), (State::Up, None), "the machine's own uplink is not its");
    w.link(|l| l.carrier = true);
    w.change(3, |l| l.carrier = false);
    assert_eq!(w.target("inner"), (State::Down, Some(ReasonCode::ExplainedByLink)));
    w.run(3000);
    assert_eq!(w.target("a").0, State::Up);

    // The VRF is made anew: the same target by the same name, under another number.
    w.change(3, |l| l.carrier = true);
    w.run(5000);
    w.changes.clear();
    let vrf = w.health.network().links[&IfIndex(9)].clone();
    w.network(NetworkChange::LinkGone(IfIndex(9)));
    assert_eq!(w.target("inner").0, State::Down, "its table is none of a VRF any more");
    w.network(NetworkChange::Link(Box::new(Link { index: IfIndex(12), ..vrf })));
    w.change(3, |l| l.master = Some(IfIndex(12)));
    specs.last_mut().unwrap().link = Some(IfIndex(12));
    let probes = w.health.targets().last().unwrap().addresses[0].stats.counters.concluded;
    w.health.set_targets(w.moment(), specs);
    w.drain();
    w.run(3000);
    assert_eq!(w.target("inner"), (State::Up, None));
    assert!(
        w.health.targets().last().unwrap().addresses[0].stats.counters.concluded > probes,
        "nothing is forgotten"
    );
}
