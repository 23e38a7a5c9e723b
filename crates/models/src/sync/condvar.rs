//! Condition variables, and time: it passes once in an execution, at a moment of the scheduler's choice, for every wait with a
//! deadline at once.

use super::Parker;
use super::lock::MutexGuard;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

thread_local! {
    static PASSED: Cell<bool> = const { Cell::new(false) };
    static SLEEPERS: RefCell<Vec<Parker>> = const { RefCell::new(Vec::new()) };
}

/// An execution begins.
pub(crate) fn begin_time() {
    PASSED.set(false);
    SLEEPERS.take();
}

/// Every deadline is over from now on.
pub fn time_passes() {
    super::switch();
    PASSED.set(true);
    let sleepers = SLEEPERS.take();
    sleepers.iter().for_each(|sleeper| sleeper.unpark());
}

struct Waiter {
    thread: Parker,
    told: Cell<bool>,
}

#[derive(Default)]
pub struct Condvar {
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

unsafe impl Send for Condvar {}
unsafe impl Sync for Condvar {}

/// Whether a wait ended by its deadline.
pub struct Waited(bool);

impl Waited {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub const fn new() -> Condvar {
        Condvar { waiters: RefCell::new(VecDeque::new()) }
    }

    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, false);
    }

    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> Waited {
        Waited(self.sleep(guard, true))
    }

    pub fn wait_for<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) -> Waited {
        Waited(self.sleep(guard, true))
    }

    fn sleep<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, limited: bool) -> bool {
        let lock = MutexGuard::lock_of(guard);
        let waiter = Rc::new(Waiter { thread: Parker::default(), told: Cell::new(false) });
        self.waiters.borrow_mut().push_back(waiter.clone());
        lock.let_go();
        let late = loop {
            if waiter.told.get() {
                break false;
            }
            if limited && PASSED.get() {
                self.waiters.borrow_mut().retain(|other| !Rc::ptr_eq(other, &waiter));
                break true;
            }
            if limited {
                SLEEPERS.with_borrow_mut(|sleepers| sleepers.push(waiter.thread.clone()));
            }
            waiter.thread.park();
        };
        super::switch();
        lock.take();
        late
    }

    pub fn notify_one(&self) {
        let waiter = self.waiters.borrow_mut().pop_front();
        if let Some(waiter) = waiter {
            waiter.told.set(true);
            waiter.thread.unpark();
        }
    }

    pub fn notify_all(&self) {
        for waiter in self.waiters.take() {
            waiter.told.set(true);
            waiter.thread.unpark();
        }
    }
}

/// Threads that sleep until something is so: what the models' device waits with.
#[derive(Default)]
pub struct Sleepers(RefCell<Vec<Parker>>);

impl Sleepers {
    /// Sleeps until it is so, or, where the wait is limited, until time passes.
    pub fn until(&self, limited: bool, is_so: impl Fn() -> bool) {
        while !(is_so() || limited && PASSED.get()) {
            let parker = Parker::default();
            if limited {
                SLEEPERS.with_borrow_mut(|sleepers| sleepers.push(parker.clone()));
            }
            self.0.borrow_mut().push(parker.clone());
            parker.park();
        }
    }

    /// Has all of them look again.
    pub fn wake(&self) {
        self.0.take().iter().for_each(|sleeper| sleeper.unpark());
    }
}
