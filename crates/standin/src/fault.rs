//! Faults armed for operations, counted over all contexts of a device. The engine's own faults are not used: they know
//! no codes, and would not end the context.

use std::sync::atomic::{AtomicBool, Ordering};

use gpubuf_engine::OpKind;
use parking_lot::Mutex;

struct Armed {
    /// `None` is every kind.
    kind: Option<OpKind>,
    /// Operations until it strikes; 1 is the next.
    left: u64,
    when: When,
    code: i32,
}

/// Where a fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// The call that submits the operation refuses it.
    Submission,
    /// The operation is queued, and ends its context when it would run.
    Execution,
    /// The call that submits it refuses it, since the device is lost in that moment.
    Loss,
}

/// What happens to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It runs.
    Run,
    /// It is queued, and fails with this code when it would run.
    Fail(i32),
    /// The device is lost with this code.
    Lose(i32),
}

/// The faults armed on a device.
#[derive(Default)]
pub(crate) struct Faults {
    /// Spares the lock in the usual case.
    any: AtomicBool,
    armed: Mutex<Vec<Armed>>,
}

impl Faults {
    /// Replaces the fault armed for this kind; `nth` 0 only removes it.
    pub(crate) fn arm(&self, kind: Option<OpKind>, nth: u64, when: When, code: i32) {
        let mut armed = self.armed.lock();
        armed.retain(|fault| fault.kind != kind);
        if nth > 0 {
            armed.push(Armed { kind, left: nth, when, code });
        }
        self.any.store(!armed.is_empty(), Ordering::Release);
    }

    pub(crate) fn disarm(&self) {
        self.armed.lock().clear();
        self.any.store(false, Ordering::Release);
    }

    /// Whether anything is armed.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Counts an operation that is submitted. `captured` ones are not executed, so that only faults at submission count
    /// them. `Err` is the code of a refusal, which wins over a failure.
    pub(crate) fn submit(&self, kind: OpKind, captured: bool) -> Result<Fate, i32> {
        self.count(|fault| (fault.when == When::Submission || !captured).then_some(kind))
    }

    /// Counts an operation that a graph's launch brings to execution.
    pub(crate) fn replay(&self, kind: OpKind) -> Fate {
        self.count(|fault| (fault.when != When::Submission).then_some(kind)).unwrap_or(Fate::Run)
    }

    fn count(&self, counted: impl Fn(&Armed) -> Option<OpKind>) -> Result<Fate, i32> {
        let mut result = Ok(Fate::Run);
        let mut armed = self.armed.lock();
        armed.retain_mut(|fault| {
            let Some(kind) = counted(fault) else { return true };
            if fault.kind.is_some_and(|wanted| wanted != kind) {
                return true;
            }
            fault.left -= 1;
            if fault.left > 0 {
                return true;
            }
            match fault.when {
                When::Submission => {
                    result = result.and_then(|fate| if let Fate::Lose(_) = fate { Ok(fate) } else { Err(fault.code) })
                }
                When::Execution if result == Ok(Fate::Run) => result = Ok(Fate::Fail(fault.code)),
                When::Execution => {}
                When::Loss => result = Ok(Fate::Lose(fault.code)),
            }
            false
        });
        self.any.store(!armed.is_empty(), Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_operations_count_for_refusals_only() {
        let faults = Faults::default();
        faults.arm(Some(OpKind::Copy), 1, When::Execution, 700);
        faults.arm(None, 3, When::Submission, 999);
        assert_eq!(faults.submit(OpKind::Copy, true), Ok(Fate::Run));
        assert_eq!(faults.submit(OpKind::Fill, false), Ok(Fate::Run));
        assert_eq!(faults.replay(OpKind::Fill), Fate::Run);
        assert_eq!(faults.replay(OpKind::Copy), Fate::Fail(700));
        assert_eq!(faults.submit(OpKind::Copy, false), Err(999));
        assert!(!faults.any());
        faults.arm(Some(OpKind::Copy), 1, When::Loss, 214);
        faults.arm(None, 2, When::Submission, 999);
        assert_eq!(faults.submit(OpKind::Copy, true), Ok(Fate::Run));
        assert_eq!(faults.submit(OpKind::Copy, false), Ok(Fate::Lose(214)), "a loss wins");
    }
}
