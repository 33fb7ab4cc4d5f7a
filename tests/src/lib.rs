//! The lab: a small internet made of network namespaces, the real `netmon` binary in it, and ways to break it.
//!
//! | module | what |
//! |---|---|
//! | [`lab`] | the world: namespaces, devices, servers, faults, the kernel's own counters |
//! | [`agent`] | the real binary in the world, and all that a user of it sees |
//! | [`sim`] | the real health core in virtual time, without any of these |
//! | [`browser`] | a real browser in a namespace |
//! | [`prometheus`] | a real Prometheus in a namespace |
//! | [`dashboards`] | what Grafana would ask, and drawings of the answers |
//! | [`scenario`] | scenario files, played in virtual time and in the lab |
//! | [`targets_on_loopback`] | targets by the thousand |
//! | [`promise`] | the line that tells the figure of a promise |
//! | [`truth`] | whether a waiter's release agrees with what was done to the link |
//!
//! Nothing here sends a packet outside the namespaces it made. Everything is removed on drop, also after a
//! panic; what a killed run leaves behind, the next run sweeps away.

pub mod agent;
pub mod browser;
pub mod dashboards;
pub mod lab;
mod many;
pub mod prometheus;
mod promise;
pub mod scenario;
pub mod sim;
pub mod truth;

pub use many::targets_on_loopback;
pub use promise::promise;
