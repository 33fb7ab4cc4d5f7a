//! What each source has told, and the configuration that is made of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    News, Report,
    files::{self, Looks},
    http,
};
use crate::{
    config::{Config, Difference, Format, LeftOut, Source, SourceKind, TargetConfig, merge},
    time::Wall,
};

/// What a source was told, as long as it may have to be read once more: by other settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// A document.
    Text(Arc<str>, Format),
    /// Hosts and ports of a service.
    Services(Arc<[(String, u16)]>),
    /// Nothing: the name says it all.
    Name,
}

#[derive(Debug)]
struct Document {
    raw: Raw,
    targets: Vec<TargetConfig>,
}

/// One source.
#[derive(Debug)]
struct Told {
    source: Source,
    /// By file, URL or name.
    documents: BTreeMap<String, Document>,
    /// The same keys, and those that never were any good.
    problems: BTreeMap<String, String>,
    /// Whether there was anything to read yet.
    answered: bool,
    failures: u64,
    succeeded: Option<Wall>,
    looks: Looks,
    /// Whether it tells of others than when the configuration was made.
    is_news: bool,
}

/// All sources.
#[derive(Debug)]
pub struct State {
    base: Arc<Config>,
    told: Vec<Told>,
    published: Arc<Config>,
    /// Of which configuration of the file that is.
    published_of: Arc<Config>,
    left_out: LeftOut,
}

impl State {
    /// Of this configuration, with what its files have now. Reads them.
    pub fn new(base: Arc<Config>) -> Self {
        let (published, published_of) = (Arc::clone(&base), Arc::clone(&base));
        let mut state =
            Self { base, told: Vec::new(), published, published_of, left_out: LeftOut::default() };
        state.set_sources();
        state.look(&HashSet::new(), true);
        state.publish();
        state
    }

    /// How it stands.
    pub fn news(&self) -> News {
        News {
            file: Arc::clone(&self.published_of),
            config: Arc::clone(&self.published),
            reports: self.told.iter().map(Told::report).collect(),
            left_out: self.left_out.clone(),
        }
    }

    /// From now on this configuration. What sources have told stays in force, by the new settings; files are read anew.
    pub(super) fn configure(&mut self, base: Arc<Config>) {
        self.base = base;
        self.set_sources();
        self.look(&HashSet::new(), true);
    }

    fn set_sources(&mut self) {
        let old = std::mem::take(&mut self.told);
        let mut known: HashMap<(&'static str, String), Raw> = HashMap::new();
        let mut counted = HashMap::new();
        for told in old {
            let mechanism = told.source.kind.mechanism();
            counted.insert((mechanism, told.source.name), (told.failures, told.succeeded));
            known.extend(told.documents.into_iter().map(|(key, d)| ((mechanism, key), d.raw)));
        }
        for source in &self.base.discovery.sources {
            let mechanism = source.kind.mechanism();
            let (failures, succeeded) =
                counted.get(&(mechanism, source.name.clone())).copied().unwrap_or_default();
            let mut told = Told {
                source: source.clone(),
                documents: BTreeMap::new(),
                problems: BTreeMap::new(),
                answered: false,
                failures,
                succeeded,
                looks: Looks::default(),
                is_news: true,
            };
            let of = |key: &String| known.get(&(mechanism, key.clone())).cloned();
            match &source.kind {
                // Which files are meant is known when they are looked for; those that can't be read then are kept.
                SourceKind::Files { files, .. } => {
                    let meant = |key: &str| files::is_meant(files, Path::new(key));
                    let all = known.iter().filter(|((m, key), _)| *m == mechanism && meant(key));
                    let all: Vec<_> = all.map(|((_, key), raw)| (key.clone(), raw.clone())).collect();
                    all.into_iter().for_each(|(key, raw)| told.take(&key, raw));
                }
                SourceKind::Http(server) => {
                    if let Some(raw) = of(&server.url) {
                        told.take(&server.url, raw);
                    }
                }
                SourceKind::Services(names) => {
                    for (name, raw) in names.iter().filter_map(|name| Some((name, of(name)?))) {
                        told.take(name, raw);
                    }
                }
                SourceKind::Names(names, _) => {
                    names.iter().for_each(|name| told.take(name, Raw::Name));
                    told.succeed();
                }
            }
            self.told.push(told);
        }
    }

    /// What sources there are.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.told.iter().map(|told| &told.source)
    }

