//! Workspaces: buffers by name and by spec.

use super::arguments::{flag, growing, init, label, options_or, text};
use super::boundary::{call, plain};
use super::entries::Entry;
use super::spec::{gpubuf_spec, spec};
use super::types::*;
use crate::fail;
use crate::workspace::{Content, Workspace, WorkspaceOptions};
use std::ffi::{CString, c_char, c_void};

/// What a workspace is to be. Set up by gpubuf_workspace_options_init.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_workspace_options {
    /// sizeof(gpubuf_workspace_options)
    pub struct_size: u32,
    /// The most entries there may be; 0 (the default): no limit.
    pub max_entries: u32,
    /// The most bytes of both sides of all entries; 0 (the default): no limit.
    pub max_bytes: u64,
    /// For messages; NULL: none. Copied.
    pub label: *const c_char,
}

/// A workspace's figures: what is the case at this moment, then what only grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_workspace_stats {
    /// sizeof(gpubuf_workspace_stats), set by the caller.
    pub struct_size: u32,
    /// Its limit; 0 is none.
    pub max_entries: u32,
    /// Entries in all, those that are being made included.
    pub entries: u64,
    /// Entries that somebody holds.
    pub held_entries: u64,
    /// Entries that nobody holds. Work may still use them.
    pub free_entries: u64,
    /// Entries with a name.
    pub named_entries: u64,
    /// Bytes of both sides of all entries.
    pub bytes: u64,
    /// Of those that somebody holds.
    pub held_bytes: u64,
    /// Its limit; 0 is none.
    pub max_bytes: u64,
    /// The most bytes that there were at one time.
    pub peak_bytes: u64,
    /// Times an entry was found by its name.
    pub found: u64,
    /// Times a free entry went to a next holder.
    pub reused: u64,
    /// Entries made.
    pub made: u64,
    /// Free entries that were taken out, for others or by gpubuf_workspace_evict and gpubuf_workspace_clear.
    pub evicted: u64,
    /// Entries that could not be used again: their address was with undeclared work, a guard was open, a graph held them, or
    /// their completion could not be proven.
    pub retired: u64,
    /// Calls refused with GPUBUF_BUDGET.
    pub refused: u64,
    /// Waits for work on an entry, or for another thread that made one or gave one back.
    pub waits: u64,
    /// Time spent in that.
    pub wait_ns: u64,
    /// Waits that ended by their deadline, and tries that would have had to wait.
    pub timeouts: u64,
}

/// One entry of a workspace, as gpubuf_workspace_list tells it. Valid during the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gpubuf_workspace_entry {
    /// sizeof(gpubuf_workspace_entry) in the library.
    pub struct_size: u32,
    /// GPUBUF_ENTRY_
    pub state: u32,
    /// Its name; NULL: it has none.
    pub name: *const c_char,
    /// What it is.
    pub spec: *const gpubuf_spec,
    /// Bytes of both sides.
    pub bytes: u64,
    /// Handles that hold it.
    pub holders: u64,
    /// How often it was given out.
    pub uses: u64,
    /// When it was given out last: the higher, the later.
    pub last_use: u64,
}

growing!(gpubuf_workspace_options { label: text }, gpubuf_workspace_stats);

/// Told of one entry: called inside gpubuf_workspace_list, on its thread, under no lock of the library. It must not throw.
pub type gpubuf_workspace_entry_fn =
    Option<unsafe extern "C" fn(entry: *const gpubuf_workspace_entry, user_data: *mut c_void)>;

/// Zeroes `struct_size` bytes and sets struct_size. Does nothing with NULL, or where struct_size is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_options_init(options: *mut gpubuf_workspace_options, struct_size: u32) {
    plain(Entry::gpubuf_workspace_options_init, (), || init(options, struct_size, |_| ()));
}

/// A new, empty workspace. `options` may be NULL: no limits.
///
/// Ownership: the caller's, until gpubuf_workspace_destroy.
/// Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_create(
    device: *mut gpubuf_device,
    options: *const gpubuf_workspace_options,
    out_workspace: *mut *mut gpubuf_workspace,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_create, (device, options, out_workspace), |c| {
        let device = c.get(device, "device")?;
        let options = options_or(options, "options", |_| ())?;
        let out = c.out(out_workspace, "out_workspace")?;
        let workspace = WorkspaceOptions {
            max_entries: options.max_entries,
            max_bytes: options.max_bytes,
            label: label(options.label, "options.label")?.to_owned(),
        };
        c.give(out, Workspace::create(device, workspace)?)
    })
}

/// Ends the handle. Free entries end now, held ones with the last handle of their buffer; those go on working until then.
/// Threads that wait in the workspace get GPUBUF_SHUT_DOWN.
///
/// NULL is GPUBUF_OK. Never waits.
/// Errors: GPUBUF_STALE_HANDLE (destroyed before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_destroy(workspace: *mut gpubuf_workspace) -> gpubuf_status {
    call(Entry::gpubuf_workspace_destroy, (workspace,), |c| {
        if let Some(workspace) = c.end(workspace, "workspace")? {
            workspace.destroy();
        }
        Ok(())
    })
}

