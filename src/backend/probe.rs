//! What a device can do, by trying it: each answer comes with what was seen, in words.

use super::system::{SystemMemory, page_bytes};
use super::{DeviceBackend, RawMemory, StreamBackend, system_memory};
use crate::config::Placement;
use crate::error::{Error, Result, Status};
use crate::fail;
use std::cell::Cell;
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::fmt;
use std::time::Instant;

/// What a test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Finding {
    /// It could not be tried.
    NotTested = 0,
    /// It was tried, and does not work; or the device says so of itself.
    No = 1,
    /// It was tried, and works; or the device says so of itself.
    Yes = 2,
}

impl Finding {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Finding::NotTested => "not_tested",
            Finding::No => "no",
            Finding::Yes => "yes",
        }
    }
}

/// Something that a device can do or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// The device sees what the host writes to UVA memory after the device has read it.
    SeesHostWrites = 1,
    /// Page-locked memory can be had.
    PinnedMemory = 2,
    /// The caller's memory can be page-locked.
    RegisteredMemory = 3,
    /// Device memory in the order of a stream.
    MemoryPools = 4,
    /// Host memory in the order of a stream.
    HostPools = 5,
    /// Memory that both sides use at one address, at any time.
    ManagedMemory = 6,
    /// The device shares its memory with the CPU.
    Integrated = 7,
    /// The system has huge pages for ordinary mappings.
    HugePages = 8,
}

impl Capability {
    /// All of them, in the order of their numbers, which begin with 1.
    pub const ALL: [Capability; 8] = [
        Capability::SeesHostWrites,
        Capability::PinnedMemory,
        Capability::RegisteredMemory,
        Capability::MemoryPools,
        Capability::HostPools,
        Capability::ManagedMemory,
        Capability::Integrated,
        Capability::HugePages,
    ];

    /// The capability with this number.
    pub fn from_code(code: u32) -> Result<Capability> {
        match Capability::ALL.get((code as usize).wrapping_sub(1)) {
            Some(capability) => Ok(*capability),
            None => {
                fail!(
                    InvalidArgument,
                    "capability {code} is not known: use a GPUBUF_CAPABILITY_ number (1 to {})",
                    Capability::ALL.len()
                )
            }
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Capability::SeesHostWrites => "sees_host_writes",
            Capability::PinnedMemory => "pinned_memory",
            Capability::RegisteredMemory => "registered_memory",
            Capability::MemoryPools => "memory_pools",
            Capability::HostPools => "host_pools",
            Capability::ManagedMemory => "managed_memory",
            Capability::Integrated => "integrated",
            Capability::HugePages => "huge_pages",
        }
    }
}

/// What a test says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Yes, no, or not tested.
    pub finding: Finding,
    /// A sentence.
    pub reason: String,
}

impl Answer {
    /// It was tried, and works.
    pub fn yes(reason: impl Into<String>) -> Answer {
        Answer { finding: Finding::Yes, reason: reason.into() }
    }

    /// It does not work.
    pub fn no(reason: impl Into<String>) -> Answer {
        Answer { finding: Finding::No, reason: reason.into() }
    }

    /// It could not be tried.
    pub fn not_tested(reason: impl Into<String>) -> Answer {
        Answer { finding: Finding::NotTested, reason: reason.into() }
    }

    /// `Ok` is yes. A device that is lost, or late, says nothing about what it can do.
    pub fn of(tried: Result<String>) -> Answer {
        match tried {
            Ok(reason) => Answer::yes(reason),
            Err(error) => match error.status() {
                Status::Timeout | Status::Busy | Status::DeviceLost | Status::ShutDown | Status::Capturing => {
                    Answer::not_tested(error.message())
                }
                _ => Answer::no(error.message()),
            },
        }
    }
}

