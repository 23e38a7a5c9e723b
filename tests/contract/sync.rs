//! Views, sync and resize.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::backend::kit::View;
use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::Shape;
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::sync::Arc;

fn resize(buffer: &Buffer, bytes: u64, keep: (bool, bool), stream: Option<&Arc<Timeline>>) -> Result<()> {
    buffer.resize(Shape::new(&[bytes]).expect("a shape"), keep, stream, Timeout::Try)
}

pub const CASES: &[Case] = &[
    case!(ViewUnseals, "a seal of the whole buffer is not lifted by a view", |it| {
        let device = device();
        let buffer = Buffer::create(&device, options(Placement::Uva, Placement::None)).works()?;
        let view = buffer.slice(0, 100).works()?;
        buffer.device_address(&[]).works()?;
        view.used_on(&stream(&device), Access::Read).works()?;
        ensure!(status(set(&buffer, 1)) == Status::Unfenced, it);
        buffer.used_on(&stream(&device), Access::Read).works()?;
        view.device_address(&[]).works()?;
        ensure!(status(view.begin(Access::Read, 0, 1, Timeout::Try)) == Status::Unfenced, "a view is sealed, too");
        ensure!(status(buffer.begin(Access::Read, 100, 1, Timeout::Try)) == Status::Ok, "and nothing else with it");
        view.used_on(&stream(&device), Access::Read).works()?;
        ensure!(status(view.begin(Access::Read, 0, 1, Timeout::Infinite)) == Status::Ok, "it lifts its own seal");
    }),
    case!(SyncGuard, "a sync does not pass over bytes that are being written", |it| {
        let device = device();
        let buffer = pair(&device);
        let stream = stream(&device);
        let (_, token) = buffer.begin(Access::Write, 0, 100, Timeout::Try).works()?;
        ensure!(status(buffer.sync(None, &stream, None)) == Status::Busy, it);
        let rest = buffer.slice(100, ALL).works()?;
        ensure!(status(rest.sync(None, &stream, None)) == Status::Ok, "other bytes are synced");
        buffer.end(Access::Write, token).works()?;
        ensure!(status(buffer.sync(None, &stream, None)) == Status::Ok, "ended guards are gone");
    }),
    case!(ResizeGuard, "memory does not move while the CPU uses it", |it| {
        let device = device();
        let buffer = pair(&device);
        let (_, token) = buffer.begin(Access::Read, 0, 1, Timeout::Try).works()?;
        ensure!(status(resize(&buffer, 2 * BYTES, (false, false), None)) == Status::Busy, it);
        buffer.end(Access::Read, token).works()?;
        ensure!(status(resize(&buffer, 2 * BYTES, (false, false), None)) == Status::Ok, "ended guards are gone");
    }),
    case!(ResizeHeld, "memory that a graph holds does not move", |it| {
        let device = device();
        let buffer = pair(&device);
        let hold = GraphHold::create(&device, "").works()?;
        hold.add(buffer.clone(), Some(Timeout::Infinite)).works()?;
        ensure!(status(resize(&buffer, 2 * BYTES, (false, false), None)) == Status::GraphHeld, it);
        ensure!(status(resize(&buffer, BYTES / 2, (false, false), None)) == Status::Ok, "in place it may change");
        drop(hold);
        ensure!(status(resize(&buffer, 2 * BYTES, (false, false), None)) == Status::Ok, "a hold ends");
    }),
    case!(ResizeViews, "views keep what they show", |it| {
        let device = device();
        let buffer = pair(&device);
        let view = buffer.slice(1, 1).works()?;
        ensure!(status(resize(&buffer, 2 * BYTES, (true, true), Some(&stream(&device)))) == Status::Busy, it);
        ensure!(status(resize(&buffer, BYTES / 2, (false, false), None)) == Status::Busy, it);
        drop(view);
        ensure!(status(resize(&buffer, BYTES / 2, (false, false), None)) == Status::Ok, "a view ends");
    }),
    case!(ResizeWaits, "kept host contents are those that the copy under way brings", |it| {
        fn seven(view: &dyn View, [address, _]: [usize; 2]) {
            // SAFETY: the array outlives the call.
            unsafe { view.write(address as u64, [7u8; 64].as_ptr(), 64) }.expect("device memory");
        }
        let device = device();
        let buffer = pair(&device);
        let mut held = Held::new(&device);
        let address = buffer.device_address(std::slice::from_ref(&held.timeline)).works()?;
        kit(&held.timeline).call(seven, [address as usize, 0]).works()?;
        buffer.copy(false, 0, 64, &held.timeline, None).works()?;
        let refused = status(resize(&buffer, 2 * BYTES, (true, false), None)) == Status::Busy;
        held.open();
        ensure!(refused, it);
        resize(&buffer, 2 * BYTES, (true, false), None).works()?;
        let mut found = [0u8; 64];
        // SAFETY: the array has room for as many bytes.
        unsafe { buffer.copy_out(0, 64, found.as_mut_ptr(), Timeout::Try) }.works()?;
        ensure!(found == [7; 64], "they are there");
    }),
];
