//! Telling others: hook commands and webhooks, run and sent when a state has changed.
//!
//! An output like the others: it follows the board, on a thread of its own, and what takes long, fails or hangs costs
//! nobody but the notifier itself. Each has a queue with an end, and one worker, which tells one notice after the other.
//!
//! | file | what |
//! |---|---|
//! | `rule` | of whom and what a notifier is told (pure) |
//! | `hold` | what has held for long enough (pure) |
//! | `queue` | what waits to be told (pure) |
//! | `template`, `message` | a notice in words (pure) |
//! | `command` | programs that are run |
//! | `runner` | the process that runs them, and how it is told to |
//! | `webhook` | requests that are sent |
//! | `service`, `following` | the thread: it follows the board for all of them |
//! | `outbox`, `worker` | what waits for one of them, and who tells it |
//! | `counters` | what is counted |

mod command;
mod counters;
mod following;
mod hold;
mod message;
mod outbox;
mod queue;
mod rule;
pub mod runner;
mod service;
pub mod template;
pub mod webhook;
mod worker;

pub use command::{Hook, HookError, Output};
pub use counters::{Counters, Fate};
pub use hold::{Notice, Tracker};
pub use message::{Message, Sender, VERSION};
pub use queue::{Lost, Queue};
pub use rule::{Rule, States, SubjectError, Subjects};
pub use runner::Runner;
pub use service::Service;
pub use webhook::{LookUp, Looking, Webhook};

/// Somebody or something that is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notifier {
    /// Its name, unique and printable.
    pub name: String,
    /// Of what it is told.
    pub rule: Rule,
    /// Notices that may wait.
    pub room: usize,
    /// How it is told.
    pub means: Means,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Means {
    /// By a program that is run.
    Command(Hook),
    /// By a request that is sent.
    Webhook(Box<Webhook>),
}
