//! Links from raw attributes.
//!
//! Names and aliases are bytes to the kernel. A codec that wants UTF-8 loses the whole link over one 0xff in its
//! alias, so this one reads the dozen attributes it needs and passes over all others.

use crate::observation::{IfIndex, IfName, Link, LinkStats, OperState};

use super::wire::{AF_UNSPEC, Attributes, Malformed, c_bytes, u8_at, u32_at, u64_at};

/// `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_CARRIER: u16 = 33;
const IFLA_CARRIER_CHANGES: u16 = 35;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VRF_TABLE: u16 = 1;

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFF_LOWER_UP: u32 = 1 << 16;

/// The link that an `RTM_NEWLINK` tells of. None for a message that is not about the link itself: of another family
/// (a bridge port, `AF_BRIDGE`), or without a name (wireless events carry the index and `IFLA_WIRELESS` alone).
pub(super) fn link(payload: &[u8]) -> Result<Option<Link>, Malformed> {
    let Some(index) = link_index(payload)? else { return Ok(None) };
    let flags = u32_at(payload, 8)?;
    let mut link = Link {
        index,
        admin_up: flags & IFF_UP != 0,
        // A link that is not running keeps whatever IFLA_CARRIER it had; IFF_LOWER_UP is clear then.
        carrier: flags & IFF_LOWER_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        ..Link::default()
    };
    let (mut named, mut elsewhere) = (false, false);
    for attribute in Attributes::after(payload, IFINFOMSG)? {
        let (kind, value) = attribute?;
        match kind {
            IFLA_IFNAME => {
                link.name = IfName::new(c_bytes(value));
                named = true;
            }
            IFLA_IFALIAS => link.alias = Some(c_bytes(value).to_vec()).filter(|a| !a.is_empty()),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_MASTER => link.master = Some(u32_at(value, 0)?).filter(|&m| m != 0).map(IfIndex),
            IFLA_LINK => link.lower = Some(IfIndex(u32_at(value, 0)?)).filter(|&l| l.0 != 0 && l != index),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_OPERSTATE => link.oper = oper_state(u8_at(value, 0)?),
            IFLA_CARRIER => link.carrier &= u8_at(value, 0)? != 0,
            IFLA_CARRIER_CHANGES => link.carrier_changes = u32_at(value, 0)?,
            IFLA_ADDRESS => link.mac = Some(value.to_vec()).filter(|m| !m.is_empty()),
            IFLA_LINKINFO => (link.kind, link.table) = kind_of(value)?,
            IFLA_STATS64 => link.stats = stats(value)?,
            _ => {}
        }
    }
    // A veth's is its peer, which it does not stand on.
    if elsewhere || link.kind.as_deref() == Some("veth") {
        link.lower = None;
    }
    Ok(named.then_some(link))
}

/// The index that an `RTM_NEWLINK` or `RTM_DELLINK` is about; none for another family than the link itself: a port
/// that leaves its bridge is deleted as `AF_BRIDGE` and lives on as a link.
pub(super) fn link_index(payload: &[u8]) -> Result<Option<IfIndex>, Malformed> {
    if payload.len() < IFINFOMSG {
        return Err(Malformed);
    }
    Ok((payload[0] == AF_UNSPEC).then_some(IfIndex(u32_at(payload, 4)?)).filter(|i| i.0 != 0))
}

/// `struct rtnl_link_stats64`. Kernels append fields; the first eight have stood since 2.6.35.
pub(super) fn stats(value: &[u8]) -> Result<LinkStats, Malformed> {
    Ok(LinkStats {
        rx_packets: u64_at(value, 0)?,
        tx_packets: u64_at(value, 8)?,
        rx_bytes: u64_at(value, 16)?,
        tx_bytes: u64_at(value, 24)?,
        rx_errors: u64_at(value, 32)?,
        tx_errors: u64_at(value, 40)?,
        rx_dropped: u64_at(value, 48)?,
        tx_dropped: u64_at(value, 56)?,
    })
}

/// The kind, and the table of a VRF.
fn kind_of(linkinfo: &[u8]) -> Result<(Option<String>, Option<u32>), Malformed> {
    let (mut kind, mut data) = (None, &[][..]);
    for attribute in Attributes(linkinfo) {
        match attribute? {
            (IFLA_INFO_KIND, value) => kind = Some(String::from_utf8_lossy(c_bytes(value)).into_owned()),
            (IFLA_INFO_DATA, value) => data = value,
            _ => {}
        }
    }
    let mut table = None;
    if kind.as_deref() == Some("vrf") {
        for attribute in Attributes(data) {
            if let (IFLA_VRF_TABLE, value) = attribute? {
                table = Some(u32_at(value, 0)?);
            }
        }
    }
    Ok((kind, table))
}

