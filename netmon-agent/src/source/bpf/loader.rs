//! Puts the programs into the kernel, each on its own: one that is refused takes nothing else along.

use std::{collections::BTreeMap, fmt, fs, os::fd::AsFd, os::fd::AsRawFd, time::Duration};

use aya::{Ebpf, EbpfLoader, programs::RawTracePoint, util::nr_cpus};
use aya_log::EbpfLogger;
use netmon_ebpf::{COUNTERS_MAP, Counters, MAX_COUNTERS, OFFSETS_GLOBAL, program};

use super::{
    abi::Raw,
    btf::Btf,
    error::{LoadError, ReadError, before, check_permission, read_btf},
    mib,
    offsets::{self, PROGRAMS},
    reader::{Maps, Reader},
};
use crate::{
    capability::Capability,
    observation::{IfIndex, TcpProgram, TcpReading},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETMON_BPF_OBJECT"));

/// Kernel memory that the counters may take, on a machine with however many CPUs.
const MEMORY_BUDGET: usize = 16 << 20;
/// Fewer rows would not hold the interfaces of one busy container host.
const MIN_ROWS: usize = 256;

/// How to load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether the programs may log, at debug level, what they could not count. Costs nothing when off.
    pub log: bool,
}

/// The programs in the kernel. Dropping it takes them, their maps and their links out again.
pub struct Kernel {
    ebpf: Option<Ebpf>,
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    capabilities: Vec<Capability>,
    reader: Reader,
}

impl Kernel {
    /// Loads and attaches what can be. Never fails as a whole: [`capabilities`](Self::capabilities) tells what works,
    /// and [`read`](Self::read) then gives the kernel's own totals at least.
    ///
    /// Takes some 50 ms. Call it before the capabilities are dropped.
    pub fn load(options: Options) -> Self {
        match load_object(options) {
            Ok((mut ebpf, btf)) => {
                let capabilities = attach_all(&mut ebpf, &btf);
                drop(btf);
                Self::loaded(ebpf, capabilities, options)
            }
            Err(error) => Self::without_programs(&error),
        }
    }

    /// What works, `bpf` first, then every program.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Reads the counters of this process's network namespace.
    ///
    /// A SYN-ACK sent again has no interface in the kernel, only a local address: `interface_of` tells whose that is.
    ///
    /// # Errors
    /// When a map does not answer.
    pub fn read(
        &mut self,
        interface_of: impl Fn(std::net::IpAddr) -> Option<IfIndex>,
    ) -> Result<TcpReading, ReadError> {
        let reading = self.reader.read(mib::read().ok(), interface_of)?;
        Ok(TcpReading { programs: self.programs(), ..reading })
    }

    /// Forgets an interface that is gone, so that the next one with its index starts from zero.
    ///
    /// # Errors
    /// When a map does not answer.
    pub fn forget(&mut self, interface: IfIndex) -> Result<(), ReadError> {
        self.reader.forget(interface)
    }

    /// Hands on what the programs logged since the last call. Does nothing unless [`Options::log`] was set.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    fn loaded(mut ebpf: Ebpf, mut capabilities: Vec<Capability>, options: Options) -> Self {
        let log = if options.log { EbpfLogger::init(&mut ebpf).ok() } else { None };
        let (maps, bpf) = match Maps::take(&mut ebpf) {
            Ok(maps) => (Some(maps), Capability::works("bpf", "programs are loaded")),
            Err(error) => (None, fails("bpf", &error)),
        };
        capabilities.insert(0, bpf);
        Self { ebpf: Some(ebpf), log, capabilities, reader: Reader::new(maps, mib::read().ok()) }
    }

    fn without_programs(error: &LoadError) -> Self {
        let mut capabilities = vec![fails("bpf", error)];
        capabilities.extend(
            PROGRAMS
                .iter()
                .map(|needs| Capability::missing(needs.program, "the programs are not loaded", "see bpf")),
        );
        Self { ebpf: None, log: None, capabilities, reader: Reader::new(None, mib::read().ok()) }
    }

    fn programs(&self) -> BTreeMap<&'static str, TcpProgram> {
        let of = |name| {
            let attached =
                self.capabilities.iter().any(|capability| capability.name == name && capability.ok);
            let program = self.ebpf.as_ref().and_then(|ebpf| ebpf.program(name)).filter(|_| attached);
            let descriptor = program.and_then(|p| p.fd().ok()).map(|fd| fd.as_fd().as_raw_fd());
            let info = descriptor.and_then(|fd| fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok());
            TcpProgram { attached, ..info.map(|info| parse_fdinfo(&info)).unwrap_or_default() }
        };
        PROGRAMS.iter().map(|needs| (needs.program, of(needs.program))).collect()
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

