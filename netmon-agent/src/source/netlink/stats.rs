//! Traffic counters of all links, read when somebody asks for them.

use crate::observation::{IfIndex, LinkStats};

use super::{
    decode_link,
    socket::Asker,
    sysfs,
    wire::{self, Attributes, Malformed, Message, u32_at},
};

/// `struct if_stats_msg`: family, padding, index, filter.
const IF_STATS_MSG: usize = 12;
/// `IFLA_STATS_LINK_64`; its filter bit is `1 << (n - 1)`.
const IFLA_STATS_LINK_64: u16 = 1;

/// Reads the counters of every link over a socket of its own. Needs no privilege. Blocks for the system call: some
/// tens of microseconds for a handful of links.
#[derive(Debug, Default)]
pub struct StatsReader {
    asker: Option<Asker>,
    /// Linux before 4.7 has no `RTM_GETSTATS`.
    by_links: bool,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

impl StatsReader {
    /// Opens the socket. Where there is none to be had, [`read`](Self::read) turns to sysfs.
    pub fn open() -> Self {
        Self { asker: open(), by_links: false }
    }

    /// The counters of every link, in no particular order. Empty where neither netlink nor sysfs tells them.
    pub fn read(&mut self) -> Vec<(IfIndex, LinkStats)> {
        if self.asker.is_none() {
            self.asker = open();
        }
        let Some(asker) = &mut self.asker else { return sysfs::stats() };
        if !self.by_links {
            match ask(asker, wire::RTM_GETSTATS, &request()) {
                Ok(all) => return all,
                Err(error) => {
                    tracing::debug!(%error, "RTM_GETSTATS refused; counters come with whole links");
                    self.by_links = true;
                }
            }
        }
        match ask(asker, wire::RTM_GETLINK, &[0; 16]) {
            Ok(all) => all,
            Err(error) => {
                tracing::debug!(%error, "counters come from sysfs this time");
                // What is left of an answer must not be taken for the next one's.
                self.asker = None;
                sysfs::stats()
            }
        }
    }
}

fn open() -> Option<Asker> {
    Asker::open().inspect_err(|error| tracing::debug!(%error, "counters come from sysfs")).ok()
}

fn request() -> [u8; IF_STATS_MSG] {
    let mut request = [0; IF_STATS_MSG];
    request[8..].copy_from_slice(&(1_u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
    request
}

fn ask(asker: &mut Asker, kind: u16, payload: &[u8]) -> std::io::Result<Vec<(IfIndex, LinkStats)>> {
    let mut all = Vec::new();
    // An interrupted dump is good enough: a link more or less shows at the next scrape.
    asker.dump(kind, payload, |message| {
        if let Ok(Some(one)) = counters(message) {
            all.push(one);
        }
    })?;
    Ok(all)
}

/// The counters in an `RTM_NEWSTATS` or `RTM_NEWLINK`.
pub(super) fn counters(message: &Message<'_>) -> Result<Option<(IfIndex, LinkStats)>, Malformed> {
    match message.kind {
        wire::RTM_NEWLINK => Ok(decode_link::link(message.payload)?.map(|link| (link.index, link.stats))),
        wire::RTM_NEWSTATS => {
            let index = IfIndex(u32_at(message.payload, 4)?);
            for attribute in Attributes::after(message.payload, IF_STATS_MSG)? {
                if let (IFLA_STATS_LINK_64, value) = attribute? {
                    return Ok(Some((index, decode_link::stats(value)?)));
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_counts_what_is_sent_to_it() {
        let mut reader = StatsReader::open();
        let packets = |reader: &mut StatsReader| {
            reader.read().into_iter().find(|(index, _)| index.0 == 1).expect("loopback").1.tx_packets
        };
        let before = packets(&mut reader);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        }
        assert!(packets(&mut reader) >= before + 10);
    }

    #[test]
    fn both_requests_and_sysfs_tell_the_same_links() {
        let indices = |mut all: Vec<(IfIndex, LinkStats)>| {
            all.sort_by_key(|(index, _)| *index);
            all.into_iter().map(|(index, _)| index).collect::<Vec<_>>()
        };
        let by_stats = indices(StatsReader::open().read());
        let by_links = indices(StatsReader { by_links: true, ..StatsReader::open() }.read());
        assert_eq!(by_stats, by_links);
        assert_eq!(by_stats, indices(sysfs::stats()));
    }
}
