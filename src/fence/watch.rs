//! The debug mode's view of memory: who is in flight, whom the CPU has let in, and what pages it may touch meanwhile.
//!
//! Each side of a block has one of these while its device is debugged. It keeps what the side knows, with the places where work
//! was queued, under a lock of its own, so that the thread that judges a fault can read it while the side is in use. Nothing
//! is decided here that the contract does not say already: pages are shut from the moment that work is queued on them to the
//! moment that it is known to be done, but for guards. What pages cannot show, sums do: the bytes that a copy reads are summed
//! up when it is queued, and again once it is known to be done.

mod judge;

pub(super) use judge::JUDGE;

use super::area::Area;
use super::device::Device;
use super::name::{Name, Site};
use super::side::{Access, Which};
use super::timeline::{Fence, Proof};
use super::uses::{Range, Role, Use};
use crate::backend::{BackendKind, CpuAccess, RawMemory, trap};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, Weak};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What pages are counted in.
const PAGE: usize = 4096;
/// Uses that are told apart, at most; above, the oldest of a stream is left to the newer ones.
const USES: usize = 64;
/// What released memory is filled with: nobody reads it, nor writes it.
const RELEASED: u8 = 0xA5;
/// What a block is filled with that was somebody else's: nobody relies on it.
const TAKEN: u8 = 0xCD;
/// What follows a block's bytes in its last page: nobody writes it.
const BEHIND: u8 = 0xBE;

/// Memory that is no more, and whose addresses are still known.
const ENDED: usize = 64;

/// By first address: that of the page before host memory, which faults as well.
static KNOWN: Mutex<Known> = Mutex::new(Known { ranges: BTreeMap::new(), ended: Vec::new() });

struct Known {
    ranges: BTreeMap<usize, Place>,
    /// Numbers of what has ended, the oldest first.
    ended: Vec<u64>,
}

struct Place {
    end: usize,
    watched: Arc<Watched>,
    /// What was known to begin there before: it has lent its memory, and has it back when this is forgotten.
    under: Option<Box<Place>>,
    _faults: trap::Range,
}

impl Place {
    fn all(&self) -> impl Iterator<Item = &Place> {
        std::iter::successors(Some(self), |place| place.under.as_deref())
    }

    /// What is left without the memory of this number.
    fn without(mut self, number: u64) -> Option<Place> {
        self.under = self.under.and_then(|under| under.without(number)).map(Box::new);
        if self.watched.number == number { self.under.map(|under| *under) } else { Some(self) }
    }
}

impl Known {
    fn find(&self, address: usize) -> Option<&Arc<Watched>> {
        let place = self.ranges.range(..=address).rev().find(|(_, place)| address < place.end);
        place.map(|(_, place)| &place.watched)
    }

    fn forget(&mut self, number: u64) {
        let ranges = std::mem::take(&mut self.ranges).into_iter();
        self.ranges = ranges.filter_map(|(start, place)| Some((start, place.without(number)?))).collect();
        self.ended.retain(|ended| *ended != number);
    }
}

/// Memory that is watched.
pub(super) struct Watched {
    number: u64,
    name: Arc<Name>,
    which: Which,
    device: Weak<Device>,
    /// Whether a seed perturbs the device's schedule.
    perturbed: bool,
    memory: RawMemory,
    /// Whole pages that are this memory's alone: offsets from its first byte.
    pages: Range,
    /// Bytes behind the memory, to the end of its last page.
    behind: Range,
    state: Mutex<State>,
}

/// What became of memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Live,
    /// Given back to its pool, or its slab: nobody's.
    Released,
    /// Its object was destroyed, and its last use is not over.
    Destroyed,
    /// Given back.
    Ended,
}

struct State {
    stage: Stage,
    /// Where it was released, destroyed or freed.
    left: Site,
    uses: Vec<Queued>,
    guards: Vec<(u64, Access, Area)>,
    /// Kernels may use it at any time: who, and since where.
    exposed: Option<(String, Site)>,
    /// What each part of the pages allows now, in order, with no gaps.
    allowed: Vec<(Range, CpuAccess)>,
    /// Filled with [`RELEASED`], since nothing uses it any more.
    poisoned: bool,
    /// The system refused to protect it, or the memory is not the library's, or its user asked to be let in.
    open: bool,
    /// Has the pages opened when the process forks or exits.
    _opens: Option<trap::Range>,
}

