//! What devices there are, and what one can do.

use super::arguments::growing;
use super::boundary::call;
use super::device::backend_kind;
use super::entries::Entry;
use super::types::*;
use crate::backend::{Capability, DeviceSummary};
use std::ffi::c_char;

/// What is known of a device that need not be open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_device_summary {
    /// sizeof(gpubuf_device_summary), set by the caller.
    pub struct_size: u32,
    /// GPUBUF_BACKEND_CUDA or GPUBUF_BACKEND_HOST
    pub backend: u32,
    /// Which device of the backend.
    pub ordinal: u32,
    /// The version that the driver is for: 12040 is CUDA 12.4. 0: there is no driver.
    pub driver_version: u32,
    /// 1: no hardware is behind it.
    pub simulation: u32,
    /// 1: it shares its memory with the CPU.
    pub integrated: u32,
    /// The memory node near it; -1: not known.
    pub numa_node: i32,
    /// 1: `uuid` is known.
    pub has_uuid: u32,
    /// Bytes of its memory; GPUBUF_UNKNOWN: not known. How much is free only an open device can tell.
    pub memory_bytes: u64,
    /// Its number in the world.
    pub uuid: [u8; 16],
    /// Where it is plugged in, "0000:3b:00.0"; empty: nowhere. Ends with a NUL.
    pub bus_id: [c_char; 32],
    /// Its name, for people, cut to fit. Ends with a NUL.
    pub name: [c_char; 128],
}

/// What a probe found. Answers are GPUBUF_ANSWER_ numbers; gpubuf_device_capability_reason has a sentence for each.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_capabilities {
    /// sizeof(gpubuf_capabilities), set by the caller.
    pub struct_size: u32,
    /// 1: no hardware is behind the device: the answers are those of a simulation.
    pub simulation: u32,
    /// GPUBUF_CAPABILITY_SEES_HOST_WRITES: a copy of the device's by the device address, three times, with the host writing in
    /// between. Where it is GPUBUF_ANSWER_NO, a copy stands in for memory of GPUBUF_PLACEMENT_UVA from now on.
    pub sees_host_writes: u32,
    /// GPUBUF_CAPABILITY_PINNED_MEMORY: a page, allocated, written and read.
    pub pinned_memory: u32,
    /// GPUBUF_CAPABILITY_REGISTERED_MEMORY: a page of this process, registered and released.
    pub registered_memory: u32,
    /// GPUBUF_CAPABILITY_MEMORY_POOLS: a page, allocated and freed in the order of a stream.
    pub memory_pools: u32,
    /// GPUBUF_CAPABILITY_HOST_POOLS: a page of a pool, allocated, written and freed.
    pub host_pools: u32,
    /// GPUBUF_CAPABILITY_MANAGED_MEMORY: a page, allocated, written and read.
    pub managed_memory: u32,
    /// GPUBUF_CAPABILITY_INTEGRATED: asked, not tried.
    pub integrated: u32,
    /// GPUBUF_CAPABILITY_HUGE_PAGES: asked of the system, not tried.
    pub huge_pages: u32,
    /// The memory node near the device; -1: not known.
    pub device_numa_node: i32,
    /// The node of the memory that the calling thread is given, by a page that it touched; -1: not known.
    pub thread_numa_node: i32,
    /// Bytes of a page, and of a huge one. Here and below GPUBUF_UNKNOWN is: no limit, none, or not known.
    pub page_bytes: u64,
    /// As above.
    pub huge_page_bytes: u64,
    /// Free device memory, at the probe.
    pub device_free_bytes: u64,
    /// Device memory.
    pub device_total_bytes: u64,
    /// Host memory of the machine.
    pub host_total_bytes: u64,
    /// Host memory that new work may take without swapping.
    pub host_available_bytes: u64,
    /// The lowest memory limit of the control groups (version 2 or 1) that the process is in, nested ones included.
    pub cgroup_limit_bytes: u64,
    /// What the group with that limit uses, page cache included.
    pub cgroup_used_bytes: u64,
    /// The least that any of the groups leaves before its limit; page cache that nobody touches counts as free.
    pub cgroup_room_bytes: u64,
    /// RLIMIT_MEMLOCK.
    pub memlock_limit_bytes: u64,
    /// What counts against it.
    pub memlock_used_bytes: u64,
}