/// What one probe found.
#[derive(Clone, Debug)]
pub struct Capabilities {
    answers: [Answer; Capability::ALL.len()],
    /// The node of the memory that this thread was given last.
    pub thread_numa_node: Option<u32>,
    /// Free and total device memory.
    pub device_memory: Option<(u64, u64)>,
    /// The system's page size.
    pub page_bytes: u64,
    /// What the system lets this process have.
    pub system: SystemMemory,
    /// Bytes of page-locked and of device memory that were tried and cannot be given back, since nothing proves that the copies
    /// on them are done.
    pub left: [u64; 2],
}

impl Capabilities {
    /// What was found about one capability.
    pub fn answer(&self, capability: Capability) -> &Answer {
        &self.answers[capability as usize - 1]
    }
}

/// Tries everything, on memory and a stream of its own: a few pages, a few copies. Waits up to the deadline for each.
pub fn probe(device: &dyn DeviceBackend, deadline: Option<Instant>) -> Capabilities {
    let system = system_memory();
    let facts = device.facts();
    let test = Test { device, deadline, left: Cell::default() };
    let answers = Capability::ALL.map(|capability| match capability {
        Capability::SeesHostWrites => test.sees_host_writes(),
        Capability::PinnedMemory => explained(Answer::of(test.pinned()), &system),
        Capability::RegisteredMemory => explained(Answer::of(test.registered()), &system),
        Capability::MemoryPools => device.try_memory_pools(),
        Capability::HostPools => device.try_host_pools(deadline),
        Capability::ManagedMemory => Answer::of(test.managed()),
        Capability::Integrated if facts.integrated => Answer::yes("the driver says that the GPU uses the CPU's memory"),
        Capability::Integrated => Answer::no("the device says that it has memory of its own"),
        Capability::HugePages => huge_pages(&system),
    });
    // What was tried is on its way back, and would count as used.
    device.await_frees(deadline);
    Capabilities {
        answers,
        thread_numa_node: node_of_fresh_memory(),
        device_memory: device.memory_info(),
        page_bytes: page_bytes() as u64,
        left: test.left.get(),
        system,
    }
}

struct Test<'a> {
    device: &'a dyn DeviceBackend,
    deadline: Option<Instant>,
    left: Cell<[u64; 2]>,
}

/// Memory of a test, given back with it. Everything that used it has been waited for, or it is left.
struct Lent<'a> {
    test: &'a Test<'a>,
    memory: RawMemory,
    in_use: bool,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if !self.in_use {
            // SAFETY: allocated by the test, dropped once, and no copy of it is under way.
            unsafe { self.test.device.free(self.memory) };
            return;
        }
        let mut left = self.test.left.get();
        left[usize::from(self.memory.placement == Placement::Device)] += self.memory.bytes as u64;
        self.test.left.set(left);
    }
}

