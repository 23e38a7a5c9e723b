//! New entries, and the room for them.

use super::entries::{Entries, Room};
use super::{Held, Spec, Workspace, reuse};
use crate::buffer::Buffer;
use crate::config::Timeout;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::HostWait;
use crate::sync::{Arc, MutexGuard};
use std::time::Instant;

impl Workspace {
    /// Makes the buffer of a reserved place. The place is given up where that fails.
    pub(super) fn make<'a>(
        self: &'a Arc<Workspace>,
        entries: MutexGuard<'a, Entries>,
        number: u64,
        victims: Vec<Arc<Buffer>>,
        spec: &Spec,
        name: &str,
    ) -> Result<Held> {
        self.counters.evicted.add_locked(victims.len() as u64);
        drop(entries);
        let place = Place { workspace: self, number };
        // What they free goes back when the next memory is made, which is now.
        drop(victims);
        let buffer = Buffer::create(&self.device, spec.options(name))
            .map_err(|error| error.context(format_args!("making an entry of {}", self.name)))?;
        let mut entries = self.entries.lock();
        self.expect_open(&entries)?;
        if let Some(entry) = entries.get(number) {
            entry.buffer = Some(buffer.clone());
        }
        entries.hold(number);
        self.counters.made.add_locked(1);
        drop(entries);
        std::mem::forget(place);
        self.changed.notify_all();
        Ok(Held::new(buffer, self.clone(), number))
    }

    /// Waits for the uses of a claimed free entry. Where that fails it is as free as before.
    pub(super) fn recycle(&self, number: u64, buffer: &Arc<Buffer>, wait: &HostWait<'_>) -> Result<()> {
        let Err(error) = reuse::recycle(buffer, wait) else { return Ok(()) };
        let mut entries = self.entries.lock();
        let gone = match error.status() {
            Status::DeviceLost | Status::Quarantined => {
                self.counters.retired.add_locked(1);
                entries.remove(number)
            }
            _ => {
                entries.unclaim(number);
                None
            }
        };
        drop(entries);
        drop(gone);
        self.changed.notify_all();
        Err(error.context(format_args!("reusing an entry of {}", self.name)))
    }

    /// Waits for what keeps a new entry out, or refuses where nobody but a holder could end it.
    pub(super) fn wait_for_room<'a>(
        &'a self,
        mut entries: MutexGuard<'a, Entries>,
        room: Room,
        spec: &Spec,
        wait: &HostWait<'_>,
    ) -> Result<MutexGuard<'a, Entries>> {
        let number = match room {
            Room::After(number) => number,
            Room::Later => return self.wait_for_change(entries, wait),
            Room::Full | Room::Reserved(..) => return Err(self.over_the_limits(&entries, spec)),
        };
        let Some(buffer) = entries.claim(number) else { return Ok(entries) };
        drop(entries);
        self.recycle(number, &buffer, wait)?;
        entries = self.entries.lock();
        entries.unclaim(number);
        self.changed.notify_all();
        Ok(entries)
    }

    /// Waits until another thread has made an entry, or has given one up.
    pub(super) fn wait_for_change<'a>(
        &'a self,
        mut entries: MutexGuard<'a, Entries>,
        wait: &HostWait<'_>,
    ) -> Result<MutexGuard<'a, Entries>> {
        if wait.timeout() == Timeout::Try {
            self.counters.waits.timeouts.add(1);
            return fail!(Busy, "another thread makes, or gives back, an entry of {}", self.name);
        }
        self.device.refuse_deadlock_in_callback()?;
        let start = Instant::now();
        let late = match wait.deadline() {
            Some(deadline) => self.changed.wait_until(&mut entries, deadline).timed_out(),
            None => {
                self.changed.wait(&mut entries);
                false
            }
        };
        self.counters.waits.waited(start.elapsed());
        if late {
            self.counters.waits.timeouts.add(1);
            return fail!(
                Timeout,
                "another thread makes, or gives back, an entry of {} since {:?}, which is the limit of this call",
                self.name,
                start.elapsed()
            );
        }
        Ok(entries)
    }

    #[cold]
    pub(super) fn over_the_limits(&self, entries: &Entries, spec: &Spec) -> Error {
        self.counters.refused.add_locked(1);
        self.device.counters.refusals.add(1);
        let limit = |limit: Option<u64>| limit.map_or("no limit".to_string(), |most| format!("at most {most}"));
        Error::new(
            Status::Budget,
            format!(
                "{}: {} bytes for {spec} are over its limits: {} entries ({}), {} bytes ({}), and what would have to go is held; release buffers, or allow more",
                self.name,
                spec.bytes(),
                entries.count(),
                limit(self.limits.entries),
                entries.bytes(),
                limit(self.limits.bytes),
            ),
        )
    }
}

/// A reserved place, until its buffer is there.
struct Place<'a> {
    workspace: &'a Workspace,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let gone = self.workspace.entries.lock().remove(self.number);
        drop(gone);
        self.workspace.changed.notify_all();
    }
}
