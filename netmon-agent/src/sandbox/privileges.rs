//! The capability sets of this thread, which the threads that it starts inherit.

use caps::{CapSet, Capability as Cap, CapsHashSet, errors::CapsError};

use crate::capability::Capability;

/// A capability that the agent can't do without, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub capability: Cap,
    /// What for.
    pub reason: &'static str,
    /// How it could do without.
    pub remedy: &'static str,
}

/// Whether something works with this one alone, which is false where it is not to be had. The others are in effect again
/// afterwards.
pub fn works_with(capability: Cap, work: impl FnOnce() -> bool) -> bool {
    if !caps::has_cap(None, CapSet::Permitted, capability).unwrap_or(false) {
        return false;
    }
    let Ok(before) = caps::read(None, CapSet::Effective) else { return false };
    if caps::set(None, CapSet::Effective, &CapsHashSet::from([capability])).is_err() {
        return false;
    }
    let works = work();
    // They are permitted still, which is all that this takes.
    let _ = caps::set(None, CapSet::Effective, &before);
    works
}

/// Gives up all but these.
pub(super) fn give_up(kept: &[Kept]) -> Capability {
    const NAME: &str = "privileges";
    const REMEDY: &str = "see whether a seccomp filter around the agent refuses capset(2)";
    match clear(&kept.iter().map(|kept| kept.capability).collect()) {
        Err(error) => Capability::missing(NAME, format!("can't be given up: {error}"), REMEDY),
        Ok(bounding) => {
            let bound = match bounding {
                Bounding::Empty => "",
                Bounding::Stays => "; the bounding set stays, for want of CAP_SETPCAP",
            };
            match kept {
                [] => Capability::works(NAME, format!("all capabilities are given up{bound}")),
                kept => {
                    let why = |kept: &Kept| format!("{} {}", kept.capability, kept.reason);
                    let why: Vec<String> = kept.iter().map(why).collect();
                    let remedy: Vec<&str> = kept.iter().map(|kept| kept.remedy).collect();
                    let detail = format!("all are given up but {}{bound}", why.join(", "));
                    Capability::missing(NAME, detail, remedy.join("; "))
                }
            }
        }
    }
}

/// What became of the set that bounds what an execve(2) can give.
enum Bounding {
    Empty,
    Stays,
}

fn clear(keep: &CapsHashSet) -> Result<Bounding, CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let keep: CapsHashSet = keep.intersection(&permitted).copied().collect();
    // It takes a capability, so it comes first.
    let bounding = match caps::clear(None, CapSet::Bounding) {
        Ok(()) => Bounding::Empty,
        Err(_) if caps::read(None, CapSet::Bounding)?.is_empty() => Bounding::Empty,
        Err(_) => Bounding::Stays,
    };
    // Before Linux 4.3 there are none, and the kernel takes away those that are not inheritable.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)?;
    Ok(bounding)
}

/// No program that is executed has more than who executes it (prctl(2), `PR_SET_NO_NEW_PRIVS`).
pub(super) fn forbid_new() -> Capability {
    const NAME: &str = "no_new_privs";
    match nix::sys::prctl::set_no_new_privs() {
        Ok(()) => Capability::works(NAME, "nothing that is executed brings new privileges"),
        Err(error) => {
            Capability::missing(NAME, error.to_string(), "see whether a seccomp filter refuses prctl(2)")
        }
    }
}
