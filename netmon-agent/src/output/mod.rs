//! Where a snapshot goes: metrics, the socket API, the log, hook commands and webhooks, OTLP. An output reads snapshots and nothing else.

pub mod api;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod otlp;
mod walls;

pub(crate) use walls::STEP_NS;
pub use walls::{WallAnchor, WallOffset, rfc3339};
