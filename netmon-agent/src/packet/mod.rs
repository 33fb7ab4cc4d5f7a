//! Codecs of what is sent and received. No I/O, no clock; parsing never panics, whatever the bytes.

pub mod dns;
pub mod icmp;
