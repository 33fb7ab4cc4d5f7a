//! The task that looks names up: what is due is begun, what has ended is told.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};

use super::{
    Options, Order,
    answer::{Failure, Half, Resolved, combine, of_hosts},
    conf::Conf,
    dns::Dns,
    files::{self, Watched},
    schedule::{End, Schedule},
};
use crate::{
    observation::{Evidence, Observation, TargetId},
    time::{Mono, sleep_until},
};

/// How long an answer that no resolver gave is good for; the files are watched.
const OWN: Duration = Duration::from_secs(3600);

pub(super) struct Worker {
    out: mpsc::Sender<Vec<Observation>>,
    options: Options,
    schedule: Schedule,
    names: HashMap<Arc<str>, Known>,
    resolv_conf: Watched,
    hosts_file: Watched,
    /// Of the names that are wanted.
    hosts: HashMap<String, Vec<IpAddr>>,
    dns: Arc<Dns>,
    lookups: JoinSet<(Half, Half)>,
    /// What is asked for, and since when.
    under_way: HashMap<Id, (Arc<str>, Mono)>,
    look_at: Mono,
}

/// What is known of one name.
#[derive(Default)]
struct Known {
    targets: Vec<TargetId>,
    addresses: Vec<IpAddr>,
    /// The last failure, while it lasts.
    failure: Option<Failure>,
}

impl Worker {
    pub(super) fn new(out: mpsc::Sender<Vec<Observation>>, options: Options) -> Self {
        let resolv_conf = Watched::new(&options.resolv_conf);
        let dns = Dns::new(Conf::parse("", options.port), options.limit);
        Self {
            out,
            schedule: Schedule::new(options.pace),
            names: HashMap::new(),
            resolv_conf,
            hosts_file: Watched::new(&options.hosts),
            hosts: HashMap::new(),
            dns: Arc::new(dns),
            lookups: JoinSet::new(),
            under_way: HashMap::new(),
            look_at: Mono::now(),
            options,
        }
    }

