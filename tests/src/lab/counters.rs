//! The kernel's own counters of a namespace: the truth the agent's figures are held against.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::netns::Netns;

/// `/proc/net/snmp` and `/proc/net/netstat`, keyed as nstat does: `TcpRetransSegs`, `TcpExtTCPRetransFail`.
#[derive(Clone, Debug, Default)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads both files of the namespace.
    pub fn read(netns: &Netns) -> Result<Self> {
        let text = netns.run(|| -> Result<String> {
            let read = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            Ok(read("snmp").context("snmp")? + &read("netstat").context("netstat")?)
        })??;
        Ok(Self::parse(&text))
    }

    /// One counter, 0 where this kernel has none of that name.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Pairs of lines: names, then values, both behind the same `Group:`.
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let mut counters = BTreeMap::new();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let Some((group, names)) = names.split_once(':') else { continue };
            let values = values.split_once(':').map_or("", |(_, v)| v);
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                // `TcpMaxConn` is -1 by definition (RFC 1213); nothing here asks for it.
                if let Ok(value) = value.parse() {
                    counters.insert(format!("{group}{name}"), value);
                }
            }
        }
        Self(counters)
    }
}

/// By how much counter `name` grew.
pub fn growth(before: &Counters, after: &Counters, name: &str) -> u64 {
    after.get(name).saturating_sub(before.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_paired_by_place() {
        let text = "Tcp: MaxConn RetransSegs OutRsts\nTcp: -1 12 3\nTcpExt: TCPRetransFail\nTcpExt: 4\n";
        let counters = Counters::parse(text);
        assert_eq!(counters.get("TcpRetransSegs"), 12);
        assert_eq!(counters.get("TcpOutRsts"), 3);
        assert_eq!(counters.get("TcpExtTCPRetransFail"), 4);
        assert_eq!(counters.get("TcpMaxConn"), 0);
    }
}
