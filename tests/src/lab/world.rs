//! The topology, its addresses and its life.
//!
//! ```text
//!   node ── eth0 ─── lan0 ─ gateway 0 ─ wan0 ─── isp0 ── internet (8.8.8.8, 1.1.1.1, 8.8.4.4, their IPv6 kin,
//!        └─ eth1 ─── lan0 ─ gateway 1 ─ wan0 ─── isp1 ──┘          and a server of the lab's own)
//! ```

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context, Result};

use super::command::run;
use super::counters::Counters;
use super::dns::Resolver;
use super::netns::{self, Netns};
use super::server::Server;

/// The lab's own host in the internet, beside the well-known resolvers (RFC 5737 documentation range).
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The same host by IPv6 (RFC 3849 documentation range).
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10);

/// Interface index of a gateway's end of an uplink, which the node's end never has. Where both are equal the kernel
/// takes the node's device for a real one and holds its carrier events back to one a second (`linkwatch_urgent_event`).
const FAR_END: u32 = 1000;

const PUBLIC: [&str; 8] = [
    "8.8.8.8/32",
    "1.1.1.1/32",
    "8.8.4.4/32",
    "203.0.113.10/32",
    "2001:4860:4860::8888/128",
    "2606:4700:4700::1111/128",
    "2001:4860:4860::8844/128",
    "2001:db8:113::10/128",
];

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What kind of world it is. The default is the plain one: one uplink, both families, ping sockets open.
#[derive(Clone, Debug)]
pub struct Options {
    /// Uplinks of the node, each with a gateway of its own; the first has the best metric, 100, the next 200 …
    pub uplinks: usize,
    /// Whether any group may open ping sockets (`net.ipv4.ping_group_range`); the kernel's default is none.
    pub ping_sockets: bool,
    /// Whether the node has IPv6 at all (`net.ipv6.conf.all.disable_ipv6`).
    pub ipv6: bool,
    /// Whether the IPv6 default route names the gateway by its link-local address, as a router advertisement would.
    pub link_local_gateway: bool,
    /// Whether veth devices carry segments of up to 64 KB (GSO, as by default) or only real packets.
    pub offload: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { uplinks: 1, ping_sockets: true, ipv6: true, link_local_gateway: false, offload: true }
    }
}

/// A small internet with one machine to look after. Gone on drop.
#[derive(Debug)]
pub struct World {
    /// What it was made from.
    pub options: Options,
    /// The resolver on the first gateway, named by the node's `/etc/resolv.conf`.
    pub resolver: Resolver,
    /// Servers on every address of the internet.
    pub server: Server,
    /// The machine under test.
    pub node: Netns,
    /// One gateway for each uplink.
    pub gateways: Vec<Netns>,
    /// The namespace that owns the public addresses.
    pub internet: Netns,
}

impl World {
    /// Makes a plain world.
    pub fn new() -> Result<Self> {
        Self::with(Options::default())
    }

    /// Makes a world.
    ///
    /// # Errors
    /// Where [`super::obstacle`] names one, or a command of the set-up fails; nothing is left behind then.
    pub fn with(options: Options) -> Result<Self> {
        let node = Netns::create(&netns::unique("node"))?;
        let internet = Netns::create(&netns::unique("net"))?;
        internet.ip(&PUBLIC.map(|a| format!("addr add {a} dev lo nodad")).join("\n"))?;
        let mut gateways = Vec::new();
        for n in 0..options.uplinks {
            let gateway = Netns::create(&netns::unique(&format!("gw{n}")))?;
            prepare(&gateway)?;
            gateway.sysctl("ipv4/ip_forward", "1")?;
            gateway.sysctl("ipv6/conf/all/forwarding", "1")?;
            gateways.push(gateway);
        }
        prepare(&internet)?;
        prepare(&node)?;
        node.sysctl("ipv4/ping_group_range", if options.ping_sockets { "0 2147483647" } else { "1 0" })?;
        if !options.ipv6 {
            node.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
            node.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        }
        fs::write(
            node.etc()?.join("resolv.conf"),
            format!(
                "nameserver {}
",
                gateway_address(0, Family::V4)
            ),
        )?;

        for (n, gateway) in gateways.iter().enumerate() {
            connect_internet(&internet, gateway, n)?;
        }
        let resolver = Resolver::start(&gateways[0], &[IpAddr::V4(Ipv4Addr::UNSPECIFIED)])?;
        let server = Server::start(&internet)?;
        let world = Self { options, resolver, server, node, gateways, internet };
        (0..world.gateways.len()).try_for_each(|n| world.create_device(n))?;
        world.settle()?;
        Ok(world)
    }

    /// Waits until packets pass in both families: the kernel joins IPv6 groups and resolves neighbours at its leisure.
    fn settle(&self) -> Result<()> {
        let uplinks = 0..self.gateways.len();
        let gateways =
            uplinks.flat_map(|n| self.families().into_iter().map(move |f| gateway_address(n, f).to_string()));
        let public =
            [SERVER_V4.to_string()].into_iter().chain(self.options.ipv6.then(|| SERVER_V6.to_string()));
        for host in gateways.chain(public) {
            let mut ping = Command::new("ping");
            // It ends with the first answer; a lost first packet is asked for again after 100 ms.
            ping.args(["-n", "-q", "-c", "1", "-w", "10", "-i", "0.1", &host]);
            self.node
                .run(|| run(&mut ping, ""))?
                .with_context(|| format!("the new world has no way to {host}"))?;
        }
        Ok(())
    }

