//! What comes by the error queue, and what a trace makes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    mtu::LARGEST,
    path::{End, Limit, Method, Path},
    tracer::{Heard, Plan, Purpose, Step, Tracer, What},
};
use crate::{
    observation::{FailureReason, StampSource},
    source::probe::reason,
    sys::{Ancillary, parse_control},
    time::Mono,
};

/// What is played.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Whom it is to reach.
    pub destination: IpAddr,
    /// By ICMP, TCP or UDP.
    pub method: u8,
    /// Hops at most.
    pub max_hops: u8,
    /// Probes a hop.
    pub probes: u8,
    /// Whether the MTU is looked for.
    pub mtu: bool,
    /// What comes while it runs, whatever is asked.
    pub errors: Vec<Error>,
}

/// Something comes.
#[derive(Clone, Debug)]
pub struct Error {
    /// Milliseconds after what came before.
    pub after: u16,
    /// The probe that it is laid to, back from the last one.
    pub back: u8,
    /// What it is.
    pub said: Said,
}

/// What comes of a probe.
#[derive(Clone, Debug)]
pub enum Said {
    /// Control messages as the kernel writes them; none is an answer of the destination.
    Control(Vec<u8>),
    /// The device refuses it for its size, and takes so many bytes; 0 where it does not say.
    Refused(u32),
}

/// A probe, as the network sees it.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Time to live.
    pub ttl: u8,
    /// Bytes with the IP header.
    pub size: u32,
}

/// Of what was found, what a road tells in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The destination's distance, where it was reached.
    pub reached: Option<u8>,
    /// The largest packet that passes, bytes.
    pub mtu: Option<u32>,
    /// After which hop larger ones vanish, where they do.
    pub hole: Option<Option<u8>>,
}

/// Looks into control messages, as they come with a datagram: what is told of is in them.
pub fn read(control: &[u8]) {
    let told: Ancillary = parse_control(control);
    if let Some(error) = told.error {
        if let Some(reason) = reason::of_error(&error) {
            assert!(matches!(error.kind, 1..=4 | 11 | 12), "{error:?} is {reason:?}");
        }
        if let Some(IpAddr::V4(v4)) = error.offender {
            assert!(control.windows(4).any(|piece| piece == v4.octets()), "{v4} is not in it");
        }
    }
    assert!(told.sent_stamp().is_none() || told.received.is_some());
    assert!(control.len() >= 24 || told == Ancillary::default(), "{told:?} of {} bytes", control.len());
}

/// Plays a trace to its end: it comes to one, asks no hop beyond the farthest, tells of nobody who said nothing and of no size
/// that did not pass. `road` tells what comes of each probe, and after how many milliseconds.
pub fn play(trace: &Trace, mut road: impl FnMut(Sent) -> Vec<(u16, Said)>) -> Found {
    let method = match trace.method % 3 {
        0 => Method::Icmp,
        1 => Method::Tcp { port: 443 },
        _ => Method::Udp,
    };
    let timeout = Duration::from_secs(1);
    let plan = Plan {
        destination: trace.destination,
        method,
        max_hops: trace.max_hops,
        probes: trace.probes % 4,
        timeout,
        mtu: trace.mtu,
    };
    let (mut tracer, mut now, mut sent) = (Tracer::new(plan), Mono::from_nanos(1_000_000_000), 0_u32);
    let (mut errors, mut heard, mut sizes) = (trace.errors.iter(), Vec::new(), BTreeSet::new());
    // By when it comes, and in which order it was said.
    let mut coming: BTreeMap<(Mono, usize), (u16, u16, Said)> = BTreeMap::new();
    let mut said = 0;
    let most = (u32::from(trace.max_hops).max(1) + 8) * 8 + 1024;
    loop {
        match tracer.step(now) {
            Step::Done => break,
            Step::Send(probe) => {
                assert_eq!(u32::from(probe.id), sent, "probes are not numbered one after the other");
                assert!((68..=65_535).contains(&probe.size) && probe.ttl > 0, "{probe:?}");
                assert!(
                    probe.purpose == Purpose::Mtu || probe.ttl <= trace.max_hops.max(1),
                    "{probe:?} is beyond the farthest hop"
                );
                sent += 1;
                sizes.insert(probe.size);
                assert!(sent <= most, "{sent} probes, and no end");
                for (after, what) in road(Sent { ttl: probe.ttl, size: probe.size }) {
                    said += 1;
                    coming.insert((now + Duration::from_millis(after.into()), said), (probe.id, after, what));
                }
            }
            Step::Wait(until) => {
                let next = coming.first_entry().filter(|next| next.key().0 <= until);
                if let Some(next) = next {
                    let at = next.key().0;
                    let (id, after, said) = next.remove();
                    now = now.max(at);
                    hear(&mut tracer, trace.destination, id, after, &said, &mut heard);
                } else if let Some(error) = errors.next() {
                    now = until.min(now + Duration::from_millis(error.after.into()));
                    let Some(id) = sent.checked_sub(1 + u32::from(error.back)) else { continue };
                    hear(&mut tracer, trace.destination, id as u16, error.after, &error.said, &mut heard);
                } else {
                    assert!(until > now, "it waits for what has been");
                    now = until;
                }
            }
        }
        while let Some(hop) = tracer.settled_hop(now) {
            assert!(hop.ttl > 0 && hop.replies.len() <= usize::from(hop.sent), "{hop:?}");
        }
    }
    told(&tracer.path(), trace.destination, &heard, &sizes)
}