impl<'a> Test<'a> {
    fn lend(&self, placement: Placement) -> Result<Lent<'_>> {
        let memory = self.device.allocate(placement, page_bytes())?;
        Ok(Lent { test: self, memory, in_use: false })
    }

    /// Copies a page and waits for it.
    fn copy(&self, stream: &dyn StreamBackend, [to, from]: [u64; 2], used: [&mut Lent<'_>; 2]) -> Result<()> {
        let mut queued = false;
        // SAFETY: each is a page of one of the allocations in `used`, which stay allocated while `in_use` says so.
        let copied = unsafe { stream.copy(to, from, page_bytes(), 0, &mut queued) };
        let waited = copied.and_then(|()| stream.synchronize(self.deadline));
        if queued && waited.is_err() {
            for lent in used {
                lent.in_use = true;
            }
        }
        waited
    }

    /// The device reads UVA memory by its device address, the host writes it anew, and the device reads again.
    fn sees_host_writes(&self) -> Answer {
        let tried = || -> Result<Option<u8>> {
            let mut shared = self.lend(Placement::Uva)?;
            let mut on_device = self.lend(Placement::Device)?;
            let mut seen = self.lend(Placement::Pinned)?;
            let stream = self.device.create_stream()?;
            for round in [0x5a, 0xa5, 0x3c] {
                // SAFETY: a page of the test's own that no copy uses at this moment.
                unsafe { shared.memory.host.write_bytes(round, page_bytes()) };
                let by_device = [on_device.memory.device, shared.memory.device];
                self.copy(&*stream, by_device, [&mut shared, &mut on_device])?;
                let back = [seen.memory.host as u64, on_device.memory.device];
                self.copy(&*stream, back, [&mut seen, &mut on_device])?;
                // SAFETY: as above; the copy to it was waited for.
                let page = unsafe { std::slice::from_raw_parts(seen.memory.host, page_bytes()) };
                if page.iter().any(|byte| *byte != round) {
                    return Ok(Some(round));
                }
            }
            Ok(None)
        };
        match tried() {
            Ok(None) => Answer::yes(
                "copies of the device's read by the device address what the host had written just before, three times",
            ),
            Ok(Some(0x5a)) => Answer::no(
                "a copy of the device's read by the device address something else than the host had written: use pinned memory with a device side",
            ),
            Ok(Some(_)) => Answer::no(
                "a copy of the device's read by the device address what the host had written earlier, not its latest: use pinned memory with a device side",
            ),
            Err(error) => Answer::not_tested(error.message()),
        }
    }

    fn pinned(&self) -> Result<String> {
        let lent = self.lend(Placement::Pinned)?;
        write_and_read(lent.memory.host)?;
        Ok(format!("{} bytes were page-locked, written and read", page_bytes()))
    }

    fn managed(&self) -> Result<String> {
        let lent = self.lend(Placement::Managed)?;
        write_and_read(lent.memory.host)?;
        Ok(format!("{} bytes were allocated, written and read", page_bytes()))
    }

    fn registered(&self) -> Result<String> {
        let bytes = page_bytes();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: without MAP_FIXED no existing memory is affected.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Error::new(Status::Busy, format!("{bytes} bytes cannot be mapped to be tried")));
        }
        let address = page as usize;
        let unmap = move || {
            // SAFETY: mapped above, and unmapped once, by whichever of the two ways is taken.
            unsafe { libc::munmap(address as *mut c_void, bytes) };
        };
        // SAFETY: unmapped only once it was given back, or was never taken.
        match unsafe { self.device.adopt(Placement::Pinned, page.cast(), bytes) } {
            Ok(memory) => {
                // SAFETY: adopted above, given back once, used by nobody.
                unsafe { self.device.disown(memory, Box::new(unmap)) };
                Ok(format!("{bytes} bytes of this process were page-locked and released"))
            }
            Err(error) => {
                unmap();
                Err(error)
            }
        }
    }
}

fn write_and_read(host: *mut u8) -> Result<()> {
    // SAFETY: a page of the test's own, used by nobody else.
    unsafe { host.write_bytes(0x5a, page_bytes()) };
    // SAFETY: as above.
    if unsafe { host.add(page_bytes() - 1).read_volatile() } != 0x5a {
        return fail!(Unsupported, "what was written was not there to be read");
    }
    Ok(())
}

/// With the limits of the system that may be the cause.
fn explained(mut answer: Answer, system: &SystemMemory) -> Answer {
    if answer.finding == Finding::No {
        let limits = Limits(system);
        answer.reason = format!("{}; {limits}", answer.reason);
    }
    answer
}

/// The limits of the system on page-locked memory, in words.
pub struct Limits<'a>(pub &'a SystemMemory);

impl fmt::Display for Limits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = self.0;
        match system.memlock_limit {
            Some(limit) => write!(f, "RLIMIT_MEMLOCK is {limit} bytes")?,
            None => f.write_str("RLIMIT_MEMLOCK sets no limit")?,
        }
        match (system.cgroup_limit, system.cgroup_room) {
            (Some(limit), Some(room)) => write!(f, ", the control group leaves {room} of {limit} bytes")?,
            _ => f.write_str(", no control group has a limit")?,
        }
        if let Some(available) = system.available {
            write!(f, ", the system has {available} bytes")?;
        }
        if system.container {
            f.write_str(", this is a container: its runtime may forbid it")?;
        }
        Ok(())
    }
}

