//! Hook commands and webhooks beside a board that the test publishes on, and receivers that behave well and badly. All of
//! it is on loopback.

mod commands;
mod receiver;
mod webhooks;
mod world;
