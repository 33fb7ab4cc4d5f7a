//! netmon: one data flow from evidence to a published verdict.

pub mod observation;
pub mod source;
pub mod time;