    /// Looks at all files. Those that are `complete` were closed, or put in their places as they are; another one that
    /// changed is read when it has not changed until the next look, or when `all` are to be read. True when one has to
    /// be looked at again soon.
    pub(super) fn look(&mut self, complete: &HashSet<PathBuf>, all: bool) -> bool {
        let mut again = false;
        for told in &mut self.told {
            let SourceKind::Files { files, .. } = &told.source.kind else { continue };
            let listed = files::list(files);
            again |= told.look(&listed, complete, all);
        }
        again
    }

    /// What a server or DNS answered to the question for `key`.
    pub(super) fn answered(&mut self, source: &str, key: &str, answer: &Result<Raw, String>) {
        let is_it = |told: &&mut Told| {
            told.source.name == source && !matches!(told.source.kind, SourceKind::Files { .. })
        };
        for told in self.told.iter_mut().filter(is_it).filter(|told| told.asks(key)) {
            match answer {
                Ok(raw) => told.take(key, raw.clone()),
                Err(problem) => told.fail(key, problem.clone()),
            }
            told.succeed();
        }
    }

    /// Makes the configuration of what is known. True when it is another than before.
    pub(super) fn publish(&mut self) -> bool {
        if self.told.is_empty() {
            let changed = !Arc::ptr_eq(&self.published, &self.base);
            self.published = Arc::clone(&self.base);
            self.published_of = Arc::clone(&self.base);
            self.left_out = LeftOut::default();
            return changed;
        }
        // A look that finds all as it was costs no look at every target.
        let is_news = self.told.iter_mut().fold(false, |is, told| std::mem::take(&mut told.is_news) | is);
        if !is_news && Arc::ptr_eq(&self.published_of, &self.base) {
            return false;
        }
        let found = self.told.iter().flat_map(|told| {
            told.documents.values().map(|document| (&*told.source.name, &*document.targets))
        });
        let merged = merge(&self.base, "the configuration", found);
        if merged.left_out != self.left_out {
            merged.left_out.log();
            self.left_out = merged.left_out;
        }
        let difference = Difference::of(&self.published.targets, &merged.config.targets);
        // Where the file itself was read anew, whatever is in it counts.
        if Arc::ptr_eq(&self.published_of, &self.base) && difference.is_none() {
            return false;
        }
        if !difference.is_none() {
            let Difference { came, went, changed, stayed } = difference;
            tracing::info!(came, went, changed, stayed, "targets found by discovery");
        }
        self.published = Arc::new(merged.config);
        self.published_of = Arc::clone(&self.base);
        true
    }
}

impl Told {
    fn asks(&self, key: &str) -> bool {
        match &self.source.kind {
            SourceKind::Http(server) => server.url == key,
            SourceKind::Services(names) => names.iter().any(|name| name == key),
            SourceKind::Files { .. } | SourceKind::Names(..) => false,
        }
    }