/// Work that was queued.
struct Queued {
    fence: Fence,
    write: bool,
    area: Area,
    role: Role,
    site: Site,
    /// Of the bytes that it reads.
    sum: Option<u64>,
}

/// A side's watch; ends with it.
pub struct Watch(Arc<Watched>);

impl Watch {
    /// Watches memory. `room`: bytes from its first on that are nobody else's, with pages around them that fault; without,
    /// there may be others in its first and last page.
    pub(super) fn new(
        name: &Arc<Name>,
        which: Which,
        device: &Arc<Device>,
        memory: RawMemory,
        room: Option<usize>,
    ) -> Watch {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let host = memory.host as usize;
        let pages = match which {
            Which::Host => {
                let first = host.next_multiple_of(PAGE) - host;
                let last = (host + room.unwrap_or(memory.bytes)) / PAGE * PAGE;
                Range { start: first, end: last.saturating_sub(host).max(first) }
            }
            Which::Device => Range { start: 0, end: 0 },
        };
        let watched = Arc::new(Watched {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.clone(),
            which,
            device: Arc::downgrade(device),
            perturbed: device.backend().kind() == BackendKind::Host,
            memory,
            pages,
            behind: Range {
                start: memory.bytes,
                end: if room.is_some() { pages.end.max(memory.bytes) } else { memory.bytes },
            },
            state: Mutex::new(State {
                stage: Stage::Live,
                left: Site::default(),
                uses: Vec::new(),
                guards: Vec::new(),
                exposed: None,
                allowed: vec![(pages, CpuAccess::ReadWrite)],
                poisoned: false,
                open: pages.start >= pages.end,
                _opens: None,
            }),
        });
        {
            let mut state = watched.state.lock();
            state.open |= !watched.protect(pages, CpuAccess::ReadWrite);
            if !state.open {
                let host = memory.host as usize;
                state._opens = Some(trap::Range::add(host + pages.start, host + pages.end, true));
                let Range { start, end } = watched.behind;
                // SAFETY: pages of this memory alone, which nobody uses yet.
                unsafe { memory.host.add(start).write_bytes(BEHIND, end - start) };
            }
        }
        watched.enter(room.is_some());
        Watch(watched)
    }

    /// Work that writes there is about to be queued: sums are compared while the bytes are what they were.
    pub(super) fn expect_write(&self, area: Area) {
        let mut state = self.0.state.lock();
        self.0.forget_known(&mut state);
        for u in state.uses.iter_mut().filter(|u| u.area.overlaps(area)) {
            if u.sum.take().is_some_and(|before| before != self.0.sum(u.area)) {
                self.0.found(&changed(&self.0, u));
            }
        }
    }

    /// Work was queued.
    pub(super) fn used(&self, new: &Use) {
        let site = Site::here();
        let mut state = self.0.state.lock();
        // What is yet to be written, or may be written in place, has no bytes that could be compared.
        let steady = self.0.which == Which::Host
            && !new.write
            && state.exposed.is_none()
            && !self.0.memory.placement.is_in_place()
            && !state.uses.iter().any(|u| u.write && !u.fence.is_known() && u.area.overlaps(new.area));
        let sum = steady.then(|| self.0.sum(new.area));
        self.0.forget_known(&mut state);
        if state.uses.len() == USES {
            let later = |u: &Queued| state.uses.iter().any(|o| o.fence.covers(&u.fence) && !o.fence.is_same(&u.fence));
            let place = state.uses.iter().position(later).unwrap_or(0);
            state.uses.remove(place);
        }
        let (fence, area) = (new.fence.clone(), new.area);
        state.uses.push(Queued { fence, write: new.write, area, role: new.role, site, sum });
        self.0.apply(&mut state);
    }

    /// A guard was opened: what it waited for is done.
    pub(super) fn opened(&self, token: u64, access: Access, area: Area) {
        let mut state = self.0.state.lock();
        self.0.forget_known(&mut state);
        state.guards.push((token, access, area));
        self.0.apply(&mut state);
    }

