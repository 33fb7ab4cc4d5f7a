//! What can happen.

use super::{
    super::*,
    tell::{AddressAct, LinkAct},
};

/// One thing that happens. A history with some of them left out is one as well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Milliseconds pass, and all goes its way.
    Run(u32),
    /// The agent stands still, for milliseconds; the probe engine does not.
    Freeze(u16),
    /// The machine sleeps, milliseconds.
    Suspend(u32),
    Link(u8, LinkAct),
    Address(u8, AddressAct),
    /// These routes there are; some may be left out.
    Routes(u16, bool),
    Neighbour(u8, u8),
    /// Traffic counters of the links.
    LinkStats,
    /// Events of netlink are lost.
    Gap,
    /// All is read anew.
    Dump,
    /// What the probe engine told is lost, or what the kernel's counters did.
    Lost(bool),
    /// What becomes of the probes of an address, or of all beyond the last.
    Fate(u8, FateAct),
    /// Something about one probe, whatever the world is like.
    Raw(u8, RawAct),
    Resolved(u8),
    ResolveFailed,
    LookedUp,
    /// Segments sent by a link, how many of a thousand again; from zero; read with what was sent, or not.
    Reading(u8, u16, u8, bool, bool),
    /// TCP's time-outs on a link, or on none: prefixes, how many each.
    TimeOuts(u8, u8, u8),
    /// From now on so many prefixes acknowledge on a link.
    Acknowledge(u8, u8),
    /// A report beside the usual ones: of a link, so many prefixes, over so many milliseconds.
    Report(u8, u8, u16),
    /// Nobody looks at sockets.
    Blind(bool),
    Configure(u8),
    Targets(u16, u8),
    Throttle(bool),
}

/// How an address fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FateAct {
    Answers,
    Silent,
    Fails(FailureReason),
    /// Percent.
    Loses(u8),
    /// Milliseconds.
    Rtt(u16),
    Unproven(u8),
    Late(u8),
    Twice(u8),
}

/// One probe of an address, the n-th of those under way where one is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawAct {
    Sent,
    Reply(u8),
    Failed(u8, FailureReason),
    Inconclusive(u8, u16),
    Late(u8),
    Duplicate,
    Corrupted,
    Detail,
    /// Of a target that there is not.
    Stray,
    /// A reply to a probe that was never sent.
    Forged,
}
