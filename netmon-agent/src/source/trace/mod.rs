//! The way to an address: its hops, where it ends, and the largest packet that passes. Without privileges.
//!
//! Probes whose time to live runs out, or that are too large, come back as errors on the socket's own error queue
//! (`IP_RECVERR`, ip(7)), with the router's address: no raw socket is needed, neither for ICMP echo on a ping socket nor
//! for UDP or TCP. An answer counts only when it is to a probe of ours: by a nonce where the quotation holds it.
//!
//! [`run()`] blocks; call it from a thread.
//!
//! | file | what |
//! |---|---|
//! | `path` | what was found |
//! | `tracer` | what to send, how long to wait, what an answer means (pure) |
//! | `hops` | which hop is asked next, and where the path ends (pure) |
//! | `mtu` | which size is tried next (pure) |
//! | `route` | which source address the kernel would give |
//! | `run` | the loop: send, wait, read |
//! | `prober` | one file a kind of packet, behind one trait |

#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/trace.rs"]
pub(crate) mod fuzzing;
mod hops;
mod mtu;
mod path;
mod prober;
mod route;
mod run;
mod tracer;

pub use path::{End, Hop, Limit, Method, Path, PathMtu, Reply};
pub use route::source_to;
pub use run::{Choice, Options, Progress, TraceError, run, run_along};
