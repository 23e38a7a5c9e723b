//! Who waits for memory: by priority, then by arrival; who was passed over too often is passed over no more.

use super::request::{Need, Owner};
use super::state::Start;
use crate::error::{Error, Result, Status};
use crate::sync::{Arc, Condvar};
use std::collections::VecDeque;

/// Times that a waiter lets others pass who came later, with a higher priority.
const PATIENCE: u32 = 64;

/// Waiters. A waiter has one state, changed under the manager's lock, so that a hand-over and a time-out never both win.
#[derive(Default)]
pub(super) struct Queue {
    waiters: Vec<Waiter>,
    /// Places of those who wait, the next to be served first.
    order: VecDeque<u32>,
    idle: Vec<u32>,
}

pub(super) struct Waiter {
    pub turn: Turn,
    pub need: Need,
    pub owner: Owner,
    /// Only the budget is asked for.
    pub reserves: bool,
    priority: i32,
    /// How many came later and went first.
    passed: u32,
    wake: Arc<Condvar>,
}

/// What became of a waiter.
pub(super) enum Turn {
    Waits,
    Served(Start),
    Refused(Status),
}

impl Queue {
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// How many wait that a request of this priority does not pass.
    pub fn ahead(&self, priority: i32) -> usize {
        let stays = |waiter: &Waiter| waiter.priority >= priority || waiter.passed >= PATIENCE;
        self.order.iter().rposition(|place| stays(&self.waiters[*place as usize])).map_or(0, |last| last + 1)
    }

    /// A request of this priority goes before those it passes.
    pub fn pass(&mut self, priority: i32) {
        for place in self.order.range(self.ahead(priority)..) {
            self.waiters[*place as usize].passed += 1;
        }
    }

    /// Lines up.
    pub fn join(&mut self, need: Need, owner: Owner, reserves: bool, priority: i32) -> Result<(u32, Arc<Condvar>)> {
        let position = self.ahead(priority);
        let room = self.order.try_reserve(1).is_ok() && self.waiters.try_reserve(1).is_ok();
        if !room || self.idle.try_reserve(self.waiters.len() + 1).is_err() {
            return Err(Error::new(Status::OutOfHostMemory, "no host memory for the list of who waits"));
        }
        let wake = Arc::new(Condvar::new());
        self.pass(priority);
        let waiter = Waiter { turn: Turn::Waits, need, owner, reserves, priority, passed: 0, wake: wake.clone() };
        let place = match self.idle.pop() {
            Some(place) => {
                self.waiters[place as usize] = waiter;
                place
            }
            None => {
                self.waiters.push(waiter);
                self.waiters.len() as u32 - 1
            }
        };
        self.order.insert(position, place);
        Ok((place, wake))
    }

    /// Whoever is next.
    pub fn head(&self) -> Option<&Waiter> {
        self.order.front().map(|place| &self.waiters[*place as usize])
    }

    pub fn is_head(&self, place: u32) -> bool {
        self.order.front() == Some(&place)
    }

    /// The first who waits is told what became of it.
    pub fn tell_head(&mut self, turn: Turn) {
        if let Some(place) = self.order.pop_front() {
            let waiter = &mut self.waiters[place as usize];
            waiter.turn = turn;
            waiter.wake.notify_one();
        }
    }

    /// Tells those who ask for more than there can ever be, or all, that it is over.
    pub fn refuse(&mut self, status: Status, which: impl Fn(&Waiter) -> bool) {
        let waiters = &mut self.waiters;
        self.order.retain(|place| {
            let waiter = &mut waiters[*place as usize];
            let refused = which(waiter);
            if refused {
                waiter.turn = Turn::Refused(status);
                waiter.wake.notify_one();
            }
            !refused
        });
    }

    /// Wakes the next, to look after what waits for its last use.
    pub fn nudge(&self) {
        if let Some(waiter) = self.head() {
            waiter.wake.notify_one();
        }
    }

    /// What became of a waiter; it leaves unless it goes on waiting.
    pub fn take_turn(&mut self, place: u32) -> Turn {
        let turn = std::mem::replace(&mut self.waiters[place as usize].turn, Turn::Waits);
        if !matches!(turn, Turn::Waits) {
            self.idle.push(place);
        }
        turn
    }

    /// Whether nothing became of a waiter yet.
    pub fn waits(&self, place: u32) -> bool {
        matches!(self.waiters[place as usize].turn, Turn::Waits)
    }

    /// A waiter leaves unserved.
    pub fn leave(&mut self, place: u32) {
        self.order.retain(|waiting| *waiting != place);
        self.idle.push(place);
    }
}
