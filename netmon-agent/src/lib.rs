//! netmon: one data flow from evidence to a published verdict.

pub mod capability;
pub mod cli;
pub mod health;
pub mod observation;
pub mod output;
pub mod state;
pub mod time;
