//! Discovery among the other parts. A file that was read goes through it, for what it finds besides, and on to those that
//! were added, from whom the core has it. What works of it is a capability, and how much it found are metrics.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

use crate::{
    added::{Added, Base, Wanted},
    capability::Capability,
    config::Config,
    output::metrics::Discovered,
    source::discovery::{self, News, Report, State},
    time::Boot,
};

/// What the capability is called.
const NAME: &str = "discovery";

/// Where a file that was read anew is given to.
pub(super) struct Files {
    newest: watch::Sender<Arc<Config>>,
    added: Added,
    /// Whether the last one was no configuration.
    is_bad: Arc<AtomicBool>,
}

impl Files {
    /// From now on this one, if it is a configuration: the core has it when discovery has looked at its sources.
    ///
    /// # Errors
    /// The one that is handed in: then nothing changes, but that everybody can see that it was there.
    pub(super) fn reload<E>(&self, read: Result<Arc<Config>, E>) -> Result<Arc<Config>, E> {
        self.is_bad.store(read.is_err(), Ordering::SeqCst);
        match read {
            Ok(config) => {
                self.newest.send_replace(Arc::clone(&config));
                Ok(config)
            }
            Err(error) => {
                self.added.refuse();
                Err(error)
            }
        }
    }
}

/// What discovery found before anything else runs. Reads the files that the configuration names.
pub(super) async fn first(config: Arc<Config>) -> State {
    let own = Arc::clone(&config);
    let read = tokio::task::spawn_blocking(move || State::new(own)).await;
    // It has panicked; without files it can't.
    read.unwrap_or_else(|_| {
        let mut config = Arc::unwrap_or_clone(config);
        config.discovery = Default::default();
        State::new(Arc::new(config))
    })
}

/// What was found, for those that were added to stand on.
pub(super) fn base(news: News) -> Base {
    Base { file: news.file, config: news.config, left_out: news.left_out }
}

/// Keeps what the core is told in step with the file and with what is found. Ends with what it gives.
pub(super) fn start(
    state: State,
    added: Added,
    capabilities: Arc<Mutex<Vec<Capability>>>,
    metrics: Discovered,
) -> Files {
    let news = state.news();
    let mut file = Arc::clone(&news.file);
    show(&news, &capabilities, &metrics);
    let (newest, received) = watch::channel(Arc::clone(&file));
    let is_bad = Arc::new(AtomicBool::new(false));
    let files = Files { newest, added: added.clone(), is_bad: Arc::clone(&is_bad) };
    tokio::spawn(show_left_out(added.subscribe(), metrics.clone()));
    let tell = move |news: News| {
        show(&news, &capabilities, &metrics);
        if Arc::ptr_eq(&file, &news.file) {
            return added.found(base(news));
        }
        file = Arc::clone(&news.file);
        added.reload(base(news), Boot::now());
        // One that came while its predecessor's sources were looked at.
        if is_bad.load(Ordering::SeqCst) {
            added.refuse();
        }
    };
    tokio::spawn(discovery::run(state, received, discovery::Options::default(), tell));
    files
}

/// What is left out of what was found changes by what is added, too.
async fn show_left_out(mut wanted: watch::Receiver<Wanted>, metrics: Discovered) {
    loop {
        let left_out = wanted.borrow_and_update().left_out.clone();
        metrics.show_left_out(&left_out);
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

fn show(news: &News, capabilities: &Mutex<Vec<Capability>>, metrics: &Discovered) {
    metrics.show(&news.reports);
    let capability = capability(&news.reports);
    let mut all = capabilities.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|known| known.name != NAME);
    all.extend(capability);
}

/// Whether all sources work; none where there are none.
pub(super) fn capability(reports: &[Report]) -> Option<Capability> {
    if reports.is_empty() {
        return None;
    }
    let targets: usize = reports.iter().map(|r| r.targets).sum();
    let problems: Vec<&str> = reports.iter().flat_map(|r| &r.problems).map(String::as_str).collect();
    let waiting: Vec<&str> = reports.iter().filter(|r| !r.answered).map(|r| r.name.as_str()).collect();
    let found = format!("{targets} targets found by {} sources", reports.len());
    Some(match problems.as_slice() {
        [] if waiting.is_empty() => Capability::works(NAME, found),
        [] => Capability::works(NAME, format!("{found}; no answer yet from {}", waiting.join(", "))),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            let detail = format!("{found}; {first}{more}");
            Capability::missing(NAME, detail, "mend it: what each source told last stays in force until then")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(problems: &[&str], answered: bool) -> Report {
        Report {
            mechanism: "file_sd",
            name: "rack".to_owned(),
            targets: 3,
            documents: 1,
            problems: problems.iter().map(|p| (*p).to_owned()).collect(),
            answered,
            failures: 0,
            succeeded: None,
        }
    }

    #[test]
    fn one_source_that_fails_is_a_capability_that_is_missing() {
        assert_eq!(capability(&[]), None);
        let of = |reports: &[Report]| capability(reports).map(|c| (c.ok, c.detail)).unwrap();
        assert_eq!(of(&[report(&[], true)]), (true, "3 targets found by 1 sources".to_owned()));
        let waiting = "3 targets found by 1 sources; no answer yet from rack".to_owned();
        assert_eq!(of(&[report(&[], false)]), (true, waiting));
        let (ok, detail) = of(&[report(&[], true), report(&["a: bad", "b: bad"], true)]);
        assert!(!ok && detail == "6 targets found by 2 sources; a: bad (and 1 more)", "{detail}");
    }
}
