//! Seccomp: the tables of calls as filters, for every thread of the process.
//!
//! Three filters, of which the kernel obeys the strictest for each call (`seccomp_run_filters`): what is never done ends the
//! process, what the C library can do without is said to be absent, and what is in no table is refused with EPERM. The last
//! comes last, as it refuses further filters.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

use super::{Mode, calls};
use crate::capability::Capability;

/// New namespaces, by the flags of clone(2) (linux/sched.h).
const NEW_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64;
/// `PR_SET_VMA`: the C library names its memory (linux/prctl.h).
const PR_SET_VMA: u64 = 0x5356_4d41;
/// What a thread may say and ask of itself.
const PRCTL: [u64; 6] = [
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_GET_DUMPABLE as u64,
    libc::PR_GET_NO_NEW_PRIVS as u64,
    libc::PR_GET_SECCOMP as u64,
    PR_SET_VMA,
];
/// Keys into somebody's terminal (ioctl_tty(2)), and its selection.
const TYPING: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
enum FilterError {
    /// It can't be built.
    #[error("{0}")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel does not take it.
    #[error("{0}")]
    Apply(#[from] seccompiler::Error),
}

/// Has the filters applied to all threads.
pub(super) fn install(mode: Mode) -> Capability {
    const NAME: &str = "seccomp";
    let installed = filters(mode).map_err(FilterError::from).and_then(|filters| {
        filters.iter().try_for_each(|filter| apply_filter_all_threads(filter)).map_err(FilterError::from)
    });
    match (installed, mode) {
        (Err(error), _) => {
            let remedy = "use a kernel with CONFIG_SECCOMP_FILTER, on x86-64, aarch64 or riscv64";
            Capability::missing(NAME, format!("no filter: {error}"), remedy)
        }
        (Ok(()), Mode::Log) => {
            let detail = "calls that are in no table are only logged, as the configuration has it";
            Capability::missing(NAME, detail, super::REMEDY)
        }
        (Ok(()), _) => {
            let allowed = rules().map_or(0, |rules| rules.len()).saturating_sub(calls::ABSENT.len());
            Capability::works(NAME, format!("{allowed} system calls and no others"))
        }
    }
}

/// The filters, in the order in which they are applied.
fn filters(mode: Mode) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refused = match mode {
        Mode::Log => SeccompAction::Log,
        _ => SeccompAction::Errno(libc::EPERM as u32),
    };
    let any = |calls: &[c_long]| -> Rules { calls.iter().map(|call| (*call, Vec::new())).collect() };
    let allow = SeccompFilter::new(rules()?, refused, SeccompAction::Allow, arch)?;
    let never =
        SeccompFilter::new(any(calls::NEVER), SeccompAction::Allow, SeccompAction::KillProcess, arch)?;
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let absent = SeccompFilter::new(any(calls::ABSENT), SeccompAction::Allow, absent, arch)?;
    [never, absent, allow].into_iter().map(BpfProgram::try_from).collect()
}

/// What is allowed: calls, and of those that matter their arguments.
fn rules() -> Result<Rules, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    // What is said to be absent is not refused as well: of two refusals the one of the last filter counts.
    let all = calls::allowed().chain(calls::ABSENT.iter().copied());
    let mut rules: Rules = all.map(|call| (call, Vec::new())).collect();
    let one_of = |argument, values: &[u64]| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        values.iter().map(|value| SeccompRule::new(vec![condition(argument, Eq, *value)?])).collect()
    };
    // Threads, and no processes.
    let thread = libc::CLONE_THREAD as u64;
    let clone = condition(0, MaskedEq(NEW_NAMESPACES | thread), thread)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![clone])?]);
    let mut sockets = one_of(0, &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64])?;
    for protocol in [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG] {
        let netlink = condition(0, Eq, libc::AF_NETLINK as u64)?;
        sockets.push(SeccompRule::new(vec![netlink, condition(2, Eq, protocol as u64)?])?);
    }
    rules.insert(libc::SYS_socket, sockets);
    rules.insert(libc::SYS_socketpair, one_of(0, &[libc::AF_UNIX as u64])?);
    rules.insert(libc::SYS_prctl, one_of(0, &PRCTL)?);
    // No memory becomes code, whoever wrote it.
    let data = || condition(2, MaskedEq(libc::PROT_EXEC as u64), 0);
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![data()?])?]);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![data()?])?]);
    let quiet: Result<Vec<_>, _> = TYPING.iter().map(|request| condition(1, Ne, *request)).collect();
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(quiet?)?]);
    Ok(rules)
}

