//! The probe engine against the real kernel, each test in a network namespace of its own.

mod hostile;
mod http;
mod https;
mod icmp;
mod limits;
mod others;
mod paths;
mod services;
mod web;
mod world;
