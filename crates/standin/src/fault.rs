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
    at_execution: bool,
    code: i32,
}

/// What happens to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It runs.
    Run,
    /// It is queued, and fails with this code when it would run.
    Fail(i32),
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
    pub(crate) fn arm(&self, kind: Option<OpKind>, nth: u64, at_execution: bool, code: i32) {
        let mut armed = self.armed.lock();
        armed.retain(|fault| fault.kind != kind);
        if nth > 0 {
            armed.push(Armed { kind, left: nth, at_execution, code });
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

    /// Counts an operation that is submitted. `captured` ones are not executed, so that faults at execution do not
    /// count them. `Err` is the code of a refusal, which wins over a failure.
    pub(crate) fn submit(&self, kind: OpKind, captured: bool) -> Result<Fate, i32> {
        self.count(|fault| (!fault.at_execution || !captured).then_some(kind))
    }

    /// Counts an operation that a graph's launch brings to execution.
    pub(crate) fn replay(&self, kind: OpKind) -> Fate {
        self.count(|fault| fault.at_execution.then_some(kind)).unwrap_or(Fate::Run)
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
            if !fault.at_execution {
                result = Err(fault.code);
            } else if result.is_ok() {
                result = Ok(Fate::Fail(fault.code));
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
        faults.arm(Some(OpKind::Copy), 1, true, 700);
        faults.arm(None, 3, false, 999);
        assert_eq!(faults.submit(OpKind::Copy, true), Ok(Fate::Run));
        assert_eq!(faults.submit(OpKind::Fill, false), Ok(Fate::Run));
        assert_eq!(faults.replay(OpKind::Fill), Fate::Run);
        assert_eq!(faults.replay(OpKind::Copy), Fate::Fail(700));
        assert_eq!(faults.submit(OpKind::Copy, false), Err(999));
        assert!(!faults.any());
    }
}
