//! The ladder: each event by the best hook this kernel has for it, each hook on its own.

use std::{collections::HashMap, thread};

use aya::{
    Ebpf,
    programs::{Program, RawTracePoint, TracePoint},
};
use netmon_ebpf::{ABSENT, Format, Offsets, program};

use super::{
    btf::Btf,
    error::{LoadError, before},
    offsets::{Needs, PROGRAMS},
};
use crate::{capability::Capability, observation::TcpRung};

/// A program on a classic tracepoint, for where the better one can't be had.
struct Classic {
    program: &'static str,
    category: &'static str,
    tracepoint: &'static str,
    /// What it can't do without.
    needs: fn(&Format) -> [u32; 2],
}

/// The classic kin of the programs on raw tracepoints, by their names.
const CLASSIC: [(&str, Classic); 5] = [
    (
        program::RETRANSMIT,
        Classic {
            program: program::CLASSIC_RETRANSMIT,
            category: "tcp",
            tracepoint: "tcp_retransmit_skb",
            needs: |f| [f.retransmit_local, f.retransmit_state],
        },
    ),
    (
        program::SYNACK,
        Classic {
            program: program::CLASSIC_SYNACK,
            category: "tcp",
            tracepoint: "tcp_retransmit_synack",
            needs: |f| [f.synack_local; 2],
        },
    ),
    (
        program::SEND_RESET,
        Classic {
            program: program::CLASSIC_SEND_RESET,
            category: "tcp",
            tracepoint: "tcp_send_reset",
            needs: |f| [f.send_reset_local; 2],
        },
    ),
    (
        program::RECEIVE_RESET,
        Classic {
            program: program::CLASSIC_RECEIVE_RESET,
            category: "tcp",
            tracepoint: "tcp_receive_reset",
            needs: |f| [f.receive_reset_local; 2],
        },
    ),
    (
        program::SET_STATE,
        Classic {
            program: program::CLASSIC_SET_STATE,
            category: "sock",
            tracepoint: "inet_sock_set_state",
            needs: |f| [f.state_local, f.state_protocol],
        },
    ),
];

/// What the kernel is known to have.
pub(super) struct Kernel<'a> {
    /// Its types, or why they can't be had.
    pub(super) btf: Result<&'a Btf, &'a LoadError>,
    /// Where its structures have what the programs read.
    pub(super) offsets: &'a Offsets,
    /// Where the records of its classic tracepoints have it.
    pub(super) format: &'a Format,
}

/// How one event is told of.
#[derive(Debug)]
pub(super) struct Hook {
    /// The name of the event: that of its raw tracepoint.
    pub(super) name: &'static str,
    /// The program in the kernel, if any.
    pub(super) program: Option<&'static str>,
    /// How it is attached.
    pub(super) rung: TcpRung,
    /// The same in words.
    pub(super) capability: Capability,
}

/// Attaches every program that `wanted` picks, each by the best hook there is.
pub(super) fn attach_all(ebpf: &mut Ebpf, kernel: &Kernel<'_>, wanted: impl Fn(&str) -> bool) -> Vec<Hook> {
    let needed: Vec<&Needs> = PROGRAMS.iter().filter(|needs| wanted(needs.program)).collect();
    let mut loaded = load_all(ebpf, kernel, &needed);
    let attach_one = |needs: &&Needs| {
        let result = loaded.remove(needs.program).unwrap_or(Err(LoadError::NotInObject(needs.program)));
        attach(ebpf, kernel, needs, result)
    };
    needed.iter().map(attach_one).collect()
}

/// Hands every program that this kernel can run to its verifier, some at once: that is what a start waits for. The
/// threads are gone when this returns.
fn load_all(
    ebpf: &mut Ebpf,
    kernel: &Kernel<'_>,
    needed: &[&Needs],
) -> HashMap<&'static str, Result<(), LoadError>> {
    let find = |name: &str| needed.iter().find(|needs| needs.program == name).copied();
    thread::scope(|scope| {
        let mut verdicts = HashMap::new();
        let mut under_way = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some(needs) = find(name) else { continue };
            match can_run(kernel, needs) {
                Ok(()) => under_way.push((needs.program, scope.spawn(|| load(program)))),
                Err(error) => drop(verdicts.insert(needs.program, Err(error))),
            }
        }
        for (name, thread) in under_way {
            // A thread ends by a panic only where this one would have.
            let verdict = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            verdicts.insert(name, verdict);
        }
        verdicts
    })
}

