//! The socket API over real sockets: a board, snapshots published by hand, raw connections and the client.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

mod budget;
mod clients;
mod crowd;
mod events;
mod fairness;
mod serving;
mod storm;
mod targets;
mod waits;
mod web;
mod world;
