//! One target: its name, its host, its pace and the way its packets go.

use std::{collections::HashMap, net::IpAddr, ops::Range, sync::Arc, time::Duration};

use super::{
    TargetConfig,
    dscp::dscp,
    error::Fault,
    file::{Dscp, Target},
    method,
    spanned::Spanned,
    validate::{MAX_NAME, interval, timeout},
};
use crate::observation::{HttpRequest, Method, PathOptions, SMALLEST_UDP_PAYLOAD, is_of_a_host};

/// Longest name of a device (`IFNAMSIZ` less its end, linux/if.h), bytes.
const MAX_DEVICE: usize = 15;

pub(super) fn target(
    table: &Spanned<Target>,
    interval_default: Duration,
    timeout_default: Duration,
    names: &mut HashMap<String, Range<usize>>,
) -> Result<TargetConfig, Fault> {
    let t = table.get_ref();
    let url = t.url.as_ref().map(method::url).transpose()?;
    let host = host(table, url.as_ref())?;
    let name = t.name.as_ref().or(t.url.as_ref()).unwrap_or(&host);
    let printable = |s: &str| !s.is_empty() && s.len() <= MAX_NAME && !s.chars().any(char::is_control);
    if !printable(name.get_ref()) {
        let what = format!("a target's name has 1 to {MAX_NAME} bytes and no control characters");
        let fault = Fault::at(name.span(), what);
        let borrowed = t.name.is_none();
        return Err(if borrowed { fault.hint("give the target a `name` of its own") } else { fault });
    }
    if let Some(first) = names.insert(name.get_ref().clone(), name.span()) {
        let message = format!("target \"{}\" is there twice", name.get_ref().escape_debug());
        let fault = Fault::at(name.span(), message).see(first, "the first is in");
        return Err(fault.hint("give each target a `name` of its own"));
    }
    let method = method::method(t, &host, url)?;
    let scope = match &t.scope {
        Some(s) if !printable(s.get_ref()) => {
            return Err(Fault::at(s.span(), "a scope is a short word with no control characters"));
        }
        Some(s) => s.get_ref().clone(),
        None => "custom".to_owned(),
    };
    Ok(TargetConfig {
        name: name.get_ref().clone(),
        path: Arc::new(path(t, &host, &method)?),
        host: host.into_inner(),
        method,
        scope,
        interval: t.interval.as_ref().map_or(Ok(interval_default), interval)?,
        timeout: t.timeout.as_ref().map_or(Ok(timeout_default), timeout)?,
    })
}

/// The host to probe: the one that is named, or else the URL's.
fn host(table: &Spanned<Target>, url: Option<&HttpRequest>) -> Result<Spanned<String>, Fault> {
    let t = table.get_ref();
    let host = match (&t.host, &t.url, url) {
        (Some(host), ..) => host.clone(),
        (None, Some(text), Some(url)) => Spanned::new(text.span(), url.host.clone()),
        (None, ..) => {
            return Err(Fault::at(table.span(), "missing key `host`")
                .hint("name what is to be probed: host = \"192.0.2.1\""));
        }
    };
    let text = host.get_ref();
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/:@".contains(c);
    if text.is_empty() || text.contains(odd) && text.parse::<IpAddr>().is_err() {
        let message = format!("\"{}\" is no host name and no address", text.escape_default());
        return Err(Fault::at(host.span(), message)
            .hint("write the name or the address alone; a port goes into `port`"));
    }
    if text.parse().is_ok_and(|address| !is_of_a_host(address)) {
        let message = format!("{text} is the address of no host, or of many");
        return Err(Fault::at(host.span(), message).hint("this machine itself is 127.0.0.1 or ::1"));
    }
    Ok(host)
}

fn path(t: &Target, host: &Spanned<String>, method: &Method) -> Result<PathOptions, Fault> {
    let device = match (&t.device, &t.vrf) {
        (Some(_), Some(vrf)) => {
            return Err(Fault::at(vrf.span(), "`device` and `vrf` are both there")
                .hint("a device that belongs to a VRF brings it along: leave `vrf` out"));
        }
        (device, vrf) => device.as_ref().or(vrf.as_ref()),
    };
    if let Some(device) = device.filter(|d| !is_device(d.get_ref())) {
        let message = format!("\"{}\" is no name of a device", device.get_ref().escape_default());
        return Err(Fault::at(device.span(), message)
            .hint(format!("a device's name has 1 to {MAX_DEVICE} bytes, without blanks and slashes")));
    }
    if let (Some(source), Ok(address)) = (&t.source, host.get_ref().parse::<IpAddr>())
        && source.get_ref().is_ipv4() != address.is_ipv4()
    {
        return Err(Fault::at(
            source.span(),
            format!("{address} can't be reached from {}", source.get_ref()),
        )
        .hint("source and host are of one family, IPv4 or IPv6"));
    }
    if let Some(ttl) = t.ttl.as_ref().filter(|ttl| *ttl.get_ref() == 0) {
        return Err(Fault::at(ttl.span(), "a time to live is 1 to 255"));
    }
    Ok(PathOptions {
        source: t.source.as_ref().map(|s| *s.get_ref()),
        device: device.map(|d| d.get_ref().clone()),
        mark: t.mark.as_ref().map_or(0, |m| *m.get_ref()),
        ttl: t.ttl.as_ref().map(|ttl| *ttl.get_ref()),
        dscp: t.dscp.as_ref().map_or(Ok(0), code_point)?,
        size: t.size.as_ref().map(|size| payload(size, method)).transpose()?,
        dont_fragment: t.dont_fragment.as_ref().is_some_and(|df| *df.get_ref()),
        family: None,
    })
}

/// What the kernel takes for a device's name (net/core/dev.c `dev_valid_name`).
fn is_device(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
    (1..=MAX_DEVICE).contains(&name.len()) && name != "." && name != ".." && !name.contains(odd)
}

fn code_point(value: &Spanned<Dscp>) -> Result<u8, Fault> {
    let found = match value.get_ref() {
        Dscp::Number(number) => Some(*number).filter(|n| *n < 64),
        Dscp::Word(word) => dscp(word),
    };
    found.ok_or_else(|| {
        Fault::at(value.span(), "no such code point")
            .hint("a number from 0 to 63, or a word such as \"EF\", \"AF41\" or \"CS1\"")
    })
}

/// Only ICMP and UDP carry a payload of ours, of at least what tells a probe's answer from others'.
fn payload(size: &Spanned<u16>, method: &Method) -> Result<u16, Fault> {
    let least = match method {
        Method::Icmp => crate::packet::icmp::SMALLEST_PAYLOAD as u16,
        Method::Udp { .. } => SMALLEST_UDP_PAYLOAD,
        _ => {
            return Err(Fault::at(size.span(), format!("a {} target has no size", method.as_str()))
                .hint("leave `size` out: it is the payload of icmp and udp probes"));
        }
    };
    // 65,535 less the IPv4 and the ICMP or UDP header.
    let most = u16::MAX - 28;
    if !(least..=most).contains(size.get_ref()) {
        let message = format!("the payload of a {} probe has {least} to {most} bytes", method.as_str());
        return Err(Fault::at(size.span(), message));
    }
    Ok(*size.get_ref())
}