    /// A guard was ended.
    pub(super) fn closed(&self, token: u64) {
        let mut state = self.0.state.lock();
        state.guards.retain(|guard| guard.0 != token);
        self.0.look_behind(&state);
        self.0.forget_known(&mut state);
        self.0.apply(&mut state);
    }

    /// Something may be known to be done.
    pub(super) fn refresh(&self) {
        let mut state = self.0.state.lock();
        self.0.forget_known(&mut state);
        self.0.apply(&mut state);
    }

    /// Kernels may use the memory at any time from now on, or, with `None`, not any more.
    pub(super) fn expose(&self, who: Option<&dyn Fn() -> String>) {
        let mut state = self.0.state.lock();
        match who {
            Some(who) if state.exposed.is_none() => {
                state.exposed = Some((who(), Site::here()));
                state.uses.iter_mut().for_each(|u| u.sum = None);
            }
            Some(_) => return,
            None if state.exposed.is_none() => return,
            None => state.exposed = None,
        }
        self.0.forget_known(&mut state);
        self.0.apply(&mut state);
    }

    /// The memory is nobody's until it is taken again.
    pub(super) fn released(&self) {
        self.0.leave(Stage::Released);
    }

    /// The memory is somebody's again.
    pub(super) fn taken(&self) {
        let mut state = self.0.state.lock();
        if state.stage != Stage::Released {
            return;
        }
        self.0.forget_known(&mut state);
        let backend = self.0.device.upgrade();
        if let Some(device) = backend.filter(|_| state.uses.is_empty()) {
            let memory = &self.0.memory;
            if state.poisoned
                && let Some(at) = device.backend().find_other_byte(memory, RELEASED)
            {
                self.0.found(&self.0.written_after_release(at, &state));
            }
            device.backend().set_bytes(memory, TAKEN);
        }
        (state.stage, state.poisoned) = (Stage::Live, false);
        self.0.apply(&mut state);
    }

    /// Its user brings fences of its own: pages are not shut for it any more.
    pub(super) fn leave_open(&self) {
        let mut state = self.0.state.lock();
        state.uses.iter_mut().for_each(|u| u.sum = None);
        self.0.protect(self.0.pages, CpuAccess::ReadWrite);
        state.open = true;
    }

    /// Its object is gone, and the memory stays for as long as its uses last.
    pub(super) fn destroyed(&self) {
        self.0.leave(Stage::Destroyed);
    }

    /// The memory stays for ever, and its device need not.
    pub(super) fn abandoned(self) {
        self.0.state.lock().uses.clear();
        std::mem::forget(self);
    }

    /// The memory is the caller's again, or that of another block, which finds it open.
    pub(super) fn handed_back(self) {
        {
            let mut state = self.0.state.lock();
            if !state.open {
                self.0.protect(self.0.pages, CpuAccess::ReadWrite);
            }
            (state.stage, state.open, state._opens) = (Stage::Ended, true, None);
            state.uses.clear();
        }
        KNOWN.lock().forget(self.0.number);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.0.state.lock().stage == Stage::Ended {
            // Handed back.
            return;
        }
        // A part of a slab stays mapped, and shut until it is a block's again; what is freed faults by itself.
        self.0.leave(Stage::Ended);
        let mut known = KNOWN.lock();
        known.ended.push(self.0.number);
        if known.ended.len() > ENDED {
            let oldest = known.ended[0];
            known.forget(oldest);
        }
    }
}

/// Looks for damage on all memory of the device, of work that is known to be done.
pub(super) fn sweep(device: &Device) {
    each(device, |watched| {
        let mut state = watched.state.lock();
        watched.forget_known(&mut state);
        watched.poison(&mut state);
        watched.apply(&mut state);
    });
}

/// Lets the CPU in everywhere: the device is shut down.
pub(super) fn open_all(device: &Device) {
    each(device, |watched| {
        let mut state = watched.state.lock();
        watched.forget_known(&mut state);
        if state.stage != Stage::Ended {
            state.open = true;
            watched.protect(watched.pages, CpuAccess::ReadWrite);
        }
    });
}

