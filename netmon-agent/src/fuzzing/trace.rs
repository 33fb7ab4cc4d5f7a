//! What comes by the error queue, and what a trace makes of it.

use std::{net::IpAddr, time::Duration};

use super::{
    path::{End, Method},
    tracer::{Heard, Plan, Step, Tracer, What},
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
    /// What comes while it runs.
    pub errors: Vec<Error>,
}

/// Something comes.
#[derive(Clone, Debug)]
pub struct Error {
    /// Milliseconds after what came before.
    pub after: u16,
    /// The probe that it is laid to, back from the last one.
    pub back: u8,
    /// Control messages as the kernel writes them; none is an answer of the destination.
    pub control: Vec<u8>,
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

/// Plays a trace to its end: it comes to one, asks no hop beyond the farthest, and tells of nobody who said nothing.
pub fn play(trace: &Trace) {
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
    let (mut errors, mut heard) = (trace.errors.iter(), Vec::new());
    let most = (u32::from(trace.max_hops).max(1) + 8) * 8 + 1024;
    loop {
        match tracer.step(now) {
            Step::Done => break,
            Step::Send(probe) => {
                assert_eq!(u32::from(probe.id), sent, "probes are not numbered one after the other");
                assert!((68..=65_535).contains(&probe.size) && probe.ttl > 0, "{probe:?}");
                sent += 1;
                assert!(sent <= most, "{sent} probes, and no end");
            }
            Step::Wait(until) => {
                let Some(error) = errors.next() else {
                    assert!(until > now, "it waits for what has been");
                    now = until;
                    continue;
                };
                now = until.min(now + Duration::from_millis(error.after.into()));
                let Some(id) = sent.checked_sub(1 + u32::from(error.back)) else { continue };
                let answer = answer(trace.destination, error);
                heard.extend(answer.from);
                tracer.heard(id as u16, &answer);
            }
        }
        while let Some(hop) = tracer.settled_hop(now) {
            assert!(hop.ttl > 0 && hop.replies.len() <= usize::from(hop.sent), "{hop:?}");
        }
    }
    let path = tracer.path();
    for hop in &path.hops {
        assert!(hop.addresses().iter().all(|address| heard.contains(address)), "{hop:?} was never heard");
    }
    match path.end {
        End::Reached { .. } => assert!(heard.contains(&trace.destination), "reached without an answer"),
        End::Unreachable { from, .. } => assert!(heard.contains(&from)),
        End::Loop { from, hop, again } => assert!(heard.contains(&from) && hop < again),
        End::Silent { .. } => {}
    }
    assert_eq!(path.reached(), matches!(path.end, End::Reached { .. }));
}

fn answer(destination: IpAddr, error: &Error) -> Heard {
    read(&error.control);
    let (rtt, stamp) = (Some(Duration::from_millis(error.after.into())), StampSource::User);
    let told = parse_control(&error.control).error;
    let failed = told.and_then(|told| Some((reason::of_error(&told)?, told)));
    match failed {
        Some((reason, told)) => {
            let mtu = if reason == FailureReason::PacketTooBig { told.info } else { 0 };
            Heard { from: told.offender, what: What::Failed { reason, mtu }, rtt, stamp }
        }
        None => Heard { from: Some(destination), what: What::Arrived, rtt, stamp },
    }
}
