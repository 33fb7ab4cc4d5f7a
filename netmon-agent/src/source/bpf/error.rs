//! What can go wrong between the agent and the kernel, and what mends it.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, programs::ProgramError, util::KernelVersion};
use caps::CapSet;
use thiserror::Error;

use super::btf::BtfError;

/// Where a kernel has its own types.
const BTF_FILE: &str = "/sys/kernel/btf/vmlinux";

/// Why one program, or all of them, are not in the kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object is built for little-endian machines.
    #[error("no kernel programs for a big-endian machine")]
    Endian,
    /// The process may not load programs.
    #[error("not permitted: {0}")]
    Permission(String),
    /// /proc does not tell which network namespace this process is in, and the programs count by it.
    #[error("it is not known whose events to count: /proc/thread-self/ns/net can't be read")]
    NoNamespace,
    /// The kernel does not describe its types.
    #[error("the kernel does not describe its types: {}: {source}", .file.display())]
    NoBtf {
        /// Where it was looked for.
        file: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// The kernel's description of its types can't be read.
    #[error("the kernel's description of its types can't be read: {0}")]
    Btf(#[from] BtfError),
    /// This kernel lacks something that the program reads.
    #[error("{0}")]
    Missing(String),
    /// The kernel refused the maps.
    #[error("the kernel refused the object: {}", chain(.0))]
    Object(#[from] EbpfError),
    /// The kernel refused a program, or its tracepoint.
    #[error("the kernel refused the program: {}", chain(.0))]
    Program(#[from] ProgramError),
    /// The layout of a classic tracepoint's record can't be read.
    #[error("no usable format of {0}:{1} in tracefs")]
    NoFormat(&'static str, &'static str),
    /// The memory of a map can't be shared with the programs.
    #[error("the memory of BPF map {0} can't be mapped: {1}")]
    NotShared(&'static str, io::Error),
    /// The object lacks a program or a map.
    #[error("the kernel object has no {0}")]
    NotInObject(&'static str),
}

impl LoadError {
    /// What a person can do about it; `None` when only another kernel would help.
    pub fn remedy(&self) -> Option<String> {
        const CAPABILITIES: &str = "run as root, or grant CAP_BPF and CAP_PERFMON: as a service, \
            AmbientCapabilities=CAP_BPF CAP_PERFMON; by hand, `setcap cap_bpf,cap_perfmon+ep` on the binary \
            (before Linux 5.8: CAP_SYS_ADMIN)";
        match self {
            Self::Permission(_) => Some(CAPABILITIES.to_owned()),
            Self::NoBtf { .. } | Self::Btf(_) => Some(
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian's is, from 11 on), or name a file with the \
                 types of this very kernel: --btf FILE; in a container, mount the host's /sys"
                    .to_owned(),
            ),
            Self::NoNamespace => Some("mount /proc: mount -t proc proc /proc".to_owned()),
            Self::NoFormat(..) => Some("mount tracefs: mount -t tracefs tracefs /sys/kernel/tracing".to_owned()),
            Self::Object(_) | Self::Program(_) if self.os_error() == Some(libc::EPERM) => {
                Some(after_refusal(before(5, 11)))
            }
            Self::Object(_) | Self::Program(_) if self.os_error() == Some(libc::ENOMEM) => Some(
                "give it more memory: maps and programs count to the limit of its control group (MemoryMax=)".to_owned(),
            ),
            Self::Object(_) | Self::Program(_) if before(5, 8) => {
                Some("use Linux 5.8 or later: older ones lack BPF ring buffers".to_owned())
            }
            _ => None,
        }
    }

    /// The same error once more, for every program that it keeps out.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::NoBtf { file, source } => {
                let source =
                    source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
                Self::NoBtf { file: file.clone(), source }
            }
            Self::Btf(error) => Self::Btf(error.clone()),
            other => Self::Missing(other.to_string()),
        }
    }

    fn os_error(&self) -> Option<i32> {
        let mut error: Option<&(dyn Error + 'static)> = self.source();
        while let Some(current) = error {
            if let Some(io) = current.downcast_ref::<io::Error>() {
                return io.raw_os_error();
            }
            error = current.source();
        }
        None
    }
}

/// Finds out beforehand what the kernel would only answer with a bare EPERM.
pub(super) fn check_permission() -> Result<(), LoadError> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true);
    // CAP_SYS_ADMIN has stood for both since they were split from it in 5.8.
    if has(caps::Capability::CAP_SYS_ADMIN) {
        return Ok(());
    }
    let missing: Vec<&str> =
        [(caps::Capability::CAP_BPF, "CAP_BPF"), (caps::Capability::CAP_PERFMON, "CAP_PERFMON")]
            .into_iter()
            .filter_map(|(capability, name)| (!has(capability)).then_some(name))
            .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Permission(format!("no {}", missing.join(", no "))))
    }
}