    /// The node's device of uplink `n`.
    pub fn device(&self, n: usize) -> String {
        format!("eth{n}")
    }

    /// The node's own address on uplink `n`.
    pub fn node_address(&self, n: usize, family: Family) -> IpAddr {
        address(n, family, 2)
    }

    /// The gateway's address on uplink `n`, as the default route names it.
    pub fn gateway_address(&self, n: usize, family: Family) -> IpAddr {
        match family {
            Family::V6 if self.options.link_local_gateway => "fe80::1".parse().expect("an address"),
            _ => gateway_address(n, family),
        }
    }

    /// Gives uplink `n` of the node what a network manager would: device up, addresses, default routes.
    /// Harmless where some or all of it is in place.
    pub fn configure_uplink(&self, n: usize) -> Result<()> {
        let device = self.device(n);
        self.node.ip(&format!("link set {device} up"))?;
        for family in self.families() {
            self.add_address(n, family)?;
            self.add_route(n, family)?;
        }
        Ok(())
    }

    /// The families the node speaks.
    pub fn families(&self) -> Vec<Family> {
        if self.options.ipv6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] }
    }

    /// The kernel's own counters of the node.
    pub fn counters(&self) -> Result<Counters> {
        Counters::read(&self.node)
    }

    /// Makes the veth pair of uplink `n` (again), without configuring the node's end.
    pub(super) fn plug_in(&self, n: usize) -> Result<()> {
        let gateway = &self.gateways[n];
        let (node, device) = (self.node.name(), self.device(n));
        // From this side, as `ip` takes an index for the first of a pair only.
        gateway
            .ip(&format!("link add name lan0 index {FAR_END} type veth peer name {device} netns {node}"))?;
        self.configure_gateway(n)?;
        if !self.options.offload {
            self.no_offload(n)?;
        }
        Ok(())
    }

    /// Gives gateway `n` its side of the uplink. Harmless where it is in place.
    pub(super) fn configure_gateway(&self, n: usize) -> Result<()> {
        self.gateways[n].ip(&format!(
            "link set lan0 up
             addr replace {}/24 dev lan0
             addr replace {}/64 dev lan0 nodad
             addr replace fe80::1/64 dev lan0 nodad",
            gateway_address(n, Family::V4),
            gateway_address(n, Family::V6),
        ))
    }

    /// Gives the internet its side of the wire to gateway `n`. Harmless where it is in place.
    pub(super) fn configure_isp(&self, n: usize) -> Result<()> {
        self.internet.ip(&isp(n))
    }

    fn no_offload(&self, n: usize) -> Result<()> {
        for (netns, device) in [(&self.node, self.device(n)), (&self.gateways[n], "lan0".to_owned())] {
            let off = ["tso", "off", "gso", "off", "gro", "off"];
            netns.run(|| run(Command::new("ethtool").args(["-K", &device]).args(off), ""))??;
        }
        Ok(())
    }
}

/// The lab's address of host `host` on the wire of uplink `n`.
fn address(n: usize, family: Family, host: u8) -> IpAddr {
    let wire = n as u8 + 1;
    match family {
        Family::V4 => Ipv4Addr::new(10, 77, wire, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd77, wire.into(), 0, 0, 0, 0, 0, host.into()).into(),
    }
}

fn gateway_address(n: usize, family: Family) -> IpAddr {
    address(n, family, 1)
}

/// Sysctls every namespace shares: no waiting for duplicate address detection, no limits on ICMP, no filters.
fn prepare(netns: &Netns) -> Result<()> {
    for (path, value) in [
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/icmp/ratelimit", "0"),
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
    ] {
        netns.sysctl(path, value)?;
    }
    Ok(())
}

/// The internet's side of the wire to gateway `n`, as `ip` takes it.
fn isp(n: usize) -> String {
    let (net, wire) = (n + 1, 101 + n);
    format!(
        "link set isp{n} up
         addr replace 10.77.{wire}.2/24 dev isp{n}
         addr replace fd77:{wire}::2/64 dev isp{n} nodad
         route replace 10.77.{net}.0/24 via 10.77.{wire}.1
         route replace fd77:{net}::/64 via fd77:{wire}::1"
    )
}

fn connect_internet(internet: &Netns, gateway: &Netns, n: usize) -> Result<()> {
    let wire = 101 + n;
    internet.ip(&format!("link add name isp{n} type veth peer name wan0 netns {}", gateway.name()))?;
    gateway.ip(&format!(
        "addr add 10.77.{wire}.1/24 dev wan0
         addr add fd77:{wire}::1/64 dev wan0 nodad
         link set wan0 up"
    ))?;
    internet.ip(&isp(n))?;
    gateway.ip(&format!(
        "route add 0.0.0.0/0 via 10.77.{wire}.2
         route add ::/0 via fd77:{wire}::2"
    ))
}
