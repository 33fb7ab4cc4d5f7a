//! The real agent in the world, and all that a user of it sees: commands, the socket, metrics, the log.

mod binary;
mod command;
mod http;
mod log;
mod machine;
mod metrics;
mod process;
mod systemd;
mod usage;
mod watch;
mod witness;

pub use binary::binary;
pub use http::{Response, get, request};
pub use log::{Log, logs_of_this_thread};
pub use machine::Machine;
pub use metrics::{Metrics, Sample};
pub use process::{Agent, Start, await_until};
pub use systemd::{Systemd, UNITS};
pub use usage::{ThreadUsage, Usage};
pub use watch::Watch;
pub use witness::Witness;