/// The running kernel's types, as bytes of BTF: from `file`, or where the kernel has them itself.
pub(super) fn read_btf(file: Option<&Path>) -> Result<Vec<u8>, LoadError> {
    let file = file.unwrap_or(Path::new(BTF_FILE));
    std::fs::read(file).map_err(|source| LoadError::NoBtf { file: file.to_owned(), source })
}

pub(super) fn before(major: u8, minor: u8) -> bool {
    KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(major, minor, 0))
}

/// The capabilities are there, and still the answer was EPERM.
fn after_refusal(counts_locked_memory: bool) -> String {
    let mut remedy = String::from(
        "run in the initial user namespace, without a seccomp filter on bpf(2), and without kernel lockdown in \
         confidentiality mode",
    );
    if counts_locked_memory {
        remedy.push_str("; before Linux 5.11, also raise the limit on locked memory (LimitMEMLOCK=infinity)");
    }
    remedy
}

/// The message and those of its causes that it does not repeat, on one line and without the verifier's log.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = first_line(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let text = first_line(cause);
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

/// The first line; of a verifier's log the line that says what it did not like, which is the last but its statistics.
fn first_line(error: &dyn Error) -> String {
    const STATISTICS: [&str; 4] = ["verification time", "stack depth", "processed ", "}"];
    let text = error.to_string();
    let Some((before, log)) = text.split_once("Verifier output: ") else {
        return text.lines().next().unwrap_or_default().trim().to_owned();
    };
    let is_verdict = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|s| line.starts_with(s));
    let verdict = log.lines().map(str::trim).rfind(is_verdict).unwrap_or_default();
    let before = before.lines().next().unwrap_or_default().trim();
    if verdict.is_empty() { before.to_owned() } else { format!("{before} The verifier: {verdict}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i32) -> LoadError {
        let io_error = io::Error::from_raw_os_error(code);
        EbpfError::MapError(aya::maps::MapError::CreateError { name: "COUNTERS".to_owned(), io_error }).into()
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_why_on_one_line() {
        let text = refused(libc::EPERM).to_string();
        assert_eq!(
            text,
            "the kernel refused the object: map error: failed to create map `COUNTERS`: Operation not permitted \
             (os error 1)"
        );
    }

    #[test]
    fn a_verifiers_log_is_its_verdict() {
        let error = io::Error::other(
            "refused. Verifier output: 0: R1=ctx() R10=fp0\n1: (4f) r2 |= r9\nR9 !read_ok\nverification time 27 \
             usec\nstack depth 264+0\nprocessed 730 insns (limit 1000000)\n }\n",
        );
        assert_eq!(first_line(&error), "refused. The verifier: R9 !read_ok");
        assert_eq!(first_line(&io::Error::other("refused. Verifier output: ")), "refused.");
    }

    #[test]
    fn only_what_can_be_mended_has_a_remedy() {
        assert!(refused(libc::ENOMEM).remedy().unwrap().contains("MemoryMax="));
        assert!(refused(libc::EPERM).remedy().unwrap().contains("user namespace"));
        assert!(LoadError::Permission("no CAP_BPF".to_owned()).remedy().unwrap().contains("CAP_PERFMON"));
        assert!(LoadError::NoNamespace.remedy().unwrap().contains("mount /proc"));
        let source = io::Error::from_raw_os_error(libc::ENOENT);
        let no_btf = LoadError::NoBtf { file: BTF_FILE.into(), source };
        assert_eq!(no_btf.again().to_string(), no_btf.to_string());
        assert!(no_btf.remedy().unwrap().contains("CONFIG_DEBUG_INFO_BTF"));
        assert_eq!(LoadError::Missing("this kernel has no x.y".to_owned()).remedy(), None);
    }

    #[test]
    fn locked_memory_is_named_where_it_counts() {
        assert!(after_refusal(true).contains("LimitMEMLOCK"));
        assert!(!after_refusal(false).contains("LimitMEMLOCK"));
    }
}
