//! Names of targets become addresses, off the path of probing: a name that takes long to resolve delays no probe.
//!
//! A name is `/etc/hosts`' before it is the resolvers' of `/etc/resolv.conf`, whatever `nsswitch.conf` says; both files
//! are read again when they change. Both families are asked for at once, and again when what was answered has lived its
//! time. Only what is new is told: other addresses, a failure, another failure, its end.

mod answer;
mod ask;
mod conf;
mod dns;
mod files;
#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/resolve.rs"]
pub(crate) mod fuzzing;
mod once;
mod schedule;
mod system;
mod transport;
mod worker;

pub use answer::{Failure, Services};
pub use ask::{Ask, Asker};
pub use conf::Nameserver;
pub use once::look_up;
pub use schedule::Pace;
pub use system::SystemResolvers;

use std::{collections::HashMap, path::PathBuf, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};

use crate::observation::{Observation, TargetId};

/// Where names are looked up, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `resolv.conf(5)`.
    pub resolv_conf: PathBuf,
    /// `hosts(5)`.
    pub hosts: PathBuf,
    /// The port of every resolver, UDP and TCP.
    pub port: u16,
    /// How long one name may take, all resolvers together.
    pub limit: Duration,
    /// How often the two files are looked at.
    pub look: Duration,
    /// The bounds of the pauses.
    pub pace: Pace,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
            port: 53,
            limit: Duration::from_secs(5),
            look: Duration::from_secs(5),
            pace: Pace::default(),
        }
    }
}

/// Looks names up for as long as it lives: one task, however many names.
#[derive(Debug)]
pub struct Resolver {
    orders: mpsc::UnboundedSender<Order>,
    names: HashMap<TargetId, String>,
    task: JoinHandle<()>,
}

enum Order {
    Names(HashMap<TargetId, String>),
    Poke,
}

impl Resolver {
    /// A resolver that reports to `out`. Must live in a tokio runtime.
    pub fn new(out: mpsc::Sender<Vec<Observation>>, options: Options) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(worker::Worker::new(out, options).run(received));
        Self { orders, names: HashMap::new(), task }
    }

    /// From now on these names, and no others. A name that is known already goes on as it was.
    pub fn set(&mut self, names: &HashMap<TargetId, String>) {
        if self.names != *names {
            self.names.clone_from(names);
            self.order(Order::Names(names.clone()));
        }
    }

    /// The network is another: every name is looked up again soon, the files are looked at now.
    pub fn poke(&self) {
        self.order(Order::Poke);
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("names of targets are not resolved any more");
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
#[path = "../../../tests/netns/mod.rs"]
mod netns;
#[cfg(test)]
#[path = "tests_server.rs"]
pub(in crate::source) mod server;
#[cfg(test)]
mod tests;