fn each(device: &Device, act: impl Fn(&Watched)) {
    let all: BTreeMap<u64, Arc<Watched>> = {
        let known = KNOWN.lock();
        known.ranges.values().flat_map(Place::all).map(|place| (place.watched.number, place.watched.clone())).collect()
    };
    let own = |watched: &&Arc<Watched>| std::ptr::eq(watched.device.as_ptr(), device);
    all.values().filter(own).for_each(|watched| act(watched));
}

impl Watched {
    /// Makes its addresses known.
    fn enter(self: &Arc<Watched>, alone: bool) {
        let mut ranges = Vec::new();
        let host = self.memory.host as usize;
        if self.which == Which::Host {
            let margin = if alone && !self.state.lock().open { PAGE } else { 0 };
            let end = self.memory.bytes.max(if margin > 0 { self.pages.end } else { 0 });
            ranges.push((host - margin, host + end + margin));
        }
        let device = self.memory.device as usize;
        if device != 0 && device != host {
            ranges.push((device, device + self.memory.bytes));
        }
        let mut known = KNOWN.lock();
        for (start, end) in ranges {
            // What has ended there is over for good.
            let over: Vec<u64> = known
                .ranges
                .range(..end)
                .filter(|(_, place)| place.end > start && place.watched.state.lock().stage == Stage::Ended)
                .map(|(_, place)| place.watched.number)
                .collect();
            over.into_iter().for_each(|number| known.forget(number));
            let faults = trap::Range::add(start, end, false);
            let under = known.ranges.remove(&start).map(Box::new);
            known.ranges.insert(start, Place { end, watched: self.clone(), under, _faults: faults });
        }
    }

    fn leave(&self, stage: Stage) {
        let site = Site::here();
        let mut state = self.state.lock();
        self.forget_known(&mut state);
        self.look_behind(&state);
        (state.stage, state.left) = (stage, site);
        self.poison(&mut state);
        self.apply(&mut state);
        if stage == Stage::Ended {
            state.uses.clear();
            state._opens = None;
        }
    }

    /// Fills released memory, once nothing uses it.
    fn poison(&self, state: &mut State) {
        let idle =
            state.stage == Stage::Released && !state.poisoned && state.uses.is_empty() && state.exposed.is_none();
        if idle && let Some(device) = self.device.upgrade() {
            state.poisoned = device.backend().set_bytes(&self.memory, RELEASED);
        }
    }

    /// Whether somebody wrote behind the memory, in its last page.
    fn look_behind(&self, state: &State) {
        let Range { start, end } = self.behind;
        let readable = state.allowed.last().is_some_and(|last| last.1 >= CpuAccess::Read);
        if state.open || start >= end || !readable || matches!(state.stage, Stage::Ended | Stage::Released) {
            return;
        }
        // SAFETY: the end of this memory's own last page, which is readable.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory.host.add(start), end - start) };
        let Some(at) = bytes.iter().position(|byte| *byte != BEHIND) else { return };
        let mut text = String::new();
        let _ = writeln!(text, "==gpubuf== a write behind the end of a block");
        let _ = writeln!(text, "  {} bytes behind the end of {}", at + 1, self.title());
        made(&mut text, self);
        let _ = writeln!(text, "  found at: {}", Site::here());
        text.push_str("  Whoever writes there writes more than the block has.\n");
        self.seeded(&mut text);
        // Told once.
        if state.allowed.last().is_some_and(|last| last.1 == CpuAccess::ReadWrite) {
            // SAFETY: as above, and writable.
            unsafe { self.memory.host.add(start).write_bytes(BEHIND, end - start) };
        }
        self.found(&text);
    }

    /// How to run it again.
    fn seeded(&self, text: &mut String) {
        if self.perturbed
            && let Ok(Some(seed)) = crate::config::debug::seed()
        {
            let _ = writeln!(text, "  To run this schedule again: GPUBUF_DEBUG_SEED={seed}");
        }
    }

