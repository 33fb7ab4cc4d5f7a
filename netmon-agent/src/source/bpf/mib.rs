//! The kernel's own totals for one network namespace: `/proc/net/snmp` (RFC 4022) and `/proc/net/netstat`.

use std::{fs, io};

use crate::observation::TcpTotals;

const SNMP: &str = "/proc/thread-self/net/snmp";
const NETSTAT: &str = "/proc/thread-self/net/netstat";

/// Reads the totals of the calling thread's network namespace.
///
/// # Errors
/// When one of the files can't be read, or has no TCP line.
pub fn read() -> io::Result<TcpTotals> {
    parse(&fs::read_to_string(SNMP)?, &fs::read_to_string(NETSTAT)?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no TCP totals in {SNMP}")))
}

pub(super) fn parse(snmp: &str, netstat: &str) -> Option<TcpTotals> {
    let tcp = Table::find(snmp, "Tcp:")?;
    // Absent in a kernel without CONFIG_PROC_FS's netstat lines: those totals then stay 0.
    let ext = Table::find(netstat, "TcpExt:").unwrap_or_default();
    Some(TcpTotals {
        segments_sent: tcp.get("OutSegs")?,
        retransmitted_segments: tcp.get("RetransSegs")?,
        active_opens: tcp.get("ActiveOpens")?,
        passive_opens: tcp.get("PassiveOpens")?,
        resets_sent: tcp.get("OutRsts")?,
        failed_connects: tcp.get("AttemptFails")?,
        reset_connections: tcp.get("EstabResets")?,
        failed_retransmits: ext.get("TCPRetransFail").unwrap_or(0),
    })
}

/// A line of names and the line of values after it, both behind the same prefix.
#[derive(Default)]
struct Table<'a> {
    names: &'a str,
    values: &'a str,
}

impl<'a> Table<'a> {
    fn find(text: &'a str, prefix: &str) -> Option<Self> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        Some(Self { names: lines.next()?, values: lines.next()? })
    }

    fn get(&self, name: &str) -> Option<u64> {
        let at = self.names.split_whitespace().position(|n| n == name)?;
        self.values.split_whitespace().nth(at)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP_TEXT: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
        Tcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets OutSegs RetransSegs InErrs OutRsts\n\
        Tcp: 1 -1 5 4 7 8 1000 42 0 9\n";

    #[test]
    fn values_are_found_by_name() {
        let netstat = "TcpExt: SyncookiesSent TCPRetransFail\nTcpExt: 5 6\nIpExt: A\nIpExt: 1\n";
        let totals = parse(SNMP_TEXT, netstat).unwrap();
        assert_eq!(
            totals,
            TcpTotals {
                segments_sent: 1000,
                retransmitted_segments: 42,
                active_opens: 5,
                passive_opens: 4,
                resets_sent: 9,
                failed_connects: 7,
                reset_connections: 8,
                failed_retransmits: 6,
            }
        );
    }

    #[test]
    fn what_is_missing_is_not_made_up() {
        assert_eq!(parse("Ip: A\nIp: 1\n", ""), None);
        assert_eq!(parse("Tcp: OutSegs\n", ""), None);
        assert_eq!(parse("Tcp: OutSegs\nTcp: 3\n", ""), None);
        assert_eq!(parse(SNMP_TEXT, "").unwrap().failed_retransmits, 0);
    }

    #[test]
    fn this_machine_has_them() {
        read().unwrap();
    }
}
