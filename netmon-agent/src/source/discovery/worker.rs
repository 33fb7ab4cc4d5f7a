//! The task that keeps sources in step: files when they change, servers and DNS when it is time to.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    News, Options, Report,
    files::folders,
    http,
    job::Job,
    state::{Raw, State},
    watcher::Watcher,
};
use crate::{
    config::{Config, Format, HttpSource, SourceKind},
    source::resolve::Asker,
    time::{Mono, sleep_until},
};

/// A file that may be about to be written is looked at again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What came of a question: of which job, how long it lives, and what was told.
struct Answer {
    job: usize,
    life: Option<Duration>,
    told: Result<Raw, String>,
}

struct Worker<F> {
    /// Away while it is worked on.
    state: Option<State>,
    base: watch::Receiver<Arc<Config>>,
    options: Options,
    tell: F,
    watcher: Option<Watcher>,
    asker: Asker,
    jobs: Vec<Job>,
    answers: JoinSet<Answer>,
    /// When files are looked at in any case.
    look_at: Mono,
    /// Whether a file waits for its second look.
    again: bool,
}

/// Asks servers and DNS once, and says how all sources stand then.
pub(super) async fn once(state: State) -> Vec<Report> {
    let base = watch::channel(state.news().config).1;
    let mut worker = Worker::new(state, base, Options::default(), |_| ());
    worker.jobs = worker.jobs_of_sources(Mono::now());
    worker.ask(Mono::now());
    while let Some(ended) = worker.answers.join_next().await {
        if let (Ok(answer), Some(mut state)) = (ended, worker.state.take()) {
            let job = &worker.jobs[answer.job];
            state.answered(&job.source, &job.key, &answer.told);
            worker.state = Some(state);
        }
    }
    worker.state.map(|state| state.news().reports).unwrap_or_default()
}

/// Keeps `state` in step with the sources that the newest of `base` names, and tells what changes, until nobody gives
/// configurations any more. Reading takes place on threads for what may block.
pub async fn run(
    state: State,
    base: watch::Receiver<Arc<Config>>,
    options: Options,
    tell: impl FnMut(News) + Send,
) {
    let mut worker = Worker::new(state, base, options, tell);
    worker.set_up(Mono::now());
    while worker.turn().await {}
}

impl<F: FnMut(News) + Send> Worker<F> {
    fn new(state: State, base: watch::Receiver<Arc<Config>>, options: Options, tell: F) -> Self {
        Self {
            state: Some(state),
            base,
            tell,
            watcher: None,
            asker: Asker::new(options.resolve.clone()),
            jobs: Vec::new(),
            answers: JoinSet::new(),
            look_at: Mono::now(),
            again: false,
            options,
        }
    }

    async fn turn(&mut self) -> bool {
        let free = self.jobs.iter().filter(|job| !job.is_busy).map(|job| job.due).min();
        let has_files = !self.folders().is_empty();
        let due = [free, has_files.then_some(self.look_at)].into_iter().flatten().min();
        tokio::select! {
            changed = self.base.changed() => {
                if changed.is_err() {
                    return false;
                }
                let base = Arc::clone(&self.base.borrow_and_update());
                self.work(move |state| { state.configure(base); false }).await;
                self.set_up(Mono::now());
            }
            () = heard(self.watcher.as_ref()) => {
                // What belongs together mostly comes together.
                tokio::time::sleep(self.options.gather).await;
                if let Some(complete) = self.watcher.as_mut().and_then(Watcher::read) {
                    self.look(complete).await;
                }
            }
            Some(ended) = self.answers.join_next() => match ended {
                Ok(answer) => self.answered(answer).await,
                Err(error) => tracing::error!(%error, "a question to a source broke off"),
            },
            () = wait_until(due) => {
                let now = Mono::now();
                if has_files && self.look_at <= now {
                    self.look(HashSet::new()).await;
                }
                self.ask(now);
            }
        }
        true
    }

    /// Works on the state apart, and tells what came of it. What the work gives is whether to look at files again.
    async fn work(&mut self, work: impl FnOnce(&mut State) -> bool + Send + 'static) {
        let Some(mut state) = self.state.take() else { return };
        let before = state.news();
        let done = tokio::task::spawn_blocking(move || {
            let again = work(&mut state);
            state.publish();
            (state, again)
        });
        match done.await {
            Ok((state, again)) => {
                self.again = again;
                let news = state.news();
                let told = Arc::ptr_eq(&news.config, &before.config) && news.reports == before.reports;
                if !told || news.left_out != before.left_out {
                    (self.tell)(news);
                }
                self.state = Some(state);
            }
            Err(error) => {
                // A mistake of this program's: what was known is lost with the thread, so all is read anew.
                tracing::error!(%error, "discovery of targets broke off and begins anew");
                let base = Arc::clone(&self.base.borrow());
                self.state = tokio::task::spawn_blocking(move || State::new(base)).await.ok();
                self.state.iter().for_each(|state| (self.tell)(state.news()));
                self.set_up(Mono::now());
            }
        }
    }