    fn written_after_release(&self, at: usize, state: &State) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "==gpubuf== a write after release");
        let _ = writeln!(text, "  byte {at} of {}", self.title());
        let _ = writeln!(text, "    released by: {}", state.left);
        let _ = writeln!(text, "    found when it was taken again by: {}", Site::here());
        made(&mut text, self);
        text.push_str(
            "  Somebody wrote there while the block was free: a kernel or a copy on a stream that the release did not name, or\n  the CPU through another mapping.\n",
        );
        self.seeded(&mut text);
        text
    }

    /// Drops uses that are known to be done, and compares sums. Whoever waited for one is let in, whatever its turn.
    fn forget_known(&self, state: &mut State) {
        let mut place = 0;
        while let Some(u) = state.uses.get(place) {
            if !u.fence.is_proven() {
                place += 1;
                continue;
            }
            let done = state.uses.swap_remove(place);
            if let Some(before) = done.sum
                && done.fence.look_up() != Some(Proof::Failed)
                && self.sum(done.area) != before
            {
                self.found(&changed(self, &done));
            }
        }
    }

    /// A sum over the bytes of an area, with their order.
    fn sum(&self, area: Area) -> u64 {
        if area.hull().end > self.memory.bytes || self.memory.host.is_null() {
            return 0;
        }
        let Some(device) = self.device.upgrade() else { return 0 };
        let mut sum = 0xCBF2_9CE4_8422_2325;
        for row in 0..area.rows() {
            let at = area.start() + row * area.pitch();
            // SAFETY: the row lies inside the memory, which its storage keeps. Whoever changes it meanwhile is who is looked
            // for; any bytes have a sum.
            device.backend().look(&self.memory, at, area.width(), &mut |bytes| unsafe {
                sum = sum_up(sum, bytes, area.width());
            });
        }
        sum
    }

    /// What each part of the pages is to allow.
    fn plan(&self, state: &State) -> Vec<(Range, CpuAccess)> {
        let pages = self.pages;
        if state.open || pages.start >= pages.end {
            return vec![(pages, CpuAccess::ReadWrite)];
        }
        let rest = match state.stage {
            Stage::Live if state.exposed.is_some() => CpuAccess::Read,
            Stage::Live => CpuAccess::ReadWrite,
            _ => CpuAccess::None,
        };
        let whole = |area: Area| {
            let Range { start, end } = area.hull();
            let outward = (end.saturating_sub(pages.start)).next_multiple_of(PAGE).saturating_add(pages.start);
            let start = start.saturating_sub(pages.start) / PAGE * PAGE + pages.start;
            Range { start: start.min(pages.end), end: outward.min(pages.end) }
        };
        let mut edges = vec![pages.start, pages.end];
        for area in state.uses.iter().map(|u| u.area).chain(state.guards.iter().map(|guard| guard.2)) {
            let range = whole(area);
            edges.extend([range.start, range.end]);
        }
        edges.sort_unstable();
        edges.dedup();
        let access = |part: Range| {
            let touches = |area: Area| whole(area).overlaps(part);
            let guarded = |wanted| state.guards.iter().any(|guard| guard.1 == wanted && touches(guard.2));
            if guarded(Access::Write) {
                return CpuAccess::ReadWrite;
            }
            let mut access = rest;
            for u in state.uses.iter().filter(|u| touches(u.area)) {
                access = access.min(if self.shuts(u) { CpuAccess::None } else { CpuAccess::Read });
            }
            if guarded(Access::Read) { access.max(CpuAccess::Read) } else { access }
        };
        let parts = edges.windows(2).map(|edge| Range { start: edge[0], end: edge[1] });
        let mut plan: Vec<(Range, CpuAccess)> = Vec::new();
        for part in parts {
            let access = access(part);
            match plan.last_mut() {
                Some((last, same)) if *same == access => last.end = part.end,
                _ => plan.push((part, access)),
            }
        }
        plan
    }

    /// Whether the page of that byte is one that the area touches.
    fn touches_page(&self, area: Area, at: i128) -> bool {
        let Range { start, end } = area.hull();
        let page = |byte: usize| byte.saturating_sub(self.pages.start) / PAGE;
        start < end && usize::try_from(at).is_ok_and(|at| (page(start)..=page(end - 1)).contains(&page(at)))
    }

    /// Whether the CPU would read bytes that a use has yet to write. A kernel that was merely declared may as well only read.
    fn shuts(&self, u: &Queued) -> bool {
        let copies = matches!(u.role, Role::Copy | Role::ReadBack);
        u.write && (copies || u.role == Role::Replay && !self.memory.placement.is_in_place())
    }

    /// Makes the pages allow what they are to.
    fn apply(&self, state: &mut State) {
        let plan = self.plan(state);
        if plan == state.allowed || state.open || self.ends_by_itself(state) {
            return;
        }
        for (range, access) in &plan {
            let (mut at, end) = (range.start, range.end);
            // Only what is to change.
            for (old, allowed) in &state.allowed {
                let (start, stop) = (old.start.max(at), old.end.min(end));
                if start >= stop {
                    continue;
                }
                if allowed != access && !self.protect(Range { start, end: stop }, *access) {
                    state.open = true;
                    self.protect(self.pages, CpuAccess::ReadWrite);
                    return;
                }
                at = stop;
            }
        }
        state.allowed = plan;
    }

    /// Memory of its own that has ended is the backend's, which shuts it.
    fn ends_by_itself(&self, state: &State) -> bool {
        state.stage == Stage::Ended && self.device.upgrade().is_none_or(|device| device.is_closed())
    }

    fn protect(&self, part: Range, access: CpuAccess) -> bool {
        let Some(device) = self.device.upgrade() else { return false };
        part.start >= part.end || device.backend().protect(&self.memory, part.start, part.end - part.start, access)
    }

    /// Damage was found by looking.
    fn found(&self, text: &str) {
        if let Some(device) = self.device.upgrade() {
            device.damage_found(text);
        }
    }

    /// The side, with its size.
    fn title(&self) -> String {
        let which = if self.which == Which::Host { "host" } else { "device" };
        let (bytes, placement) = (self.memory.bytes, self.memory.placement.name());
        let device = self.device.upgrade().map(|device| format!(", {}", device.name())).unwrap_or_default();
        format!("the {which} side of {} ({bytes} bytes {placement}{device})", self.name)
    }
}

