//! A workspace: buffers by name, whose content stays, and buffers by spec alone, which go from one holder to the next.
//!
//! Its lock guards the list alone. Memory is made, fences are recorded and waited for outside it, while the entry is claimed:
//! a reserved place counts from the decision on, so the limits are never passed and one name is never made twice. A free
//! buffer without a name goes to a next holder only when each use by the last is over: its kernels are not ordered behind
//! those of another holder by anything that the library sees.

mod entries;
mod report;
mod reuse;
mod source;
mod spec;

pub use report::{EntryInfo, EntryState, WorkspaceStats};
pub use source::{Held, Source};
pub use spec::Spec;

use crate::buffer::Buffer;
use crate::config::Timeout;
use crate::config::checks::Check;
use crate::error::{Error, Result, Status};
use crate::fail;
use crate::fence::{Device, HostWait, Name, Timeline};
use crate::stats::{Counter, WaitCounters};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use entries::{Entries, Limits, Room};
use std::time::Instant;

/// The most bytes of an entry's name.
pub const MAX_NAME_BYTES: usize = 255;

/// What a workspace is to be.
#[derive(Default)]
pub struct WorkspaceOptions {
    /// The most entries there may be; 0 is no limit.
    pub max_entries: u32,
    /// The most bytes, of both sides of all entries; 0 is no limit.
    pub max_bytes: u64,
    /// The label, or empty.
    pub label: String,
}

/// A workspace. Any thread.
pub struct Workspace {
    name: Name,
    device: Arc<Device>,
    limits: Limits,
    entries: Mutex<Entries>,
    /// An entry was made, given up, or is no longer claimed.
    changed: Condvar,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    found: Counter,
    reused: Counter,
    made: Counter,
    evicted: Counter,
    retired: Counter,
    refused: Counter,
    waits: WaitCounters,
}

/// Says which bytes a buffer that was used before is to have.
pub enum Content<'a> {
    /// Any.
    Any,
    /// Zeroes: of the device side in the order of the stream, which a spec with a device side needs.
    Zeroes(Option<&'a Arc<Timeline>>),
}

