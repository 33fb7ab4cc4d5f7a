//! What became of a probe.

use std::{fmt, net::IpAddr, time::Duration};

use crate::time::Wall;

/// A target's number, given by the agent when the target is made and never used again in its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u32);

/// Who took the time of a reply; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StampSource {
    /// The network card.
    Hardware,
    /// The kernel: `SO_TIMESTAMPNS`/`SO_TIMESTAMPING` on receive, or `TCP_INFO`.
    Kernel,
    /// This process, after it woke: true to milliseconds only on a busy machine.
    User,
}

impl StampSource {
    /// Every value, best first.
    pub const ALL: [Self; 3] = [Self::Hardware, Self::Kernel, Self::User];

    /// The word for it in labels and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// Nothing came within the time-out.
    Timeout,
    /// TCP: the port is closed (RST). The host is there.
    Refused,
    /// ICMP: no route to the network (RFC 792 code 0, RFC 4443 code 0).
    NetUnreachable,
    /// ICMP: the host does not answer for its address (code 1; RFC 4443 code 3).
    HostUnreachable,
    /// ICMP: the port is closed (code 3; RFC 4443 code 4).
    PortUnreachable,
    /// ICMP: forbidden by a filter (codes 9, 10, 13; RFC 4443 code 1).
    Prohibited,
    /// ICMP: larger than a link on the way takes (code 4; RFC 4443 type 2).
    PacketTooBig,
    /// ICMP: time to live exceeded (type 11; RFC 4443 type 3).
    TtlExceeded,
    /// ICMP: any other error.
    OtherUnreachable,
    /// DNS: the resolver answered with an error code, SERVFAIL as a rule.
    ServFail,
    /// DNS: there is no such name.
    NxDomain,
    /// HTTP: a status that is none of those asked for.
    Status,
    /// TLS: no handshake, or a certificate that does not hold.
    Tls,
    /// It was answered with something that is not in the protocol, or broken off.
    Protocol,
    /// It could not be sent from here: no route, no permission. Says nothing of the remote end.
    SendError,
}

impl FailureReason {
    /// Every value, for metrics that must exist at zero.
    pub const ALL: [Self; 15] = [
        Self::Timeout,
        Self::Refused,
        Self::NetUnreachable,
        Self::HostUnreachable,
        Self::PortUnreachable,
        Self::Prohibited,
        Self::PacketTooBig,
        Self::TtlExceeded,
        Self::OtherUnreachable,
        Self::ServFail,
        Self::NxDomain,
        Self::Status,
        Self::Tls,
        Self::Protocol,
        Self::SendError,
    ];

    /// Whether probes by this method (see `Method::as_str`) can fail so.
    pub fn concerns(self, method: &str) -> bool {
        match self {
            Self::Refused => matches!(method, "tcp" | "dns" | "http"),
            Self::ServFail | Self::NxDomain => method == "dns",
            Self::Status | Self::Tls => method == "http",
            Self::Protocol => matches!(method, "dns" | "http"),
            _ => true,
        }
    }

    /// The word for it in labels, JSON and reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::NetUnreachable => "net_unreachable",
            Self::HostUnreachable => "host_unreachable",
            Self::PortUnreachable => "port_unreachable",
            Self::Prohibited => "prohibited",
            Self::PacketTooBig => "packet_too_big",
            Self::TtlExceeded => "ttl_exceeded",
            Self::OtherUnreachable => "other_unreachable",
            Self::ServFail => "servfail",
            Self::NxDomain => "nxdomain",
            Self::Status => "http_status",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::SendError => "send_error",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A step in a probe's life. Each probe has one `Sent`, then one of `Reply`, `Failed`, `Inconclusive`; after `Failed`
/// or `Inconclusive` may come `Late`, after an answer a few `Duplicate`s; `Detail` comes before them, a few `Corrupted`
/// as long as it is awaited. One that could not be sent has `Failed` alone, with [`FailureReason::SendError`] or, too
/// large to leave whole, [`FailureReason::PacketTooBig`]; or `Inconclusive` alone if only room in a buffer, or a file
/// descriptor, was wanting.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeEvent {
    /// Whose.
    pub target: TargetId,
    /// To which of its addresses.
    pub address: IpAddr,
    /// The probe's number, counted up per target and address.
    pub seq: u64,
    /// What happened.
    pub outcome: ProbeOutcome,
}

/// What happened to a probe.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeOutcome {
    /// It left.
    Sent,
    /// It was answered in time.
    Reply {
        /// Round-trip time.
        rtt: Duration,
        /// Who took the time.
        stamp: StampSource,
        /// Received time to live or hop limit, where known.
        ttl: Option<u8>,
        /// An earlier probe's answer came after a later one's.
        reordered: bool,
    },
    /// It was not answered in time, or an error came instead.
    Failed {
        /// Why.
        reason: FailureReason,
        /// Who said so (the sender of an ICMP error), where somebody did.
        reporter: Option<IpAddr>,
    },
    /// Its time ran out while the engine itself ran late, lost datagrams or had closed its socket, or a full buffer or
    /// the want of a file descriptor kept it from being sent: it proves nothing (rule R13).
    Inconclusive {
        /// How late the engine was.
        lag: Duration,
    },
    /// An answer to a probe that had been given up.
    Late {
        /// Round-trip time.
        rtt: Duration,
    },
    /// A second answer to the same probe.
    Duplicate,
    /// An answer with the probe's sequence number, from the right peer, but not with the probe's bytes: damaged or forged.
    /// It answers nothing.
    Corrupted,
    /// What else was learnt on the way. Comes before the outcome proper.
    Detail(Box<ProbeDetail>),
}

/// What a probe by TCP, DNS or HTTP tells beside its round trip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeDetail {
    /// From the first packet sent to the connection, as this process saw it.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request sent to the first byte of the answer.
    pub request: Option<Duration>,
    /// Status of the answer: HTTP's (RFC 9110) or DNS's response code (RFC 1035).
    pub status: Option<u16>,
    /// When the first certificate of the chain to expire does so.
    pub certificate_expires: Option<Wall>,
}