fn can_run(kernel: &Kernel<'_>, needs: &Needs) -> Result<(), LoadError> {
    let btf = kernel.btf.map_err(LoadError::again)?;
    needs.missing(btf, kernel.offsets).map_or(Ok(()), |missing| Err(LoadError::Missing(missing)))
}

fn load(program: &mut Program) -> Result<(), LoadError> {
    let program: &mut RawTracePoint = program.try_into()?;
    Ok(program.load()?)
}

/// No program could be loaded at all: every event is only in the totals.
pub(super) fn none(wanted: impl Fn(&str) -> bool) -> Vec<Hook> {
    let one = |needs: &Needs| Hook {
        name: needs.program,
        program: None,
        rung: TcpRung::Totals,
        capability: Capability::missing(needs.program, "the programs are not loaded", "see bpf"),
    };
    PROGRAMS.iter().filter(|needs| wanted(needs.program)).map(one).collect()
}

fn attach(ebpf: &mut Ebpf, kernel: &Kernel<'_>, needs: &Needs, loaded: Result<(), LoadError>) -> Hook {
    let name = needs.program;
    let hook = |rung, program, capability| Hook { name, program, rung, capability };
    let (why, remedy) = match loaded.and_then(|()| attach_raw(ebpf, needs)) {
        Ok(()) => return hook(TcpRung::Raw, Some(name), Capability::works(name, limits(name))),
        Err(error) => (error.to_string(), error.remedy().unwrap_or_default()),
    };
    if name == program::RETRANSMIT_TWIN {
        let detail = format!("what the kernel keeps from the other program stays uncounted: {why}");
        return hook(TcpRung::Totals, None, Capability::missing(name, detail, remedy));
    }
    let Some((_, classic)) = CLASSIC.iter().find(|(raw, _)| *raw == name) else {
        return hook(TcpRung::Totals, None, Capability::missing(name, why, remedy));
    };
    match attach_classic(ebpf, kernel.format, classic) {
        Ok(()) => {
            let detail = format!(
                "classic tracepoint, events by local address, whatever network namespace has it, and no segments: {why}"
            );
            let capability = Capability { remedy, ..Capability::works(name, detail) };
            hook(TcpRung::Classic, Some(classic.program), capability)
        }
        Err(error) => {
            let detail =
                format!("{why}; and by the classic tracepoint: {error}; only /proc/net tells the totals");
            let remedies = [remedy, error.remedy().unwrap_or_default()];
            let remedy = remedies.into_iter().filter(|r| !r.is_empty()).collect::<Vec<_>>().join("; or ");
            hook(TcpRung::Totals, None, Capability::missing(name, detail, remedy))
        }
    }
}

fn attach_raw(ebpf: &mut Ebpf, needs: &Needs) -> Result<(), LoadError> {
    let program: &mut RawTracePoint = find(ebpf, needs.program)?.try_into()?;
    program.attach(needs.tracepoint)?;
    Ok(())
}

fn attach_classic(ebpf: &mut Ebpf, format: &Format, classic: &Classic) -> Result<(), LoadError> {
    if (classic.needs)(format).contains(&ABSENT) {
        return Err(LoadError::NoFormat(classic.category, classic.tracepoint));
    }
    let program: &mut TracePoint = find(ebpf, classic.program)?.try_into()?;
    program.load()?;
    program.attach(classic.category, classic.tracepoint)?;
    Ok(())
}

fn find<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, LoadError> {
    ebpf.program_mut(name).ok_or(LoadError::NotInObject(name))
}

/// What an attached program sees on this kernel.
fn limits(name: &str) -> &'static str {
    if name == program::SEND_RESET && before(6, 12) {
        "raw tracepoint; before Linux 6.12 resets of closed ports and of TIME_WAIT pass unseen and count as \
         unattributed"
    } else {
        "raw tracepoint"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_classic_program_is_the_kin_of_a_raw_one() {
        for (name, classic) in &CLASSIC {
            assert!(PROGRAMS.iter().any(|needs| needs.program == *name), "{name}");
            assert_ne!(*name, classic.program);
            assert_eq!((classic.needs)(&Format::ABSENT), [ABSENT; 2]);
        }
    }
}
