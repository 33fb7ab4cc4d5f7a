//! The lines and the object that `netmon trace` prints.

use std::{fmt::Write, net::IpAddr};

use serde_json::{Value, json};

use super::super::{probe::millis, text::printable};
use crate::source::trace::{End, Hop, Limit, Method, Path, PathMtu, Reply};

/// The line before the first hop.
pub(super) fn title(host: &str, address: IpAddr, method: Method, max_hops: u8) -> String {
    let host = printable(host);
    let host = if host == address.to_string() { host } else { format!("{host} ({address})") };
    format!("tracing {host} by {method}, at most {max_hops} {}", plural(max_hops, "hop"))
}

/// Number, addresses, round trips; a reason where an answer gave one.
pub(super) fn hop(hop: &Hop) -> String {
    let mut line = format!("{:>3} ", hop.ttl);
    if hop.replies.is_empty() {
        line += " no reply";
    }
    let mut last = None;
    for reply in &hop.replies {
        if last != Some(reply.from) {
            let _ = write!(line, " {} ", reply.from);
        }
        last = Some(reply.from);
        match reply.rtt {
            Some(rtt) => {
                let _ = write!(line, " {} ms", millis(rtt));
            }
            None => line += " late",
        }
    }
    if let Some(reason) = hop.reason() {
        let _ = write!(line, "  {reason}");
    }
    line
}

/// What follows the last hop: how the path ends, and the largest packet that passes.
pub(super) fn closing(path: &Path, mtu_searched: bool) -> Vec<String> {
    let mut lines = vec![end(path)];
    match &path.mtu {
        Some(mtu) => lines.extend(mtu_lines(path, mtu)),
        None if mtu_searched => lines.push("path mtu unknown: nobody answers".to_owned()),
        None => {}
    }
    if path.unmatched > 0 {
        lines.push(format!("{} that belong to no probe were passed over", answers(path.unmatched)));
    }
    lines
}

fn end(path: &Path) -> String {
    let destination = path.destination;
    match path.end {
        End::Reached { hop } => format!("reached {destination} in {hop} {}", plural(hop, "hop")),
        End::Unreachable { hop, from, reason } => {
            format!("stopped at hop {hop}: {from} says {reason}")
        }
        End::Loop { hop, again, from } => {
            format!("stopped at hop {again}: probes go in a circle, back to {from} of hop {hop}")
        }
        End::Silent { last: Some(last), asked } => {
            format!("not reached: {} is the last that answers, up to hop {asked}", place(path, last))
        }
        End::Silent { last: None, asked } => {
            format!("not reached: nobody answers, up to hop {asked}")
        }
    }
}

fn mtu_lines(path: &Path, mtu: &PathMtu) -> Vec<String> {
    let so_far = mtu.as_far_as.map(|hop| format!(" as far as {}", place(path, hop))).unwrap_or_default();
    let mut lines = vec![format!("path mtu {}{so_far}", mtu.bytes)];
    let mut wider = mtu.device;
    for limit in &mtu.limits {
        let (bytes, why) = match *limit {
            Limit::Told { by, hop, bytes } => {
                let at = hop.map(|hop| format!("hop {hop}, ")).unwrap_or_default();
                (bytes, format!("after {at}{by}, which says so"))
            }
            Limit::BlackHole { after, bytes } => {
                let place = after.map(|hop| format!("after {}", place(path, hop)));
                let place = place.unwrap_or_else(|| "somewhere".to_owned());
                (bytes, format!("{place}: a black hole, larger packets vanish without a word"))
            }
        };
        let from = wider.map(|wider| format!("{wider} -> ")).unwrap_or_default();
        lines.push(format!("    mtu {from}{bytes} {why}"));
        wider = Some(bytes);
    }
    lines
}

/// A hop with those who answered there.
fn place(path: &Path, ttl: u8) -> String {
    let addresses = path.hop(ttl).map(Hop::addresses).unwrap_or_default();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if addresses.is_empty() { format!("hop {ttl}") } else { format!("hop {ttl}, {}", addresses.join(", ")) }
}

fn plural(n: u8, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}

fn answers(n: u64) -> String {
    if n == 1 { "1 answer".to_owned() } else { format!("{n} answers") }
}

/// The whole for a program.
pub(super) fn object(host: &str, path: &Path) -> Value {
    let hops: Vec<Value> = path.hops.iter().map(hop_object).collect();
    json!({
        "target": host, "address": path.destination, "probe": path.method.to_string(),
        "reached": path.reached(), "end": end_object(path.end), "hops": hops,
        "mtu": path.mtu.as_ref().map(mtu_object), "unmatched": path.unmatched,
    })
}

fn hop_object(hop: &Hop) -> Value {
    let replies: Vec<Value> = hop.replies.iter().map(reply_object).collect();
    json!({"hop": hop.ttl, "sent": hop.sent, "addresses": hop.addresses(), "replies": replies})
}

fn reply_object(reply: &Reply) -> Value {
    json!({
        "from": reply.from, "rtt_ns": reply.rtt.map(|rtt| rtt.as_nanos() as u64),
        "timestamp_source": reply.stamp.as_str(), "reason": reply.reason.map(|reason| reason.as_str()),
    })
}

fn end_object(end: End) -> Value {
    match end {
        End::Reached { hop } => json!({"kind": "reached", "hop": hop}),
        End::Unreachable { hop, from, reason } => {
            json!({"kind": "unreachable", "hop": hop, "from": from, "reason": reason.as_str()})
        }
        End::Loop { hop, again, from } => json!({"kind": "loop", "hop": hop, "again": again, "from": from}),
        End::Silent { last, asked } => json!({"kind": "silent", "hop": last, "asked": asked}),
    }
}

fn mtu_object(mtu: &PathMtu) -> Value {
    let limits: Vec<Value> = mtu
        .limits
        .iter()
        .map(|limit| match limit {
            Limit::Told { by, hop, bytes } => json!({"kind": "told", "by": by, "hop": hop, "bytes": bytes}),
            Limit::BlackHole { after, bytes } => {
                json!({"kind": "black_hole", "after_hop": after, "bytes": bytes})
            }
        })
        .collect();
    json!({
        "bytes": mtu.bytes, "as_far_as_hop": mtu.as_far_as, "device": mtu.device,
        "black_hole": mtu.is_black_hole(), "limits": limits,
    })
}
