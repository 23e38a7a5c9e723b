//! Managers of page-locked memory.

use crate::kit::*;
use crate::{case, ensure};
use gpubuf::config::{ALL, Placement};
use gpubuf::error::Status;
use gpubuf::lease::Twin;
use gpubuf::pinned::{Pinned, PinnedOptions, Request};

pub const CASES: &[Case] = &[case!(PartWaits, "memory that a queued copy reads is not given out", |it| {
    let device = device();
    let pinned = Pinned::create(&device, PinnedOptions::new(Placement::Pinned, BYTES)).works()?;
    let mut held = Held::new(&device);
    let block = pinned.allocate(&Request { twin: Twin::Eager, ..Request::new(BYTES) }).works()?;
    block.copy(true, 0, ALL, &held.timeline, None).works()?;
    pinned.free(&block).works()?;
    ensure!(status(pinned.allocate(&Request::new(BYTES))) == Status::Budget, it);
    held.open();
    ensure!(status(pinned.allocate(&Request::new(BYTES))) == Status::Ok, "it is given out when the copy is done");
})];