/// `IF_OPER_*` of `include/uapi/linux/if.h`; a value from a newer kernel is as good as unknown.
fn oper_state(value: u8) -> OperState {
    match value {
        1 => OperState::NotPresent,
        2 => OperState::Down,
        3 => OperState::LowerLayerDown,
        4 => OperState::Testing,
        5 => OperState::Dormant,
        6 => OperState::Up,
        _ => OperState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::netlink::wire::attribute;

    fn header(family: u8, index: u32, flags: u32) -> Vec<u8> {
        let mut out = vec![family, 0, 1, 0];
        for v in [index, flags, 0] {
            out.extend(v.to_ne_bytes());
        }
        out
    }

    #[test]
    fn a_link_with_a_name_and_an_alias_of_any_bytes() {
        let mut m = header(0, 7, IFF_UP | IFF_LOWER_UP);
        m.extend(attribute(IFLA_IFNAME, b"a\xff\"\0"));
        m.extend(attribute(IFLA_IFALIAS, b"up\nlink\xff\0"));
        m.extend(attribute(IFLA_MTU, &1500_u32.to_ne_bytes()));
        m.extend(attribute(IFLA_MASTER, &3_u32.to_ne_bytes()));
        m.extend(attribute(IFLA_OPERSTATE, &[6]));
        m.extend(attribute(IFLA_CARRIER, &[1]));
        m.extend(attribute(IFLA_CARRIER_CHANGES, &5_u32.to_ne_bytes()));
        m.extend(attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]));
        m.extend(attribute(IFLA_LINKINFO | 0x8000, &attribute(IFLA_INFO_KIND, b"veth\0")));
        let counters: Vec<u8> = (1..=25_u64).flat_map(u64::to_ne_bytes).collect();
        m.extend(attribute(IFLA_STATS64, &counters));
        m.extend(attribute(60_000 & 0x3fff, b"from a newer kernel"));
        let link = link(&m).unwrap().unwrap();
        assert_eq!((link.index, link.name.as_bytes()), (IfIndex(7), &b"a\xff\""[..]));
        assert_eq!(link.alias.as_deref(), Some(&b"up\nlink\xff"[..]));
        assert_eq!((link.mtu, link.master, link.oper), (1500, Some(IfIndex(3)), OperState::Up));
        assert_eq!((link.admin_up, link.carrier, link.carrier_changes), (true, true, 5));
        assert_eq!(link.kind.as_deref(), Some("veth"));
        assert_eq!(link.mac.as_deref(), Some(&[2, 0, 0, 0, 0, 1][..]));
        assert_eq!((link.stats.rx_packets, link.stats.rx_bytes, link.stats.tx_dropped), (1, 3, 8));
    }

    #[test]
    fn a_vrf_tells_its_table() {
        let info = |kind: &[u8]| {
            let data = attribute(IFLA_VRF_TABLE, &10_u32.to_ne_bytes());
            let mut m = header(0, 9, IFF_UP);
            m.extend(attribute(IFLA_IFNAME, b"red\0"));
            let both = [attribute(IFLA_INFO_KIND, kind), attribute(IFLA_INFO_DATA | 0x8000, &data)];
            m.extend(attribute(IFLA_LINKINFO, &both.concat()));
            link(&m).unwrap().unwrap()
        };
        assert_eq!(info(b"vrf\0").table, Some(10));
        assert_eq!(info(b"bond\0").table, None, "another kind's first attribute is no table");
    }

    #[test]
    fn a_stale_carrier_of_a_stopped_link_is_none() {
        let mut m = header(0, 7, 0);
        m.extend(attribute(IFLA_IFNAME, b"x\0"));
        m.extend(attribute(IFLA_CARRIER, &[1]));
        assert!(!link(&m).unwrap().unwrap().carrier);
    }

    #[test]
    fn bridge_ports_and_wireless_events_are_not_links() {
        let mut port = header(7, 7, IFF_UP);
        port.extend(attribute(IFLA_IFNAME, b"x\0"));
        assert_eq!(link(&port), Ok(None));
        assert_eq!(link_index(&port), Ok(None));
        let mut wireless = header(0, 7, IFF_UP);
        wireless.extend(attribute(11, &[0; 24]));
        assert_eq!(link(&wireless), Ok(None));
    }

    #[test]
    fn short_messages_are_malformed() {
        assert_eq!(link(&[0; 15]), Err(Malformed));
        let mut m = header(0, 7, 0);
        m.extend(attribute(IFLA_MTU, &[1, 2]));
        assert_eq!(link(&m), Err(Malformed));
        let mut m = header(0, 7, 0);
        m.extend(attribute(IFLA_STATS64, &[0; 63]));
        assert_eq!(link(&m), Err(Malformed));
    }
}