fn load_object(options: Options) -> Result<(Ebpf, Btf), LoadError> {
    if cfg!(target_endian = "big") {
        return Err(LoadError::Endian);
    }
    check_permission()?;
    let btf = Btf::parse(read_btf()?)?;
    let offsets = Raw(offsets::resolve(&btf));
    let log_level = if options.log { aya_log::Level::Debug as u8 } else { 0 };

    let mut loader = EbpfLoader::new();
    loader
        .override_global(OFFSETS_GLOBAL, &offsets, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries(COUNTERS_MAP, rows_for(nr_cpus().unwrap_or(1)))
        // The object carries no relocations against the kernel's types; its own offsets do that work.
        .btf(None);
    if !options.log {
        // One page is the least a ring buffer can have.
        loader.map_max_entries("AYA_LOGS", 4096);
    }
    Ok((loader.load(OBJECT)?, btf))
}

/// Rows of the map of counters, every one of which is allocated for every possible CPU beforehand.
fn rows_for(cpus: usize) -> u32 {
    let fitting = MEMORY_BUDGET / (size_of::<Counters>() * cpus.max(1));
    fitting.clamp(MIN_ROWS, MAX_COUNTERS as usize) as u32
}

fn attach_all(ebpf: &mut Ebpf, btf: &Btf) -> Vec<Capability> {
    PROGRAMS
        .iter()
        .map(|needs| match needs.missing(btf) {
            Some(missing) => fails(needs.program, &LoadError::Missing(missing)),
            None => match attach(ebpf, needs.program) {
                Ok(()) => Capability::works(needs.program, limits(needs.program)),
                Err(error) => fails(needs.program, &error),
            },
        })
        .collect()
}

fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::NotInObject(name))?;
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()?;
    program.attach(name)?;
    Ok(())
}

/// What an attached program sees on this kernel.
fn limits(name: &str) -> &'static str {
    if name == program::SEND_RESET && before(6, 12) {
        "attached; before Linux 6.12 resets of closed ports and of TIME_WAIT pass unseen and count as unattributed"
    } else {
        "attached"
    }
}

fn fails(name: &'static str, error: &LoadError) -> Capability {
    Capability::missing(name, error.to_string(), error.remedy().unwrap_or_default())
}

/// What the kernel tells of a program through its descriptor (`bpf_prog_show_fdinfo`). It takes no privilege.
fn parse_fdinfo(info: &str) -> TcpProgram {
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    TcpProgram {
        attached: false,
        recursion_misses: value("recursion_misses"),
        run_time: Duration::from_nanos(value("run_time_ns")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stay_within_their_memory_on_any_machine() {
        assert_eq!(rows_for(2), MAX_COUNTERS);
        assert_eq!(rows_for(0), MAX_COUNTERS);
        assert!(rows_for(128) as usize * 128 * size_of::<Counters>() <= MEMORY_BUDGET);
        assert_eq!(rows_for(100_000), MIN_ROWS as u32);
    }

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
        for log in [false, true] {
            let mut kernel = Kernel::load(Options { log });
            for capability in kernel.capabilities() {
                assert!(capability.ok, "{capability:?}");
            }
            let reading = kernel.read(|_| None).unwrap();
            assert!(reading.programs.values().all(|program| program.attached));
            assert_eq!(reading.dropped.values().sum::<u64>(), 0);
            kernel.forget(IfIndex(u32::MAX)).unwrap();
            kernel.flush_log();
        }
    }

    #[test]
    fn fdinfo_is_read_by_name() {
        let info = "pos:\t0\nprog_type:\t17\nrun_time_ns:\t1500\nrun_cnt:\t3\nrecursion_misses:\t2\n";
        let program = parse_fdinfo(info);
        assert_eq!(program.recursion_misses, 2);
        assert_eq!(program.run_time, Duration::from_nanos(1500));
        assert_eq!(parse_fdinfo("recursion_misses_total:\t9\n"), TcpProgram::default());
    }

    #[test]
    fn without_programs_there_are_still_the_totals() {
        let mut kernel = Kernel::without_programs(&LoadError::Permission("no CAP_BPF".to_owned()));
        let reading = kernel.read(|_| None).unwrap();
        assert!(reading.totals.is_some());
        assert!(reading.devices.is_empty());
        assert_eq!(reading.programs.len(), PROGRAMS.len());
        assert!(reading.programs.values().all(|program| !program.attached));
        assert!(kernel.capabilities()[0].remedy.contains("CAP_BPF"));
    }

    #[test]
    fn it_can_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Kernel>();
    }
}
