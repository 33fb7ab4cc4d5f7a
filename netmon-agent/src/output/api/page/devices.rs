//! The watched devices.

use maud::{Markup, html};

use super::{
    View, marks,
    pick::rank,
    verdict::{self, Told},
    words,
};
use crate::{health::State, state::DeviceView};

/// Devices that are shown; a router may have thousands.
const MOST: usize = 100;
/// Addresses of each.
const ADDRESSES: usize = 4;

pub(super) fn section(view: &View<'_>) -> Markup {
    let mut devices: Vec<&DeviceView> = view.snapshot.devices.iter().map(|d| &**d).collect();
    devices.sort_by_key(|d| rank(d.verdict.state));
    let more = devices.len().saturating_sub(MOST);
    html! {
        section aria-labelledby="devices" data-key="devices" {
            h2 #devices { "Devices" }
            @if devices.is_empty() {
                p { "No device is watched." }
            } @else {
                table.cards {
                    caption.unseen { "Watched network devices, the worst first" }
                    thead { tr {
                        th scope="col" { "Device" } th scope="col" { "State" } th scope="col" { "Addresses" }
                        th scope="col" { "Default route" } th.number scope="col" { "Speed" }
                        th.number scope="col" { "Sent again" }
                    } }
                    tbody { @for device in devices.iter().take(MOST) { (row(device, view)) } }
                }
                @if more > 0 { p.dim { "and " (words::count(more, "device", "devices")) " more" } }
            }
        }
    }
}

fn row(d: &DeviceView, view: &View<'_>) -> Markup {
    let routes: Vec<&str> = ["IPv4", "IPv6"]
        .into_iter()
        .zip(d.default_route)
        .filter(|(_, stands)| *stands)
        .map(|(f, _)| f)
        .collect();
    let above = d.master.as_ref().map(|master| format!("port of {master}"));
    let kind = [d.link.kind.clone(), above].into_iter().flatten().collect::<Vec<_>>().join(", ");
    html! {
        tr data-key={ "d:" (d.name) } {
            th scope="row" { span.name { (d.name) } @if !kind.is_empty() { span.sub { (kind) } } }
            td data-label="State" {
                (marks::state(d.verdict.state))
                span.sub { "for " (words::span(view.clock.age(d.verdict.since.boot))) }
                @if d.verdict.state != State::Up { (verdict::reasons(&Told::of(None, &d.verdict))) }
            }
            td data-label="Addresses" {
                @for (address, length) in d.addresses.iter().take(ADDRESSES) {
                    span.line { (address.to_string()) span.dim { "/" (length) } }
                }
                @if d.addresses.len() > ADDRESSES { span.dim { "and " (d.addresses.len() - ADDRESSES) " more" } }
                @if d.addresses.is_empty() { (marks::nothing()) }
            }
            td data-label="Default route" {
                @if routes.is_empty() { (marks::nothing()) } @else { (routes.join(", ")) }
            }
            td.number data-label="Speed" {
                @match d.link.speed_mbps { Some(mbps) => (speed(mbps)), None => (marks::nothing()) }
            }
            td.number data-label="Sent again" {
                @match d.retransmit_ratio { Some(ratio) => (words::per_cent(ratio)), None => (marks::nothing()) }
            }
        }
    }
}

fn speed(mbps: u32) -> String {
    if mbps >= 1000 && mbps.is_multiple_of(100) {
        return format!("{}\u{a0}Gb/s", f64::from(mbps) / 1000.0);
    }
    format!("{mbps}\u{a0}Mb/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_read_as_they_are_sold() {
        assert_eq!(
            [10, 1000, 2500, 100_000].map(speed).map(|s| s.replace('\u{a0}', " ")),
            ["10 Mb/s", "1 Gb/s", "2.5 Gb/s", "100 Gb/s"]
        );
    }
}
