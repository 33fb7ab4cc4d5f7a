//! Discovery among the other parts: what it finds reaches the core as a reload of the configuration does, what works of
//! it is a capability, and how much it found are metrics.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::core::Reload;
use crate::{
    capability::Capability,
    config::Config,
    output::metrics::Discovered,
    source::discovery::{self, News, Report, State},
    time::Boot,
};

/// What the capability is called.
const NAME: &str = "discovery";

/// Where a configuration that was read anew is given to.
pub(super) type Base = watch::Sender<Arc<Config>>;

/// What discovery found before anything else runs. Reads the files that the configuration names.
pub(super) async fn first(config: &Arc<Config>) -> State {
    let own = Arc::clone(config);
    let read = tokio::task::spawn_blocking(move || State::new(own)).await;
    // It has panicked; without files it can't.
    read.unwrap_or_else(|_| {
        State::new(Arc::new(Config { discovery: Default::default(), ..(**config).clone() }))
    })
}

/// Keeps the core's configuration in step with the file's and with what is found. Ends with the sender that it gives.
pub(super) fn start(
    state: State,
    config: Arc<Config>,
    out: watch::Sender<Reload>,
    capabilities: Arc<Mutex<Vec<Capability>>>,
    metrics: Discovered,
) -> Base {
    let (base, received) = watch::channel(config);
    let mut file = Arc::clone(&received.borrow());
    let newest = received.clone();
    let mut tell = move |news: News| {
        show(&news, &capabilities, &metrics);
        let read = Arc::clone(&newest.borrow());
        out.send_if_modified(|reload| {
            let anew = !Arc::ptr_eq(&file, &read);
            if anew {
                (reload.valid, reload.read) = (true, Boot::now());
                file = read;
            }
            let other = !Arc::ptr_eq(&reload.config, &news.config);
            reload.config = news.config;
            anew || other
        });
    };
    tell(state.news());
    tokio::spawn(discovery::run(state, received, discovery::Options::default(), tell));
    base
}

fn show(news: &News, capabilities: &Mutex<Vec<Capability>>, metrics: &Discovered) {
    metrics.show(&news.reports, &news.left_out);
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
