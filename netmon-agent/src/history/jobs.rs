//! Who waits: programs by name and user, counted together when their waits end.
//!
//! A waiter costs a pointer to what it shares with all others of its name, and the time since when. Ten thousand that are
//! released together are one sum, not ten thousand messages.

use std::{collections::HashMap, fs::File, io::Read, time::Duration};

use tokio::sync::Notify;

use crate::{
    observation::escape_bytes,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Boot,
};

/// Longest name, bytes of its printable form. The kernel's own names of processes have fifteen.
pub const MAX_NAME: usize = 64;

/// The header by which a waiter says what it is called. Bytes beyond printable ASCII are percent-encoded (RFC 3986).
pub const HEADER: &str = "netmon-job";

/// Different programs, users and subjects that are told apart at one time.
const MAX_KINDS: usize = 4096;

/// The name of those that come when as many are told apart already.
pub const OTHERS: &str = "others";

/// Who waits for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// What the program calls itself, or the kernel calls it; printable.
    pub job: String,
    /// Its user.
    pub uid: u32,
    /// The device that it waits for.
    pub device: Option<String>,
    /// The target, by name or host. With neither it waits for the network.
    pub target: Option<String>,
}

/// Waits that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// When the first of them began.
    pub from: Boot,
    /// When the last of them ended.
    pub to: Boot,
    /// All together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Tally {
    fn add(&mut self, from: Boot, to: Boot) {
        let waited = to.since(from);
        self.from = if self.count == 0 { from } else { self.from.min(from) };
        self.to = self.to.max(to);
        self.count += 1;
        self.total += waited;
        self.longest = self.longest.max(waited);
    }
}

/// All who wait. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Jobs(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kinds: Mutex<HashMap<Arc<Kind>, Arc<Entry>>>,
    ended: Mutex<Vec<Arc<Entry>>>,
    fresh: Notify,
}

#[derive(Debug)]
struct Entry {
    kind: Arc<Kind>,
    tally: Mutex<Tally>,
    shared: Weak<Shared>,
}

/// One that waits. Dropping it ends the wait.
#[derive(Debug)]
pub struct Waiting {
    entry: Arc<Entry>,
    since: Boot,
}

impl Jobs {
    /// Somebody begins to wait.
    pub fn begin(&self, kind: Kind, now: Boot) -> Waiting {
        Waiting { entry: self.entry(kind), since: now }
    }

    /// Those whose waits ended since this was last asked for.
    pub fn take(&self) -> Vec<(Arc<Kind>, Tally)> {
        let ended = std::mem::take(&mut *lock(&self.0.ended));
        ended.iter().map(|entry| (entry.kind.clone(), std::mem::take(&mut *lock(&entry.tally)))).collect()
    }

    /// Returns when there is something to take.
    pub async fn ended(&self) {
        self.0.fresh.notified().await;
    }

    fn entry(&self, mut kind: Kind) -> Arc<Entry> {
        let mut kinds = lock(&self.0.kinds);
        if !kinds.contains_key(&kind) && kinds.len() >= MAX_KINDS {
            // Kept by nobody but this map.
            kinds.retain(|_, entry| Arc::strong_count(entry) > 1);
            if kinds.len() >= MAX_KINDS {
                kind = Kind { job: OTHERS.to_owned(), uid: kind.uid, device: None, target: None };
            }
        }
        let make = |kind: &Arc<Kind>| {
            let (kind, shared) = (kind.clone(), Arc::downgrade(&self.0));
            Arc::new(Entry { kind, tally: Mutex::default(), shared })
        };
        kinds.entry(Arc::new(kind)).or_insert_with_key(make).clone()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(shared) = self.entry.shared.upgrade() else { return };
        // In this order: an entry is among the ended for as long as its tally is not empty.
        let mut ended = lock(&shared.ended);
        let mut tally = lock(&self.entry.tally);
        let first = tally.count == 0;
        tally.add(self.since, Boot::now());
        drop(tally);
        if first {
            ended.push(self.entry.clone());
            if ended.len() == 1 {
                shared.fresh.notify_one();
            }
        }
    }
}

