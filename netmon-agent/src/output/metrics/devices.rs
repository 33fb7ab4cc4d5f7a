//! Families of devices.

use super::{
    WallOffset,
    catalogue::{self, Family},
    tcp, verdicts,
    writer::{Writer, labels},
};
use crate::{
    observation::{LinkStats, OperState},
    state::{DeviceView, Snapshot},
};

pub(super) fn write(w: &mut Writer, snapshot: &Snapshot, walls: WallOffset) {
    let devices: Vec<(String, &DeviceView)> =
        snapshot.devices.iter().map(|d| (labels(&[("device", &d.name)]), &**d)).collect();
    let all: Vec<_> = devices.iter().map(|(l, d)| (l.clone(), d.verdict.state, &d.verdict)).collect();
    let families = [&catalogue::DEVICE_STATE, &catalogue::DEVICE_TRANSITIONS, &catalogue::DEVICE_CHANGED];
    verdicts(w, families, &all, walls);
    links(w, &devices);
    traffic(w, &devices);
    tcp::write(w, snapshot, &devices);
}

fn links(w: &mut Writer, devices: &[(String, &DeviceView)]) {
    let mut gauge = |family: &Family, value: &dyn Fn(&DeviceView) -> Option<u64>| {
        w.family(family);
        for (labels, device) in devices {
            if let Some(value) = value(device) {
                w.sample(labels, &[], value);
            }
        }
    };
    gauge(&catalogue::LINK_UP, &|d| Some(is_up(d).into()));
    gauge(&catalogue::LINK_CARRIER, &|d| Some(d.link.carrier.into()));
    gauge(&catalogue::LINK_CARRIER_CHANGES, &|d| Some(d.link.carrier_changes.into()));
    gauge(&catalogue::LINK_SPEED, &|d| d.link.speed_mbps.map(|mbps| u64::from(mbps) * 125_000));
    gauge(&catalogue::LINK_MTU, &|d| Some(d.link.mtu.into()));
    w.family(&catalogue::LINK_INFO);
    for (labels, device) in devices {
        let link = &device.link;
        let mac = link.mac.as_deref().map(mac_text).unwrap_or_default();
        let more = [
            ("ifindex", &*link.index.0.to_string()),
            ("kind", link.kind.as_deref().unwrap_or_default()),
            ("mac", &mac),
            ("master", device.master.as_deref().unwrap_or_default()),
            ("operstate", link.oper.as_str()),
        ];
        w.sample(labels, &more, true);
    }
    w.family(&catalogue::LINK_STACK);
    for (labels, device) in devices {
        for lower in &device.lowers {
            w.sample(labels, &[("lower", lower)], true);
        }
    }
    w.family(&catalogue::DEFAULT_ROUTE);
    for (labels, device) in devices {
        for (family, stands) in ["ipv4", "ipv6"].into_iter().zip(device.default_route) {
            w.sample(labels, &[("family", family)], stands);
        }
    }
}

fn traffic(w: &mut Writer, devices: &[(String, &DeviceView)]) {
    type Field = fn(&LinkStats) -> u64;
    let families: [(&Family, Field); 8] = [
        (&catalogue::LINK_RX_BYTES, |s| s.rx_bytes),
        (&catalogue::LINK_TX_BYTES, |s| s.tx_bytes),
        (&catalogue::LINK_RX_PACKETS, |s| s.rx_packets),
        (&catalogue::LINK_TX_PACKETS, |s| s.tx_packets),
        (&catalogue::LINK_RX_ERRORS, |s| s.rx_errors),
        (&catalogue::LINK_TX_ERRORS, |s| s.tx_errors),
        (&catalogue::LINK_RX_DROPPED, |s| s.rx_dropped),
        (&catalogue::LINK_TX_DROPPED, |s| s.tx_dropped),
    ];
    for (family, field) in families {
        w.family(family);
        for (labels, device) in devices {
            w.sample(labels, &[], field(&device.link.stats));
        }
    }
}

/// The administrator wants it, there is carrier, and the driver does not say that it does not work.
fn is_up(device: &DeviceView) -> bool {
    let link = &device.link;
    link.admin_up && link.carrier && matches!(link.oper, OperState::Up | OperState::Unknown)
}

/// A link-layer address, `aa:bb:…`.
pub(crate) fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}
