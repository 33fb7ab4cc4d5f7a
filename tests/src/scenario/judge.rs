//! The kernel judges the model: links, addresses and routes after the same faults, and after their end.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};
use netmon_agent::{config::Config, observation::Network};
use serde_json::Value;

use super::{
    format::{self, Fault},
    lab_run::Broken,
    model::Model,
};
use crate::{
    agent::await_until,
    lab::{World, run},
};

/// The kernel takes a moment: IPv6 routes and what vanishes without a word.
const SETTLING: Duration = Duration::from_secs(2);

/// Breaks and mends each of these faults, TOML as in a scenario's `break`, in a world of two uplinks and in its model,
/// and compares the two each time.
///
/// # Errors
/// At the first difference, with what each has.
pub fn compare(faults: &[&str]) -> Result<()> {
    let text = format!(
        "[[scenario]]\nname = \"model\"\nwhy = \"\"\nworld = {{ uplinks = 2 }}\nstep = [{}]\n",
        faults.iter().map(|f| format!("{{ break = {{ {f} }} }}")).collect::<Vec<_>>().join(", ")
    );
    let scenario = format::parse(&text, "judge.toml".as_ref())?.pop().context("a scenario")?;
    let config = Config::parse("", "netmon.toml".as_ref())?;
    let world = World::with(scenario.world.options())?;
    let mut model = Model::new(&scenario, &config, 0);
    let mut broken = Broken::new(&world);
    agree(&world, &mut model).context("before any fault")?;
    for (step, _) in scenario.steps() {
        let fault: &Fault = step.breaks.as_ref().context("a fault")?;
        model.break_it(Duration::ZERO, fault);
        broken.add(fault)?;
        agree(&world, &mut model).with_context(|| format!("after {fault:?}"))?;
        model.mend(Duration::ZERO, "all");
        broken.mend("all")?;
        agree(&world, &mut model).with_context(|| format!("after the end of {fault:?}"))?;
    }
    Ok(())
}

fn agree(world: &World, model: &mut Model) -> Result<()> {
    let expected = of_model(&model.dump());
    let mut seen = BTreeSet::new();
    let same = await_until(SETTLING, || {
        seen = of_kernel(world)?;
        Ok((seen == expected).then_some(()))
    })?;
    if same.is_none() {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
            a.difference(b).cloned().collect::<Vec<_>>().join("; ")
        };
        bail!(
            "the kernel alone has: {}; the model alone: {}",
            only(&seen, &expected),
            only(&expected, &seen)
        );
    }
    Ok(())
}

fn of_model(network: &Network) -> BTreeSet<String> {
    let name = |index| network.links.get(&index).map_or_else(String::new, |l| l.name.escaped());
    let links = network.links.values().filter(|l| !l.loopback);
    let links = links.map(|l| format!("link {} up {} carrier {}", l.name.escaped(), l.admin_up, l.carrier));
    let addresses = network.addresses.values().filter(|a| !a.is_link_local());
    let addresses = addresses.map(|a| format!("address {}/{} {}", a.address, a.prefix_len, name(a.ifindex)));
    let routes = network.routes.iter().map(|r| {
        let gateway = r.gateway.map_or_else(|| "-".to_owned(), |g| g.to_string());
        format!(
            "route {}/{} via {gateway} {} metric {}",
            r.destination,
            r.prefix_len,
            name(r.ifindex),
            r.metric
        )
    });
    links.chain(addresses).chain(routes).collect()
}

fn of_kernel(world: &World) -> Result<BTreeSet<String>> {
    let ask = |arguments: &[&str]| -> Result<Vec<Value>> {
        let text = run(world.node.command("ip").arg("-j").args(arguments), "")?;
        // It prints nothing at all where there is nothing.
        Ok(if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text)? })
    };
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = BTreeSet::new();
    for link in ask(&["addr", "show"])?.iter().filter(|l| l["ifname"] != "lo") {
        let flags: Vec<String> = link["flags"].as_array().into_iter().flatten().map(word).collect();
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        let name = word(&link["ifname"]);
        all.insert(format!("link {name} up {} carrier {}", has("UP"), has("LOWER_UP")));
        let addresses = link["addr_info"].as_array().into_iter().flatten();
        for a in addresses.filter(|a| a["scope"] == "global") {
            all.insert(format!("address {}/{} {name}", word(&a["local"]), a["prefixlen"]));
        }
    }
    for (family, any) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
        for route in ask(&[family, "route", "show", "table", "main"])? {
            let to = if route["dst"] == "default" { any.to_owned() } else { word(&route["dst"]) };
            let gateway = route["gateway"].as_str().unwrap_or("-");
            let metric = route["metric"].as_u64().unwrap_or(0);
            all.insert(format!("route {to} via {gateway} {} metric {metric}", word(&route["dev"])));
        }
    }
    Ok(all)
}
