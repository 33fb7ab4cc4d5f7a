//! netmon: one data flow from evidence to a published verdict.

pub mod cli;
pub mod observation;
pub mod packet;
pub mod source;
#[expect(unsafe_code, reason = "the seam to the kernel's socket interface; every block says why it is sound")]
pub mod sys;
pub mod time;
