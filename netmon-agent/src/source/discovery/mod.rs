//! Targets that are named outside the configuration: in files, by a server, in DNS. What can't be read or understood
//! leaves in force what was read last.
//!
//! | file | what |
//! |---|---|
//! | `state` | what each source has told, and what is made of it |
//! | `files` | which files there are, and which of them to read now |
//! | `watcher` | inotify: when to look |
//! | `http` | one question to a server |
//! | `job` | when a server or DNS is asked again (pure) |
//! | `worker` | the task |

mod files;
mod http;
mod job;
mod state;
mod watcher;
mod worker;

use std::{sync::Arc, time::Duration};

pub use state::State;
pub use worker::run;

use crate::{
    config::{Config, LeftOut},
    source::resolve,
    time::Wall,
};

/// How sources are looked at.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where names are looked up.
    pub resolve: resolve::Options,
    /// How long changes of files are gathered: a program that writes ten files is one change.
    pub gather: Duration,
    /// How often files are looked at where inotify can't be had.
    pub poll: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let gather = Duration::from_millis(100);
        Self { resolve: resolve::Options::default(), gather, poll: Duration::from_secs(5) }
    }
}

/// What is so from now on.
#[derive(Clone, Debug)]
pub struct News {
    /// The configuration without what was found.
    pub file: Arc<Config>,
    /// The same with all targets; the same one as before where they are the same.
    pub config: Arc<Config>,
    /// How each source stands.
    pub reports: Vec<Report>,
    /// What was found and is not probed.
    pub left_out: LeftOut,
}

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `file_sd`, `http_sd` or `dns_sd`.
    pub mechanism: &'static str,
    /// Its name, unique within its mechanism.
    pub name: String,
    /// Targets that it tells of now, those that are left out included.
    pub targets: usize,
    /// Files, answers and names that they stand in.
    pub documents: usize,
    /// What does not work, each in a line.
    pub problems: Vec<String>,
    /// Whether it has told anything yet.
    pub answered: bool,
    /// Times that a file, an answer or a name could not be used.
    pub failures: u64,
    /// When last all of it could be.
    pub succeeded: Option<Wall>,
}

impl Report {
    /// Whether all that it names could be used the last time.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty() && self.answered
    }
}

/// Asks every source of a configuration once, for those who only want to know whether they work. Takes half a minute at
/// most.
pub fn examine(config: &Config) -> Vec<Report> {
    let state = State::new(Arc::new(config.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(worker::once(state)),
        Err(_) => state.news().reports,
    }
}

#[cfg(test)]
mod tests;
