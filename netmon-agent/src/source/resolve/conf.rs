//! `resolv.conf(5)`: who is asked, and for which names. As the C library reads it, so that a name means the same to
//! netmon as to every other program. Pure but for the look at the host's own name and at device numbers.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
    time::Duration,
};

use resolv_conf::Config;

/// The C library takes no more (`MAXNS`).
const SERVERS: usize = 3;

/// The longest name that fits a question (RFC 1035, 2.3.4), in text.
const LONGEST_NAME: usize = 253;

/// One resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) ip: IpAddr,
    /// The device that a link-local address is of.
    zone: Option<String>,
    port: u16,
    /// What a person knows it by.
    pub(super) label: Arc<str>,
}

impl Server {
    fn parse(word: &str, port: u16) -> Option<Self> {
        let (address, zone) = match word.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (word, None),
        };
        let ip: IpAddr = address.parse().ok()?;
        if zone.is_some_and(str::is_empty) || zone.is_some() && ip.is_ipv4() {
            return None;
        }
        let label = if port == 53 { word.to_owned() } else { format!("{word} port {port}") };
        Some(Self { ip, zone: zone.map(str::to_owned), port, label: label.into() })
    }

    /// Where it is asked, as of now: a device made anew has another number.
    ///
    /// # Errors
    /// There is no device of that name.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        match (self.ip, &self.zone) {
            (IpAddr::V6(ip), Some(zone)) => {
                let index = match zone.parse() {
                    Ok(index) => index,
                    Err(_) => nix::net::if_::if_nametoindex(zone.as_str())?,
                };
                Ok(SocketAddrV6::new(ip, self.port, 0, index).into())
            }
            _ => Ok(SocketAddr::new(self.ip, self.port)),
        }
    }
}

/// What `resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conf {
    /// Whom to ask, in this order.
    pub(super) servers: Vec<Server>,
    /// Whether the servers were guessed: the file names none, so one on this machine is tried.
    pub(super) guessed: bool,
    search: Vec<String>,
    ndots: usize,
    /// How long one server is waited for.
    pub(super) timeout: Duration,
    /// TCP only.
    pub(super) tcp: bool,
    pub(super) edns: bool,
    /// Questions for IPv6 addresses are not wanted.
    pub(super) no_v6: bool,
}

impl Conf {
    /// Reads the text; servers are asked at `port`. What can't be understood is passed over.
    pub(super) fn parse(text: &str, port: u16) -> Self {
        let (parsed, _) = Config::parse_with_errors(text.as_bytes());
        let mut search: Vec<String> = parsed.get_last_search_or_domain().cloned().collect();
        if parsed.get_search().is_none() && parsed.get_domain().is_none() {
            search.extend(parsed.get_system_domain());
        }
        let mut servers = servers(text, port);
        let guessed = servers.is_empty();
        servers.extend(guessed.then(|| Server::parse("127.0.0.1", port)).flatten());
        Self {
            servers,
            guessed,
            search: search.iter().map(|s| s.trim_matches('.').to_owned()).filter(|s| !s.is_empty()).collect(),
            ndots: parsed.ndots.min(15) as usize,
            timeout: Duration::from_secs(u64::from(parsed.timeout.clamp(1, 30))),
            tcp: parsed.use_vc,
            edns: parsed.edns0,
            no_v6: parsed.no_aaaa,
        }
    }

    /// The full names to ask for, the likeliest first; each ends in a dot. None of a name that is empty or too long.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.is_empty() || name == "." {
            return Vec::new();
        }
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let plain = format!("{name}.");
        let mut all: Vec<String> = self.search.iter().map(|s| format!("{name}.{s}.")).collect();
        if name.matches('.').count() >= self.ndots {
            all.insert(0, plain);
        } else {
            all.push(plain);
        }
        all.retain(|n| n.len() <= LONGEST_NAME + 1);
        let mut once: Vec<String> = Vec::with_capacity(all.len());
        for n in all {
            if !once.contains(&n) {
                once.push(n);
            }
        }
        once
    }
}

/// A resolver that the system names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// Its address.
    pub address: IpAddr,
    /// Name or number of the device that a link-local address is of, as it is written.
    pub zone: Option<String>,
}

