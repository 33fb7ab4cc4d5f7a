//! The agent's watch on itself: what it takes of CPU and memory, against what it may.

use std::{collections::HashMap, ffi::OsString, fs, path::Path, time::Duration};

use nix::{
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sysconf},
};

use super::{
    API_THREAD,
    throttle::{Throttle, Usage},
};
use crate::{capability::Capability, config::Limits, sys, time::Mono};

/// How often it looks.
const PACE: Duration = Duration::from_secs(5);

/// The allocator is asked to give back what it holds in store no more often than this.
const TRIM: Duration = Duration::from_secs(30);

/// So much more than what was left after it gave back last is not worth asking, bytes.
const SLACK: u64 = 8 << 20;

/// That the limits bind nothing, where what the process takes can't be seen; none where all is well.
pub(super) fn blind(limits: Limits) -> Option<Capability> {
    let is_limited = limits.cpu.is_some() || limits.memory.is_some();
    (is_limited && resident().is_none()).then(|| {
        let detail = "what the agent takes can't be read in /proc/self, so [limits] bind nothing";
        Capability::missing("limits", detail, "mount /proc: mount -t proc proc /proc")
    })
}

/// Looks at what the process takes, and says how much slower it must probe.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    throttle: Throttle,
    meter: Meter,
    next: Mono,
    trimmed: Option<Mono>,
    /// What was resident at the first look, or when memory had been given back, bytes.
    left: Option<u64>,
}

impl Watch {
    pub(super) fn new(now: Mono, limits: Limits) -> Self {
        Self {
            limits,
            throttle: Throttle::new(limits),
            meter: Meter::default(),
            next: now,
            trimmed: None,
            left: None,
        }
    }

    /// When [`Watch::step`] has something to do.
    pub(super) fn due(&self) -> Mono {
        self.next
    }

    /// How much longer intervals are than configured: 1 to 16.
    pub(super) fn factor(&self) -> f64 {
        self.throttle.factor()
    }

    /// Why they are longer; none when they are not.
    pub(super) fn reason(&self) -> Option<String> {
        self.throttle.is_on().then(|| {
            let (account, factor) = (self.throttle.account(), self.throttle.factor());
            format!("the agent takes more than it may ({account}); it probes {factor:.1} times more slowly")
        })
    }

    /// Other limits. True when the factor changed.
    pub(super) fn configure(&mut self, limits: Limits) -> bool {
        self.limits = limits;
        let was = self.throttle.factor();
        let changed = self.throttle.set_limits(limits);
        if changed {
            self.tell(was);
        }
        changed
    }

    /// Looks, if it is time to. True when the factor changed.
    pub(super) fn step(&mut self, now: Mono) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + PACE;
        let Some(mut usage) = self.meter.usage(now) else { return false };
        let is_over = self.limits.memory.is_some_and(|limit| usage.memory > limit);
        let left = *self.left.get_or_insert(usage.memory);
        if (is_over || is_hoard(usage.memory, left)) && self.may_trim(now) {
            self.trimmed = Some(now);
            sys::give_back_memory();
            usage.memory = resident().unwrap_or(usage.memory);
            self.left = Some(usage.memory);
        }
        let was = self.throttle.factor();
        let changed = self.throttle.read(usage);
        if changed {
            self.tell(was);
        }
        changed
    }

    fn may_trim(&self, now: Mono) -> bool {
        self.trimmed.is_none_or(|at| now.since(at) >= TRIM)
    }

    fn tell(&self, was: f64) {
        match self.reason() {
            Some(reason) if was == 1.0 => tracing::warn!("throttled: {reason}"),
            Some(reason) => tracing::debug!("throttled: {reason}"),
            None => tracing::info!("no longer throttled: every interval is as configured"),
        }
    }
}

/// Whether so much that is resident is likely to be in the allocator's store: it keeps one for each thread, which is as large
/// as the largest answer that the thread ever wrote, and there are as many threads as ever worked at one time.
fn is_hoard(memory: u64, left: u64) -> bool {
    memory > left + left / 4 + SLACK
}

/// What the agent takes for itself. What it takes for those who ask is theirs: a crowd at its socket, well-meaning or not,
/// is no reason to probe more slowly, and would be none the smaller for it.
#[derive(Debug, Default)]
struct Meter {
    /// CPU time of each living thread that serves nobody.
    threads: HashMap<OsString, Duration>,
    total: Duration,
}

impl Meter {
    /// What has been taken so far; none where the system does not tell.
    fn usage(&mut self, at: Mono) -> Option<Usage> {
        let cpu = match self.of_threads() {
            Some(cpu) => cpu,
            // A kernel without `schedstat` has one figure for all.
            None => {
                let t = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
                Duration::new(t.tv_sec() as u64, t.tv_nsec() as u32)
            }
        };
        Some(Usage { at, cpu, memory: resident()? })
    }

