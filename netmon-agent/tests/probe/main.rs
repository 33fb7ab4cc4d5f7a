//! The probe engine against the real kernel, each test in a network namespace of its own.

mod hostile;
mod http;
mod https;
mod icmp;
mod others;
mod web;
mod world;
