//! What comes back to traces: control messages of any kind, and a road of routers that let some sizes pass, tell of others or
//! keep silent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Arbitrary;
use netmon_agent::fuzzing::{self, Found, Said, Sent, Trace, TraceError};

use super::{Input, input, probes::peer};

#[derive(Arbitrary, Debug)]
struct Way {
    v6: bool,
    method: u8,
    max_hops: u8,
    probes: u8,
    mtu: bool,
    road: Option<Road>,
    answers: Vec<Told>,
}

#[derive(Arbitrary, Debug)]
struct Told {
    after: u16,
    back: u8,
    from: u8,
    what: What,
}

#[derive(Arbitrary, Debug)]
enum What {
    Arrived,
    Exceeded,
    TooBig(u16),
    Refused(u16),
    Unreachable(u8),
    Other(u8, u8),
    /// Level, kind and data of control messages.
    Control(Vec<(bool, u8, Vec<u8>)>),
}

/// Routers on the way to the destination.
#[derive(Arbitrary, Debug)]
struct Road {
    /// What this host's own device takes.
    device: Option<Size>,
    /// Whether it says so where it refuses.
    device_tells: bool,
    routers: Vec<Router>,
    end: Destination,
}

#[derive(Arbitrary, Debug)]
struct Router {
    /// What the link behind it takes.
    mtu: Size,
    tells: Tells,
    /// Milliseconds until its answer.
    rtt: u8,
    odd: Option<Odd>,
}

/// Bytes: one that links have, or any.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Whole,
    Usual(u8),
    Any(u16),
}

/// What a router says of what its link does not take.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Tells {
    Exactly,
    /// As routers before RFC 1191 do.
    Without,
    Nothing,
    /// Another size than the one that is true, and another each time.
    Less(u8),
    Wrong(u16),
}

/// What makes a router other than one that answers each probe with its own address.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Odd {
    Silent,
    /// It answers those of eight whose bit is set.
    Sometimes(u8),
    /// It lets nothing pass and says so.
    Refuses(u8, u8),
    /// Under another's address.
    As(u8),
    /// It says it twice.
    Twice,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Destination {
    Answers,
    Silent,
    Says(u8, u8),
}

const SIZES: [u16; 12] = [68, 80, 296, 576, 1280, 1300, 1420, 1480, 1492, 1500, 9000, 65_535];

impl Size {
    /// Bytes; no link takes less than `least`.
    fn bytes(self, least: u32) -> u32 {
        let bytes = match self {
            Self::Whole => u16::MAX,
            Self::Usual(which) => SIZES[usize::from(which) % SIZES.len()],
            Self::Any(bytes) => bytes,
        };
        u32::from(bytes).max(least)
    }
}

/// One control message as the kernel lays it out (`struct cmsghdr`).
fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut out = (size_of::<usize>() + 8 + data.len()).to_ne_bytes().to_vec();
    out.extend(level.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(data);
    out.resize(out.len().next_multiple_of(size_of::<usize>()), 0);
    out
}

/// `struct sock_extended_err` with who sent it (`linux/errqueue.h`).
fn error(from: IpAddr, kind: u8, code: u8, info: u32) -> Vec<u8> {
    let v6 = from.is_ipv6();
    let mut data = 113_i32.to_ne_bytes().to_vec();
    data.extend([if v6 { 3 } else { 2 }, kind, code, 0]);
    data.extend(info.to_ne_bytes());
    data.extend([0; 4]);
    data.extend(if v6 { 10_u16 } else { 2 }.to_ne_bytes());
    data.extend([0, 0]);
    match from {
        IpAddr::V4(a) => data.extend([&a.octets()[..], &[0; 8]].concat()),
        IpAddr::V6(a) => data.extend([&[0; 4][..], &a.octets(), &[0; 4]].concat()),
    }
    if v6 { control(41, 25, &data) } else { control(0, 11, &data) }
}

fn exceeded(from: IpAddr) -> Vec<u8> {
    error(from, if from.is_ipv6() { 3 } else { 11 }, 0, 0)
}

fn too_big(from: IpAddr, mtu: u32) -> Vec<u8> {
    let (kind, code) = if from.is_ipv6() { (2, 0) } else { (3, 4) };
    error(from, kind, code, mtu)
}

fn unreachable(from: IpAddr, code: u8) -> Vec<u8> {
    error(from, if from.is_ipv6() { 1 } else { 3 }, code % 16, 0)
}

fn router(v6: bool, nth: usize) -> IpAddr {
    let nth = nth as u8 + 1;
    match v6 {
        false => Ipv4Addr::new(198, 51, 100, nth).into(),
        true => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, nth.into()).into(),
    }
}

/// What a road needs to be found as it is.
struct Walk<'a> {
    road: &'a Road,
    destination: IpAddr,
    /// UDP asks for a port that nobody listens on.
    udp: bool,
    least: u32,
    /// Probes so far.
    seen: u32,
}

