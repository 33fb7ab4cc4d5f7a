//! Ways in for the fuzz targets of `fuzz/`, with the cargo feature `fuzzing` alone. Each takes what a hostile outside could
//! send, hands it to the code that reads it, and panics where a promise of that code is broken.
//!
//! The files of this folder are child modules of the rooms they look into, whose private parts they so see; a line in each
//! room's `mod.rs` says so. This is the one place where they are told to others.

pub use crate::{
    cli::retry::fuzzing::{rules as exit_codes, terminal},
    output::{
        api::fuzzing::Door,
        log::fuzzing::{filter as log_filter, line as log_line},
    },
    source::{
        bpf::fuzzing::{btf, map_rows, tracepoint_formats},
        netlink::fuzzing::{datagram as netlink, readings as netlink_readings, tables as proc_net},
        probe::fuzzing::{Fate, Flight, Sending, codecs as icmp_codecs},
        resolve::fuzzing::{Asked, hosts, looked_up, resolv_conf},
        sockdiag::fuzzing::dump as sock_diag,
        trace::fuzzing::{
            Error as TraceError, Found, Said, Sent, Trace, play as trace, read as control_messages,
        },
    },
};
