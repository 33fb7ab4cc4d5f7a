//! A bounded number of places, fairly shared by user.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Places for waiters or connections. While there is room anybody may take any number. When there is none, a user who
/// holds fewer than another takes the newest place of whoever holds most, so that nobody can lock the others out.
#[derive(Clone, Debug)]
pub struct Shares {
    capacity: usize,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: usize,
    next: u64,
    holders: HashMap<u32, BTreeMap<u64, Arc<Notify>>>,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    shares: Shares,
    uid: u32,
    id: u64,
    evicted: Arc<Notify>,
}

impl Shares {
    /// So many places.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, inner: Arc::default() }
    }

    /// A place for user `uid`; none when there is no room and this user holds as many as anybody.
    pub fn take(&self, uid: u32) -> Option<Place> {
        let mut inner = self.lock();
        if inner.taken >= self.capacity {
            let own = inner.holders.get(&uid).map_or(0, BTreeMap::len);
            let (&biggest, most) = inner.holders.iter().max_by_key(|(_, places)| places.len())?;
            // With one more for this user and one less for the other, this user must not hold more.
            if own + 1 >= most.len() {
                return None;
            }
            inner.evict_newest(biggest);
        }
        let (id, evicted) = (inner.next, Arc::new(Notify::new()));
        inner.next += 1;
        inner.taken += 1;
        inner.holders.entry(uid).or_default().insert(id, evicted.clone());
        Some(Place { shares: self.clone(), uid, id, evicted })
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
    fn evict_newest(&mut self, uid: u32) {
        let newest = self.holders.get_mut(&uid).and_then(BTreeMap::pop_last);
        if let Some((_, evicted)) = newest {
            evicted.notify_one();
            self.taken -= 1;
        }
    }
}

impl Place {
    /// Returns when the place was given to somebody else.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.shares.lock();
        let Some(places) = inner.holders.get_mut(&self.uid) else { return };
        let held = places.remove(&self.id).is_some();
        if places.is_empty() {
            inner.holders.remove(&self.uid);
        }
        if held {
            inner.taken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn is_evicted(place: &Place) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(place.evicted()).poll(&mut context).is_ready()
    }

    #[test]
    fn a_late_user_gets_a_fair_share() {
        let shares = Shares::new(10);
        let first: Vec<Place> = (0..10).map(|_| shares.take(1).unwrap()).collect();
        assert!(shares.take(1).is_none());
        let second: Vec<Place> = std::iter::from_fn(|| shares.take(2)).collect();
        assert_eq!(second.len(), 5);
        let evicted: Vec<bool> = first.iter().map(is_evicted).collect();
        assert_eq!(evicted, [[false; 5], [true; 5]].concat());
        let third: Vec<Place> = std::iter::from_fn(|| shares.take(3)).collect();
        assert_eq!(third.len(), 3);
        assert_eq!(shares.taken(), 10);
        drop((first, second, third));
        assert_eq!(shares.taken(), 0);
        assert!(shares.lock().holders.is_empty());
    }

    #[test]
    fn no_places_at_all_is_no_panic() {
        assert!(Shares::new(0).take(0).is_none());
    }
}
