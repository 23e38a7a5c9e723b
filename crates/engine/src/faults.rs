//! Faults armed in advance, and the memory of which tagged work failed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::operation::OpKind;

/// Where an armed fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailWhen {
    /// The submission is refused.
    Submission,
    /// The operation is queued and then has no effect. What makes memory, streams and events is refused.
    Execution,
    /// The submission is refused, since the device is lost in that moment.
    Loss,
}

struct Armed {
    kind: Option<OpKind>,
    /// Submissions until it strikes; 1 is the next.
    left: u64,
    when: FailWhen,
}

/// The faults armed on a device.
#[derive(Default)]
pub(crate) struct Armory {
    /// Spares the lock in the usual case.
    any: AtomicBool,
    armed: Mutex<Vec<Armed>>,
}

impl Armory {
    /// Replaces the fault armed for this filter; `nth` 0 only removes it.
    pub(crate) fn arm(&self, kind: Option<OpKind>, nth: u64, when: FailWhen) {
        let mut armed = self.armed.lock();
        armed.retain(|fault| fault.kind != kind);
        if nth > 0 {
            armed.push(Armed { kind, left: nth, when });
        }
        self.any.store(!armed.is_empty(), Ordering::Release);
    }

    /// Counts a submission against every matching filter and tells whether it fails. When several strike at once, all
    /// are used up; a loss wins, then a refusal.
    pub(crate) fn strike(&self, kind: OpKind) -> Option<FailWhen> {
        self.strike_if(kind, |_| true)
    }

    /// The same for what only goes into a capture, where nothing executes that could fail: only faults armed for
    /// submission count it.
    pub(crate) fn refuses(&self, kind: OpKind) -> bool {
        self.strike_if(kind, |when| when == FailWhen::Submission).is_some()
    }

    fn strike_if(&self, kind: OpKind, counts: impl Fn(FailWhen) -> bool) -> Option<FailWhen> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut struck = None;
        let mut armed = self.armed.lock();
        armed.retain_mut(|fault| {
            if counts(fault.when) && fault.kind.map_or(!kind.makes(), |wanted| wanted == kind) {
                fault.left -= 1;
                if fault.left == 0 {
                    let rank = |when| {
                        [FailWhen::Execution, FailWhen::Submission, FailWhen::Loss].iter().position(|w| *w == when)
                    };
                    if struck.is_none_or(|before| rank(before) < rank(fault.when)) {
                        struck = Some(fault.when);
                    }
                    return false;
                }
            }
            true
        });
        self.any.store(!armed.is_empty(), Ordering::Release);
        struck
    }
}

/// The tags of a stream's failed operations that no record has taken yet. Bounded: a caller that tags work and never
/// records must not make it grow, and loses the oldest failures.
pub(crate) struct FailedTags(VecDeque<u64>);

const MOST_TAGS: usize = 256;

impl FailedTags {
    pub(crate) fn new() -> FailedTags {
        FailedTags(VecDeque::with_capacity(MOST_TAGS))
    }

    pub(crate) fn note(&mut self, tag: u64) {
        if tag == 0 || self.0.contains(&tag) {
            return;
        }
        if self.0.len() == MOST_TAGS {
            self.0.pop_front();
        }
        self.0.push_back(tag);
    }

    /// Whether work with this tag failed; asked once.
    pub(crate) fn take(&mut self, tag: u64) -> bool {
        match self.0.iter().position(|failed| *failed == tag) {
            Some(index) => self.0.remove(index).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_count_separately_and_a_refusal_wins() {
        let armory = Armory::default();
        assert_eq!(armory.strike(OpKind::Copy), None);
        armory.arm(Some(OpKind::Copy), 2, FailWhen::Execution);
        armory.arm(None, 3, FailWhen::Submission);
        assert_eq!(armory.strike(OpKind::Fill), None);
        assert_eq!(armory.strike(OpKind::Copy), None);
        assert_eq!(armory.strike(OpKind::Copy), Some(FailWhen::Submission));
        assert_eq!(armory.strike(OpKind::Copy), None);
        armory.arm(None, 1, FailWhen::Execution);
        armory.arm(None, 0, FailWhen::Execution);
        assert_eq!(armory.strike(OpKind::Wait), None);
    }

    #[test]
    fn what_makes_something_is_counted_by_its_own_kind_only_and_a_loss_wins() {
        let armory = Armory::default();
        armory.arm(None, 1, FailWhen::Loss);
        armory.arm(Some(OpKind::Event), 1, FailWhen::Submission);
        assert_eq!(armory.strike(OpKind::Stream), None);
        assert_eq!(armory.strike(OpKind::Event), Some(FailWhen::Submission));
        armory.arm(Some(OpKind::Fill), 1, FailWhen::Submission);
        assert!(!armory.refuses(OpKind::Copy), "nothing is lost in a capture");
        assert_eq!(armory.strike(OpKind::Fill), Some(FailWhen::Loss));
    }

    #[test]
    fn tags_are_taken_once_and_bounded() {
        let mut tags = FailedTags::new();
        tags.note(0);
        assert!(!tags.take(0));
        tags.note(5);
        tags.note(5);
        assert!(tags.take(5));
        assert!(!tags.take(5));
        for tag in 1..=MOST_TAGS as u64 + 1 {
            tags.note(tag);
        }
        assert!(!tags.take(1));
        assert!(tags.take(2));
    }
}