    fn of_threads(&mut self) -> Option<Duration> {
        let mut living = HashMap::new();
        for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
            let folder = task.path();
            // A thread that ends meanwhile has its time counted up to the last look.
            let Ok(name) = fs::read_to_string(folder.join("comm")) else { continue };
            if name.trim_end() == API_THREAD {
                continue;
            }
            let Some(cpu) = cpu_of(&folder) else { continue };
            let before = self.threads.get(&task.file_name()).copied().unwrap_or_default();
            self.total += cpu.saturating_sub(before);
            living.insert(task.file_name(), cpu);
        }
        self.threads = living;
        (!self.threads.is_empty()).then_some(self.total)
    }
}

/// CPU time of a thread: the first figure of its `schedstat`, nanoseconds.
fn cpu_of(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// The second figure of `statm`, `proc_pid_statm(5)`: resident pages.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * sysconf(SysconfVar::PAGE_SIZE).ok()?? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_seen_as_it_is() {
        let (now, mut meter) = (Mono::now(), Meter::default());
        let before = meter.usage(now).unwrap();
        let block = vec![1u8; 32 << 20];
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        let after = meter.usage(now).unwrap();
        assert_eq!(sum, 32 << 20);
        assert!(after.memory >= before.memory + (16 << 20), "{before:?} {after:?}");
        assert!(after.cpu > before.cpu);
    }

    #[test]
    fn who_serves_is_not_counted_and_who_ended_is() {
        const WORK: Duration = Duration::from_millis(50);
        /// Works, says who it was, and lives until told to end.
        fn work(name: &str) -> (std::sync::mpsc::Sender<()>, OsString, std::thread::JoinHandle<()>) {
            let ((stop, stopped), (tell, told)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
            let work = move || {
                let cpu = || cpu_of(Path::new("/proc/thread-self")).unwrap();
                let start = cpu();
                while cpu() < start + WORK {}
                tell.send(OsString::from(nix::unistd::gettid().to_string())).unwrap();
                let _ = stopped.recv();
            };
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap();
            (stop, told.recv().unwrap(), thread)
        }
        let mut meter = Meter::default();
        let before = meter.of_threads().unwrap();
        let all = [work("core"), work(API_THREAD)];
        let after = meter.of_threads().unwrap();
        assert!(after >= before + WORK && meter.threads[&all[0].1] >= WORK);
        assert!(!meter.threads.contains_key(&all[1].1));
        for (stop, _, thread) in all {
            drop(stop);
            thread.join().unwrap();
        }
        assert!(meter.of_threads().unwrap() >= after);
    }

    #[test]
    fn what_threads_leave_in_store_is_given_back() {
        const MIB: u64 = 1 << 20;
        assert!(
            !is_hoard(16 * MIB, 16 * MIB) && !is_hoard(28 * MIB, 16 * MIB) && is_hoard(29 * MIB, 16 * MIB)
        );
        assert!(!is_hoard(130 * MIB, 100 * MIB) && is_hoard(134 * MIB, 100 * MIB));

        let now = Mono::now();
        let mut watch = Watch::new(now, Limits { cpu: None, memory: None });
        assert!(!watch.step(now));
        // Other tests take and give back memory beside this one, so what was left is set beyond all of that.
        watch.left = Some(u64::MAX / 2);
        watch.step(now + PACE);
        assert_eq!(watch.trimmed, None, "nothing is in store");
        watch.left = Some(0);
        let asked = now + PACE * 2;
        watch.step(asked);
        assert!(watch.trimmed == Some(asked) && watch.left.is_some_and(|left| left > 0));
        watch.left = Some(0);
        watch.step(asked + PACE);
        assert_eq!(watch.trimmed, Some(asked), "it was asked a moment ago");
        watch.step(asked + TRIM);
        assert_eq!(watch.trimmed, Some(asked + TRIM));
    }

    #[test]
    fn it_looks_at_its_own_pace() {
        let now = Mono::now();
        let mut watch = Watch::new(now, Limits { cpu: Some(1e-9), memory: None });
        assert!(!watch.step(now) && watch.due() == now + PACE);
        assert_eq!((watch.factor(), watch.reason()), (1.0, None));
        // What the process takes between the looks is far above such a limit.
        let (mut at, mut meter) = (now, Meter::default());
        for _ in 0..100 {
            at = at + PACE;
            let started = meter.usage(at).unwrap().cpu;
            while meter.usage(at).unwrap().cpu <= started {}
            watch.step(at);
        }
        assert!(watch.factor() > 1.0 && watch.reason().is_some_and(|r| r.contains("of a core")));
        assert!(watch.configure(Limits::default()));
        assert_eq!(watch.factor(), 1.0);
    }
}
