//! The kernel side as the agent has it: what is attached, and what it says.

use std::{
    collections::BTreeMap, fmt, fs, net::IpAddr, os::fd::AsFd, os::fd::AsRawFd, os::fd::BorrowedFd,
    path::PathBuf, time::Duration,
};

use aya::{Ebpf, programs::Program};
use aya_log::EbpfLogger;
use netmon_ebpf::program;

use super::{
    error::LoadError,
    hooks::{self, Hook},
    load::{self, Loaded},
    maps::Maps,
    mib,
    reader::Reader,
};
use crate::{
    capability::Capability,
    observation::{IfIndex, TcpCounters, TcpProgram, TcpReading, TcpTimeout},
};

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether the programs may log, at debug level, what they could not count. Costs nothing when off.
    pub log: bool,
    /// The kernel's types in a file, for a kernel that does not carry them itself.
    pub btf: Option<PathBuf>,
    /// Whether to count in every network namespace; otherwise in this process's own alone.
    pub all_namespaces: bool,
    /// Whether to sample round-trip times of established connections, one in 64 segments received.
    pub rtt_samples: bool,
    /// Drop reasons to count, by the kernel's names without `SKB_DROP_REASON_`.
    pub drop_reasons: Vec<String>,
}

impl Options {
    /// Whether the program is to be loaded.
    pub(super) fn wants(&self, name: &str) -> bool {
        match name {
            program::PROBE => self.rtt_samples,
            program::DROP => !self.drop_reasons.is_empty(),
            _ => true,
        }
    }
}

/// The programs in the kernel. Dropping it takes them, their maps and their links out again.
pub struct Kernel {
    ebpf: Option<Ebpf>,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    hooks: Vec<Hook>,
    capabilities: Vec<Capability>,
    reader: Reader,
}

impl Kernel {
    /// Loads and attaches what can be. Never fails as a whole: [`capabilities`](Self::capabilities) tells what works,
    /// and [`read`](Self::read) then gives the kernel's own totals at least.
    ///
    /// Takes some 40 ms on two processors, nearly all of it the verifier's. Call it before the capabilities are dropped, in the namespace
    /// that is to be read.
    pub fn load(options: &Options) -> Self {
        match load::load(options) {
            Ok(loaded) => Self::loaded(loaded, options),
            Err(error) => Self::without_programs(&error, options),
        }
    }

    /// What works: `bpf` first, then every event that is told of, and how.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Reads the counters of the network namespace it was loaded in, and with `all`, if so loaded, of every other.
    ///
    /// Of some events the kernel names no interface, only a local address: `interface_of` tells whose that is.
    pub fn read(&mut self, all: bool, interface_of: impl Fn(IpAddr) -> Option<IfIndex>) -> TcpReading {
        let reading = self.reader.read(mib::read().ok(), all, interface_of);
        if let Some(warning) = self.reader.warning(&reading) {
            tracing::warn!("{warning}");
        }
        TcpReading { programs: self.programs(), ..reading }
    }

    /// Segments that sockets had sent when they closed, by the interface that has their address, since the programs were
    /// attached. Those to an address of this host are loopback's.
    pub fn segments_of_closed(
        &mut self,
        interface_of: impl Fn(IpAddr) -> Option<IfIndex>,
    ) -> BTreeMap<IfIndex, u64> {
        self.reader.segments_of_closed(interface_of)
    }

    /// Forgets an interface that is gone, so that the next one with its index starts from zero. What it had counted goes
    /// on under index 0, unless it was `watched`: a sum over all that nobody watches must not fall. Gives what that was.
    pub fn forget(&mut self, interface: IfIndex, watched: bool) -> TcpCounters {
        self.reader.forget(interface, watched)
    }

    /// The next retransmission time-out that the programs told of. Does not wait.
    pub fn next_timeout(&mut self) -> Option<TcpTimeout> {
        self.reader.next_timeout()
    }

    /// Readable while time-outs wait; `None` when nothing tells of any.
    pub fn timeouts(&self) -> Option<BorrowedFd<'_>> {
        self.reader.timeouts()
    }

    /// Hands on what the programs logged since the last call. Does nothing unless [`Options::log`] was set.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    fn loaded(loaded: Loaded, options: &Options) -> Self {
        let Loaded { mut ebpf, hooks, reasons, unknown_reasons } = loaded;
        let log = if options.log { EbpfLogger::init(&mut ebpf).ok() } else { None };
        let (maps, bpf) = match Maps::share(&mut ebpf) {
            Ok(maps) => (Some(maps), attached(&hooks)),
            Err(error) => (None, fails("bpf", &error)),
        };
        let mut capabilities = vec![bpf];
        capabilities.extend(hooks.iter().map(|hook| hook.capability.clone()));
        if !unknown_reasons.is_empty() {
            let detail = format!("not among this kernel's drop reasons: {}", unknown_reasons.join(", "));
            let remedy = "see enum skb_drop_reason: bpftool btf dump file /sys/kernel/btf/vmlinux";
            capabilities.push(Capability::missing("drop_reasons", detail, remedy));
        }
        let reader = Reader::new(maps, mib::read().ok(), reasons, options.all_namespaces);
        Self { ebpf: Some(ebpf), log, hooks, capabilities, reader }
    }

    fn without_programs(error: &LoadError, options: &Options) -> Self {
        let hooks = hooks::none(|name| options.wants(name));
        let mut capabilities = vec![fails("bpf", error)];
        capabilities.extend(hooks.iter().map(|hook| hook.capability.clone()));
        let reader = Reader::new(None, mib::read().ok(), Vec::new(), false);
        Self { ebpf: None, log: None, hooks, capabilities, reader }
    }

    fn programs(&self) -> BTreeMap<&'static str, TcpProgram> {
        let of = |hook: &Hook| {
            let program = hook.program.and_then(|name| self.ebpf.as_ref()?.program(name));
            let info = program.and_then(fdinfo).map(|info| parse_fdinfo(&info)).unwrap_or_default();
            TcpProgram { attached: hook.program.is_some(), rung: hook.rung, ..info }
        };
        self.hooks.iter().map(|hook| (hook.name, of(hook))).collect()
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

