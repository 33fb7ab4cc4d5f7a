//! Probes: one thread, a few sockets, and what came back, as observations.
//!
//! [`Sockets::open`] comes first, while privileges last; [`Engine::start`] then takes them to a thread of their own.
//! The thread sleeps until something is due, and each turn of it reads every socket before it judges a time-out, so
//! an answer that waits in a buffer is never taken for a lost one.
//!
//! Where probes are dense, what is due is gathered to turns of 10 to 20 ms; arrivals do not wake the thread then, and
//! are no less exact for it where the kernel stamps them: answers by ICMP and UDP, and TCP's handshake. What it does not
//! stamp (a refusal in ICMP's place, DNS over TCP, how long a connection took) is true to a turn only. A probe sent and answered costs 1.3 (100,000 targets at 1/s) to 2.4
//! times (1,000) what two bare system calls do. Every probe of the last seconds is remembered, for late answers and
//! duplicates: some 1.9 KB a target at 1/s, so 15 MB for 10,000 and 180 MB for 100,000, and at most 2^20 probes, or all
//! those since the oldest that still waits. (`cargo xtask bench probes` measures all of it.)
//!
//! | file | what |
//! |---|---|
//! | `engine` | the handle other rooms hold |
//! | `worker` | the thread: wait, read, judge, send |
//! | `schedule` | when each address is probed next (pure) |
//! | `cap` | how many may leave (pure) |
//! | `backoff` | how long one waits that can't be sent from here (pure) |
//! | `wheel` | what comes due, in order of time (pure) |
//! | `inflight` | what became of each probe (pure) |
//! | `rtt` | a round trip from stamps (pure) |
//! | `reason` | an ICMP error as a reason (pure) |
//! | `path` | the way packets go, as socket options |
//! | `method` | one file a kind of probe, behind one trait |

mod backoff;
mod cap;
mod engine;
mod inflight;
pub(super) mod method;
pub(super) mod path;
pub(super) mod reason;
pub(super) mod rtt;
mod schedule;
pub(super) mod sockets;
mod stats;
mod wheel;
mod worker;

#[cfg(feature = "fuzzing")]
pub(crate) use method::fuzzing;

pub use engine::{Engine, EngineError, EngineHandle, Options, Pulse};
pub use schedule::TargetSpec;
pub use sockets::{Access, Capabilities, Sockets};
pub use stats::{LAG_BUCKETS, SkipReason, Stats};