/// A name from outside as text that is safe everywhere: escaped, and no longer than [`MAX_NAME`].
pub fn clean(name: &[u8]) -> String {
    // Escaping makes it four times as long at most.
    let mut text = escape_bytes(&name[..name.len().min(MAX_NAME)]);
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// A name as [`HEADER`] has it; none for an empty one.
pub fn from_header(value: &[u8]) -> Option<String> {
    let mut name = Vec::with_capacity(value.len().min(MAX_NAME));
    let mut rest = value.trim_ascii();
    while let [byte, tail @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16).map(|n| n as u8);
        let encoded = match tail {
            [high, low, ..] if *byte == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        name.push(encoded.unwrap_or(*byte));
        rest = if encoded.is_some() { &tail[2..] } else { tail };
        if name.len() > MAX_NAME {
            break;
        }
    }
    (!name.is_empty()).then(|| clean(&name))
}

/// What the kernel calls a process; `unknown` where it is gone, or not to be seen from here.
pub fn name_of(pid: Option<i32>) -> String {
    let read = |pid: i32| {
        let mut name = Vec::with_capacity(16);
        // `proc_pid_comm(5)`: sixteen bytes with the line feed.
        File::open(format!("/proc/{pid}/comm")).ok()?.take(64).read_to_end(&mut name).ok()?;
        Some(clean(name.trim_ascii_end()))
    };
    pid.and_then(read).filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(job: &str, uid: u32) -> Kind {
        Kind { job: job.into(), uid, device: None, target: None }
    }

    #[test]
    fn waits_of_one_name_and_user_are_one_sum() {
        let jobs = Jobs::default();
        let now = Boot::now();
        let waiting: Vec<_> = (0..1000).map(|i| jobs.begin(kind("restic", i % 2), now)).collect();
        assert!(jobs.take().is_empty());
        drop(waiting);
        let mut ended = jobs.take();
        ended.sort_by_key(|(kind, _)| kind.uid);
        assert_eq!(ended.iter().map(|(k, t)| (k.uid, t.count)).collect::<Vec<_>>(), [(0, 500), (1, 500)]);
        let tally = ended[0].1;
        assert!(tally.from == now && tally.to >= now && tally.longest <= tally.total, "{tally:?}");
        assert!(jobs.take().is_empty());
        drop(jobs.begin(kind("restic", 0), now));
        assert_eq!(jobs.take()[0].1.count, 1);
    }

    #[test]
    fn names_without_end_are_bounded() {
        let jobs = Jobs::default();
        let all: Vec<_> =
            (0..MAX_KINDS as u32 + 10).map(|i| jobs.begin(kind("a", i), Boot::default())).collect();
        assert_eq!(lock(&jobs.0.kinds).len(), MAX_KINDS + 10, "others of ten users");
        drop(all);
        let ended = jobs.take();
        assert_eq!(ended.iter().filter(|(kind, _)| kind.job == OTHERS).count(), 10);
        // Nobody waits any more: there is room again.
        drop(ended);
        assert_eq!(jobs.begin(kind("b", 0), Boot::default()).entry.kind.job, "b");
        assert!(lock(&jobs.0.kinds).len() <= 1);
    }

    #[test]
    fn a_hostile_name_is_short_and_printable() {
        assert_eq!(clean(b"backup.sh"), "backup.sh");
        assert_eq!(clean(b"a\x1b[31m\n"), "a\\x1b[31m\\x0a");
        for name in [[0xff; 200].as_slice(), "é".repeat(100).as_bytes(), b""] {
            let text = clean(name);
            assert!(text.len() <= MAX_NAME && !text.chars().any(char::is_control), "{text}");
        }
    }

    #[test]
    fn a_name_of_its_own_is_decoded() {
        assert_eq!(from_header(b" nightly%20backup "), Some("nightly backup".to_owned()));
        assert_eq!(from_header(b"100%"), Some("100%".to_owned()));
        assert_eq!(from_header(b"a%zz%+1%C3%A9"), Some("a%zz%+1é".to_owned()));
        assert_eq!(from_header(b" "), None);
        assert!(from_header(&[b'x'; 5000]).unwrap().len() == MAX_NAME);
    }

    #[test]
    fn a_process_has_the_kernels_name() {
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(name_of(Some(std::process::id() as i32)), own.trim_end());
        assert_eq!((name_of(Some(-5)), name_of(None)), ("unknown".into(), "unknown".into()));
    }
}
