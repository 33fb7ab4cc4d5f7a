//! What the agent can do on this machine, and what would mend what it can't.

/// One capability. Losing it takes nothing else along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// A stable name: `bpf_tcp_retransmit`, `icmp_v4`, `netlink` …; the label of `netmon_capability`.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// How it works, or why not: one line.
    pub detail: String,
    /// What would mend it: a command or a setting. Empty when it works.
    pub remedy: String,
}

impl Capability {
    /// One that works, and how.
    pub fn works(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, detail: detail.into(), remedy: String::new() }
    }

    /// One that does not, why, and what would mend it.
    pub fn missing(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, detail: detail.into(), remedy: remedy.into() }
    }
}
