//! A bounded number of places, fairly shared by who holds them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::IntCounter;
use tokio::sync::Notify;

use crate::time::Mono;

/// How long nothing was taken in or sent out over a connection that has to give way when there is no room. More than from one
/// sign of life of an event stream to the next.
const STUCK: Duration = Duration::from_secs(3);

/// Whose a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A user of this machine.
    User(u32),
    /// A host, or the network that one host may have all addresses of.
    Network(IpAddr),
}

impl Holder {
    /// Who is behind an address: IPv6 gives hosts a /64 (RFC 4291, 2.5.4), and this machine has all of 127.0.0.0/8.
    pub fn behind(address: IpAddr) -> Self {
        const INTERFACE: u128 = u64::MAX as u128;
        Self::Network(match address.to_canonical() {
            IpAddr::V4(v4) if v4.is_loopback() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6((v6.to_bits() & !INTERFACE).into()),
            other => other,
        })
    }
}

/// Which place is given to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Yields {
    /// The newest: who waits has a right to it by having come first.
    Newest,
    /// The one where nothing moved for longest.
    Stuck,
}

/// Places for waiters, connections or scrapes. While there is room anybody may take any number. When there is none, who holds
/// fewer than another takes a place of whoever holds most, so that nobody can lock the others out.
#[derive(Clone, Debug)]
pub struct Shares {
    capacity: usize,
    yields: Yields,
    /// Places that were given to somebody else.
    given_away: Option<IntCounter>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: usize,
    next: u64,
    holders: HashMap<Holder, BTreeMap<u64, Arc<Mark>>>,
}

/// What is known of a place, by whoever has it and by whoever gives it away.
#[derive(Debug, Default)]
pub struct Mark {
    /// Nanoseconds of [`Mono`].
    moved: AtomicU64,
    is_evicted: AtomicBool,
    evicted: Notify,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    shares: Shares,
    holder: Holder,
    id: u64,
    mark: Arc<Mark>,
}

impl Shares {
    /// So many places, for those who wait: of who holds most, the newest is given away.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, yields: Yields::Newest, given_away: None, inner: Arc::default() }
    }

    /// So many places, for what is to [move](Mark::moved): of who holds most, that where nothing moved for longest is given
    /// away. Where nothing moved for 3 s, whoever has it, also to who holds as many.
    pub fn for_movers(capacity: usize) -> Self {
        Self { yields: Yields::Stuck, ..Self::new(capacity) }
    }

    /// Counts places that are given to somebody else.
    pub fn counting(mut self, given_away: IntCounter) -> Self {
        self.given_away = Some(given_away);
        self
    }

    /// A place; none when there is no room and who wants it holds as many as anybody.
    pub fn take(&self, holder: Holder, now: Mono) -> Option<Place> {
        let mut inner = self.lock();
        if inner.taken >= self.capacity {
            let (victim, id) = inner.victim(holder, self.yields, now)?;
            inner.evict(victim, id);
            self.given_away.iter().for_each(IntCounter::inc);
        }
        let (id, mark) = (inner.next, Arc::new(Mark::default()));
        mark.moved(now);
        inner.next += 1;
        inner.taken += 1;
        inner.holders.entry(holder).or_default().insert(id, mark.clone());
        Some(Place { shares: self.clone(), holder, id, mark })
    }

    /// Places taken.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The place that is to be given to `holder`, and who has it.
    fn victim(&self, holder: Holder, yields: Yields, now: Mono) -> Option<(Holder, u64)> {
        let own = self.holders.get(&holder).map_or(0, BTreeMap::len);
        let (&biggest, most) = self.holders.iter().max_by_key(|(_, places)| places.len())?;
        // With one more for this holder and one less for the other, this one must not hold more.
        let is_due = own + 1 < most.len();
        let longest = |(_, mark): &(_, &Arc<Mark>)| mark.moved.load(Relaxed);
        match yields {
            Yields::Newest => is_due.then(|| most.last_key_value().map(|(id, _)| (biggest, *id)))?,
            Yields::Stuck if is_due => most
                .iter()
                .map(|(id, mark)| ((biggest, *id), mark))
                .min_by_key(longest)
                .map(|(place, _)| place),
            Yields::Stuck => {
                let all = self
                    .holders
                    .iter()
                    .flat_map(|(holder, places)| places.iter().map(move |(id, mark)| ((*holder, *id), mark)));
                let (place, mark) = all.min_by_key(longest)?;
                let since = Mono::from_nanos(mark.moved.load(Relaxed));
                (now.since(since) >= STUCK).then_some(place)
            }
        }
    }

    fn evict(&mut self, holder: Holder, id: u64) {
        if let Some(mark) = self.free(holder, id) {
            mark.is_evicted.store(true, Relaxed);
            mark.evicted.notify_one();
        }
    }

    /// Frees a place, unless it is another's by now.
    fn free(&mut self, holder: Holder, id: u64) -> Option<Arc<Mark>> {
        let places = self.holders.get_mut(&holder)?;
        let mark = places.remove(&id);
        if places.is_empty() {
            self.holders.remove(&holder);
        }
        self.taken -= usize::from(mark.is_some());
        mark
    }
}