growing!(gpubuf_device_summary, gpubuf_capabilities);

fn known(bytes: Option<u64>) -> u64 {
    bytes.unwrap_or(GPUBUF_UNKNOWN)
}

fn node(node: Option<u32>) -> i32 {
    node.and_then(|node| i32::try_from(node).ok()).unwrap_or(-1)
}

/// A text in a field of a struct, cut to fit at a whole character.
fn field<const N: usize>(text: &str) -> [c_char; N] {
    let mut out = [0; N];
    let mut length = text.len().min(N - 1);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    for (to, from) in out.iter_mut().zip(text[..length].bytes().filter(|byte| *byte != 0)) {
        *to = from as c_char;
    }
    out
}

/// What is known of device `ordinal` of a backend, without opening it. Set struct_size first; no more than that is written, and
/// struct_size then says how much.
///
/// With GPUBUF_BACKEND_CUDA the driver is loaded and initialised, once in the process, as gpubuf_device_count does: that can take
/// tenths of a second, and host memory, but no memory of a GPU. Together the two list all devices.
/// Threads: any.
/// Errors: GPUBUF_NOT_FOUND (no such ordinal), GPUBUF_DRIVER_MISSING, GPUBUF_VERSION_MISMATCH, GPUBUF_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_summary_get(
    backend: u32,
    ordinal: u32,
    inout_summary: *mut gpubuf_device_summary,
) -> gpubuf_status {
    call(Entry::gpubuf_device_summary_get, (backend, ordinal, inout_summary), |c| {
        let out = c.figures(inout_summary, "inout_summary")?;
        let found = DeviceSummary::of(backend_kind(backend)?, ordinal)?;
        out.set(gpubuf_device_summary {
            struct_size: 0,
            backend: found.kind as u32,
            ordinal: found.ordinal,
            driver_version: found.driver_version,
            simulation: found.simulation.into(),
            integrated: found.integrated.into(),
            numa_node: node(found.numa_node),
            has_uuid: found.uuid.is_some().into(),
            memory_bytes: known(found.memory),
            uuid: found.uuid.unwrap_or_default(),
            bus_id: field(found.bus.as_deref().unwrap_or_default()),
            name: field(&found.name),
        });
        Ok(())
    })
}

