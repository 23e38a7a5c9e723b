//! Workspaces and tensors: memory goes from one holder to the next.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Device};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::Arc;
use gpubuf::tensor::{Tensor, TensorOptions};
use gpubuf::workspace::{Content, Spec, Workspace, WorkspaceOptions};

fn workspace(device: &Arc<Device>) -> (Arc<Workspace>, Spec) {
    let options = WorkspaceOptions { max_entries: 1, ..Default::default() };
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let spec = Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec");
    (Workspace::create(device, options).expect("a workspace"), spec)
}

pub const CASES: &[Case] = &[
    case!(ReuseWaits, "a buffer that queued work of its last holder uses is not given to the next", |it| {
        let device = device();
        let (workspace, spec) = workspace(&device);
        let mut held = Held::new(&device);
        let first = workspace.allocate(&spec, Content::Any, Timeout::Try).works()?;
        first.copy(true, 0, ALL, &held.timeline, None).works()?;
        drop(first);
        ensure!(status(workspace.allocate(&spec, Content::Any, Timeout::Try)) == Status::Busy, it);
        held.open();
        ensure!(
            status(workspace.allocate(&spec, Content::Any, Timeout::Try)) == Status::Ok,
            "it is free when that is done"
        );
    }),
    case!(ReuseSealed, "a buffer whose address is with undeclared work is not given to the next holder", |it| {
        let device = device();
        let (workspace, spec) = workspace(&device);
        let first = workspace.allocate(&spec, Content::Any, Timeout::Try).works()?;
        let was = first.device_address(&[]).works()?;
        drop(first);
        let next = workspace.allocate(&spec, Content::Any, Timeout::Try).works()?;
        ensure!(next.device_address(&[]).works()? != was, it);
    }),
    case!(TensorEnds, "a block that a kernel of a tensor that has ended reads is not handed out", |it| {
        let device = device();
        let pool = Pool::create(&device, PoolOptions::new(Placement::Uva, BYTES, 1)).works()?;
        let shape = Shape::new(&[BYTES]).works()?;
        let options = TensorOptions { dtype: Dtype::U8, shape, max_blocks: 1, label: String::new() };
        let tensor = Tensor::create(&pool, options).works()?;
        let mut held = Held::new(&device);
        tensor.publish(std::slice::from_ref(&held.timeline), Access::Read, Timeout::Try).works()?;
        busy(&held.timeline);
        drop(tensor);
        ensure!(status(pool.acquire(0, Timeout::Try)) == Status::Busy, it);
        held.open();
        ensure!(status(pool.acquire(0, Timeout::Try)) == Status::Ok, "it is free when the kernel is done");
    }),
];