/// Adds bytes to a sum.
///
/// # Safety
/// They can be read.
unsafe fn sum_up(mut sum: u64, at: *const u8, bytes: usize) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut mix = |word: u64| sum = (sum.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    for word in 0..bytes / 8 {
        // SAFETY: inside the bytes, by the loop's bound.
        mix(unsafe { at.add(word * 8).cast::<u64>().read_unaligned() });
    }
    for byte in bytes / 8 * 8..bytes {
        // SAFETY: as above.
        mix(u64::from(unsafe { at.add(byte).read() }));
    }
    sum
}

/// A use, in words.
fn in_words(u: &Queued) -> String {
    let Range { start, end } = u.area.hull();
    let (reads, writes) = (format!("reads bytes {start}..{end}"), format!("writes bytes {start}..{end}"));
    let does = if u.write { writes } else { reads };
    match u.role {
        Role::Copy => format!("a copy {does}"),
        Role::ReadBack => format!("a read-back {does}"),
        Role::Replay => format!("a graph's replay {does}"),
        Role::Kernel => format!("work that was declared (a kernel) may use bytes {start}..{end}"),
        Role::Retire | Role::Bound => format!("the consumers of a step may use bytes {start}..{end}"),
    }
}

/// What is said of a source that changed.
fn changed(watched: &Watched, u: &Queued) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "==gpubuf== a race: the bytes of a copy changed while it was in flight");
    let _ = writeln!(text, "  of: {}", watched.title());
    let _ = writeln!(text, "  in flight: {}, up to {}", in_words(u), u.fence);
    let _ = writeln!(text, "    queued by: {}", u.site);
    made(&mut text, watched);
    let _ = writeln!(
        text,
        "  Somebody wrote there between the two, through no guard, where no page could be protected. A write guard waits for\n  the copy: begin_write, or a span of a step."
    );
    watched.seeded(&mut text);
    text
}

fn made(text: &mut String, watched: &Watched) {
    let site = watched.name.site();
    if !site.is_empty() {
        let _ = writeln!(text, "    made by: {site}");
    }
}
