//! States, reasons, places and times in words.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use maud::{Markup, html};

use crate::{
    health::State,
    output::{WallOffset, rfc3339},
    time::{Boot, Wall},
};

/// When it is, and how times are told.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// Now.
    pub(super) now: Boot,
    /// What makes wall-clock time of it.
    pub(super) walls: WallOffset,
    /// Whose days and hours.
    pub(super) zone: TimeZone,
}

impl Clock {
    /// How long ago an instant is.
    pub(super) fn age(&self, then: Boot) -> Duration {
        self.now.since(then)
    }

    /// An instant as people read it.
    pub(super) fn at(&self, then: Boot) -> Markup {
        self.time(self.walls.wall(then))
    }

    /// The time of day of an instant, with seconds.
    pub(super) fn time_of_day(&self, then: Boot) -> String {
        self.zoned(self.walls.wall(then)).map(|z| z.strftime("%H:%M:%S").to_string()).unwrap_or_default()
    }

    /// The zone's short name now.
    pub(super) fn zone_name(&self) -> String {
        let now = self.zoned(self.walls.wall(self.now));
        now.map(|z| z.strftime("%Z").to_string()).unwrap_or_default()
    }

    /// A time as people read it: of today the time of day, of other days with the date.
    pub(super) fn time(&self, wall: Wall) -> Markup {
        let (Some(then), Some(now)) = (self.zoned(wall), self.zoned(self.walls.wall(self.now))) else {
            return html! { "?" };
        };
        let form = if then.date() == now.date() {
            "%H:%M:%S"
        } else if then.year() == now.year() {
            "%a %-d %b, %H:%M"
        } else {
            "%-d %b %Y, %H:%M"
        };
        html! { time datetime=(rfc3339(wall)) { (then.strftime(form).to_string()) } }
    }

    /// The same of RFC 3339.
    pub(super) fn told(&self, rfc3339: &str) -> Markup {
        match wall(rfc3339) {
            Some(wall) => self.time(wall),
            None => html! { (rfc3339) },
        }
    }

    pub(super) fn zoned(&self, wall: Wall) -> Option<Zoned> {
        let at = Timestamp::from_nanosecond(i128::from(wall.as_nanos())).ok()?;
        Some(Zoned::new(at, self.zone.clone()))
    }
}

/// RFC 3339 as a time.
pub(super) fn wall(rfc3339: &str) -> Option<Wall> {
    let at: Timestamp = rfc3339.parse().ok()?;
    u64::try_from(at.as_nanosecond()).ok().map(Wall::from_nanos)
}

/// A duration in its two largest units: `3 d 4 h`, `5 min 12 s`, `7 s`.
pub(super) fn span(d: Duration) -> String {
    let s = d.as_secs();
    let units = [(s / 86_400, "d"), (s / 3600 % 24, "h"), (s / 60 % 60, "min"), (s % 60, "s")];
    let first = units.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let two = units[first..].iter().take(2).filter(|(n, _)| *n > 0 || s == 0);
    two.map(|(n, unit)| format!("{n}\u{a0}{unit}")).collect::<Vec<_>>().join(" ")
}

/// A round trip in three digits, which is as much as it tells.
pub(super) fn round_trip(d: Duration) -> String {
    match d.as_secs_f64() * 1e3 {
        ms if ms < 0.9995 => format!("{:.0}\u{a0}µs", ms * 1e3),
        ms if ms < 9.995 => format!("{ms:.2}\u{a0}ms"),
        ms if ms < 99.95 => format!("{ms:.1}\u{a0}ms"),
        ms => format!("{ms:.0}\u{a0}ms"),
    }
}

/// A part of all, 0–1, in per cent: neither of nearly all nor of hardly any it says all or none.
pub(super) fn per_cent(ratio: f64) -> String {
    let (of_100, digits) = match ratio * 100.0 {
        p if p <= 0.0 || p >= 100.0 => (p, 0),
        p if p < 1.0 => (p.max(0.01), 2),
        p if p > 99.0 => (p.min(99.999), if p > 99.99 { 3 } else { 2 }),
        p => (p, 1),
    };
    format!("{of_100:.digits$}\u{a0}%")
}

/// The verdict over all as a sentence.
pub(super) fn headline(state: State) -> &'static str {
    match state {
        State::Up => "The network is up",
        State::Degraded => "The network works, with faults",
        State::Down => "The network is down",
        State::Unknown => "The state of the network is not known",
    }
}