/// The buffer of this very name: made, zeroed, where there is none. Where there is one, its spec must be equal, and its
/// content and its uses are those that its last holder left.
///
/// Ownership: a handle of the caller's own, to be ended by gpubuf_workspace_release or gpubuf_buffer_destroy. The buffer stays
/// in the workspace, and keeps its content until it is evicted.
/// What a new entry needs is taken from free entries, those that are free longest first, where limits demand it: never from
/// held ones; where work still uses them it is waited for. `name` has 1 to 255 bytes. Threads: any; two that ask for one name
/// get one buffer.
/// Errors: GPUBUF_EXISTS (the name is of another spec: the message says what differs), GPUBUF_BUDGET (over the limits, and what
/// would have to go is held), GPUBUF_BUSY (the try form would have to wait, for work or for another thread), GPUBUF_TIMEOUT,
/// GPUBUF_WOULD_DEADLOCK, those of gpubuf_spec_bytes and of gpubuf_buffer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_get(
    workspace: *mut gpubuf_workspace,
    name: *const c_char,
    spec: *const gpubuf_spec,
    timeout_ns: u64,
    out_buffer: *mut *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_get, (workspace, name, spec, timeout_ns, out_buffer), |c| {
        let workspace = c.get(workspace, "workspace")?;
        let (name, spec) = (text(name, "name")?, self::spec(spec, "spec")?);
        let out = c.out(out_buffer, "out_buffer")?;
        c.give(out, workspace.get(name, &spec, workspace.device().timeout(timeout_ns))?)
    })
}

/// The buffer of this very name, as gpubuf_workspace_get gives it.
///
/// Errors: GPUBUF_NOT_FOUND, GPUBUF_BUSY and GPUBUF_TIMEOUT (another thread makes it, or gives it back).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_find(
    workspace: *mut gpubuf_workspace,
    name: *const c_char,
    timeout_ns: u64,
    out_buffer: *mut *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_find, (workspace, name, timeout_ns, out_buffer), |c| {
        let workspace = c.get(workspace, "workspace")?;
        let name = text(name, "name")?;
        let out = c.out(out_buffer, "out_buffer")?;
        c.give(out, workspace.find(name, workspace.device().timeout(timeout_ns))?)
    })
}

/// A buffer of this spec, without a name, for the caller alone; every earlier use of it is over.
///
/// Taken is a free one of equal spec that is idle, the longest free first; else one is made; else, where the limits forbid that,
/// one that work still uses is waited for. Its bytes are those of its last holder, or zeroes where `zero` is 1.
/// Stream order: with `zero`, the device side is zeroed on `stream`, which is needed where the spec has one: work on other
/// streams has to be ordered behind it. Otherwise `stream` may be NULL, and is not used.
/// Ownership: a handle of the caller's own, to be ended by gpubuf_workspace_release or gpubuf_buffer_destroy. The memory is free
/// for others then, and the streams named with its device address have no right to it any more: what is queued on them by then
/// is fenced.
/// Errors: GPUBUF_BUDGET, GPUBUF_BUSY, GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, those of
/// gpubuf_spec_bytes and of gpubuf_buffer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_allocate(
    workspace: *mut gpubuf_workspace,
    spec: *const gpubuf_spec,
    zero: u32,
    stream: *mut gpubuf_stream,
    timeout_ns: u64,
    out_buffer: *mut *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_allocate, (workspace, spec, zero, stream, timeout_ns, out_buffer), |c| {
        let workspace = c.get(workspace, "workspace")?;
        let spec = self::spec(spec, "spec")?;
        let stream = c.get_if_any(stream, "stream")?;
        if let Some(stream) = stream {
            stream.expect_device(workspace.device())?;
        }
        let content = if flag(zero, "zero")? { Content::Zeroes(stream) } else { Content::Any };
        let out = c.out(out_buffer, "out_buffer")?;
        c.give(out, workspace.allocate(&spec, content, workspace.device().timeout(timeout_ns))?)
    })
}

/// Ends a handle that came from this workspace, as gpubuf_buffer_destroy does, but refuses where the buffer, with its last
/// holder, could not be used again.
///
/// Never waits. The handle stays where it is refused. Memory whose address was given out with no stream named is not used
/// again in any case: it leaves the workspace, and a drain frees it.
/// Errors: GPUBUF_UNFENCED (its device address was given out with no stream named, and no use declared since), GPUBUF_BUSY (a
/// guard is open, another thread is inside), GPUBUF_GRAPH_HELD, GPUBUF_INVALID_ARGUMENT (it came from somewhere else).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_release(
    workspace: *mut gpubuf_workspace,
    buffer: *mut gpubuf_buffer,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_release, (workspace, buffer), |c| {
        let workspace = c.get(workspace, "workspace")?;
        c.get(buffer, "buffer")?.expect_releasable_to(&**workspace)?;
        c.forget(buffer, true);
        Ok(())
    })
}