    async fn look(&mut self, complete: HashSet<PathBuf>) {
        // Watched first: what changes from now on is told of.
        self.watch();
        self.work(move |state| state.look(&complete, false)).await;
        self.set_look(Mono::now());
    }

    async fn answered(&mut self, answer: Answer) {
        let Some(job) = self.jobs.get_mut(answer.job) else { return };
        job.ended(Mono::now(), answer.life, rand::random());
        let (source, key, again) = (job.source.clone(), job.key.clone(), self.again);
        self.work(move |state| {
            state.answered(&source, &key, &answer.told);
            again
        })
        .await;
    }

    /// Begins what is due.
    fn ask(&mut self, now: Mono) {
        let ask = self.asker.now();
        for (number, job) in self.jobs.iter_mut().enumerate() {
            if job.is_busy || job.due > now {
                continue;
            }
            job.is_busy = true;
            let (ask, key) = (ask.clone(), job.key.clone());
            let sources = self.state.iter().flat_map(State::sources);
            let server = sources.filter(|s| s.name == job.source).find_map(|s| match &s.kind {
                SourceKind::Http(server) if server.url == key => Some(HttpSource::clone(server)),
                _ => None,
            });
            self.answers.spawn(async move {
                let (life, told) = match server {
                    Some(server) => {
                        let text = http::fetch(&server, &ask).await;
                        (Duration::ZERO, text.map(|text| Raw::Text(text.into(), Format::Json)))
                    }
                    None => match ask.services(&key).await {
                        Ok(services) => (services.ttl, Ok(Raw::Services(services.all.into()))),
                        Err(failure) => (Duration::ZERO, Err(format!("{key}: {failure}"))),
                    },
                };
                Answer { job: number, life: told.is_ok().then_some(life), told }
            });
        }
    }

    /// Takes up what the state's sources need. Who is asked already keeps their time.
    fn set_up(&mut self, now: Mono) {
        // A question of before is another's by its number now; it is asked again.
        self.answers = JoinSet::new();
        self.jobs = self.jobs_of_sources(now);
        // What changed before anybody watched is found by a look.
        self.look_at = now;
    }

    fn jobs_of_sources(&self, now: Mono) -> Vec<Job> {
        let job = |source: &str, key: &str, every| {
            let new = Job::new(source, key, every, now);
            let known = self.jobs.iter().find(|o| o.source == source && o.key == key && o.every == every);
            known.map_or(new, |known| match known.is_busy {
                true => Job { due: now, is_busy: false, ..known.clone() },
                false => known.clone(),
            })
        };
        let mut jobs = Vec::new();
        for source in self.state.iter().flat_map(State::sources) {
            match &source.kind {
                SourceKind::Http(server) => {
                    jobs.push(job(&source.name, &server.url, Some(server.refresh)));
                }
                SourceKind::Services(names) => {
                    jobs.extend(names.iter().map(|name| job(&source.name, name, None)));
                }
                SourceKind::Files { .. } | SourceKind::Names(..) => {}
            }
        }
        jobs
    }

    /// When files are looked at next, if nothing happens.
    fn set_look(&mut self, now: Mono) {
        let refresh = |source: &crate::config::Source| match source.kind {
            SourceKind::Files { refresh, .. } => Some(refresh),
            _ => None,
        };
        let shortest = self.state.iter().flat_map(State::sources).filter_map(refresh).min();
        let mut pause = shortest.unwrap_or(Duration::from_secs(3600));
        if self.watcher.is_none() {
            pause = pause.min(self.options.poll);
        }
        if self.again {
            pause = pause.min(AGAIN);
        }
        self.look_at = now + pause;
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        let patterns = self.state.iter().flat_map(State::sources).filter_map(|source| match &source.kind {
            SourceKind::Files { files, .. } => Some(files),
            _ => None,
        });
        folders(patterns.flatten())
    }

    fn watch(&mut self) {
        let wanted = self.folders();
        if wanted.is_empty() {
            self.watcher = None;
            return;
        }
        if self.watcher.is_none() {
            match Watcher::new() {
                Ok(new) => self.watcher = Some(new),
                Err(error) => {
                    let every = self.options.poll;
                    tracing::debug!(%error, ?every, "no inotify (see fs.inotify.max_user_instances): files are looked at by time");
                    return;
                }
            }
        }
        if let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.follow(&wanted)
        {
            tracing::debug!(%error, "a directory can't be watched; its files are looked at by time");
            self.watcher = None;
        }
    }
}

async fn heard(watcher: Option<&Watcher>) {
    match watcher {
        Some(watcher) => watcher.ready().await,
        None => std::future::pending().await,
    }
}

async fn wait_until(due: Option<Mono>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
