//! The outage ledger: what was down, when, why, where the fault was, and who waited meanwhile.
//!
//! Written down is what happened and nothing else, a row a change. Outages, availability and all figures are worked out of
//! these rows when somebody asks: there is nothing that a crash could leave half done. Time in which no agent ran, or in
//! which it stood still, is in no row, and is no time up.
//!
//! It is an output like the others: it follows the board, on a thread of its own. A disk that is slow or full costs nobody
//! but the history, which takes the state anew when it has fallen behind, and counts what it missed.
//!
//! | file | what |
//! |---|---|
//! | `record` | the rows |
//! | `timeline` | boot time of many runs as one line of wall-clock time (pure) |
//! | `clocks` | the wall clock as it stands, for runs of this boot |
//! | `segments` | a subject's changes as stretches of one state (pure) |
//! | `outages` | those as outages, with who waited, and the figures of a period (pure) |
//! | `report` | the answer to a question (pure) |
//! | `when` | times as people write them (pure) |
//! | `follow` | what the board shows, as rows (pure) |
//! | `jobs` | who waits |
//! | `schema`, `store`, `read` | the file |
//! | `keeper`, `writer` | the thread |

mod clocks;
mod error;
mod follow;
pub mod jobs;
mod keeper;
mod outages;
mod read;
mod record;
mod report;
mod schema;
mod segments;
mod store;
#[cfg(test)]
mod tests;
mod timeline;
mod when;
mod writer;

pub use clocks::Clocks;
pub use error::StoreError;
pub use jobs::Jobs;
pub use read::Reader;
pub use record::{Change, Gap, Records, Run, RunId, Waits};
pub use report::{LIMITS, MAX_PERIOD, Question, Whose, answer, seen};
pub use store::{Batch, Sign, Store, ThisRun, move_aside, open};
pub use timeline::Stretch;
pub use when::when;
pub use writer::{CAPABILITY, Counters, Live, Settings, Writer, boot_id, examine};
