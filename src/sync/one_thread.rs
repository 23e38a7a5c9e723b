//! A value for one thread at a time.

use super::{AtomicU64, Mutex, MutexGuard, Ordering, fence, yield_now};

/// For one thread at a time: a second one is told, not made to wait. Those who only look never make a user be told so.
pub struct OneThread<T> {
    value: Mutex<T>,
    /// Looks begun so far in the upper half, looks under way in the lower.
    looks: AtomicU64,
}

const LOOK_BEGUN: u64 = 1 << 32;
const LOOKING: u64 = LOOK_BEGUN - 1;

impl<T> OneThread<T> {
    /// Around a value.
    pub fn new(value: T) -> OneThread<T> {
        OneThread { value: Mutex::new(value), looks: AtomicU64::new(0) }
    }

    /// The value, unless another thread uses it.
    pub fn enter(&self) -> Option<MutexGuard<'_, T>> {
        loop {
            if let Some(guard) = self.value.try_lock() {
                return Some(guard);
            }
            let before = self.looks.load(Ordering::Acquire);
            if before & LOOKING == 0 {
                // Nobody looks, and those who did let go of the lock before their end that is seen here: if it is still taken,
                // and no look has begun since, a user has it.
                if let Some(guard) = self.value.try_lock() {
                    return Some(guard);
                }
                // Where a look has it, that look is seen to have begun: its lock came behind its count.
                fence(Ordering::Acquire);
                if self.looks.load(Ordering::Relaxed) == before {
                    return None;
                }
            }
            yield_now();
        }
    }

    /// The value, for the thread that it belongs to at this moment: at most somebody who looks is waited for.
    pub fn enter_own(&self) -> MutexGuard<'_, T> {
        self.value.lock()
    }

    /// As [`OneThread::look`], and others who look are waited for. One thread at a time: two would wait for each other while
    /// a third uses the value.
    pub fn look_behind_others<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.begin_look();
        let taken = loop {
            if let Some(value) = self.value.try_lock() {
                break Some(value);
            }
            let before = self.looks.load(Ordering::Acquire);
            if before & LOOKING == 1 {
                // As above, but for this look.
                let again = self.value.try_lock();
                fence(Ordering::Acquire);
                if again.is_some() || self.looks.load(Ordering::Relaxed) == before {
                    break again;
                }
            }
            yield_now();
        };
        let seen = taken.map(|value| look(&value));
        self.looks.fetch_sub(1, Ordering::Release);
        seen
    }

    fn begin_look(&self) {
        self.looks.fetch_add(LOOK_BEGUN + 1, Ordering::Relaxed);
        // Before its lock, for whoever finds that taken.
        fence(Ordering::Release);
    }

    /// A short look, unless a thread uses the value.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.visit(|value| look(value))
    }

    /// As [`OneThread::look`], and may change it: a user who comes meanwhile waits, so nothing may be waited for here.
    pub fn visit<R>(&self, visit: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.begin_look();
        let seen = self.value.try_lock().map(|mut value| visit(&mut value));
        self.looks.fetch_sub(1, Ordering::Release);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicBool};

    #[test]
    fn a_second_user_is_told_and_a_look_disturbs_nobody() {
        let one = Arc::new(OneThread::new(7));
        let inside = one.enter();
        assert!(inside.is_some() && one.enter().is_none() && one.look(|value| *value).is_none());
        drop(inside);
        let stop = Arc::new(AtomicBool::new(false));
        let looker = std::thread::spawn({
            let (one, stop) = (one.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    one.look(|value| assert_eq!(*value, 7));
                }
            }
        });
        let told = (0..100_000).filter(|_| one.enter().is_none()).count();
        stop.store(true, Ordering::Relaxed);
        looker.join().unwrap();
        assert_eq!(told, 0, "somebody who looked made a user be told");
    }
}
