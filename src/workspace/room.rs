//! New entries, and the room for them.

use super::entries::{Entries, Room};
use super::{Held, Spec, Workspace, reuse};
use crate::buffer::Buffer;
use crate::config::{Placement, Timeout};
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
        entries.made(number, &buffer);
        entries.hold(number);
        self.counters.made.add_locked(1);
        drop(entries);
        std::mem::forget(place);
        self.changed.notify_all();
        Ok(Held::new(buffer, self.clone(), number))
    }

    /// The uses of a claimed free entry were waited for. Where that failed it is as free as before.
    pub(super) fn waited(&self, number: u64, waited: Result<()>) -> Result<()> {
        let Err(error) = waited else { return Ok(()) };
        let mut entries = self.entries.lock();
        let gone = match error.status() {
            Status::DeviceLost | Status::Quarantined => {
                self.counters.retired.add_locked(1);
                entries.remove(number)
            }
            _ => entries.unclaim(number),
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
        looked: &mut bool,
    ) -> Result<MutexGuard<'a, Entries>> {
        let number = match room {
            Room::After(number) => number,
            Room::Later => return self.wait_for_change(entries, wait),
            // What others made of an entry may be out of use without anybody having noticed.
            Room::Full if !std::mem::replace(looked, true) => {
                drop(entries);
                self.device.maintain();
                return Ok(self.entries.lock());
            }
            Room::Full | Room::Reserved(..) => return Err(self.over_the_limits(&entries, spec, self.bytes_of(spec))),
        };
        let Some(buffer) = entries.claim(number) else { return Ok(entries) };
        drop(entries);
        self.waited(number, reuse::wait(&buffer, wait))?;
        entries = self.entries.lock();
        let gone = entries.unclaim(number);
        self.changed.notify_all();
        if gone.is_some() {
            MutexGuard::unlocked(&mut entries, || drop((gone, buffer)));
        }
        Ok(entries)
    }

    /// What memory for a spec comes to: kernels may need a copy in the place of memory that they would not see.
    pub(super) fn bytes_of(&self, spec: &Spec) -> u64 {
        let (host, device) = spec.placements();
        let stands_in = device == Placement::None && self.device.expect_in_place(host).is_err();
        if stands_in { 2 * spec.bytes() } else { spec.bytes() }
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
    pub(super) fn over_the_limits(&self, entries: &Entries, spec: &Spec, bytes: u64) -> Error {
        self.counters.refused.add_locked(1);
        self.device.counters.refusals.add(1);
        let limit = |limit: Option<u64>| limit.map_or("no limit".to_string(), |most| format!("at most {most}"));
        Error::new(
            Status::Budget,
            format!(
                "{}: {bytes} bytes for {spec} are over its limits: {} entries ({}), {} bytes ({}), and what would have to go is held; release buffers, or allow more",
                self.name,
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