/// Whether anything in the kernel counts.
fn attached(hooks: &[Hook]) -> Capability {
    let first_without = hooks.iter().find(|hook| hook.program.is_none());
    match first_without.filter(|_| hooks.iter().all(|hook| hook.program.is_none())) {
        None => Capability::works("bpf", "programs are loaded"),
        Some(Hook { capability, .. }) => {
            let detail = format!("no program is attached; {}: {}", capability.name, capability.detail);
            Capability::missing("bpf", detail, &capability.remedy)
        }
    }
}

fn fails(name: &'static str, error: &LoadError) -> Capability {
    Capability::missing(name, error.to_string(), error.remedy().unwrap_or_default())
}

/// What the kernel tells of a program through its descriptor (`bpf_prog_show_fdinfo`). It takes no privilege.
fn fdinfo(program: &Program) -> Option<String> {
    let descriptor = program.fd().ok()?.as_fd().as_raw_fd();
    fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()
}

fn parse_fdinfo(info: &str) -> TcpProgram {
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    TcpProgram {
        recursion_misses: value("recursion_misses"),
        runs: value("run_cnt"),
        run_time: Duration::from_nanos(value("run_time_ns")),
        ..TcpProgram::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::error::check_permission, *};
    use crate::observation::TcpRung;

    /// Skipped without the privilege, unless `CI` or `NETMON_REQUIRE_KERNEL` say that it must run.
    #[test]
    fn the_running_kernel_takes_every_program() {
        if let Err(error) = check_permission() {
            let required =
                ["CI", "NETMON_REQUIRE_KERNEL"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!required, "{error}");
            println!("skipped: {error}");
            return;
        }
        let everything = Options {
            log: true,
            all_namespaces: true,
            rtt_samples: true,
            drop_reasons: vec!["TCP_CSUM".to_owned()],
            ..Options::default()
        };
        for options in [Options::default(), everything] {
            let mut kernel = Kernel::load(&options);
            for capability in kernel.capabilities() {
                assert!(capability.ok, "{capability:?}");
            }
            let reading = kernel.read(true, |_| None);
            assert!(reading.programs.values().all(|program| program.rung == TcpRung::Raw));
            assert_eq!(reading.programs.len(), if options.log { 8 } else { 6 });
            assert_eq!(reading.dropped.values().sum::<u64>(), 0);
            assert_eq!(kernel.forget(IfIndex(u32::MAX), false), TcpCounters::default());
            kernel.flush_log();
            assert!(kernel.timeouts().is_some());
        }
    }

    #[test]
    fn without_types_the_classic_tracepoints_serve() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = Options { btf: Some(file.path().to_owned()), ..Options::default() };
        let mut kernel = Kernel::load(&options);
        let has_tracefs = std::path::Path::new("/sys/kernel/tracing/events/tcp").is_dir();
        if check_permission().is_err() || !has_tracefs {
            return println!("skipped: no privilege, or no tracefs");
        }
        let reading = kernel.read(false, |_| None);
        let is_twin = |name: &str| name == program::RETRANSMIT_TWIN;
        let rungs = reading.programs.iter().filter(|(name, _)| !is_twin(name)).map(|(_, p)| p.rung);
        assert_eq!(rungs.collect::<Vec<_>>(), [TcpRung::Classic; 5], "{:?}", kernel.capabilities());
        for hook in kernel.capabilities()[1..].iter().filter(|hook| !is_twin(&hook.name)) {
            assert!(
                hook.ok && hook.detail.contains("classic tracepoint") && !hook.remedy.is_empty(),
                "{hook:?}"
            );
        }
    }

    #[test]
    fn fdinfo_is_read_by_name() {
        let info = "pos:\t0\nprog_type:\t17\nrun_time_ns:\t1500\nrun_cnt:\t3\nrecursion_misses:\t2\n";
        let program = parse_fdinfo(info);
        assert_eq!((program.recursion_misses, program.runs), (2, 3));
        assert_eq!(program.run_time, Duration::from_nanos(1500));
        assert_eq!(parse_fdinfo("recursion_misses_total:\t9\n"), TcpProgram::default());
    }

    #[test]
    fn without_programs_there_are_still_the_totals() {
        let refused = LoadError::Permission("no CAP_BPF".to_owned());
        let mut kernel = Kernel::without_programs(&refused, &Options::default());
        let reading = kernel.read(true, |_| None);
        assert!(reading.totals.is_some());
        assert!(reading.devices.is_empty());
        assert_eq!(reading.programs.len(), 6);
        assert!(reading.programs.values().all(|program| program.rung == TcpRung::Totals));
        assert!(kernel.capabilities()[0].remedy.contains("CAP_BPF"));
        assert!(kernel.timeouts().is_none());
    }

    #[test]
    fn it_can_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Kernel>();
    }
}
