//! What a look saw, as a place.

use std::net::IpAddr;

use super::{
    evidence::port_of,
    look::{Refusal, Seen, Task},
    place::{Place, SeenHop, Trace},
};
use crate::{
    observation::{FailureReason, Method},
    source::trace::{End, Hop, Limit, Path, PathMtu},
};

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The place; none where it is no better known than before.
    pub place: Option<Place>,
    /// One line for a person.
    pub detail: String,
    /// What was seen of the way; none where nothing could be sent.
    pub trace: Option<Trace>,
}

/// Names the place. An error when nothing could be looked at, with its reason.
pub fn judge(task: &Task, seen: &Seen) -> Result<Judged, String> {
    let here = |(place, detail)| Ok(Judged { place: Some(place), detail, trace: None });
    if let Err(refusal) = &seen.route
        && let Some(found) = refused(task, refusal)
    {
        return here(found);
    }
    match &seen.path {
        Err(refusal) => match refused(task, refusal) {
            Some(found) => here(found),
            None => Err(match refusal {
                Refusal::Other(why) => why.clone(),
                _ => "nothing could be sent".to_owned(),
            }),
        },
        Ok(path) => {
            let (place, detail) = of_path(task, seen, path);
            Ok(Judged { place, detail, trace: Some(trace(seen, path)) })
        }
    }
}

fn refused(task: &Task, refusal: &Refusal) -> Option<(Place, String)> {
    let to = task.address;
    match refusal {
        Refusal::NoRoute => Some((Place::Route, format!("the kernel has no route to {to}"))),
        Refusal::Forbidden => {
            Some((Place::Local, format!("this machine's own firewall or routing forbids packets to {to}")))
        }
        Refusal::NoNeighbour => {
            Some((Place::Neighbour, format!("the next hop to {to} does not answer for its address")))
        }
        Refusal::NoSuchWay(why) => Some((Place::Local, format!("packets to {to} can't go that way: {why}"))),
        Refusal::Other(_) => None,
    }
}

fn of_path(task: &Task, seen: &Seen, path: &Path) -> (Option<Place>, String) {
    match path.end {
        End::Reached { hop } => reached(task, seen, path, hop),
        // The host itself says so.
        End::Unreachable { hop, from, reason } if from == path.destination => {
            (Some(Place::Port), format!("{from}, {}, is there and says {reason}", hops(hop)))
        }
        // This machine's kernel: nobody answers for the address of the next hop (net/ipv4/arp.c `arp_error_report`).
        End::Unreachable { from, reason: FailureReason::HostUnreachable, .. } if seen.route == Ok(from) => {
            let whose = if task.on_link.is_some() { "it" } else { "the next hop to it" };
            let said = format!("{from}, this machine, says that {whose} does not answer for its address");
            (Some(Place::Neighbour), said)
        }
        End::Unreachable { hop, from, reason } => {
            (Some(Place::Path), format!("{from} at hop {hop} goes no further: it says {reason}"))
        }
        End::Loop { hop, again, from } => (
            Some(Place::Path),
            format!("packets go in a circle: {from} is met at hop {hop} and again at {again}"),
        ),
        End::Silent { last, .. } => silent(task, seen, path, last),
    }
}

fn reached(task: &Task, seen: &Seen, path: &Path, hop: u8) -> (Option<Place>, String) {
    if let Some(detail) = path.mtu.as_ref().filter(|_| !seen.cut).and_then(|mtu| narrow(task, path, mtu)) {
        return (Some(Place::PathMtu), detail);
    }
    let (host, away) = (&task.host, hops(hop));
    let port = port_of(&task.method).unwrap_or_default();
    if path.hop(hop).and_then(Hop::reason) == Some(FailureReason::Refused) {
        return (Some(Place::Port), format!("port {port} of {host} is closed, the host answers, {away}"));
    }
    match &task.method {
        Method::Dns(_) => {
            (Some(Place::Dns), format!("the host {host} answers, {away}, its resolver does not"))
        }
        Method::Udp { .. } => {
            (Some(Place::Port), format!("the host {host} answers, {away}, its UDP port {port} does not"))
        }
        Method::Http(_) => {
            let said = format!(
                "port {port} of {host} accepts connections, {away}, and the service gives no good answer"
            );
            (Some(Place::Port), said)
        }
        Method::Icmp | Method::Tcp { .. } => (None, format!("it answered when it was looked at, {away}")),
    }
}

