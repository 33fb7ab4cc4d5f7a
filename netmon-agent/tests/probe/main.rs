//! The probe engine against the real kernel, each test in a network namespace of its own.

mod hostile;
mod icmp;
mod limits;
mod others;
mod world;
