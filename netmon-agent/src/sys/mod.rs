//! The seam to the kernel's socket interface: batches of datagrams with their ancillary data, the error queue, the
//! socket options no safe crate offers, and waiting for descriptors that others read; children in groups of their own;
//! descriptors that were passed; memory that the kernel's programs share, and giving memory back. The only
//! unsafe code of the agent lives here, but for the marks in `source/bpf` that say what is plain data.

mod apart;
mod batch;
#[cfg(feature = "checked")]
mod checked;
mod cmsg;
#[cfg(any(test, feature = "checked"))]
mod faults;
mod group;
mod mapped;
mod memory;
mod passed;
mod readable;
mod sockopt;
mod watched;

pub use apart::spawn_apart;
pub use batch::{Batch, Datagram, Queue};
#[cfg(feature = "checked")]
pub use checked::{begin_reports, do_wrong, hear, is_left_open};
pub use cmsg::{Ancillary, ErrorOrigin, ExtendedError, parse as parse_control};
pub use group::{keep_ended_children, spawn_in_group};
pub use mapped::Mapped;
pub use memory::{allocated_memory, file_in_memory, give_back_memory, share_stores};
pub use passed::passed_descriptors;
pub use readable::Readable;
pub use sockopt::{
    TcpInfo, ask_for_buffers, bind_without_port, enable_error_queue, enable_receive_stamps,
    enable_receive_ttl, filter_icmp4, filter_icmp6, never_fragment, peer_groups, receive_drops, stamp_sends,
    tcp_info,
};
pub use watched::Watched;
