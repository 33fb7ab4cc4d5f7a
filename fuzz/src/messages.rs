//! Messages of netlink as the kernel lays them out, with lengths that may lie. A second hand for what the agent's own reader
//! expects: only the layouts of `linux/netlink.h` and `linux/rtnetlink.h` are common to both.

use std::net::{Ipv4Addr, Ipv6Addr};

use arbitrary::Arbitrary;

/// One message.
#[derive(Arbitrary, Clone, Debug)]
pub struct Message {
    kind: Kind,
    flags: u8,
    index: u8,
    bits: [u8; 4],
    prefix: u8,
    table: u8,
    attributes: Vec<Attribute>,
    /// Added to the length that is told.
    lie: Option<i8>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    NewLink,
    DelLink,
    NewAddress4,
    NewAddress6,
    DelAddress4,
    NewRoute4,
    NewRoute6,
    NewNeighbour4,
    NewNeighbour6,
    DelNeighbour,
    NewStats,
    NewNexthop,
    Other(u16, u8),
}

#[derive(Arbitrary, Clone, Debug)]
struct Attribute {
    kind: u8,
    value: Value,
    lie: Option<i8>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Value {
    Byte(u8),
    Number(u32),
    Small(u8),
    V4(u8),
    V6(u8),
    /// A gateway of another family.
    Via(bool, u8),
    Name(NameBytes),
    Bytes(Vec<u8>),
    Stats([u8; 4]),
    Kind(KindWord, u8),
    /// Next hops: index, flags, a gateway.
    Hops(Vec<(u8, u8, Option<u8>)>),
    Group(Vec<u8>),
    Flags(u32),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum KindWord {
    Vrf,
    Veth,
    Bond,
    Dummy,
}

#[derive(Arbitrary, Clone, Debug)]
struct NameBytes(Vec<u8>);

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8], lie: Option<i8>) {
    let length = (4 + value.len() as i64 + i64::from(lie.unwrap_or(0))).clamp(0, 65_535) as u16;
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn v4(host: u8) -> [u8; 4] {
    Ipv4Addr::new(192, 0, 2, host).octets()
}

fn v6(host: u8) -> [u8; 16] {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).octets()
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Byte(byte) => out.push(*byte),
            Self::Number(number) | Self::Flags(number) => out.extend(number.to_ne_bytes()),
            Self::Small(number) => out.extend(u32::from(*number).to_ne_bytes()),
            Self::V4(host) => out.extend(v4(*host)),
            Self::V6(host) => out.extend(v6(*host)),
            Self::Via(true, host) => out.extend([&2_u16.to_ne_bytes()[..], &v4(*host)].concat()),
            Self::Via(false, host) => out.extend([&10_u16.to_ne_bytes()[..], &v6(*host)].concat()),
            Self::Name(name) => out.extend([&name.0[..], &[0]].concat()),
            Self::Bytes(bytes) => out.extend(bytes),
            Self::Stats(seed) => out.extend(seed.iter().cycle().take(192)),
            Self::Kind(word, table) => {
                let word = match word {
                    KindWord::Vrf => &b"vrf\0"[..],
                    KindWord::Veth => b"veth\0",
                    KindWord::Bond => b"bond\0",
                    KindWord::Dummy => b"dummy\0",
                };
                put(&mut out, 1, word, None);
                let mut data = Vec::new();
                put(&mut data, 1, &u32::from(*table).to_ne_bytes(), None);
                put(&mut out, 2, &data, None);
            }
            Self::Hops(hops) => {
                for (index, flags, gateway) in hops {
                    let mut hop = vec![0, 0, *flags, 0];
                    hop.extend(u32::from(*index % 8).to_ne_bytes());
                    if let Some(host) = gateway {
                        put(&mut hop, 5, &v4(*host), None);
                    }
                    let length = hop.len() as u16;
                    hop[..2].copy_from_slice(&length.to_ne_bytes());
                    out.extend(hop);
                }
            }
            Self::Group(ids) => {
                ids.iter().for_each(|id| out.extend([*id % 8, 0, 0, 0, 0, 0, 0, 0]));
            }
        }
        out
    }
}

