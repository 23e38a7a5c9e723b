//! Workspaces of byte buffers, and their bytes.

use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::fence::{Access, Device};
use gpubuf::sync::Arc;
use gpubuf::workspace::{Held, Spec, Workspace, WorkspaceOptions};

pub const TRY: Timeout = Timeout::Try;

pub fn spec(bytes: u64) -> Spec {
    Spec::new(Dtype::U8, Shape::new(&[bytes]).expect("a shape"), Placement::Pinned, Placement::Device).expect("a spec")
}

pub fn workspace(device: &Arc<Device>, max_entries: u32, max_bytes: u64) -> Arc<Workspace> {
    Workspace::create(device, WorkspaceOptions { max_entries, max_bytes, label: String::new() }).expect("a workspace")
}

pub fn number(buffer: &Held) -> u64 {
    buffer.name().number()
}

pub fn set(buffer: &Buffer, value: u8) {
    let (data, token) = buffer.begin(Access::Write, 0, ALL, TRY).expect("a guard");
    // SAFETY: the guard covers the whole side.
    unsafe { data.write_bytes(value, buffer.shape().count() as usize) };
    buffer.end(Access::Write, token).expect("an end");
}

pub fn is(buffer: &Buffer, value: u8) -> bool {
    let mut bytes = vec![!value; buffer.shape().count() as usize];
    // SAFETY: the vector has room for every element.
    unsafe { buffer.copy_out(0, ALL, bytes.as_mut_ptr(), TRY) }.expect("a copy");
    bytes.iter().all(|byte| *byte == value)
}
