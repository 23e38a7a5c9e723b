//! A workspace: buffers by name, whose content stays, and buffers by spec alone, which go from one holder to the next.
//!
//! Its lock guards the list alone. Memory is made, fences are recorded and waited for outside it, while the entry is claimed:
//! a reserved place counts from the decision on, so the limits are never passed and one name is never made twice. A free
//! buffer without a name goes to a next holder only when each use by the last is over: its kernels are not ordered behind
//! those of another holder by anything that the library sees.

mod entries;
mod free;
mod report;
mod reuse;
mod room;
mod source;
mod spec;
mod sync;

pub use report::{EntryInfo, EntryState, WorkspaceStats};
pub use source::{Held, Source};
pub use spec::Spec;

use crate::config::Timeout;
use crate::config::checks::Check;
use crate::error::Result;
use crate::fail;
use crate::fence::{Device, HostWait, Name, Timeline};
use crate::stats::{Counter, WaitCounters};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use entries::{Entries, Limits, Room};

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
        let mut looked = false;
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
            entries = match entries.reserve(*spec, self.bytes_of(spec), Some(name), self.limits)? {
                Room::Reserved(number, victims) => return self.make(entries, number, victims, spec, name),
                room => self.wait_for_room(entries, room, spec, &wait, &mut looked)?,
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
        let bytes = self.bytes_of(spec);
        let mut looked = false;
        let mut entries = self.entries.lock();
        loop {
            self.expect_open(&entries)?;
            let (mut free, mut asked) = (entries.free_of(spec, bytes, false), 0);
            while free.is_none() {
                // Ask the streams outside the lock, then look again.
                let doubtful = entries.doubtful(spec, bytes, asked);
                let Some((last, _)) = doubtful.last() else { break };
                asked = last + 1;
                drop(entries);
                // Gone again before the lock is taken: one of them may have left the list meanwhile.
                doubtful.into_iter().for_each(|(_, buffer)| reuse::poll(&buffer));
                entries = self.entries.lock();
                self.expect_open(&entries)?;
                free = entries.free_of(spec, bytes, false);
            }
            if free.is_none() {
                let room = entries.reserve(*spec, bytes, None, self.limits)?;
                if let Room::Reserved(number, victims) = room {
                    return Ok((self.make(entries, number, victims, spec, "")?, false));
                }
                free = entries.free_of(spec, bytes, true);
                if free.is_none() {
                    entries = self.wait_for_room(entries, room, spec, wait, &mut looked)?;
                    continue;
                }
            }
            let Some((number, buffer)) = free.and_then(|number| Some((number, entries.claim(number)?))) else {
                continue;
            };
            drop(entries);
            self.waited(number, reuse::recycle(&buffer, wait))?;
            entries = self.entries.lock();
            entries.hold(number);
            self.counters.reused.add_locked(1);
            drop(entries);
            // Whoever waits for this entry to be let go of hears that it is not.
            self.changed.notify_all();
            return Ok((Held::new(buffer, self.clone(), number), true));
        }
    }

    fn end_holder(&self, number: u64, leaving: bool) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get(number) else { return };
        entry.holders -= 1;
        entry.leaving -= leaving as u32;
        if entry.holders == 0 {
            self.give_up(entries, number);
        }
    }

    fn expect_open(&self, entries: &Entries) -> Result<()> {
        if entries.closed {
            return fail!(ShutDown, "{} was destroyed", self.name);
        }
        Ok(())
    }
}

impl Source for Workspace {
    fn name(&self) -> &Name {
        &self.name
    }

    fn device(&self) -> &Arc<Device> {
        &self.device
    }

    fn take(self: Arc<Self>, spec: &Spec, timeout: Timeout) -> Result<Held> {
        self.allocate(spec, Content::Any, timeout)
    }

    fn share(&self, number: u64) {
        if let Some(entry) = self.entries.lock().get(number) {
            entry.holders += 1;
        }
    }

    fn is_last(&self, number: u64) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get(number) else { return true };
        let last = entry.holders <= entry.leaving + 1;
        entry.leaving += !last as u32;
        last
    }

    fn take_back(&self, number: u64) {
        self.end_holder(number, false);
    }

    fn left(&self, number: u64) {
        self.end_holder(number, true);
    }
}
