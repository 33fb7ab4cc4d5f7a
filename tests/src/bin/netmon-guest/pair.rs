//! Two machines and all kinds of links between them: where does the kernel side lay what it counts?

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use netmon_tests::lab::{Netns, unique};

/// What lies between the two.
#[derive(Debug)]
pub struct Topology {
    pub name: &'static str,
    /// Commands of `ip` in the node; `PEER` is the other's namespace.
    node: &'static str,
    /// And in the peer.
    peer: &'static str,
    /// The node's address.
    pub address: Ipv4Addr,
    /// The device by which the node sends to the peer.
    pub sends: &'static str,
    /// The device by which it receives.
    pub receives: &'static str,
}

/// One machine under test and one to talk to. Gone on drop.
#[derive(Debug)]
pub struct Pair {
    pub node: Netns,
    pub peer: Netns,
}

const WIRE: &str = "link add name va type veth peer name vb netns PEER\nlink set va up\n";

/// Every link that a machine may have, the node's side first.
pub const TOPOLOGIES: [Topology; 9] = [
    Topology {
        name: "veth",
        node: "addr add 10.98.1.1/24 dev va",
        peer: "addr add 10.98.1.2/24 dev vb",
        address: Ipv4Addr::new(10, 98, 1, 1),
        sends: "va",
        receives: "va",
    },
    Topology {
        name: "multi-homed, first link",
        node: TWO,
        peer: TWO_FAR,
        address: Ipv4Addr::new(10, 98, 1, 1),
        sends: "va",
        receives: "va",
    },
    Topology {
        name: "multi-homed, second link",
        node: TWO,
        peer: TWO_FAR,
        address: Ipv4Addr::new(10, 98, 2, 1),
        sends: "vc",
        receives: "vc",
    },
    Topology {
        name: "asymmetric",
        // The address is loopback's own; the way there is the first link, the way back the second.
        node: "link add name vc type veth peer name vd netns PEER
            link set vc up
            addr add 10.98.1.1/24 dev va
            addr add 10.98.2.1/24 dev vc
            addr add 10.98.99.1/32 dev lo
            route add 10.98.99.2/32 via 10.98.2.2 dev vc src 10.98.99.1",
        peer: "link set vd up
            addr add 10.98.1.2/24 dev vb
            addr add 10.98.2.2/24 dev vd
            addr add 10.98.99.2/32 dev lo
            route add 10.98.99.1/32 via 10.98.1.1 dev vb src 10.98.99.2",
        address: Ipv4Addr::new(10, 98, 99, 1),
        sends: "vc",
        receives: "va",
    },
    Topology {
        name: "VLAN",
        node: "link add link va name va.7 type vlan id 7
            addr add 10.98.7.1/24 dev va.7
            link set va.7 up",
        peer: "link add link vb name vb.7 type vlan id 7
            addr add 10.98.7.2/24 dev vb.7
            link set vb.7 up",
        address: Ipv4Addr::new(10, 98, 7, 1),
        sends: "va.7",
        receives: "va.7",
    },
    Topology {
        name: "bridge",
        node: "link add name br0 type bridge
            link set va master br0
            addr add 10.98.8.1/24 dev br0
            link set br0 up",
        peer: "addr add 10.98.8.2/24 dev vb",
        address: Ipv4Addr::new(10, 98, 8, 1),
        sends: "br0",
        receives: "br0",
    },
    Topology {
        name: "bond",
        node: "link set va down
            link add name bo type bond mode active-backup
            link set va master bo
            addr add 10.98.9.1/24 dev bo
            link set bo up",
        peer: "addr add 10.98.9.2/24 dev vb",
        address: Ipv4Addr::new(10, 98, 9, 1),
        sends: "bo",
        receives: "bo",
    },
    Topology {
        name: "VRF",
        node: "link add name vrf0 type vrf table 10
            link set vrf0 up
            link set va master vrf0
            addr add 10.98.10.1/24 dev va",
        peer: "addr add 10.98.10.2/24 dev vb",
        address: Ipv4Addr::new(10, 98, 10, 1),
        // The kernel routes by the slave, and hands up what it received as the VRF device's.
        sends: "va",
        receives: "vrf0",
    },
    Topology {
        name: "reused index",
        node: "link del va
            link add name va index 77 type veth peer name vb netns PEER
            addr add 10.98.1.1/24 dev va
            link set va up",
        peer: "link set vb up
            addr add 10.98.1.2/24 dev vb",
        address: Ipv4Addr::new(10, 98, 1, 1),
        sends: "va",
        receives: "va",
    },
];

const TWO: &str = "link add name vc type veth peer name vd netns PEER
    link set vc up
    addr add 10.98.1.1/24 dev va
    addr add 10.98.2.1/24 dev vc";
const TWO_FAR: &str = "link set vd up
    addr add 10.98.1.2/24 dev vb
    addr add 10.98.2.2/24 dev vd";

impl Pair {
    /// Two namespaces with one veth between them, `va` at the node.
    pub fn new() -> Result<Self> {
        let pair = Self { node: Netns::create(&unique("node"))?, peer: Netns::create(&unique("peer"))? };
        for netns in [&pair.node, &pair.peer] {
            for (path, value) in [
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/tcp_l3mdev_accept", "1"),
            ] {
                netns.sysctl(path, value)?;
            }
        }
        pair.ip(&pair.node, WIRE)?;
        pair.ip(&pair.peer, "link set vb up")?;
        Ok(pair)
    }

    /// Lays what `topology` has between them.
    pub fn lay(&self, topology: &Topology) -> Result<()> {
        self.ip(&self.node, topology.node)?;
        self.ip(&self.peer, topology.peer)
    }

    /// The device's index at the node.
    pub fn index(&self, device: &str) -> Result<u32> {
        Ok(self.node.run(|| nix::net::if_::if_nametoindex(device))??)
    }

    /// Runs lines of `ip` commands in one of the two; `PEER` is the other's namespace.
    pub fn ip(&self, netns: &Netns, lines: &str) -> Result<()> {
        netns.ip(&lines.replace("PEER", self.peer.name()))
    }
}

impl Topology {
    /// The node's address, as the peer connects to it.
    pub fn to(&self) -> IpAddr {
        self.address.into()
    }
}