impl Walk<'_> {
    fn comes_of(&mut self, sent: Sent) -> Vec<(u16, Said)> {
        self.seen += 1;
        let v6 = self.destination.is_ipv6();
        let device = self.road.device.map(|size| size.bytes(self.least));
        if let Some(device) = device.filter(|device| sent.size > *device) {
            return vec![(0, Said::Refused(if self.road.device_tells { device } else { 0 }))];
        }
        for (nth, one) in self.road.routers.iter().enumerate() {
            let from = match one.odd {
                Some(Odd::As(other)) => router(v6, usize::from(other % 4)),
                _ => router(v6, nth),
            };
            let speaks = match one.odd {
                Some(Odd::Silent) => false,
                Some(Odd::Sometimes(which)) => which >> (self.seen % 8) & 1 == 1,
                _ => true,
            };
            let answer = |bytes: Vec<u8>| {
                let one = (u16::from(one.rtt % 250), Said::Control(bytes));
                match speaks {
                    true if matches!(self.road.routers[nth].odd, Some(Odd::Twice)) => vec![one.clone(), one],
                    true => vec![one],
                    false => Vec::new(),
                }
            };
            if usize::from(sent.ttl) == nth + 1 {
                return answer(exceeded(from));
            }
            if let Some(Odd::Refuses(kind, code)) = one.odd {
                return answer(if kind % 2 == 0 {
                    unreachable(from, code)
                } else {
                    error(from, kind, code, 0)
                });
            }
            let mtu = one.mtu.bytes(self.least);
            if sent.size > mtu {
                return match one.tells {
                    Tells::Exactly => answer(too_big(from, mtu)),
                    Tells::Without => answer(too_big(from, 0)),
                    Tells::Nothing => Vec::new(),
                    Tells::Less(by) => answer(too_big(from, sent.size.saturating_sub(by.into()))),
                    Tells::Wrong(size) => answer(too_big(from, size.into())),
                };
            }
        }
        let said = match self.road.end {
            Destination::Silent => return Vec::new(),
            Destination::Says(kind, code) => error(self.destination, kind, code, 0),
            Destination::Answers if self.udp => unreachable(self.destination, if v6 { 4 } else { 3 }),
            Destination::Answers => Vec::new(),
        };
        vec![(7, Said::Control(said))]
    }

    /// What is to be found, where everybody answers and says what is so.
    fn expected(&self, max_hops: u8, asks_mtu: bool) -> Option<Found> {
        let routers = &self.road.routers;
        let is_honest = |one: &Router| {
            one.odd.is_none() && matches!(one.tells, Tells::Exactly | Tells::Without | Tells::Nothing)
        };
        let hops = routers.len() + 1;
        if !routers.iter().all(is_honest)
            || !matches!(self.road.end, Destination::Answers)
            || hops > usize::from(max_hops)
        {
            return None;
        }
        let device = self.road.device.unwrap_or(Size::Whole).bytes(self.least);
        let links: Vec<u32> = routers.iter().map(|one| one.mtu.bytes(self.least)).collect();
        let narrowest = links.iter().copied().min().unwrap_or(u32::MAX).min(device);
        let first = links.iter().position(|mtu| *mtu == narrowest).filter(|_| narrowest < device);
        let hole = first.filter(|nth| matches!(routers[*nth].tells, Tells::Nothing));
        Some(Found {
            reached: Some(hops as u8),
            mtu: asks_mtu.then_some(narrowest),
            hole: hole.filter(|_| asks_mtu).map(|nth| Some(nth as u8 + 1)),
        })
    }
}

/// Control messages, and traces that are answered by them or along a road.
pub fn trace(bytes: &[u8]) {
    let Way { v6, method, max_hops, probes, mtu, mut road, answers } = match input(bytes) {
        Some(Input::Raw(raw)) => return fuzzing::control_messages(raw),
        Some(Input::Made(way)) => way,
        None => return,
    };
    let errors = answers.iter().map(|Told { after, back, from, what }| {
        let from = peer(v6, *from).ip();
        let control = match what {
            What::Refused(mtu) => return (*after, *back, Said::Refused((*mtu).into())),
            What::Arrived => Vec::new(),
            What::Exceeded => exceeded(from),
            What::TooBig(mtu) => too_big(from, (*mtu).into()),
            What::Unreachable(code) => unreachable(from, *code),
            What::Other(kind, code) => error(from, *kind, *code, 1400),
            What::Control(all) => all
                .iter()
                .flat_map(|(ip, kind, data)| match (ip, kind % 6) {
                    (true, 0) => control(0, 2, data),
                    (true, 1) => control(41, 52, data),
                    (true, 2) => control(0, 11, data),
                    (true, _) => control(41, 25, data),
                    (false, 0) => control(1, 35, data),
                    (false, _) => control(1, 37, data),
                })
                .collect(),
        };
        (*after, *back, Said::Control(control))
    });
    let errors: Vec<_> = errors.map(|(after, back, said)| TraceError { after, back, said }).collect();
    let max_hops = max_hops % 40;
    let destination = peer(v6, 1).ip();
    let is_quiet = errors.is_empty();
    let trace = Trace { destination, method, max_hops, probes, mtu, errors };
    let Some(road) = &mut road else {
        fuzzing::trace(&trace, |_| Vec::new());
        return;
    };
    road.routers.truncate(24);
    let least = if v6 { 1280 } else { 80 };
    let mut walk = Walk { road, destination, udp: method % 3 == 2, least, seen: 0 };
    let found = fuzzing::trace(&trace, |sent| walk.comes_of(sent));
    if let Some(expected) = walk.expected(max_hops, mtu).filter(|_| is_quiet) {
        assert_eq!(found, expected, "{:?}", walk.road);
    }
}
