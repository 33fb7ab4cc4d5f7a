//! The health core: how evidence becomes a verdict. Pure.

mod verdict;

pub use verdict::{Reason, ReasonCode, State, Subject, Verdict};
