//! What the kernel tells, and whoever can send in its place.

use arbitrary::Arbitrary;
use netmon_agent::fuzzing;

use super::{Input, input, parts, texts};
use crate::messages::{Message, Socket, message};

#[derive(Arbitrary, Debug)]
struct Rtnetlink {
    room: u8,
    dumps: Vec<Message>,
    events: Vec<Message>,
}

fn laid_out(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(Message::bytes).collect()
}

/// rtnetlink: events, and whole readings with events meanwhile.
pub fn netlink(bytes: &[u8]) {
    match input::<Rtnetlink>(bytes) {
        Some(Input::Raw(datagram)) => {
            fuzzing::netlink(datagram);
            fuzzing::netlink_readings(datagram, datagram, 1);
        }
        Some(Input::Made(Rtnetlink { room, dumps, events })) => {
            let (dumps, events) = (laid_out(&dumps), laid_out(&events));
            fuzzing::netlink(&events);
            fuzzing::netlink_readings(&dumps, &events, usize::from(room % 4));
        }
        None => {}
    }
}

#[derive(Arbitrary, Debug)]
enum Told {
    Socket(Socket),
    Done(Option<i32>),
    Error(i32),
    Overrun,
    Interrupted(Socket),
}

/// sock_diag: datagrams of several messages.
pub fn sock_diag(bytes: &[u8]) {
    match input::<Vec<Vec<Told>>>(bytes) {
        Some(Input::Raw(rest)) => fuzzing::sock_diag(&[rest], 1),
        Some(Input::Made(datagrams)) => {
            let one = |told: &Told| match told {
                Told::Socket(socket) => socket.bytes(),
                Told::Interrupted(socket) => {
                    let mut bytes = socket.bytes();
                    bytes[6] |= 0x10;
                    bytes
                }
                Told::Done(None) => message(3, 0, 1, &[], None),
                Told::Done(Some(number)) => message(3, 0, 1, &number.to_ne_bytes(), None),
                Told::Error(number) => message(2, 0, 1, &number.to_ne_bytes(), None),
                Told::Overrun => message(4, 0, 1, &[], None),
            };
            let all: Vec<Vec<u8>> =
                datagrams.iter().map(|told| told.iter().flat_map(one).collect()).collect();
            fuzzing::sock_diag(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), 1);
        }
        None => {}
    }
}

/// `/proc/net`: `if_inet6`, `route` and `ipv6_route`, with a NUL between each.
pub fn proc_net(bytes: &[u8]) {
    let [if_inet6, route, ipv6_route] = parts(bytes);
    fuzzing::proc_net(if_inet6, route, ipv6_route);
}

/// The kernel's types; the layout of its records with its totals; rows of the maps.
pub fn bpf(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'f', rest)) => {
            let [format, snmp, netstat] = texts(rest);
            fuzzing::tracepoint_formats(&format, &snmp, &netstat);
        }
        Some((b'm', rest)) => fuzzing::map_rows(rest),
        _ => fuzzing::btf(bytes),
    }
}
