//! How a retry sees the network.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Bell, Bells, Clock, Network, SystemClock};
use crate::Monitor;

/// What there is to see of the network at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// What it is.
    pub network: Network,
    /// How many outages have begun so far: none is missed between two glances.
    pub outages: u64,
}

/// What a closer look tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// For how long the network has been what it is.
    pub held: Duration,
    /// How long the last outage was that is over.
    pub last_outage: Duration,
}

/// Sees the network. [`Monitor`] is one, by the agent's word; a program that knows better has a [`Pulse`].
pub trait NetworkView: fmt::Debug + Send + Sync {
    /// What the network is. Cheap: it is asked twice an attempt.
    fn glance(&self) -> Glance;

    /// Since when.
    fn detail(&self) -> Detail;

    /// Rings the bell when the glance changes, for as long as the bell lives.
    fn watch(&self, bell: &Arc<Bell>);
}

impl<V: NetworkView + ?Sized> NetworkView for Arc<V> {
    fn glance(&self) -> Glance {
        (**self).glance()
    }

    fn detail(&self) -> Detail {
        (**self).detail()
    }

    fn watch(&self, bell: &Arc<Bell>) {
        (**self).watch(bell);
    }
}

impl NetworkView for Monitor {
    fn glance(&self) -> Glance {
        self.pulse().glance()
    }

    fn detail(&self) -> Detail {
        self.pulse().detail()
    }

    fn watch(&self, bell: &Arc<Bell>) {
        self.pulse().watch(bell);
    }
}

/// The network as somebody tells it.
///
/// ```
/// use netmon_client::retry::{Network, NetworkView, Pulse};
///
/// let link = Pulse::new();
/// link.set(Network::Usable);
/// link.set(Network::Unusable);
/// assert_eq!((link.glance().network, link.glance().outages), (Network::Unusable, 1));
/// ```
#[derive(Debug, Default)]
pub struct Pulse {
    /// The outages so far times four, plus what the network is.
    packed: AtomicU64,
    times: Mutex<Times>,
    bells: Bells,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    since: Duration,
    /// The last time that it was unusable: from, to.
    outage: (Duration, Duration),
}

impl Pulse {
    /// Nothing is known.
    pub const fn new() -> Self {
        let times = Times { since: Duration::ZERO, outage: (Duration::ZERO, Duration::ZERO) };
        Self { packed: AtomicU64::new(0), times: Mutex::new(times), bells: Bells::new() }
    }

    /// Tells what the network is from now on.
    pub fn set(&self, network: Network) {
        self.set_at(SystemClock.now(), network);
    }

    pub(crate) fn set_at(&self, now: Duration, network: Network) {
        let mut times = self.lock();
        let before = unpack(self.packed.load(Ordering::Relaxed));
        if before.network == network {
            return;
        }
        if before.network == Network::Unusable {
            times.outage = (times.since, now);
        }
        times.since = now;
        let outages = before.outages + u64::from(network == Network::Unusable);
        self.packed.store(pack(Glance { network, outages }), Ordering::Relaxed);
        drop(times);
        self.bells.ring();
    }

    pub(crate) fn detail_at(&self, now: Duration) -> Detail {
        let times = *self.lock();
        Detail {
            held: now.saturating_sub(times.since),
            last_outage: times.outage.1.saturating_sub(times.outage.0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NetworkView for Pulse {
    fn glance(&self) -> Glance {
        unpack(self.packed.load(Ordering::Relaxed))
    }

    fn detail(&self) -> Detail {
        self.detail_at(SystemClock.now())
    }

    fn watch(&self, bell: &Arc<Bell>) {
        self.bells.add(bell);
    }
}

fn pack(glance: Glance) -> u64 {
    let network = match glance.network {
        Network::Unknown => 0,
        Network::Usable => 1,
        Network::Unusable => 2,
    };
    glance.outages << 2 | network
}

fn unpack(packed: u64) -> Glance {
    let network = match packed & 3 {
        1 => Network::Usable,
        2 => Network::Unusable,
        _ => Network::Unknown,
    };
    Glance { network, outages: packed >> 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_outages_and_their_times() {
        let pulse = Pulse::new();
        assert_eq!(pulse.glance(), Glance::default());
        let second = Duration::from_secs;
        for (at, network) in [(10, Network::Usable), (20, Network::Unusable), (25, Network::Unusable)] {
            pulse.set_at(second(at), network);
        }
        assert_eq!(pulse.glance(), Glance { network: Network::Unusable, outages: 1 });
        pulse.set_at(second(50), Network::Unknown);
        pulse.set_at(second(52), Network::Usable);
        assert_eq!(pulse.glance(), Glance { network: Network::Usable, outages: 1 });
        assert_eq!(pulse.detail_at(second(60)), Detail { held: second(8), last_outage: second(30) });
    }
}
