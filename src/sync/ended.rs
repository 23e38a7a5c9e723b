//! An end that waits for nobody.

use super::{AtomicBool, Ordering, fence};

/// Whether an object has ended whose parts others may have locked at that moment: whoever ends it, or whoever lets go of a part, gets
/// hold of each part behind the end.
#[derive(Debug, Default)]
pub struct Ended(AtomicBool);

impl Ended {
    /// It has, from now on; to be called before the parts are tried. Either their locks are found free, or whoever lets go of them finds
    /// that it has ended.
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Whether it has, for whoever has a part's lock: what was tidied up before is seen.
    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether it has, for whoever has let go of a part, or found it locked.
    pub fn has_ended_by_now(&self) -> bool {
        fence(Ordering::SeqCst);
        self.has_ended()
    }
}
