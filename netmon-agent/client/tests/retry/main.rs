//! The engine of retries in simulated time: random histories, the outage that everybody has met, and a thousand clients.

mod herd;
mod histories;
mod outage;
mod world;
