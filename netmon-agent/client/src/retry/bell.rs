use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// Wakes one that waits, whether a thread or a task. Rung once, it stays so until that has been noticed.
#[derive(Debug, Default)]
pub struct Bell {
    inner: Mutex<Inner>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    rung: bool,
    waker: Option<Waker>,
}

impl Bell {
    /// Wakes.
    pub fn ring(&self) {
        let mut inner = self.lock();
        inner.rung = true;
        let waker = inner.waker.take();
        drop(inner);
        self.rung.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Blocks until it rings, or so long at most; none: without end.
    pub fn wait(&self, most: Option<Duration>) {
        let (inner, silent) = (self.lock(), |inner: &mut Inner| !inner.rung);
        let mut inner = match most {
            Some(most) => {
                self.rung.wait_timeout_while(inner, most, silent).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.rung.wait_while(inner, silent).unwrap_or_else(PoisonError::into_inner),
        };
        inner.rung = false;
    }

    /// Ready when it has rung since the last time.
    pub fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.rung) {
            return Poll::Ready(());
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who want to be woken; they are forgotten when they are gone.
#[derive(Debug, Default)]
pub struct Bells(Mutex<Vec<Weak<Bell>>>);

impl Bells {
    /// None yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Rings this one too from now on, while it lives.
    pub fn add(&self, bell: &Arc<Bell>) {
        let mut bells = self.lock();
        if bells.len() == bells.capacity() {
            bells.retain(|bell| bell.strong_count() > 0);
        }
        bells.push(Arc::downgrade(bell));
    }

    /// Rings them all.
    pub fn ring(&self) {
        self.lock().retain(|bell| bell.upgrade().map(|bell| bell.ring()).is_some());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Bell>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_kept_until_it_is_heard() {
        let bell = Bell::default();
        bell.ring();
        bell.wait(None);
        let context = Context::from_waker(Waker::noop());
        assert_eq!(bell.poll(&context), Poll::Pending);
        bell.ring();
        assert_eq!(bell.poll(&context), Poll::Ready(()));
        bell.wait(Some(Duration::from_millis(1)));
    }

    #[test]
    fn those_who_are_gone_are_forgotten() {
        let bells = Bells::new();
        let stays = Arc::new(Bell::default());
        bells.add(&stays);
        for _ in 0..1000 {
            bells.add(&Arc::default());
        }
        assert!(bells.lock().len() <= 8, "{}", bells.lock().len());
        let thread = std::thread::spawn(move || stays.wait(None));
        bells.ring();
        thread.join().unwrap();
    }
}