    /// Runs until nobody gives orders or wants to know any more.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            let idle = self.names.is_empty();
            let due = self.schedule.due().map_or(self.look_at, |due| due.min(self.look_at));
            let news = tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Names(names)) => self.set(&names),
                    Some(Order::Poke) => {
                        self.schedule.hurry(Mono::now());
                        self.look_at_files();
                        Vec::new()
                    }
                    None => return,
                },
                Some(ended) = self.lookups.join_next_with_id() => match ended {
                    Ok((id, (v4, v6))) => self.ended(id, v4, v6),
                    Err(e) => {
                        tracing::error!(error = %e, "a look-up ended before its time");
                        self.ended(e.id(), Err(Failure::BrokeOff), Err(Failure::BrokeOff))
                    }
                },
                () = sleep_until(due), if !idle => self.begin(),
            };
            if !news.is_empty() && self.out.send(news).await.is_err() {
                return;
            }
        }
    }

    fn set(&mut self, targets: &HashMap<TargetId, String>) -> Vec<Observation> {
        let mut names: HashMap<Arc<str>, Known> = HashMap::new();
        let mut news = Vec::new();
        for (id, name) in targets {
            let name: Arc<str> = name.as_str().into();
            let known = names.entry(name).or_default();
            known.targets.push(*id);
        }
        for (name, known) in &mut names {
            let Some(old) = self.names.remove(name) else { continue };
            known.addresses = old.addresses;
            known.failure = old.failure;
            let new: Vec<TargetId> =
                known.targets.iter().copied().filter(|t| !old.targets.contains(t)).collect();
            news.extend(known.introduce(&new));
        }
        self.names = names;
        self.schedule.set(Mono::now(), &self.names.keys().cloned().collect::<HashSet<_>>());
        let changed = self.hosts_file.changed();
        self.read_hosts();
        if changed {
            self.schedule.hurry(Mono::now());
        }
        news
    }

    fn begin(&mut self) -> Vec<Observation> {
        if self.look_at <= Mono::now() {
            self.look_at_files();
        }
        let mut news = Vec::new();
        while let Some(name) = self.schedule.begin(Mono::now()) {
            match self.own(&name) {
                Some(addresses) => {
                    // One that the file blocks is no other's: no resolver is asked.
                    let resolved = of_hosts(addresses).map(|addresses| Resolved {
                        addresses,
                        ttl: OWN,
                        partly: false,
                        left_out: 0,
                    });
                    news.extend(self.take(&name, resolved));
                }
                None => {
                    let (dns, asked) = (Arc::clone(&self.dns), Arc::clone(&name));
                    let task = self.lookups.spawn(async move { dns.look_up(&asked).await });
                    self.under_way.insert(task.id(), (name, Mono::now()));
                }
            }
        }
        news
    }

    /// The addresses of a name that no resolver has to be asked for.
    fn own(&self, name: &str) -> Option<Vec<IpAddr>> {
        if let Ok(address) = name.parse() {
            return Some(vec![address]);
        }
        let plain = files::plain(name);
        let mut addresses = match self.hosts.get(&plain) {
            Some(addresses) => addresses.clone(),
            // RFC 6761, 6.3: such a name never leaves the machine.
            None if plain == "localhost" || plain.ends_with(".localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            None => return None,
        };
        addresses.sort_unstable();
        Some(addresses)
    }

    fn ended(&mut self, id: Id, v4: Half, v6: Half) -> Vec<Observation> {
        let Some((name, since)) = self.under_way.remove(&id) else { return Vec::new() };
        let known = self.names.get(&name);
        let old = known.map_or(&[][..], |known| &known.addresses);
        let result = combine(v4, v6, old);
        let at = Mono::now();
        let timed = |target: &TargetId| {
            let evidence = Evidence::LookedUp { target: *target, took: at.since(since) };
            Observation { at, evidence }
        };
        let timed: Vec<_> = known.map(|known| known.targets.iter().map(timed).collect()).unwrap_or_default();
        // The time comes last: what was found out may make the target another one.
        [self.take(&name, result), timed].concat()
    }

    fn take(&mut self, name: &Arc<str>, result: Result<Resolved, Failure>) -> Vec<Observation> {
        let end = match &result {
            Ok(r) if r.partly => End::Partly(r.ttl),
            Ok(r) => End::Answered(r.ttl),
            Err(f) if f.is_local() => End::FailedHere,
            Err(_) => End::Failed,
        };
        self.schedule.end(Mono::now(), name, end, rand::random());
        let Some(known) = self.names.get_mut(name) else { return Vec::new() };
        let news = match result {
            Ok(r) => {
                let healed = known.failure.take().is_some();
                let other = r.addresses != known.addresses;
                if other && r.left_out > 0 {
                    tracing::warn!(%name, left_out = r.left_out, "a name has more addresses than are probed");
                }
                known.addresses = r.addresses;
                healed || other
            }
            Err(f) => {
                let other = known.failure.as_ref() != Some(&f);
                known.failure = Some(f);
                other
            }
        };
        if news { known.tell(&known.targets) } else { Vec::new() }
    }

    fn look_at_files(&mut self) {
        self.look_at = Mono::now() + self.options.look;
        let hosts = self.hosts_file.changed();
        if hosts {
            self.read_hosts();
        }
        let resolvers = self.resolv_conf.changed();
        if resolvers {
            let conf = Conf::parse(&self.resolv_conf.read(), self.options.port);
            self.dns = Arc::new(Dns::new(conf, self.options.limit));
        }
        if hosts || resolvers {
            self.schedule.hurry(Mono::now());
        }
    }

    fn read_hosts(&mut self) {
        let wanted: HashSet<String> = self.names.keys().map(|name| files::plain(name)).collect();
        self.hosts = files::hosts(&self.hosts_file.read(), |name| wanted.contains(name));
    }
}

impl Known {
    /// How it stands, for these targets.
    fn tell(&self, targets: &[TargetId]) -> Vec<Observation> {
        let at = Mono::now();
        let tell = |target: &TargetId| match &self.failure {
            Some(f) => Evidence::ResolveFailed { target: *target, error: f.to_string() },
            None => Evidence::Resolved { target: *target, addresses: self.addresses.clone() },
        };
        targets.iter().map(|t| Observation { at, evidence: tell(t) }).collect()
    }

    /// The same for targets that have not heard of it before: of a name that fails, its old addresses too.
    fn introduce(&self, targets: &[TargetId]) -> Vec<Observation> {
        let mut news = Vec::new();
        if !self.addresses.is_empty() {
            news.extend(
                Self { failure: None, addresses: self.addresses.clone(), ..Self::default() }.tell(targets),
            );
        }
        if self.failure.is_some() {
            news.extend(self.tell(targets));
        }
        news
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