impl Message {
    /// Its bytes, padded.
    pub fn bytes(&self) -> Vec<u8> {
        let index = u32::from(self.index % 8).to_ne_bytes();
        let family = |family: u8| [&[family, self.prefix, self.bits[0], self.bits[1]][..], &index].concat();
        let link = |of: u8| [&[of, 0, 0, 0][..], &index, &self.bits, &[0; 4]].concat();
        let neighbour = |of: u8| {
            let state = u16::from(self.bits[0]).to_ne_bytes();
            [&[of, 0, 0, 0][..], &index, &state, &[self.bits[1] & 0x88, 1]].concat()
        };
        let route = |of: u8| {
            let flags = [self.bits[2] & 1, self.bits[3] & 2, 0, 0];
            [&[of, self.prefix, 0, 0, self.table, 3, 0, 1][..], &flags].concat()
        };
        let (kind, header) = match self.kind {
            Kind::NewLink => (16, link(0)),
            Kind::DelLink => (17, link(0)),
            Kind::NewAddress4 => (20, family(2)),
            Kind::NewAddress6 => (20, family(10)),
            Kind::DelAddress4 => (21, family(2)),
            Kind::NewRoute4 => (24, route(2)),
            Kind::NewRoute6 => (24, route(10)),
            Kind::NewNeighbour4 => (28, neighbour(2)),
            Kind::NewNeighbour6 => (28, neighbour(10)),
            Kind::DelNeighbour => (29, neighbour(2)),
            Kind::NewStats => (92, [&[0; 4][..], &index, &[1, 0, 0, 0]].concat()),
            Kind::NewNexthop => (104, [[2, 0, 0, 0], self.bits].concat()),
            Kind::Other(kind, family) => (kind, link(family)),
        };
        let mut payload = header;
        for attribute in &self.attributes {
            put(&mut payload, attribute.kind.into(), &attribute.value.bytes(), attribute.lie);
        }
        message(kind, self.flags.into(), 1, &payload, self.lie)
    }
}

/// A message of this payload.
pub fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8], lie: Option<i8>) -> Vec<u8> {
    let length = (16 + payload.len() as i64 + i64::from(lie.unwrap_or(0))).max(0) as u32;
    let mut out = length.to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]);
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A message about a TCP socket (`linux/inet_diag.h`).
#[derive(Arbitrary, Clone, Debug)]
pub struct Socket {
    v6: bool,
    mapped: bool,
    state: u8,
    local: u8,
    remote: u8,
    bound: u8,
    cookie: u8,
    segments: u32,
    again: u32,
    acked: u64,
    rtt: u32,
    /// Bytes of `struct tcp_info`.
    info: u8,
    sequence: bool,
    lie: Option<i8>,
}

impl Socket {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 72];
        out[0] = if self.v6 { 10 } else { 2 };
        out[1] = self.state % 13;
        for (at, host) in [(8, self.local), (24, self.remote)] {
            match (self.v6, self.mapped) {
                (false, _) => out[at..at + 4].copy_from_slice(&v4(host % 8)),
                (true, false) => out[at..at + 16].copy_from_slice(&v6(host % 8)),
                (true, true) => {
                    let mapped = Ipv4Addr::from(v4(host % 8)).to_ipv6_mapped().octets();
                    out[at..at + 16].copy_from_slice(&mapped);
                }
            }
        }
        out[40] = self.bound % 4;
        out[44] = self.cookie % 32;
        let mut info = [0; 280];
        info[68..72].copy_from_slice(&self.rtt.to_ne_bytes());
        info[100..104].copy_from_slice(&self.again.to_ne_bytes());
        info[120..128].copy_from_slice(&self.acked.to_ne_bytes());
        info[136..140].copy_from_slice(&self.segments.to_ne_bytes());
        put(&mut out, 2, &info[..usize::from(self.info)], None);
        message(20, 0, if self.sequence { 9 } else { 1 }, &out, self.lie)
    }
}