fn huge_pages(system: &SystemMemory) -> Answer {
    match (system.huge_page, system.transparent_huge_pages, system.huge_pages_free) {
        (None, ..) => Answer::not_tested("the system does not say that it has huge pages"),
        (Some(bytes), true, free) => {
            Answer::yes(format!("mappings may ask for pages of {bytes} bytes; {free} of them are set apart and free"))
        }
        (Some(bytes), false, 0) => {
            Answer::no(format!("no pages of {bytes} bytes are set apart and free, and none are given to mappings"))
        }
        (Some(bytes), false, free) => {
            Answer::yes(format!("{free} pages of {bytes} bytes are set apart and free (MAP_HUGETLB)"))
        }
    }
}

/// Which node a page that this thread touches first comes from.
fn node_of_fresh_memory() -> Option<u32> {
    const MPOL_F_NODE_AND_ADDR: c_ulong = 1 | 2;
    let bytes = page_bytes();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED no existing memory is affected.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page just mapped.
    unsafe { page.cast::<u8>().write_volatile(1) };
    let mut node: c_int = -1;
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: the first pointer is that of a local, no mask is asked for, and the address is that of the page.
    let known: c_long =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut node, nothing, 0, page, MPOL_F_NODE_AND_ADDR) };
    // SAFETY: mapped above, used by nobody.
    unsafe { libc::munmap(page, bytes) };
    if known == 0 { u32::try_from(node).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::host::HostDevice;
    use crate::backend::kit::{DeviceKit, FailWhen, Operation};
    use crate::config::debug::Debug;

    fn device() -> HostDevice {
        HostDevice::open(0, Debug::Off).expect("the emulated device")
    }

    #[test]
    fn a_probe_tries_what_it_says() {
        let device = device();
        let found = probe(&device, None);
        let finding = |capability| found.answer(capability).finding;
        assert_eq!(finding(Capability::SeesHostWrites), Finding::Yes);
        assert_eq!(finding(Capability::PinnedMemory), Finding::Yes);
        assert_eq!(finding(Capability::RegisteredMemory), Finding::Yes);
        assert_eq!(finding(Capability::ManagedMemory), Finding::No);
        assert_eq!(finding(Capability::Integrated), Finding::No);
        assert!(Capability::ALL.iter().all(|capability| found.answer(*capability).reason.len() > 10), "{found:?}");
        assert_eq!(device.used_bytes(), 0, "everything was given back");
    }

    #[test]
    fn memory_that_cannot_be_had_is_a_no_with_the_systems_limits() {
        let device = device();
        device.limit_memory(Placement::Pinned, 0).expect("a limit");
        let found = probe(&device, None);
        let pinned = found.answer(Capability::PinnedMemory);
        assert_eq!(pinned.finding, Finding::No);
        assert!(pinned.reason.contains("RLIMIT_MEMLOCK"), "{}", pinned.reason);
        assert_eq!(found.answer(Capability::SeesHostWrites).finding, Finding::NotTested);
    }

    #[test]
    fn a_test_that_fails_is_not_tested() {
        let device = device();
        device.fail_operation(Some(Operation::Copy), 2, FailWhen::Submission).expect("a fault");
        let found = probe(&device, None);
        assert_eq!(found.answer(Capability::SeesHostWrites).finding, Finding::NotTested);
        assert_eq!(probe(&device, None).answer(Capability::SeesHostWrites).finding, Finding::Yes);
        device.lose().expect("a loss");
        let found = probe(&device, None);
        for capability in [Capability::SeesHostWrites, Capability::PinnedMemory, Capability::RegisteredMemory] {
            assert_eq!(found.answer(capability).finding, Finding::NotTested, "{capability:?}");
        }
    }

    #[test]
    fn numbers_and_names_are_distinct() {
        for (index, capability) in Capability::ALL.iter().enumerate() {
            assert_eq!(*capability as usize, index + 1);
            assert_eq!(Capability::from_code(*capability as u32).expect("a number"), *capability);
        }
        assert!(Capability::from_code(0).is_err() && Capability::from_code(9).is_err());
    }
}
