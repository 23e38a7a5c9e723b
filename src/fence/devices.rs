//! Every device of the process, and the end of all of them.

use super::device::Device;
use crate::config::Timeout;
use crate::error::{Error, Result, Status};
use crate::sync::{Arc, Mutex, OnceLock, Ordering, Weak};
use std::time::{Duration, Instant};

static DEVICES: Mutex<Vec<Weak<Device>>> = Mutex::new(Vec::new());

static FIRST_OPENED: OnceLock<Instant> = OnceLock::new();

/// Adds a device; returns the others.
pub(super) fn add(device: &Arc<Device>) -> Vec<Arc<Device>> {
    FIRST_OPENED.get_or_init(Instant::now);
    let mut devices = DEVICES.lock();
    devices.retain(|known| known.strong_count() > 0);
    let others = devices.iter().filter_map(Weak::upgrade).collect();
    devices.push(Arc::downgrade(device));
    others
}

/// Every device of the process.
pub(super) fn all_devices() -> Vec<Arc<Device>> {
    DEVICES.lock().iter().filter_map(Weak::upgrade).collect()
}

/// How long ago the first device was opened.
pub fn uptime() -> Duration {
    FIRST_OPENED.get().map(Instant::elapsed).unwrap_or_default()
}

impl Device {
    fn shut_down(&self, timeout: Timeout) -> Result<()> {
        // One for all that is waited for.
        let deadline = timeout.deadline();
        let kept_up = self.upkeep.join(deadline);
        self.members().iter().for_each(|member| member.send_away());
        let left = match (timeout, deadline) {
            (Timeout::Within(_), Some(deadline)) => Timeout::Within(deadline.saturating_duration_since(Instant::now())),
            (other, _) => other,
        };
        let drained = match self.drain(left) {
            // Failed copies were counted and logged long before; they do not keep the device from closing.
            Err(error) if error.status() == Status::CopyFailed => Ok(()),
            other => other,
        };
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut leaked = 0;
        for storage in self.deferred.close() {
            self.counters.deferred_objects.sub(1);
            self.counters.deferred_bytes.sub(storage.bytes() as u64);
            leaked += storage.bytes() as u64;
            storage.leak();
        }
        self.end_debug();
        let workers = self.backend().close(deadline) + usize::from(!kept_up);
        if leaked > 0 || workers > 0 {
            return Err(Error::new(
                drained.err().map_or(Status::Timeout, |error| error.status()),
                format!(
                    "{}: {leaked} bytes still in use were left to the process exit, {workers} streams or threads had not ended",
                    self.name()
                ),
            ));
        }
        drained
    }
}

/// Drains and closes every device of the process. Reports the first that could not be drained within the timeout.
pub fn shut_down_all(timeout: Timeout) -> Result<()> {
    let devices = all_devices();
    let mut result = Ok(());
    for device in devices {
        result = result.and(device.shut_down(timeout));
    }
    result
}