impl Workspace {
    /// An empty workspace.
    pub fn create(device: &Arc<Device>, options: WorkspaceOptions) -> Result<Arc<Workspace>> {
        device.expect_usable()?;
        let WorkspaceOptions { max_entries, max_bytes, label } = options;
        let limit = |value: u64| (value > 0).then_some(value);
        let workspace = Arc::new(Workspace {
            name: Name::new("workspace", &label),
            device: device.clone(),
            limits: Limits { entries: limit(max_entries.into()), bytes: limit(max_bytes) },
            entries: Mutex::default(),
            changed: Condvar::new(),
            counters: Counters::default(),
        });
        let member: Weak<Workspace> = Arc::downgrade(&workspace);
        device.enroll(member);
        Ok(workspace)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The buffer of this very name, made zeroed where there is none; where there is one its spec must be equal. Its content
    /// and its uses are those that its last holder left.
    pub fn get(self: &Arc<Workspace>, name: &str, spec: &Spec, timeout: Timeout) -> Result<Held> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return fail!(InvalidArgument, "the name has {} bytes: 1 to {MAX_NAME_BYTES}", name.len());
        }
        let wait = HostWait::new(timeout, &self.counters.waits);
        let mut entries = self.entries.lock();
        loop {
            self.expect_open(&entries)?;
            if let Some(entry) = entries.named(name) {
                if let Some(why) = entry.spec.difference(spec) {
                    return fail!(
                        Exists,
                        "{} has an entry \"{name}\", and {why}: ask for what it is, or release the name first",
                        self.name
                    );
                }
                match self.hold_named(entries, name) {
                    Ok(held) => return Ok(held),
                    Err(unchanged) => entries = self.wait_for_change(unchanged, &wait)?,
                }
                continue;
            }
            entries = match entries.reserve(*spec, Some(name), self.limits)? {
                Room::Reserved(number, victims) => return self.make(entries, number, victims, spec, name),
                room => self.wait_for_room(entries, room, spec, &wait)?,
            };
        }
    }

    /// The buffer of this very name, as it is.
    pub fn find(self: &Arc<Workspace>, name: &str, timeout: Timeout) -> Result<Held> {
        let wait = HostWait::new(timeout, &self.counters.waits);
        let mut entries = self.entries.lock();
        loop {
            self.expect_open(&entries)?;
            if entries.named(name).is_none() {
                return fail!(NotFound, "{} has no entry \"{name}\": get makes it", self.name);
            }
            match self.hold_named(entries, name) {
                Ok(held) => return Ok(held),
                Err(unchanged) => entries = self.wait_for_change(unchanged, &wait)?,
            }
        }
    }

    /// One more holder of a named entry, unless a thread works on that.
    fn hold_named<'a>(
        self: &Arc<Workspace>,
        mut entries: MutexGuard<'a, Entries>,
        name: &str,
    ) -> std::result::Result<Held, MutexGuard<'a, Entries>> {
        let entry = entries.named(name).filter(|entry| !entry.claimed);
        let Some((number, buffer)) = entry.and_then(|entry| Some((entry.number, entry.buffer.clone()?))) else {
            return Err(entries);
        };
        entries.hold(number);
        self.counters.found.add_locked(1);
        drop(entries);
        Ok(Held::new(buffer, self.clone(), number))
    }

    /// A buffer of this spec for one holder alone, each earlier use of it over: a free one that is idle, the longest free
    /// first; else a new one; else, where the limits forbid that, a free one that is waited for.
    pub fn allocate(self: &Arc<Workspace>, spec: &Spec, content: Content<'_>, timeout: Timeout) -> Result<Held> {
        let on_device = spec.device_bytes() > 0;
        let stream = match content {
            Content::Zeroes(None) if on_device => {
                return fail!(
                    InvalidArgument,
                    "zeroing the device side of {spec} needs a stream: name one that uses it"
                );
            }
            Content::Zeroes(stream) => stream.filter(|_| on_device),
            Content::Any => None,
        };
        if let Some(stream) = stream {
            stream.expect_device(&self.device)?;
            stream.expect_not_capturing(Check::CaptureCopies)?;
        }
        let wait = HostWait::new(timeout, &self.counters.waits);
        let (held, used) = self.take_or_make(spec, &wait)?;
        if used && matches!(content, Content::Zeroes(_)) {
            let zero = &[0; 8][..spec.dtype().size()];
            held.fill(spec.host_bytes() > 0, on_device, zero, stream, timeout)?;
        }
        Ok(held)
    }

    /// And whether somebody used it before.
    fn take_or_make(self: &Arc<Workspace>, spec: &Spec, wait: &HostWait<'_>) -> Result<(Held, bool)> {
        let mut entries = self.entries.lock();
        loop {
            self.expect_open(&entries)?;
            let mut free = entries.free_of(spec, false);
            if free.is_none() {
                // Ask the streams outside the lock, then look again.
                let doubtful = entries.doubtful(spec);
                if !doubtful.is_empty() {
                    drop(entries);
                    doubtful.iter().for_each(reuse::poll);
                    entries = self.entries.lock();
                    self.expect_open(&entries)?;
                    free = entries.free_of(spec, false);
                }
            }
            if free.is_none() {
                let room = entries.reserve(*spec, None, self.limits)?;
                if let Room::Reserved(number, victims) = room {
                    return Ok((self.make(entries, number, victims, spec, "")?, false));
                }
                free = entries.free_of(spec, true);
                if free.is_none() {
                    entries = self.wait_for_room(entries, room, spec, wait)?;
                    continue;
                }
            }
            let Some((number, buffer)) = free.and_then(|number| Some((number, entries.claim(number)?))) else {
                continue;
            };
            drop(entries);
            self.recycle(number, &buffer, wait)?;
            entries = self.entries.lock();
            entries.hold(number);
            self.counters.reused.add_locked(1);
            drop(entries);
            return Ok((Held::new(buffer, self.clone(), number), true));
        }
    }

    /// Makes the buffer of a reserved place. The place is given up where that fails.
    fn make<'a>(
        self: &'a Arc<Workspace>,
        mut entries: MutexGuard<'a, Entries>,
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
        entries = self.entries.lock();
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
    fn recycle(&self, number: u64, buffer: &Arc<Buffer>, wait: &HostWait<'_>) -> Result<()> {
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
    fn wait_for_room<'a>(
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
    fn wait_for_change<'a>(
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
    fn over_the_limits(&self, entries: &Entries, spec: &Spec) -> Error {
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

    fn expect_open(&self, entries: &Entries) -> Result<()> {
        if entries.closed {
            return fail!(ShutDown, "{} was destroyed", self.name);
        }
        Ok(())
    }

    /// The name is free for another entry at once. The buffer goes on without one: where nobody holds it, it is free for
    /// whoever needs one of its spec.
    pub fn release_name(&self, name: &str) -> Result<()> {
        let mut entries = self.entries.lock();
        self.expect_open(&entries)?;
        let Some(entry) = entries.named(name) else {
            return fail!(NotFound, "{} has no entry \"{name}\" to release", self.name);
        };
        let (number, free) = (entry.number, entry.holders == 0);
        entries.take_name(number);
        if free {
            self.give_up(entries, number);
        }
        Ok(())
    }

    /// An entry has no holders: it is free, or it goes where it cannot be used again. A name keeps it in any case.
    fn give_up<'a>(&'a self, mut entries: MutexGuard<'a, Entries>, number: u64) {
        let Some(buffer) = entries.claim(number) else { return };
        let spec = entries.get(number).map(|entry| entry.spec);
        drop(entries);
        let usable = spec.is_some_and(|spec| reuse::end_of_holder(&buffer, &spec));
        entries = self.entries.lock();
        let named = entries.get(number).is_some_and(|entry| entry.name.is_some());
        let gone = if entries.closed || !(usable || named) {
            self.counters.retired.add_locked(!usable as u64);
            entries.remove(number)
        } else {
            entries.set_free(number);
            None
        };
        drop(entries);
        drop((gone, buffer));
        self.changed.notify_all();
    }

    /// Takes out free entries, the longest free first, until there are no more than these, or none is free. What work
    /// still uses stays, outside the workspace, until it is done. Returns how many went.
    pub fn evict(&self, max_entries: u64, max_bytes: u64) -> Result<u64> {
        let mut entries = self.entries.lock();
        self.expect_open(&entries)?;
        let gone = entries.evict(Limits { entries: Some(max_entries), bytes: Some(max_bytes) })?;
        self.counters.evicted.add_locked(gone.len() as u64);
        drop(entries);
        self.changed.notify_all();
        Ok(gone.len() as u64)
    }

    /// Takes out every free entry, and leaves those that are held. Returns how many went and how many are left.
    pub fn clear(&self) -> Result<(u64, u64)> {
        let gone = self.evict(0, 0)?;
        Ok((gone, self.entries.lock().count()))
    }

    /// Ends the workspace: what is free goes now, what is held when its last holder ends. Who waits in it is sent away.
    /// Never waits.
    pub fn destroy(&self) {
        let mut entries = self.entries.lock();
        entries.closed = true;
        let gone = entries.evict(Limits { entries: Some(0), bytes: Some(0) });
        drop(entries);
        self.changed.notify_all();
        drop(gone);
    }
}

impl Source for Workspace {
    fn name(&self) -> &Name {
        &self.name
    }

    fn take(self: Arc<Self>, spec: &Spec, timeout: Timeout) -> Result<Held> {
        self.allocate(spec, Content::Any, timeout)
    }

    fn is_last(&self, number: u64) -> bool {
        self.entries.lock().get(number).is_none_or(|entry| entry.holders <= 1)
    }

    fn take_back(&self, number: u64) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get(number) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            self.give_up(entries, number);
        }
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
