//! What was found out about a device by trying, and what follows for memory on it.

use super::device::Device;
use crate::backend::probe::probe;
use crate::backend::{Capabilities, Capability, Finding};
use crate::config::log::{self, Level};
use crate::config::{Placement, Timeout};
use crate::error::Result;
use crate::fail;
use crate::sync::{Arc, Mutex};

/// The latest probe.
#[derive(Default)]
pub(super) struct Probed(Mutex<Option<Arc<Capabilities>>>);

impl Device {
    /// Tries what the device can do, and remembers it. Each test waits up to the timeout.
    pub fn probe(&self, timeout: Timeout) -> Result<Arc<Capabilities>> {
        self.expect_usable()?;
        if timeout == Timeout::Try {
            return fail!(
                InvalidArgument,
                "a probe of {} waits for its copies: the try form has no time for them",
                self.name()
            );
        }
        self.refuse_deadlock_in_callback()?;
        let found = Arc::new(probe(self.backend(), timeout.deadline()));
        let [pinned, device] = found.left;
        if pinned + device > 0 {
            self.counters.pinned_bytes.add(pinned);
            self.counters.device_bytes.add(device);
            self.counters.quarantined_bytes.add(pinned + device);
            log::write(
                Level::Warn,
                format_args!(
                    "{} bytes of a probe of {} are quarantined: a copy on them could not be proven done",
                    pinned + device,
                    self.name()
                ),
            );
        }
        *self.probed.0.lock() = Some(found.clone());
        Ok(found)
    }

    /// What the latest probe found.
    pub fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.probed.0.lock().clone()
    }

    /// What the latest probe saw about one capability, in words.
    pub fn reason_for(&self, capability: Capability) -> Result<String> {
        match self.capabilities() {
            Some(found) => Ok(found.answer(capability).reason.clone()),
            None => fail!(NotBegun, "{} was not probed: call gpubuf_device_probe first", self.name()),
        }
    }

    /// Whether memory of this placement needs a copy that stands in, since a probe has seen that the device does not see later
    /// writes to it.
    pub fn needs_stand_in(&self, placement: Placement) -> bool {
        self.expect_in_place(placement).is_err()
    }

    /// One was made.
    pub fn count_stand_in(&self) {
        if self.counters.stand_ins.fetch_add(1) == 0 {
            log::write(
                Level::Warn,
                format_args!(
                    "{} does not see later host writes: buffers and pools of uva memory get a copy that stands in",
                    self.name()
                ),
            );
        }
    }

    /// Refuses memory that kernels are to use in place where a probe has seen that they would not see it.
    pub fn expect_in_place(&self, placement: Placement) -> Result<()> {
        if placement != Placement::Uva {
            return Ok(());
        }
        let found = self.capabilities();
        match found.as_ref().map(|found| found.answer(Capability::SeesHostWrites)) {
            Some(answer) if answer.finding == Finding::No => {
                fail!(Unsupported, "{} has no uva memory that works: {}", self.name(), answer.reason)
            }
            _ => Ok(()),
        }
    }
}
