//! Probes: one thread, a few sockets, and what came back, as observations.
//!
//! [`Sockets::open`] comes first, while privileges last; [`Engine::start`] then takes them to a thread of their own.
//! The thread sleeps until something is due, and each turn of it reads every socket before it judges a time-out, so
//! an answer that waits in a buffer is never taken for a lost one.
//!
//! | file | what |
//! |---|---|
//! | `engine` | the handle other rooms hold |
//! | `worker` | the thread: wait, read, judge, send |
//! | `schedule` | when each address is probed next (pure) |
//! | `wheel` | what comes due, in order of time (pure) |
//! | `inflight` | what became of each probe (pure) |
//! | `rtt` | a round trip from stamps (pure) |
//! | `reason` | an ICMP error as a reason (pure) |
//! | `method` | one file a kind of probe, behind one trait |

mod engine;
mod inflight;
mod method;
mod reason;
mod rtt;
mod schedule;
mod sockets;
mod stats;
mod wheel;
mod worker;

pub use engine::{Engine, EngineError, EngineHandle, Options};
pub use schedule::TargetSpec;
pub use sockets::{Access, Capabilities, Sockets};
pub use stats::{LAG_BUCKETS, SkipReason, Stats};