/// Whether what the probes send is too large for the way, and what is said of that.
fn narrow(task: &Task, path: &Path, mtu: &PathMtu) -> Option<String> {
    let sent = task.largest_packet();
    let whole = task.path.size.is_some() && task.path.dont_fragment;
    match mtu.limits.last() {
        Some(Limit::BlackHole { after, bytes }) if sent.is_none_or(|sent| sent > *bytes) => {
            let place = match after.map(|hop| place(path, hop)) {
                Some(place) => format!("beyond {place}"),
                None => "on the way".to_owned(),
            };
            Some(format!("packets over {bytes} bytes vanish {place} without a word"))
        }
        // Where fragments are allowed nothing is too large for a router that says what it takes.
        Some(Limit::Told { by, bytes, .. }) if whole && sent.is_some_and(|sent| sent > *bytes) => {
            Some(format!("packets over {bytes} bytes go no further than {by}, which says so"))
        }
        _ => {
            let device = mtu.device.filter(|device| whole && sent.is_some_and(|sent| sent > *device))?;
            Some(format!("the device here takes packets of {device} bytes at most"))
        }
    }
}

fn silent(task: &Task, seen: &Seen, path: &Path, last: Option<u8>) -> (Option<Place>, String) {
    let host = &task.host;
    if seen.echo == Some(true) {
        let what = path.method;
        return (
            Some(Place::Port),
            format!("{host} answers echo requests, and nothing by {what}: a filter, or no service"),
        );
    }
    if let Some((_, link)) = &task.on_link {
        return match seen.neighbour {
            Some(state) if !state.is_valid() => {
                let said = format!(
                    "{} does not answer for its address on {link} ({})",
                    task.address,
                    state.as_str()
                );
                (Some(Place::Neighbour), said)
            }
            Some(state) => {
                let said = format!(
                    "{} is on {link}, its link-layer address is {}, and it answers nothing",
                    task.address,
                    state.as_str()
                );
                (Some(if matches!(task.method, Method::Dns(_)) { Place::Dns } else { Place::Port }), said)
            }
            None => (None, format!("{} is on {link} and does not answer", task.address)),
        };
    }
    match last {
        Some(hop) => {
            (Some(Place::Path), format!("{} is the last that answers on the way to {host}", place(path, hop)))
        }
        None => (Some(Place::Path), format!("nobody on the way to {host} answers, not the first hop either")),
    }
}

fn trace(seen: &Seen, path: &Path) -> Trace {
    let hop = |hop: &Hop| SeenHop {
        hop: hop.ttl,
        addresses: hop.addresses(),
        rtt: hop.replies.iter().filter_map(|reply| reply.rtt).min(),
    };
    Trace {
        address: path.destination,
        source: seen.route.as_ref().ok().copied(),
        method: path.method.to_string(),
        hops: path.hops.iter().map(hop).collect(),
        reached: path.reached(),
        path_mtu: path.mtu.as_ref().filter(|mtu| !seen.cut && mtu.as_far_as.is_none()).map(|mtu| mtu.bytes),
    }
}

/// A hop with those who answered there.
fn place(path: &Path, ttl: u8) -> String {
    let addresses: Vec<String> =
        path.hop(ttl).map(Hop::addresses).unwrap_or_default().iter().map(IpAddr::to_string).collect();
    if addresses.is_empty() { format!("hop {ttl}") } else { format!("hop {ttl}, {},", addresses.join(", ")) }
}

fn hops(n: u8) -> String {
    if n == 1 { "1 hop away".to_owned() } else { format!("{n} hops away") }
}

#[cfg(test)]
#[path = "finding_tests.rs"]
mod tests;
