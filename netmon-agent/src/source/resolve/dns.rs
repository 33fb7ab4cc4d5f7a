//! Asks the resolvers of `resolv.conf`, in their order, for the addresses of both families at once.
//!
//! hickory asks one resolver at a time here: that the second is asked when the first fails, and with which names, is
//! decided as the C library decides it, and who kept silent can be told.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hickory_resolver::{
    Resolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    lookup::Lookup,
    net::{DnsError, NetError, NoRecords},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType},
    },
};

use super::{
    answer::{Failure, Found, Half, Services, of_hosts},
    conf::{Conf, Server},
    transport::Transport,
};
use crate::time::Mono;

/// A resolver that kept silent is asked after the others for so long: a thousand names do not wait for it each.
const SHUNNED: Duration = Duration::from_secs(30);

/// Asks for names.
pub(super) struct Dns {
    conf: Conf,
    peers: Vec<Peer>,
    /// How long one name may take.
    limit: Duration,
}

struct Peer {
    label: Arc<str>,
    resolver: Resolver<Transport>,
    transport: Transport,
    /// [`Mono`] nanoseconds.
    shunned_until: AtomicU64,
}

impl Dns {
    /// What this `resolv.conf` says. Must live in a tokio runtime.
    pub(super) fn new(conf: Conf, limit: Duration) -> Self {
        let share = limit / conf.servers.len().max(1) as u32;
        let patience = conf.timeout.min(share);
        let peers = conf.servers.iter().filter_map(|s| Peer::new(s, &conf, patience)).collect();
        Self { conf, peers, limit }
    }

    /// The addresses of a name, IPv4 and IPv6. Takes no longer than the limit.
    pub(super) async fn look_up(&self, name: &str) -> (Half, Half) {
        let deadline = Mono::now() + self.limit;
        let mut failed: Option<(Failure, Failure)> = None;
        for candidate in self.conf.candidates(name) {
            let (v4, v6) = match Name::from_ascii(&candidate) {
                Ok(full) => tokio::join!(
                    self.ask(&full, RecordType::A, deadline),
                    self.ask(&full, RecordType::AAAA, deadline)
                ),
                Err(e) => (Err(Failure::BadName(e.to_string())), Err(Failure::BadName(e.to_string()))),
            };
            let (Err(a), Err(b)) = (&v4, &v6) else { return (v4, v6) };
            let is_last = |f: &Failure| f.is_silence() || matches!(f, Failure::NoHost(_));
            let last = is_last(a) || is_last(b);
            let (a, b) = (a.clone(), b.clone());
            failed = Some(match failed {
                // Of the names that were tried, one that exists without an address says more than one that does not.
                Some((x, y)) => (either(x, a), either(y, b)),
                None => (a, b),
            });
            // Who is silent would be for the next name too, and one that is blocked is not to be another's.
            if last {
                break;
            }
        }
        let none = || Failure::BadName("it is empty or too long".to_owned());
        let (a, b) = failed.unwrap_or_else(|| (none(), none()));
        (Err(a), Err(b))
    }

    async fn ask(&self, name: &Name, family: RecordType, deadline: Mono) -> Half {
        if self.conf.no_v6 && family == RecordType::AAAA {
            return Err(Failure::NoAddress);
        }
        half(self.question(name, family, deadline).await?.answers(), family)
    }

    /// The hosts and ports of a service (RFC 2782), in the order of their names. Takes no longer than the limit.
    ///
    /// # Errors
    /// As for addresses. One that says that there are none at all is none: that is an answer.
    pub(super) async fn services(&self, name: &str) -> Result<Services, Failure> {
        let deadline = Mono::now() + self.limit;
        let mut failed: Option<Failure> = None;
        for candidate in self.conf.candidates(name) {
            let answer = match Name::from_ascii(&candidate) {
                Ok(full) => self.question(&full, RecordType::SRV, deadline).await,
                Err(e) => Err(Failure::BadName(e.to_string())),
            };
            match answer {
                Ok(lookup) => return Ok(services_of(lookup.answers())),
                Err(e) if e.is_silence() => return Err(e),
                Err(e) => {
                    failed = Some(match failed {
                        Some(other) => either(other, e),
                        None => e,
                    });
                }
            }
        }
        match failed {
            // Nobody tells how long that holds: as short as anything.
            Some(Failure::NoAddress) => Ok(Services { all: Vec::new(), ttl: Duration::ZERO }),
            Some(other) => Err(other),
            None => Err(Failure::BadName("it is empty or too long".to_owned())),
        }
    }

    async fn question(&self, name: &Name, kind: RecordType, deadline: Mono) -> Result<Lookup, Failure> {
        let mut failure: Option<Failure> = None;
        for peer in self.in_order(Mono::now()) {
            let left = deadline.since(Mono::now());
            if left.is_zero() {
                break;
            }
            match peer.ask(name, kind, left).await {
                Err(f) if !f.is_answer() => {
                    failure = Some(match failure {
                        Some(other) => other.or(f),
                        None => f,
                    });
                }
                answer => return answer,
            }
        }
        let failure = failure
            .unwrap_or_else(|| Failure::Silent(self.peers.iter().map(|p| Arc::clone(&p.label)).collect()));
        Err(match failure {
            Failure::Closed(..) | Failure::NoWay(..) if self.conf.guessed => Failure::NoResolver,
            other => other,
        })
    }