/// What a reason's code says, for those who don't know the codes; the code where this program doesn't either.
pub(super) fn reason(code: &str) -> &str {
    match code {
        "starting" => "No verdict yet",
        "suspended" => "The machine slept",
        "stalled" => "The agent stood still",
        "stale" => "The agent does not look any more",
        "gap" => "Events were lost",
        "admin_down" => "Switched off by the administrator",
        "no_carrier" => "No carrier: cable, port or far end",
        "oper_down" => "The link is not operational",
        "no_address" => "No usable address",
        "device_gone" => "The device is gone",
        "no_route" => "No route",
        "no_usable_link" => "No usable link",
        "required_device_down" => "A required device is down",
        "device_down" => "A device is down",
        "port_down" => "A port of a bond or bridge is down",
        "uplink_lost" => "The best uplink is lost",
        "explained_by_link" => "Down because of its link",
        "no_reply" => "Probes are not answered",
        "refused" => "The port is closed",
        "unreachable" => "Reported unreachable",
        "dns_error" => "The resolver answers with errors",
        "service_error" => "The service answers wrongly",
        "send_failed" => "Probes can't be sent from here",
        "dns" => "The name can't be resolved",
        "address_down" => "Some addresses are down",
        "target_down" => "A target is down",
        "scope_down" => "Too many targets of a scope are down",
        "target_degraded" => "A target is degraded",
        "gateway_silent" => "The gateway does not answer pings",
        "icmp_filtered" => "Probes fail, but TCP goes through",
        "loss" => "Packets are lost",
        "retransmits" => "TCP sends much again",
        "latency" => "Slower than usual",
        "flapping" => "It comes and goes",
        "throttled" => "The agent probes more slowly",
        "no_evidence" => "Nothing to judge by",
        other => other,
    }
}

/// Where a fault is, by the place's word.
pub(super) fn place(word: &str) -> &str {
    match word {
        "link" => "this machine’s link",
        "address" => "this machine’s addresses",
        "route" => "this machine’s routes",
        "neighbour" => "the next host on the link",
        "gateway" => "the gateway",
        "local" => "this machine itself",
        "path" => "the way beyond the gateway",
        "path_mtu" => "the size of packets on the way",
        "dns" => "name resolution",
        "port" => "the service at the target",
        other => other,
    }
}

/// A number with its noun.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{}\u{a0}{}", grouped(n), if n == 1 { one } else { many })
}

/// A number with its thousands apart.
pub(super) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && i % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnosis::Place, health::ReasonCode};

    #[test]
    fn numbers_read_well() {
        let spans =
            [0, 7, 61, 120, 3600, 90_000].map(|s| span(Duration::from_secs(s)).replace('\u{a0}', " "));
        assert_eq!(spans, ["0 s", "7 s", "1 min 1 s", "2 min", "1 h", "1 d 1 h"]);
        let trips = [36_100, 999_600, 12_345_000, 123_456_000].map(|ns| round_trip(Duration::from_nanos(ns)));
        assert_eq!(trips.map(|t| t.replace('\u{a0}', " ")), ["36 µs", "1.00 ms", "12.3 ms", "123 ms"]);
        let parts = [0.0, 0.000_001, 0.005, 0.123, 0.99, 0.9996, 0.999_999_9, 1.0].map(per_cent);
        let parts = parts.map(|p| p.replace('\u{a0}', " "));
        assert_eq!(parts, ["0 %", "0.01 %", "0.50 %", "12.3 %", "99.0 %", "99.96 %", "99.999 %", "100 %"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count(1, "target", "targets"), "1\u{a0}target");
    }

    #[test]
    fn every_code_and_every_place_has_words() {
        for code in ReasonCode::ALL.map(ReasonCode::as_str).into_iter().chain(["stale"]) {
            assert_ne!(reason(code), code);
        }
        for word in Place::ALL.map(Place::as_str) {
            assert!(place(word).starts_with("th") || place(word).contains(' '), "{word}");
        }
        assert_eq!((reason("new_code"), place("moon")), ("new_code", "moon"));
    }

    #[test]
    fn times_of_other_days_have_their_date() {
        let clock = Clock { now: Boot::default(), walls: WallOffset::default(), zone: TimeZone::UTC };
        let told = |text: &str| clock.told(text).into_string();
        assert!(told("1970-01-01T00:00:05.000Z").ends_with(">00:00:05</time>"));
        assert!(told("1970-03-01T10:20:05Z").ends_with(">Sun 1 Mar, 10:20</time>"));
        assert!(told("2026-03-01T10:20:05Z").ends_with(">1 Mar 2026, 10:20</time>"));
        assert_eq!(told("<b>"), "&lt;b&gt;");
    }
}