impl Mark {
    /// Something moves at this place.
    pub fn moved(&self, now: Mono) {
        self.moved.store(now.as_nanos(), Relaxed);
    }
}

impl Place {
    /// Returns when the place was given to somebody else.
    pub async fn evicted(&self) {
        self.mark.evicted.notified().await;
    }

    /// Whether it was.
    pub fn is_evicted(&self) -> bool {
        self.mark.is_evicted.load(Relaxed)
    }

    /// Where to say that something moves.
    pub fn mark(&self) -> &Arc<Mark> {
        &self.mark
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shares.lock().free(self.holder, self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    const USER: [Holder; 4] = [Holder::User(0), Holder::User(1), Holder::User(2), Holder::User(3)];

    fn is_evicted(place: &Place) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let is_told = std::pin::pin!(place.evicted()).poll(&mut context).is_ready();
        assert_eq!(is_told, place.is_evicted());
        is_told
    }

    fn at(ms: u64) -> Mono {
        Mono::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_late_user_gets_a_fair_share() {
        let shares = Shares::new(10);
        let first: Vec<Place> = (0..10).map(|_| shares.take(USER[1], at(0)).unwrap()).collect();
        assert!(shares.take(USER[1], at(60_000)).is_none(), "who waits is never in the way");
        let second: Vec<Place> = std::iter::from_fn(|| shares.take(USER[2], at(0))).collect();
        assert_eq!(second.len(), 5);
        let evicted: Vec<bool> = first.iter().map(is_evicted).collect();
        assert_eq!(evicted, [[false; 5], [true; 5]].concat());
        let third: Vec<Place> = std::iter::from_fn(|| shares.take(USER[3], at(0))).collect();
        assert_eq!(third.len(), 3);
        assert_eq!(shares.taken(), 10);
        drop((first, second, third));
        assert_eq!(shares.taken(), 0);
        assert!(shares.lock().holders.is_empty());
    }

    #[test]
    fn where_nothing_moves_gives_way() {
        let count = IntCounter::new("given_away", "given away").unwrap();
        let shares = Shares::for_movers(3).counting(count.clone());
        let first: Vec<Place> = (0..3).map(|n| shares.take(USER[1], at(n)).unwrap()).collect();
        first[0].mark().moved(at(1500));
        first[2].mark().moved(at(1000));
        assert!(shares.take(USER[1], at(3000)).is_none(), "it stands for 2.999 s only");
        // Another's turn comes at once, and the one that moved last stays.
        let second = shares.take(USER[2], at(1501)).unwrap();
        assert_eq!([0, 1, 2].map(|n| is_evicted(&first[n])), [false, true, false]);
        assert!(shares.take(USER[2], at(3999)).is_none(), "it holds as many, with this one");
        let third = shares.take(USER[2], at(4000)).unwrap();
        assert!(is_evicted(&first[2]) && !is_evicted(&first[0]) && !is_evicted(&second));
        assert_eq!(count.get(), 2);
        assert_eq!(shares.taken(), 3);
        drop((first, second, third));
        assert_eq!(shares.taken(), 0);
        assert!(shares.lock().holders.is_empty());
    }

    #[test]
    fn a_host_is_known_by_its_network() {
        let behind = |text: &str| Holder::behind(text.parse().unwrap());
        assert_eq!(behind("2001:db8:1:2::7"), behind("2001:db8:1:2:ffff::"));
        assert_ne!(behind("2001:db8:1:2::7"), behind("2001:db8:1:3::7"));
        assert_eq!(behind("127.0.0.1"), behind("127.9.8.7"));
        assert_eq!(behind("::ffff:192.0.2.1"), behind("192.0.2.1"));
        assert_ne!(behind("192.0.2.1"), behind("192.0.2.2"));
        assert_ne!(behind("::1"), behind("::2"));
    }

    #[test]
    fn no_places_at_all_is_no_panic() {
        assert!(Shares::new(0).take(USER[0], at(0)).is_none());
        assert!(Shares::for_movers(0).take(USER[0], at(0)).is_none());
    }
}
