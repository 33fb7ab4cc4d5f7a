//! Single questions, for those who know themselves when to ask.

use std::{collections::HashMap, net::IpAddr, path::PathBuf, sync::Arc};

use super::{
    Options,
    answer::{Failure, Services, combine, of_hosts},
    conf::Conf,
    dns::Dns,
    files::{self, Watched},
};

/// Keeps to the system's resolvers.
pub struct Asker {
    options: Options,
    resolv_conf: Watched,
    dns: Arc<Dns>,
}

/// The resolvers as they were when it was made.
#[derive(Clone)]
pub struct Ask {
    dns: Arc<Dns>,
    hosts: PathBuf,
}

impl Asker {
    /// Of these files. Must live in a tokio runtime.
    pub fn new(options: Options) -> Self {
        let resolv_conf = Watched::new(&options.resolv_conf);
        let dns = Arc::new(Dns::new(Conf::parse("", options.port), options.limit));
        Self { options, resolv_conf, dns }
    }

    /// Whom to ask now.
    pub fn now(&mut self) -> Ask {
        if self.resolv_conf.changed() {
            let conf = Conf::parse(&self.resolv_conf.read(), self.options.port);
            self.dns = Arc::new(Dns::new(conf, self.options.limit));
        }
        Ask { dns: Arc::clone(&self.dns), hosts: self.options.hosts.clone() }
    }
}

impl Ask {
    /// The hosts and ports of a service.
    ///
    /// # Errors
    /// Why there is no answer. That there are none is one.
    pub async fn services(&self, name: &str) -> Result<Services, Failure> {
        self.dns.services(name).await
    }

    /// The addresses of a host, by `hosts(5)` or else by DNS.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let plain = files::plain(host);
        let mut own: HashMap<String, Vec<IpAddr>> =
            files::hosts(&Watched::new(&self.hosts).read(), |name| name == plain);
        if let Some(addresses) = own.remove(&plain) {
            return of_hosts(addresses);
        }
        if plain == "localhost" {
            return Ok(vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()]);
        }
        let (v4, v6) = self.dns.look_up(host).await;
        combine(v4, v6, &[]).map(|resolved| resolved.addresses)
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("options", &self.options).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").finish_non_exhaustive()
    }
}
