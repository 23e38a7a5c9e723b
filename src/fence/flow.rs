//! What moved between the sides of a block, and how long it took.

use super::device::Device;
use super::timeline::{Fence, Proof, Timeline};
use crate::backend::EventBackend;
use crate::error::Result;
use crate::sync::Arc;

/// Copies that are timed at a time; one that finds them all under way is not timed.
const TIMED: usize = 8;

/// What moved one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Copies of the driver's.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Calls whose copies were timed, and have ended.
    pub timed: u64,
    /// Device time of those, in nanoseconds; `None` where times are not taken.
    pub ns: Option<u64>,
}

/// What moved both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// From the host side to the device side.
    pub up: Flow,
    /// And back.
    pub down: Flow,
    /// Fills of the device side.
    pub fills: u64,
    /// Calls of sync that found something to move.
    pub syncs: u64,
    /// Calls of sync that found both sides newer.
    pub conflicts: u64,
    /// Copies and fills that failed when they ran, and were told.
    pub failures: u64,
}

impl Flows {
    /// The figures of one way.
    pub fn way(&mut self, up: bool) -> &mut Flow {
        if up { &mut self.up } else { &mut self.down }
    }
}

/// Events that note times, made ahead: nothing is made, and nothing waited for, when a copy is timed.
pub(super) struct Timer {
    spans: [Span; TIMED],
}

struct Span {
    begin: Arc<dyn EventBackend>,
    end: Arc<dyn EventBackend>,
    /// What it times, while that is under way: the fence behind it, and whether it goes up.
    running: Option<(Fence, bool)>,
}

/// A span that times what is queued.
pub(super) struct Timing<'t> {
    span: &'t mut Span,
    good: bool,
}

impl Timer {
    pub fn new(device: &Device) -> Result<Timer> {
        let mut spans = Vec::with_capacity(TIMED);
        for _ in 0..TIMED {
            let [begin, end] = [device.backend().create_timed_event()?, device.backend().create_timed_event()?];
            spans.push(Span { begin, end, running: None });
        }
        match <[Span; TIMED]>::try_from(spans) {
            Ok(spans) => Ok(Timer { spans }),
            Err(_) => crate::fail!(Internal, "a timer without its events"),
        }
    }

    /// Begins to time what is queued on the stream next, if there is a span free.
    pub fn begin(&mut self, timeline: &Timeline) -> Option<Timing<'_>> {
        let span = self.spans.iter_mut().find(|span| span.running.is_none())?;
        timeline.stream().record(&*span.begin, 0).ok()?;
        Some(Timing { span, good: false })
    }

    /// Takes the times of what has ended.
    pub fn collect(&mut self, flows: &mut Flows) {
        for span in &mut self.spans {
            let Some((fence, up)) = &span.running else { continue };
            match fence.query() {
                Proof::Pending => continue,
                Proof::Complete => {
                    if let Ok(ns) = span.end.elapsed_since(&*span.begin) {
                        let flow = flows.way(*up);
                        flow.timed += 1;
                        flow.ns = Some(flow.ns.unwrap_or(0) + ns);
                    }
                }
                // How long a failure took says nothing.
                Proof::Failed | Proof::Lost => {}
            }
            span.running = None;
        }
    }
}

impl Timing<'_> {
    /// What was to be timed is queued.
    pub fn end(&mut self, timeline: &Timeline) {
        self.good = timeline.stream().record(&*self.span.end, 0).is_ok();
    }

    /// It is fenced.
    pub fn run(self, fence: &Fence, up: bool) {
        if self.good {
            self.span.running = Some((fence.clone(), up));
        }
    }
}
