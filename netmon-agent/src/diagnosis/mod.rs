//! Where a fault is: what is wrong becomes a place, in a sentence for people. Pure, as the health core is.
//!
//! At a change for the worse the evidence in hand names the place at once. Where it leaves open what is behind the
//! gateway, the scheduler grants one look – a trace by the target's own method, run elsewhere – and what that saw names
//! it better. No place ever changes a verdict.
//!
//! | file | what |
//! |---|---|
//! | `place` | the places, and a finding |
//! | `evidence` | a target's place, from verdicts, links, routes, neighbours and gateways |
//! | `census` | who answers beyond a link |
//! | `whole` | the place of the verdict over all |
//! | `known` | what has been found and still holds |
//! | `schedule` | which target is looked at, and when |
//! | `look` | what a look is to ask, and what it saw |
//! | `finding` | the place that this names |

mod census;
mod evidence;
mod finding;
mod known;
mod look;
mod place;
mod schedule;
mod whole;

#[cfg(test)]
pub(crate) mod tests;

pub use census::Census;
pub use evidence::{Evident, of_target};
pub use finding::{Judged, judge};
pub use known::Known;
pub use look::{Refusal, Seen, Task};
pub use place::{Diagnosis, Finding, Place, SeenHop, Trace};
pub use schedule::{Outcome, Scheduler, Settings, Still};
pub use whole::of_whole;
