//! R2b: several default routes; which carries, and what the loss of one makes of the whole. The rule by itself is tested
//! beside it (`uplinks`).

use super::*;

/// One uplink a metric, the devices eth2, eth3 …, each with a gateway that is a target too.
fn uplinks(metrics: &[u32]) -> World {
    let mut n = Network::default();
    let mut gateways = Vec::new();
    for (i, metric) in (0..).zip(metrics) {
        let gateway = format!("10.{}.0.1", 5 + i);
        let mut one = uplink(2 + i, &format!("eth{}", 2 + i), &format!("10.{}.0.2", 5 + i), &gateway);
        one.routes[0].metric = *metric;
        n.links.extend(one.links);
        n.addresses.extend(one.addresses);
        n.routes.extend(one.routes);
        gateways.push(target(10 + i, &format!("gateway-{i}"), "gateway", &gateway, Role::Gateway));
    }
    let mut w = World::new(Settings::default(), n);
    gateways.extend([
        target(1, "a", "internet", "8.8.8.8", Role::Plain),
        target(2, "b", "internet", "1.1.1.1", Role::Plain),
    ]);
    w.health.set_targets(w.moment(), gateways);
    w.run(5000);
    assert_eq!(w.state(), State::Up, "{:?}", w.health.verdict());
    w.changes.clear();
    w
}

/// The kernel's way with a device that is set down: its routes go a moment later.
fn lose(w: &mut World, index: u32) {
    let mut link = w.health.network().links[&IfIndex(index)].clone();
    (link.admin_up, link.carrier) = (false, false);
    w.network(NetworkChange::Link(Box::new(link)));
    let mut routes = w.health.network().routes.clone();
    routes.retain(|r| r.ifindex != IfIndex(index));
    w.network(NetworkChange::Routes { routes, truncated: false });
}

fn restore(w: &mut World, index: u32, metric: u32) {
    let mut link = w.health.network().links[&IfIndex(index)].clone();
    (link.admin_up, link.carrier) = (true, true);
    w.network(NetworkChange::Link(Box::new(link)));
    let net = 3 + index;
    let mut routes = w.health.network().routes.clone();
    let mut back = uplink(index, "eth", &format!("10.{net}.0.2"), &format!("10.{net}.0.1")).routes;
    back[0].metric = metric;
    routes.extend(back);
    w.network(NetworkChange::Routes { routes, truncated: false });
}

fn missed(w: &World) -> Vec<(&str, &str)> {
    let all = w.health.verdict().reasons.iter().filter(|r| r.code == ReasonCode::UplinkLost);
    all.map(|r| (r.subject.as_str(), r.detail.as_str())).collect()
}

#[test]
fn r2b_the_best_lost_is_degraded_with_the_name_of_the_next() {
    let mut w = uplinks(&[100, 200, 300]);
    lose(&mut w, 2);
    assert_eq!(w.state(), State::Degraded, "in the same instant");
    let now = "eth2 carries the default route no longer: IPv4 goes by eth3 (metric 200; its was 100)";
    assert_eq!(missed(&w), [("eth2", now)]);
    assert!(w.codes().contains(&ReasonCode::AdminDown));
    assert_eq!(w.target("a").0, State::Up, "it goes by the next");
    lose(&mut w, 3);
    assert_eq!((w.state(), missed(&w).len()), (State::Degraded, 2));
    lose(&mut w, 4);
    assert_eq!((w.state(), missed(&w)), (State::Down, vec![]), "nothing carries: R2");
    restore(&mut w, 4, 300);
    w.until(State::Degraded, 3000);
    restore(&mut w, 2, 100);
    w.run(3000);
    assert_eq!(missed(&w), [], "the best carries again");
    restore(&mut w, 3, 200);
    w.until(State::Up, 3000);
}

#[test]
fn r2b_the_loss_of_a_worse_one_is_its_devices_alone() {
    let mut w = uplinks(&[100, 200]);
    lose(&mut w, 3);
    assert_eq!((w.state(), missed(&w)), (State::Degraded, vec![]));
    assert!(w.codes().contains(&ReasonCode::AdminDown), "{:?}", w.health.verdict());
}

#[test]
fn r2b_a_route_that_went_alone_is_missed_for_ten_minutes() {
    let mut w = uplinks(&[100, 200]);
    let mut routes = w.health.network().routes.clone();
    routes.retain(|r| !(r.is_default() && r.ifindex == IfIndex(2)));
    w.network(NetworkChange::Routes { routes, truncated: false });
    // The planner lets go of its gateway at the same time.
    let rest = w.health.targets().filter(|t| &*t.spec.name != "gateway-0").map(|t| t.spec.clone()).collect();
    w.health.set_targets(w.moment(), rest);
    w.run(598_000);
    assert_eq!((w.state(), missed(&w).len()), (State::Degraded, 1));
    w.run(4_000);
    assert_eq!((w.state(), missed(&w)), (State::Up, vec![]));
}

#[test]
fn r2b_equal_metrics_carry_together() {
    let mut w = uplinks(&[100, 100]);
    let way = w.health.targets().find(|t| &*t.spec.name == "a").unwrap().addresses[0].way.clone().unwrap();
    assert_eq!(way.links, [IfIndex(2), IfIndex(3)]);
    lose(&mut w, 3);
    let now = "eth3 carries the default route no longer: IPv4 goes by eth2 (metric 100; its was 100)";
    assert_eq!((w.state(), missed(&w)), (State::Degraded, vec![("eth3", now)]));
}

#[test]
fn r2b_of_preferred_devices_only_those_carry() {
    let preferred = Settings { preferred: vec!["eth2".into()], ..Settings::default() };
    let mut w = uplinks(&[200, 100]);
    w.health.configure(w.moment(), preferred, Watch::new(&["*".into()], &[]).unwrap());
    w.drain();
    lose(&mut w, 3);
    assert_eq!(missed(&w), [], "what is not preferred is not missed");
    lose(&mut w, 2);
    assert_eq!(w.state(), State::Down);
}
