//! Segments sent per device, of sockets that closed and of those that live.

use std::{collections::BTreeMap, net::IpAddr};

use netmon_ebpf::LOOPBACK;

use super::Socket;
use crate::observation::IfIndex;

/// A shortfall in so many dumps one after the other stays for good.
const LASTING: u32 = 3;

/// Segments sent by the sockets of one dump, per device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    sums: BTreeMap<IfIndex, u64>,
}

impl Tally {
    /// Adds a socket. One whose kernel does not tell counts nothing.
    ///
    /// It must lie where the kernel side lays it when it closes (`inet_sock_set_state` of netmon-ebpf), or it would count
    /// twice: with loopback when it goes to this host itself, else with its own address.
    pub fn add(&mut self, socket: &Socket, interface_of: impl Fn(IpAddr) -> Option<IfIndex>) {
        let Some(segments) = socket.segments_sent else { return };
        let is_here = socket.remote.is_loopback() || interface_of(socket.remote).is_some();
        let device =
            if is_here { IfIndex(LOOPBACK) } else { interface_of(socket.local).unwrap_or(IfIndex(0)) };
        *self.sums.entry(device).or_default() += u64::from(segments);
    }

    /// The sums.
    pub fn sums(&self) -> &BTreeMap<IfIndex, u64> {
        &self.sums
    }
}

/// Segments sent since the first dump, by sockets that live and by those that closed meanwhile; and what had closed
/// before it. Per device it never shrinks.
///
/// For each device that is closed(t) + live(t) − live(0). What can be short at a dump is short for a while only: a
/// socket that closed after closed(t) was read and before the dump came to it, which is in closed(t + 1). What was
/// published stays until the sum has come up to it, so that no segment counts twice.
///
/// A shortfall that stays for three dumps is of another kind: a socket went to another device with its address, closed
/// on another than it lived on, or had its 32-bit counter turn over. Then the device counts on from where it is. The
/// other device gains the socket with all its history.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// What lived at the first dump; none before it.
    baseline: Option<Tally>,
    devices: BTreeMap<IfIndex, Device>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Device {
    published: i64,
    /// Shortfalls that stayed.
    mended: i64,
    short: u32,
    /// The least of those shortfalls that may yet turn out to stay.
    shortfall: i64,
}

impl Device {
    fn settle(&mut self, sum: i64) -> u64 {
        let shortfall = self.published.saturating_sub(sum.saturating_add(self.mended));
        if shortfall <= 0 {
            self.published = self.published.saturating_sub(shortfall);
            self.short = 0;
            return self.published.cast_unsigned();
        }
        self.shortfall = if self.short == 0 { shortfall } else { self.shortfall.min(shortfall) };
        self.short += 1;
        if self.short == LASTING {
            self.mended = self.mended.saturating_add(self.shortfall);
            self.short = 0;
        }
        self.published.cast_unsigned()
    }
}

impl Census {
    /// The segments sent per device as of this dump.
    ///
    /// `closed` is what sockets had sent that closed, since the programs that count it were attached. It must be read
    /// just before the dump begins, and the first dump belong right after the attaching: a socket that lived before
    /// that and is gone by the first dump counts with all its history.
    pub fn settle(&mut self, closed: &BTreeMap<IfIndex, u64>, live: &Tally) -> BTreeMap<IfIndex, u64> {
        let baseline = self.baseline.get_or_insert_with(|| live.clone());
        for index in closed.keys().chain(live.sums.keys()) {
            self.devices.entry(*index).or_default();
        }
        let settle = |(index, device): (&IfIndex, &mut Device)| {
            let sum = of(closed, *index).saturating_add(of(&live.sums, *index));
            (*index, device.settle(sum - of(&baseline.sums, *index)))
        };
        self.devices.iter_mut().map(settle).collect()
    }

    /// Forgets a device that is gone, whose count of closed sockets is forgotten too: another may get its index.
    pub fn forget(&mut self, index: IfIndex) {
        self.take(index);
    }

    /// The same for a device whose count of closed sockets goes on under index 0: there goes the rest too, as its sockets
    /// that live do, when nobody has their address any more.
    pub fn merge(&mut self, index: IfIndex) {
        let (device, baseline) = self.take(index);
        let nowhere = self.devices.entry(IfIndex(0)).or_default();
        nowhere.published = nowhere.published.saturating_add(device.published);
        nowhere.mended = nowhere.mended.saturating_add(device.mended);
        if let Some(all) = &mut self.baseline {
            *all.sums.entry(IfIndex(0)).or_default() += baseline;
        }
    }

    fn take(&mut self, index: IfIndex) -> (Device, u64) {
        let baseline = self.baseline.as_mut().and_then(|baseline| baseline.sums.remove(&index));
        (self.devices.remove(&index).unwrap_or_default(), baseline.unwrap_or_default())
    }
}

fn of(sums: &BTreeMap<IfIndex, u64>, index: IfIndex) -> i64 {
    sums.get(&index).map_or(0, |sum| i64::try_from(*sum).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "census_tests.rs"]
mod tests;
