//! What a technician, a driver or a network manager does to the node's devices.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use netmon_agent::time::Mono;

use super::switch::Switch;
use super::world::{Family, World};

impl World {
    /// Pulls the plug of uplink `n` at the far end: the node's device loses its carrier.
    pub fn carrier_down(&self, n: usize) -> Result<()> {
        self.gateways[n].ip("link set lan0 down")
    }

    /// Puts it back. The gateway's IPv6 addresses went with its device, so they return too.
    pub fn carrier_up(&self, n: usize) -> Result<()> {
        self.configure_gateway(n)
    }

    /// Pulls the plug behind gateway `n`: the gateway asks in vain for its next hop.
    pub fn wan_carrier_down(&self, n: usize) -> Result<()> {
        self.internet.ip(&format!("link set isp{n} down"))
    }

    /// Puts it back, with all that went with it.
    pub fn wan_carrier_up(&self, n: usize) -> Result<()> {
        self.configure_isp(n)
    }

    /// Pulls the plug of uplink `n` and puts it back, `hz` times a second, evenly, for so long.
    pub fn flap(&self, n: usize, hz: f64, lasts: Duration) -> Result<()> {
        let switch = Switch::new(&self.gateways[n], "lan0")?;
        let half = Duration::from_secs_f64(0.5 / hz);
        let end = Mono::now() + lasts;
        while Mono::now() < end {
            switch.set(false)?;
            thread::sleep(half);
            switch.set(true)?;
            thread::sleep(half);
        }
        self.carrier_up(n)
    }

    /// The node forgets every link-layer address on uplink `n`.
    pub fn forget_neighbours(&self, n: usize) -> Result<()> {
        self.node.ip(&format!("neigh flush dev {}", self.device(n)))
    }

    /// `ip link set ethN down`: the kernel takes the routes and the IPv6 addresses with it.
    pub fn admin_down(&self, n: usize) -> Result<()> {
        self.node.ip(&format!("link set {} down", self.device(n)))
    }

    /// Brings it up with all that a network manager restores.
    pub fn admin_up(&self, n: usize) -> Result<()> {
        self.configure_uplink(n)
    }

    /// Takes the node's address of one family from uplink `n`; the kernel drops the routes that need it.
    pub fn remove_address(&self, n: usize, family: Family) -> Result<()> {
        self.node.ip(&format!("addr del {} dev {}", self.prefix(n, family), self.device(n)))
    }

    /// Gives it back.
    pub fn add_address(&self, n: usize, family: Family) -> Result<()> {
        let nodad = if family == Family::V6 { "nodad" } else { "" };
        self.node.ip(&format!("addr replace {} dev {} {nodad}", self.prefix(n, family), self.device(n)))
    }

    /// Takes the default route of one family over uplink `n`.
    pub fn remove_route(&self, n: usize, family: Family) -> Result<()> {
        self.node.ip(&format!("route del {}", self.route(n, family)))
    }

    /// Gives it back.
    pub fn add_route(&self, n: usize, family: Family) -> Result<()> {
        self.node.ip(&format!("route replace {}", self.route(n, family)))
    }

    /// Removes the device of uplink `n`, as an unplugged USB adapter or an unloaded driver does.
    pub fn delete_device(&self, n: usize) -> Result<()> {
        self.node.ip(&format!("link del {}", self.device(n)))
    }

    /// Makes it again under the same name, with another ifindex, and configures it.
    pub fn create_device(&self, n: usize) -> Result<()> {
        self.plug_in(n)?;
        self.configure_uplink(n)
    }

    /// Gives a device of the node another name. Since Linux 6.2 it may be up meanwhile.
    pub fn rename_device(&self, from: &str, to: &str) -> Result<()> {
        self.node.ip(&format!("link set {from} name {to}"))
    }

    /// A burst of `events` address changes on a device apart, as fast as `ip` can send them.
    pub fn storm(&self, events: usize) -> Result<()> {
        let mut lines = String::from("link add name vethstorm0 type veth peer name vethstorm1\n");
        for i in 0..events / 2 {
            let address = format!("198.18.{}.{}/32 dev vethstorm0\n", (i >> 8) & 255, i & 255);
            lines += &format!("addr add {address}addr del {address}");
        }
        lines += "link del vethstorm0\n";
        self.node.ip(&lines)
    }

    fn prefix(&self, n: usize, family: Family) -> String {
        let length = if family == Family::V4 { 24 } else { 64 };
        format!("{}/{length}", self.node_address(n, family))
    }

    fn route(&self, n: usize, family: Family) -> String {
        let all = if family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
        let (gateway, device) = (self.gateway_address(n, family), self.device(n));
        format!("{all} via {gateway} dev {device} metric {}", 100 * (n + 1))
    }
}