    /// In the order of `resolv.conf`, but those last that kept silent lately.
    fn in_order(&self, now: Mono) -> Vec<&Peer> {
        let mut all: Vec<&Peer> = self.peers.iter().collect();
        all.sort_by_key(|p| p.shunned_until.load(Ordering::Relaxed) > now.as_nanos());
        all
    }
}

/// Of two failures for two forms of one name.
fn either(a: Failure, b: Failure) -> Failure {
    match (a, b) {
        (Failure::NoName, other) | (other, Failure::NoName) => other,
        (a, b) => a.or(b),
    }
}

impl Peer {
    fn new(server: &Server, conf: &Conf, patience: Duration) -> Option<Self> {
        let mut ways = vec![ConnectionConfig::tcp()];
        if !conf.tcp {
            ways.insert(0, ConnectionConfig::udp());
        }
        let peer = NameServerConfig::new(server.ip, true, ways);
        let mut options = ResolverOpts::default();
        options.timeout = patience;
        // A UDP question is sent up to three times within its time as it is.
        options.attempts = 0;
        options.edns0 = conf.edns;
        options.use_hosts_file = ResolveHosts::Never;
        options.num_concurrent_reqs = 1;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.cache_size = 0;
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![peer]);
        let transport = Transport::new(server.clone());
        let mut builder = Resolver::builder_with_config(config, transport.clone());
        *builder.options_mut() = options;
        match builder.build() {
            Ok(resolver) => {
                let label = Arc::clone(&server.label);
                Some(Self { label, resolver, transport, shunned_until: AtomicU64::new(0) })
            }
            Err(error) => {
                tracing::warn!(%error, server = %server.label, "can't use this resolver");
                None
            }
        }
    }

    async fn ask(&self, name: &Name, kind: RecordType, left: Duration) -> Result<Lookup, Failure> {
        // Its cache would hide the change that a new question is about.
        self.resolver.clear_cache();
        let answer = tokio::time::timeout(left, self.resolver.lookup(name.clone(), kind)).await;
        let answer = answer.unwrap_or(Err(NetError::Timeout));
        let answer = answer.map_err(|error| failure(&error, &self.label, || self.transport.fault()));
        let shunned = match &answer {
            Err(f) if f.is_silence() => (Mono::now() + SHUNNED).as_nanos(),
            _ => 0,
        };
        self.shunned_until.store(shunned, Ordering::Relaxed);
        answer
    }
}

/// What a question's failure says of the resolver of this label; `fault` is what the last call of its socket met.
pub(super) fn failure(
    error: &NetError,
    label: &Arc<str>,
    fault: impl FnOnce() -> (io::ErrorKind, String),
) -> Failure {
    let label = || Arc::clone(label);
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => match response_code {
            ResponseCode::NXDomain => Failure::NoName,
            ResponseCode::NoError => Failure::NoAddress,
            code => Failure::Error(label(), word(*code)),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Failure::Error(label(), word(*code)),
        NetError::Timeout => Failure::Silent(vec![label()]),
        NetError::Io(_) | NetError::NoConnections => {
            let (kind, words) = fault();
            match kind {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                    Failure::Closed(label(), words)
                }
                io::ErrorKind::HostUnreachable => Failure::Unreachable(label(), words),
                // A connection that nobody answers.
                io::ErrorKind::TimedOut => Failure::Silent(vec![label()]),
                _ => Failure::NoWay(label(), words),
            }
        }
        other => Failure::Error(label(), format!("what can't be used: {other}")),
    }
}

/// The addresses of this family that records have.
pub(super) fn half(records: &[Record], family: RecordType) -> Half {
    let addresses: Vec<_> =
        records.iter().filter(|r| r.record_type() == family).filter_map(|r| r.data.ip_addr()).collect();
    of_hosts(addresses).map(|addresses| Found { addresses, ttl: life(records) })
}

/// The smallest time to live of all records, aliases included.
pub(super) fn life(records: &[Record]) -> Duration {
    Duration::from_secs(records.iter().map(|r| r.ttl).min().unwrap_or_default().into())
}

pub(super) fn services_of(records: &[Record]) -> Services {
    let of = |record: &Record| match &record.data {
        // The root as a target says that the service is not offered here (RFC 2782).
        RData::SRV(srv) if !srv.target.is_root() => {
            Some((srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase(), srv.port))
        }
        _ => None,
    };
    let mut all: Vec<(String, u16)> = records.iter().filter_map(of).collect();
    all.sort_unstable();
    all.dedup();
    Services { all, ttl: life(records) }
}

/// The name of a response code as RFC 1035, 4.1.1 and its successors write it.
fn word(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => other.to_string(),
    }
}
