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
        lines.push(passed_over(path.unmatched));
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

fn passed_over(n: u64) -> String {
    match n {
        1 => "1 answer that belongs to no probe was passed over".to_owned(),
        n => format!("{n} answers that belong to no probe were passed over"),
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observation::{FailureReason, StampSource};

    fn router(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn reply(n: u8, ms: Option<u64>, reason: Option<FailureReason>) -> Reply {
        Reply::new(router(n), ms.map(Duration::from_millis), StampSource::Kernel, reason)
    }

    fn path(end: End) -> Path {
        let hop = |ttl, replies| Hop { ttl, sent: 3, replies };
        Path {
            destination: IpAddr::from([203, 0, 113, 9]),
            method: Method::Tcp { port: 443 },
            hops: vec![
                hop(1, vec![reply(1, Some(1), None), reply(1, Some(2), None), reply(7, Some(3), None)]),
                hop(2, vec![]),
                hop(3, vec![reply(3, None, Some(FailureReason::Prohibited))]),
            ],
            end,
            mtu: None,
            unmatched: 0,
        }
    }

    fn with_mtu() -> Path {
        let limits = vec![
            Limit::Told { by: router(1), hop: Some(1), bytes: 1400 },
            Limit::Told { by: router(8), hop: None, bytes: 1300 },
            Limit::BlackHole { after: Some(3), bytes: 1280 },
        ];
        let mtu = PathMtu { bytes: 1280, as_far_as: Some(3), device: Some(1500), limits };
        Path { mtu: Some(mtu), unmatched: 1, ..path(End::Silent { last: Some(3), asked: 30 }) }
    }

    #[test]
    fn a_person_reads_one_line_a_hop() {
        let lines: Vec<String> = path(End::Reached { hop: 3 }).hops.iter().map(hop).collect();
        assert_eq!(
            lines,
            [
                "  1  192.0.2.1  1.000 ms 2.000 ms 192.0.2.7  3.000 ms",
                "  2  no reply",
                "  3  192.0.2.3  late  prohibited",
            ]
        );
    }

    #[test]
    fn a_title_commands_no_terminal_and_says_an_address_once() {
        let title = |host| title(host, router(1), Method::Icmp, 1);
        assert_eq!(title("192.0.2.1"), "tracing 192.0.2.1 by icmp, at most 1 hop");
        assert_eq!(title("a\x1bb"), "tracing a\u{fffd}b (192.0.2.1) by icmp, at most 1 hop");
    }

    #[test]
    fn every_end_has_its_words() {
        let from = router(3);
        let reason = FailureReason::HostUnreachable;
        let ends = [
            (End::Reached { hop: 1 }, "reached 203.0.113.9 in 1 hop"),
            (End::Unreachable { hop: 3, from, reason }, "stopped at hop 3: 192.0.2.3 says host_unreachable"),
            (
                End::Loop { hop: 1, again: 5, from },
                "stopped at hop 5: probes go in a circle, back to 192.0.2.3 of hop 1",
            ),
            (
                End::Silent { last: Some(1), asked: 9 },
                "not reached: hop 1, 192.0.2.1, 192.0.2.7 is the last that answers, up to hop 9",
            ),
            (End::Silent { last: None, asked: 9 }, "not reached: nobody answers, up to hop 9"),
        ];
        for (end, words) in ends {
            assert_eq!(closing(&path(end), false), [words]);
            assert_eq!(closing(&path(end), true)[1..], ["path mtu unknown: nobody answers"]);
        }
    }

    #[test]
    fn every_narrowing_has_its_line() {
        assert_eq!(
            closing(&with_mtu(), true)[1..],
            [
                "path mtu 1280 as far as hop 3, 192.0.2.3",
                "    mtu 1500 -> 1400 after hop 1, 192.0.2.1, which says so",
                "    mtu 1400 -> 1300 after 192.0.2.8, which says so",
                "    mtu 1300 -> 1280 after hop 3, 192.0.2.3: a black hole, larger packets vanish without a word",
                "1 answer that belongs to no probe was passed over",
            ]
        );
    }

    #[test]
    fn a_program_reads_one_object() {
        let object = object("h", &with_mtu());
        assert_eq!(object["end"], json!({"kind": "silent", "hop": 3, "asked": 30}));
        assert_eq!((&object["target"], &object["probe"]), (&json!("h"), &json!("tcp port 443")));
        assert_eq!((&object["reached"], &object["unmatched"]), (&json!(false), &json!(1)));
        assert_eq!(object["hops"][0]["addresses"], json!(["192.0.2.1", "192.0.2.7"]));
        assert_eq!(object["hops"][1], json!({"hop": 2, "sent": 3, "addresses": [], "replies": []}));
        let reply = json!({"from": "192.0.2.3", "rtt_ns": null, "timestamp_source": "kernel", "reason": "prohibited"});
        assert_eq!(object["hops"][2]["replies"][0], reply);
        let mtu = &object["mtu"];
        assert_eq!(
            (&mtu["bytes"], &mtu["device"], &mtu["as_far_as_hop"]),
            (&json!(1280), &json!(1500), &json!(3))
        );
        assert_eq!((&mtu["black_hole"], &mtu["limits"][1]["hop"]), (&json!(true), &Value::Null));
        assert_eq!(mtu["limits"][2], json!({"kind": "black_hole", "after_hop": 3, "bytes": 1280}));
    }
}