    fn look(&mut self, listed: &files::Listed, complete: &HashSet<PathBuf>, all: bool) -> bool {
        let mut again = false;
        let keys: BTreeMap<String, &PathBuf> =
            listed.files.iter().map(|path| (path.display().to_string(), path)).collect();
        // Where a directory can't be read, its files may well be there still.
        let unread = |key: &str| listed.unread.iter().any(|(folder, _)| Path::new(key).starts_with(folder));
        let gone: Vec<String> = self.documents.keys().chain(self.problems.keys()).cloned().collect();
        for key in gone.into_iter().filter(|key| !keys.contains_key(key) && !unread(key)) {
            if self.documents.remove(&key).is_some() {
                self.is_news = true;
                tracing::info!(source = %self.source.name, file = %key, "gone, and its targets with it");
            }
            self.problems.remove(&key);
        }
        self.looks.retain(&listed.files);
        for (folder, error) in &listed.unread {
            let key = folder.display().to_string();
            self.fail(&key, format!("{key}: can't be read: {error}"));
        }
        for (key, path) in keys {
            let is_complete = all || complete.contains(path) || files::parent_of(path, complete);
            match self.looks.of(path, is_complete) {
                files::Look::Same => {}
                files::Look::Later => again = true,
                files::Look::Now => match files::read(path) {
                    Ok((text, format)) => self.take(&key, Raw::Text(text.into(), format)),
                    Err(error) => {
                        // For want of descriptors, say: nothing that changes the file tells when that is over.
                        if matches!(error, files::ReadError::Io(_)) {
                            self.looks.forget(path);
                        }
                        self.fail(&key, format!("{key}: {error}"));
                    }
                },
            }
        }
        self.answered = true;
        self.succeed();
        again
    }

    /// Reads what was told. What can't be used leaves what was told before.
    fn take(&mut self, key: &str, raw: Raw) {
        if self.documents.get(key).is_some_and(|known| known.raw == raw) {
            self.well(key);
            return;
        }
        let template = &self.source.template;
        let read = match (&raw, &self.source.kind) {
            (Raw::Text(text, format), _) => {
                let place = Path::new(self.shown(key));
                let read = template.read(text, *format, place).map_err(|e| e.one_line());
                read.map(|found| {
                    if found.other_labels > 0 {
                        let (labels, source) = (found.other_labels, &self.source.name);
                        tracing::debug!(%source, document = self.shown(key), labels, "labels that are not netmon's");
                    }
                    found.targets
                })
            }
            (Raw::Services(services), _) => {
                let mut targets = Vec::with_capacity(services.len());
                for (host, port) in services.iter() {
                    match template.of_service(host, *port) {
                        Ok(target) => targets.push(target),
                        Err(error) => {
                            let source = &self.source.name;
                            tracing::warn!(%source, name = key, "a service that can't be probed: {error}");
                        }
                    }
                }
                Ok(targets)
            }
            (Raw::Name, SourceKind::Names(_, family)) => {
                template.of_name(key, *family).map(|target| vec![target])
            }
            (Raw::Name, _) => Ok(Vec::new()),
        };
        match read {
            Ok(targets) => {
                self.documents.insert(key.to_owned(), Document { raw, targets });
                self.is_news = true;
                self.well(key);
            }
            Err(problem) => self.fail(key, problem),
        }
    }

    /// A key as others may see it.
    fn shown<'a>(&self, key: &'a str) -> &'a str {
        if matches!(self.source.kind, SourceKind::Http(_)) { http::shown(key) } else { key }
    }

    fn well(&mut self, key: &str) {
        self.answered = true;
        if self.problems.remove(key).is_some() {
            tracing::info!(source = %self.source.name, "{}: can be used again", self.shown(key));
        }
    }

    fn fail(&mut self, key: &str, problem: String) {
        self.failures += 1;
        self.answered = true;
        if self.problems.get(key) != Some(&problem) {
            let kept = self.documents.get(key).map_or(0, |d| d.targets.len());
            let (source, mechanism) = (&self.source.name, self.source.kind.mechanism());
            tracing::warn!(%source, mechanism, kept, "{problem}; what it told last stays");
            self.problems.insert(key.to_owned(), problem);
        }
    }

    fn succeed(&mut self) {
        if self.problems.is_empty() && self.answered {
            self.succeeded = Some(Wall::now());
        }
    }

    fn report(&self) -> Report {
        Report {
            mechanism: self.source.kind.mechanism(),
            name: self.source.name.clone(),
            targets: self.documents.values().map(|d| d.targets.len()).sum(),
            documents: self.documents.len(),
            problems: self.problems.values().cloned().collect(),
            answered: self.answered,
            failures: self.failures,
            succeeded: self.succeeded,
        }
    }
}