/// Of the lower half of an argument: the kernel looks at no more of those here.
fn condition(
    argument: u8,
    op: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do of this call: the strictest of all filters, by the instructions they consist of.
    fn verdict(mode: Mode, call: c_long, arguments: &[u64]) -> u32 {
        let all = filters(mode).unwrap();
        let each = all.iter().rev().map(|filter| run(filter, call, arguments));
        // The smaller as signed, the stricter (`ACTION_ONLY` in kernel/seccomp.c); of equals the one that came last.
        each.min_by_key(|action| (*action & 0xffff_0000) as i32).unwrap()
    }

    /// A classic BPF program over `struct seccomp_data`.
    fn run(program: &BpfProgram, call: c_long, arguments: &[u64]) -> u32 {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&(call as u32).to_ne_bytes());
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        for (i, argument) in arguments.iter().enumerate() {
            data[16 + 8 * i..24 + 8 * i].copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match step.code {
                0x20 => {
                    let k = step.k as usize;
                    a = u32::from_ne_bytes(data[k..k + 4].try_into().unwrap());
                }
                0x54 => a &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(a == step.k),
                0x25 => at += jump(a > step.k),
                0x35 => at += jump(a >= step.k),
                0x06 => return step.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const LOG: u32 = 0x7ffc_0000;
    const EPERM: u32 = 0x0005_0000 | libc::EPERM as u32;
    const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;
    const KILL: u32 = 0x8000_0000;

    #[test]
    fn each_kind_of_call_has_its_answer() {
        let of = |call, arguments: &[u64]| verdict(Mode::Enforce, call, arguments);
        assert_eq!(of(libc::SYS_read, &[]), ALLOW);
        assert_eq!(of(libc::SYS_execve, &[]), EPERM);
        assert_eq!(of(libc::SYS_execveat, &[]), EPERM);
        assert_eq!(of(libc::SYS_clone3, &[]), ENOSYS);
        assert_eq!(of(libc::SYS_ptrace, &[]), KILL);
        assert_eq!(of(libc::SYS_mount, &[]), KILL);
        // One that this table has never heard of, and the numbers of the x32 ABI.
        assert_eq!(of(9999, &[]), EPERM);
        assert_eq!(of(0x4000_0000, &[]), EPERM);
    }

    #[test]
    fn arguments_decide_where_they_matter() {
        let of = |call, arguments: &[u64]| verdict(Mode::Enforce, call, arguments) == ALLOW;
        let family = |family: i32, protocol: u64| of(libc::SYS_socket, &[family as u64, 0, protocol]);
        assert!(family(libc::AF_INET, 6) && family(libc::AF_INET6, 17) && family(libc::AF_UNIX, 0));
        assert!(family(libc::AF_NETLINK, libc::NETLINK_ROUTE as u64));
        assert!(family(libc::AF_NETLINK, libc::NETLINK_SOCK_DIAG as u64));
        assert!(!family(libc::AF_NETLINK, libc::NETLINK_NETFILTER as u64));
        assert!(!family(libc::AF_PACKET, 0) && !family(libc::AF_ALG, 0) && !family(libc::AF_VSOCK, 0));

        // As glibc starts a thread, and as it starts a process.
        let thread = 0x003d_0f00;
        assert!(of(libc::SYS_clone, &[thread]));
        assert!(!of(libc::SYS_clone, &[0x0120_0011]));
        for namespace in [libc::CLONE_NEWUSER, libc::CLONE_NEWNET, libc::CLONE_NEWNS] {
            assert!(!of(libc::SYS_clone, &[thread | namespace as u64]));
        }

        for command in 0..40 {
            assert!(!of(libc::SYS_bpf, &[command]), "{command}");
        }
        let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            assert!(of(call, &[0, 4096, rw]) && !of(call, &[0, 4096, rw | libc::PROT_EXEC as u64]));
        }
        assert!(of(libc::SYS_ioctl, &[0, libc::FIONREAD]) && !of(libc::SYS_ioctl, &[0, libc::TIOCSTI]));
        assert!(of(libc::SYS_prctl, &[libc::PR_SET_NAME as u64]));
        assert!(!of(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64]));
        assert!(!of(libc::SYS_prctl, &[libc::PR_CAP_AMBIENT as u64]));
    }

    #[test]
    fn for_a_diagnosis_what_would_be_refused_is_logged() {
        assert_eq!(verdict(Mode::Log, libc::SYS_execve, &[]), LOG);
        assert_eq!(verdict(Mode::Log, libc::SYS_ptrace, &[]), KILL);
        assert_eq!(verdict(Mode::Log, libc::SYS_read, &[]), ALLOW);
    }
}