fn told(path: &Path, destination: IpAddr, heard: &[IpAddr], sizes: &BTreeSet<u32>) -> Found {
    for hop in &path.hops {
        assert!(hop.addresses().iter().all(|address| heard.contains(address)), "{hop:?} was never heard");
        assert_eq!(path.hop(hop.ttl), Some(hop));
        assert!(hop.reason().is_none() || !hop.replies.is_empty());
    }
    assert_eq!(path.hop(0), None);
    match path.end {
        End::Reached { .. } => assert!(heard.contains(&destination), "reached without an answer"),
        End::Unreachable { from, .. } => assert!(heard.contains(&from)),
        End::Loop { from, hop, again } => assert!(heard.contains(&from) && hop < again),
        End::Silent { .. } => {}
    }
    assert_eq!(path.reached(), matches!(path.end, End::Reached { .. }));
    assert!(path.method.to_string().starts_with(path.method.as_str()));
    if let Some(mtu) = &path.mtu {
        assert!(sizes.contains(&mtu.bytes), "{} bytes pass, and were never sent", mtu.bytes);
        assert!(mtu.device.is_none_or(|device| device < LARGEST), "{mtu:?}");
        let holes = mtu.limits.iter().filter(|limit| matches!(limit, Limit::BlackHole { .. })).count();
        assert_eq!(holes == 1, mtu.is_black_hole(), "{mtu:?}");
        let of = |limit: &Limit| match *limit {
            Limit::Told { by, bytes, .. } => {
                assert!(heard.contains(&by), "{by} said nothing");
                bytes
            }
            Limit::BlackHole { bytes, .. } => bytes,
        };
        let all: Vec<u32> = mtu.limits.iter().map(of).collect();
        assert!(all.is_sorted_by(|a, b| a > b), "not from the widest to the narrowest: {mtu:?}");
        assert!(all.iter().all(|bytes| *bytes >= mtu.bytes), "more passes than may: {mtu:?}");
    }
    let hole = path.mtu.as_ref().and_then(|mtu| {
        mtu.limits.iter().find_map(|limit| match limit {
            Limit::BlackHole { after, .. } => Some(*after),
            Limit::Told { .. } => None,
        })
    });
    let reached = match path.end {
        End::Reached { hop } => Some(hop),
        _ => None,
    };
    Found { reached, mtu: path.mtu.as_ref().map(|mtu| mtu.bytes), hole }
}

fn hear(tracer: &mut Tracer, destination: IpAddr, id: u16, after: u16, said: &Said, heard: &mut Vec<IpAddr>) {
    let (rtt, stamp) = (Some(Duration::from_millis(after.into())), StampSource::User);
    let answer = match said {
        Said::Refused(mtu) => {
            let what = What::Failed { reason: FailureReason::PacketTooBig, mtu: *mtu };
            Heard { from: None, what, rtt, stamp }
        }
        Said::Control(control) => {
            read(control);
            let told = parse_control(control).error;
            match told.and_then(|told| Some((reason::of_error(&told)?, told))) {
                Some((reason, told)) => {
                    let mtu = if reason == FailureReason::PacketTooBig { told.info } else { 0 };
                    Heard { from: told.offender, what: What::Failed { reason, mtu }, rtt, stamp }
                }
                None => Heard { from: Some(destination), what: What::Arrived, rtt, stamp },
            }
        }
    };
    heard.extend(answer.from);
    tracer.heard(id, &answer);
}