/// Those that the text names; none is guessed.
pub(super) fn nameservers(text: &str) -> Vec<Nameserver> {
    let one = |Server { ip, zone, .. }: Server| Nameserver { address: ip, zone };
    servers(text, 53).into_iter().map(one).collect()
}

/// Read by hand: a device's name after `%` may hold any character, which the library does not take.
fn servers(text: &str, port: u16) -> Vec<Server> {
    let mut found: Vec<Server> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        if let Some(server) = words.next().and_then(|w| Server::parse(w, port))
            && !found.contains(&server)
            && found.len() < SERVERS
        {
            found.push(server);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(text: &str, name: &str) -> Vec<String> {
        Conf::parse(text, 53).candidates(name)
    }

    #[test]
    fn servers_are_three_at_most_and_may_be_of_a_device() {
        let text = "# c\nnameserver 10.0.0.1\nnameserver fe80::1%br-lan.7\nnameserver 10.0.0.1\nnameserver bad\n\
                    nameserver 10.0.0.2%eth0\nnameserver ::1\nnameserver 10.0.0.3\n";
        let conf = Conf::parse(text, 53);
        let labels: Vec<&str> = conf.servers.iter().map(|s| &*s.label).collect();
        assert_eq!(labels, ["10.0.0.1", "fe80::1%br-lan.7", "::1"]);
        assert!(!conf.guessed);
        assert_eq!(conf.servers[0].address().unwrap(), "10.0.0.1:53".parse().unwrap());
        assert!(conf.servers[1].address().is_err(), "there is no such device");
        let lo = Server::parse("fe80::1%lo", 53).unwrap().address().unwrap();
        assert!(matches!(lo, SocketAddr::V6(a) if a.scope_id() > 0), "{lo}");
        let number = Server::parse("fe80::1%7", 5300).unwrap();
        assert_eq!(number.address().unwrap(), "[fe80::1%7]:5300".parse().unwrap());
        assert_eq!(&*number.label, "fe80::1%7 port 5300");
    }

    #[test]
    fn without_a_server_this_machine_is_asked() {
        assert_eq!(nameservers("search example.org\n"), []);
        let conf = Conf::parse("search example.org\n", 53);
        assert!(conf.guessed);
        assert_eq!(conf.servers[0].address().unwrap(), "127.0.0.1:53".parse().unwrap());
    }

    #[test]
    fn names_with_enough_dots_are_asked_for_as_they_are_first() {
        let text = "search corp.example sub.example.\noptions ndots:2";
        assert_eq!(candidates(text, "a"), ["a.corp.example.", "a.sub.example.", "a."]);
        assert_eq!(candidates(text, "a.b"), ["a.b.corp.example.", "a.b.sub.example.", "a.b."]);
        assert_eq!(candidates(text, "a.b.c"), ["a.b.c.", "a.b.c.corp.example.", "a.b.c.sub.example."]);
        assert_eq!(candidates(text, "a.b."), ["a.b."]);
        assert_eq!(candidates("search corp.example", "a.b"), ["a.b.", "a.b.corp.example."]);
        assert_eq!(candidates("search a\nsearch a a\n", "x"), ["x.a.", "x."]);
        assert_eq!(candidates("search a\ndomain b\n", "x"), ["x.b.", "x."], "the last of them counts");
        assert!(candidates(text, "").is_empty() && candidates(text, ".").is_empty());
        let long = "x".repeat(250);
        assert_eq!(candidates("search corp.example", &long), [format!("{long}.")]);
    }

    #[test]
    fn options_are_bounded() {
        let conf = Conf::parse("options timeout:0 ndots:99 use-vc edns0 no-aaaa", 53);
        assert_eq!((conf.timeout, conf.ndots), (Duration::from_secs(1), 15));
        assert!(conf.tcp && conf.edns && conf.no_v6);
        let conf = Conf::parse("options nonsense timeout:x", 53);
        assert_eq!((conf.timeout, conf.ndots), (Duration::from_secs(5), 1));
        assert!(!conf.tcp && !conf.edns && !conf.no_v6);
    }
}