/// Tries what the device can do, instead of believing it, and what the system allows. Set struct_size first; no more than that is
/// written, and struct_size then says how much.
///
/// It allocates a few pages and a stream, queues a few copies, waits for those, and gives all of it back; other streams may be
/// busy or held meanwhile. `timeout_ns` is for all of its waits together. A test that cannot be made is
/// GPUBUF_ANSWER_NOT_TESTED, and no error. Where the device is found not to see the host's later writes, a copy
/// stands in for buffers and blocks of GPUBUF_PLACEMENT_UVA that are made from then on: gpubuf_buffer_publish and
/// gpubuf_block_publish are right in both cases. Memory of the caller's and managers of uva memory are GPUBUF_UNSUPPORTED there.
/// Threads: any; not in a function that runs on a stream. Not for the path of a step.
/// Errors: GPUBUF_INVALID_ARGUMENT (also GPUBUF_TIMEOUT_TRY), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_probe(
    device: *mut gpubuf_device,
    timeout_ns: u64,
    inout_capabilities: *mut gpubuf_capabilities,
) -> gpubuf_status {
    call(Entry::gpubuf_device_probe, (device, timeout_ns, inout_capabilities), |c| {
        let device = c.get(device, "device")?;
        let out = c.figures(inout_capabilities, "inout_capabilities")?;
        let found = device.probe(device.timeout(timeout_ns))?;
        let facts = device.backend().facts();
        let answer = |capability| found.answer(capability).finding as u32;
        let system = &found.system;
        out.set(gpubuf_capabilities {
            struct_size: 0,
            simulation: facts.simulation.into(),
            sees_host_writes: answer(Capability::SeesHostWrites),
            pinned_memory: answer(Capability::PinnedMemory),
            registered_memory: answer(Capability::RegisteredMemory),
            memory_pools: answer(Capability::MemoryPools),
            host_pools: answer(Capability::HostPools),
            managed_memory: answer(Capability::ManagedMemory),
            integrated: answer(Capability::Integrated),
            huge_pages: answer(Capability::HugePages),
            device_numa_node: node(facts.numa_node),
            thread_numa_node: node(found.thread_numa_node),
            page_bytes: found.page_bytes,
            huge_page_bytes: known(system.huge_page),
            device_free_bytes: known(found.device_memory.map(|(free, _)| free)),
            device_total_bytes: known(found.device_memory.map(|(_, total)| total)),
            host_total_bytes: known(system.total),
            host_available_bytes: known(system.available),
            cgroup_limit_bytes: known(system.cgroup_limit),
            cgroup_used_bytes: known(system.cgroup_used),
            cgroup_room_bytes: known(system.cgroup_room),
            memlock_limit_bytes: known(system.memlock_limit),
            memlock_used_bytes: known(system.memlock_used),
        });
        Ok(())
    })
}

/// What the latest probe saw about one capability (a GPUBUF_CAPABILITY_ number), in words: why not, and what to use instead.
/// `buffer`, `capacity` and `out_length` as in gpubuf_describe.
///
/// Threads: any.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_NOT_BEGUN (the device was not probed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_device_capability_reason(
    device: *const gpubuf_device,
    capability: u32,
    buffer: *mut c_char,
    capacity: usize,
    out_length: *mut usize,
) -> gpubuf_status {
    call(Entry::gpubuf_device_capability_reason, (device, capability, buffer, capacity, out_length), |c| {
        let device = c.get(device, "device")?;
        let reason = device.reason_for(Capability::from_code(capability)?)?;
        c.text(&reason, buffer, capacity, out_length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Finding;

    #[test]
    fn the_numbers_are_those_of_the_layer_below() {
        let capabilities = [
            GPUBUF_CAPABILITY_SEES_HOST_WRITES,
            GPUBUF_CAPABILITY_PINNED_MEMORY,
            GPUBUF_CAPABILITY_REGISTERED_MEMORY,
            GPUBUF_CAPABILITY_MEMORY_POOLS,
            GPUBUF_CAPABILITY_HOST_POOLS,
            GPUBUF_CAPABILITY_MANAGED_MEMORY,
            GPUBUF_CAPABILITY_INTEGRATED,
            GPUBUF_CAPABILITY_HUGE_PAGES,
        ];
        assert_eq!(Capability::ALL.map(|capability| capability as u32), capabilities);
        let answers = [Finding::NotTested, Finding::No, Finding::Yes].map(|finding| finding as u32);
        assert_eq!(answers, [GPUBUF_ANSWER_NOT_TESTED, GPUBUF_ANSWER_NO, GPUBUF_ANSWER_YES]);
        assert_eq!(GPUBUF_ORDINAL_AUTO, crate::backend::MOST_FREE);
    }

    #[test]
    fn fields_are_cut_at_whole_characters() {
        assert_eq!(field::<4>("abcdef").map(|c| c as u8), *b"abc\0");
        assert_eq!(field::<4>("ab\u{e9}").map(|c| c as u8), *b"ab\0\0");
        assert_eq!(field::<4>("").map(|c| c as u8), [0; 4]);
    }
}