/// The name is free for another entry at once. Its buffer goes on without one: it is free for whoever needs one of its spec
/// when its last handle has ended.
///
/// Errors: GPUBUF_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_release_name(
    workspace: *mut gpubuf_workspace,
    name: *const c_char,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_release_name, (workspace, name), |c| {
        let workspace = c.get(workspace, "workspace")?;
        workspace.release_name(text(name, "name")?)
    })
}

/// Takes out free entries, with a name or without, those that are free longest first, until there are at most `max_entries` of
/// at most `max_bytes` in all, or none is free. `out_evicted` (may be NULL) gets how many went.
///
/// Never waits: memory that work still uses is freed when that is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_evict(
    workspace: *mut gpubuf_workspace,
    max_entries: u64,
    max_bytes: u64,
    out_evicted: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_evict, (workspace, max_entries, max_bytes, out_evicted), |c| {
        let evicted = c.get(workspace, "workspace")?.evict(max_entries, max_bytes)?;
        c.set_if_any(out_evicted, evicted);
        Ok(())
    })
}

/// Takes out every free entry, and leaves those that are held. `out_cleared` and `out_kept` (each may be NULL) say how many.
///
/// Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_clear(
    workspace: *mut gpubuf_workspace,
    out_cleared: *mut u64,
    out_kept: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_clear, (workspace, out_cleared, out_kept), |c| {
        let (cleared, kept) = c.get(workspace, "workspace")?.clear()?;
        c.set_if_any(out_cleared, cleared);
        c.set_if_any(out_kept, kept);
        Ok(())
    })
}

/// Queues, for every entry that is held or has a name, what is newer on one side to the other, as gpubuf_buffer_sync does with
/// each buffer's own policy. `out_synced` (may be NULL) gets how many had something to move.
///
/// Stream order: as gpubuf_buffer_sync. Entries whose other side has everything are not touched.
/// Errors: the first of those of gpubuf_buffer_sync, when all other entries are done: GPUBUF_BUSY (another thread is inside, a write
/// guard is open), GPUBUF_CONFLICT, GPUBUF_UNFENCED; GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_sync_all(
    workspace: *mut gpubuf_workspace,
    stream: *mut gpubuf_stream,
    out_synced: *mut u64,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_sync_all, (workspace, stream, out_synced), |c| {
        let workspace = c.get(workspace, "workspace")?;
        let synced = workspace.sync_all(c.get(stream, "stream")?)?;
        c.set_if_any(out_synced, synced);
        Ok(())
    })
}

/// Tells `each` of every entry, in the order in which they were made, as they were when the call began.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_list(
    workspace: *const gpubuf_workspace,
    each: gpubuf_workspace_entry_fn,
    user_data: *mut c_void,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_list, (workspace, each, user_data), |c| {
        let workspace = c.get(workspace, "workspace")?;
        let Some(each) = each else { return fail!(InvalidArgument, "each is NULL") };
        for entry in workspace.list()? {
            let spec = gpubuf_spec::from(&entry.spec);
            // A name came from C, so that it has no NUL inside.
            let name = CString::new(entry.name).unwrap_or_default();
            let entry = gpubuf_workspace_entry {
                struct_size: size_of::<gpubuf_workspace_entry>() as u32,
                state: entry.state as u32,
                name: if name.is_empty() { std::ptr::null() } else { name.as_ptr() },
                spec: &raw const spec,
                bytes: entry.bytes,
                holders: entry.holders.into(),
                uses: entry.uses,
                last_use: entry.last_use,
            };
            // SAFETY: the caller's promise for a function of his; the entry is there during the call.
            unsafe { each(&raw const entry, user_data) };
        }
        Ok(())
    })
}

/// The workspace's figures. Set struct_size first; no more than that is written, and struct_size then says how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gpubuf_workspace_stats_get(
    workspace: *const gpubuf_workspace,
    inout_stats: *mut gpubuf_workspace_stats,
) -> gpubuf_status {
    call(Entry::gpubuf_workspace_stats_get, (workspace, inout_stats), |c| {
        let workspace = c.get(workspace, "workspace")?;
        let out = c.figures(inout_stats, "inout_stats")?;
        let stats = workspace.stats();
        out.set(gpubuf_workspace_stats {
            struct_size: 0,
            max_entries: stats.max_entries as u32,
            entries: stats.entries,
            held_entries: stats.held_entries,
            free_entries: stats.free_entries,
            named_entries: stats.named_entries,
            bytes: stats.bytes,
            held_bytes: stats.held_bytes,
            max_bytes: stats.max_bytes,
            peak_bytes: stats.peak_bytes,
            found: stats.found,
            reused: stats.reused,
            made: stats.made,
            evicted: stats.evicted,
            retired: stats.retired,
            refused: stats.refused,
            waits: stats.waits,
            wait_ns: stats.wait_ns,
            timeouts: stats.timeouts,
        });
        Ok(())
    })
}
