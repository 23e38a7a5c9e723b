//! Events that callers record themselves, to order streams behind each other and to wait for.

use super::device::Device;
use super::name::Name;
use super::timeline::{Fence, HostWait, Proof, Timeline};
use crate::backend::EventBackend;
use crate::config::Timeout;
use crate::config::checks::Check;
use crate::error::Result;
use crate::fail;
use crate::stats::WaitCounters;
use crate::sync::{Arc, Mutex};

/// A mark in a stream. Recording it again moves it; who waits for the earlier record goes on waiting for that one.
pub struct Event {
    name: Name,
    device: Arc<Device>,
    latest: Mutex<Option<Fence>>,
    /// The driver's event that notes the time of the latest record.
    timer: Option<Arc<dyn EventBackend>>,
    recording: Mutex<()>,
    waits: WaitCounters,
}

impl Event {
    /// An event that was never recorded, which counts as done. With `timed` its records can be told apart in time, which
    /// makes them dearer.
    pub fn create(device: &Arc<Device>, timed: bool, label: &str) -> Result<Arc<Event>> {
        device.expect_usable()?;
        let timer = if timed { Some(device.backend().create_timed_event()?) } else { None };
        Ok(Arc::new(Event {
            name: Name::new("event", label),
            device: device.clone(),
            latest: Mutex::new(None),
            timer,
            recording: Mutex::new(()),
            waits: WaitCounters::default(),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Marks what is queued on the stream so far.
    pub fn record(&self, timeline: &Arc<Timeline>) -> Result<()> {
        timeline.expect_device(&self.device)?;
        timeline.expect_not_capturing(Check::CaptureFences)?;
        // Two threads that record at once must not mix their marks.
        let _recording = self.recording.lock();
        if let Some(timer) = &self.timer {
            timeline.stream().record(&**timer, 0).map_err(|e| e.context(&self.name))?;
        }
        let fence = timeline.record().map_err(|e| e.context(&self.name))?;
        let old = self.latest.lock().replace(fence);
        drop(old);
        Ok(())
    }

    /// Work queued on the stream from now on waits, on the device, for the latest record. A capture cannot: what it waits
    /// for would be outside of it.
    pub fn order(&self, timeline: &Arc<Timeline>) -> Result<()> {
        timeline.expect_device(&self.device)?;
        match self.latest() {
            Some(fence) => {
                timeline.expect_not_capturing(Check::CaptureWaits)?;
                timeline.wait_for(&fence).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Waits on the host for the latest record. That a copy before it failed is its buffer's to tell.
    pub fn wait(&self, timeout: Timeout) -> Result<()> {
        self.latest().map_or(Ok(()), |fence| self.wait_for(&fence, timeout))
    }

    fn wait_for(&self, fence: &Fence, timeout: Timeout) -> Result<()> {
        let proof = fence.wait(&HostWait::new(timeout, &self.waits)).map_err(|e| e.context(&self.name))?;
        match proof {
            Proof::Lost => fail!(DeviceLost, "the device was lost before {} was reached", self.name),
            _ => Ok(()),
        }
    }

    /// Nanoseconds of device time from `earlier`'s latest record to this one's, both reached. `busy` if one is not.
    pub fn elapsed_since(&self, earlier: &Event) -> Result<u64> {
        if !Arc::ptr_eq(&self.device, &earlier.device) {
            return fail!(WrongDevice, "{} and {} belong to two devices", self.name, earlier.name);
        }
        let reached = |event: &Event| {
            let Some(timer) = event.timer.clone() else {
                return fail!(Unsupported, "{} notes no times: create it with gpubuf_event_create_timed", event.name);
            };
            match event.latest() {
                None => fail!(NotBegun, "{} was never recorded", event.name),
                Some(fence) => event.wait_for(&fence, Timeout::Try).map(|()| (timer, fence)),
            }
        };
        let (end, begin) = (reached(self)?, reached(earlier)?);
        end.0.elapsed_since(&*begin.0).or_else(|error| {
            for (event, fence) in [(self, &end.1), (earlier, &begin.1)] {
                if event.has_moved(fence) {
                    return fail!(Busy, "{} is recorded again at this moment", event.name);
                }
            }
            Err(error)
        })
    }

    /// Whether it was recorded again since, or is just now.
    fn has_moved(&self, since: &Fence) -> bool {
        let Some(_recording) = self.recording.try_lock() else { return true };
        !self.latest().is_some_and(|now| now.is_same(since))
    }

    fn latest(&self) -> Option<Fence> {
        self.latest.lock().clone()
    }

    /// Its state, in words.
    pub fn describe(&self) -> String {
        match self.latest() {
            None => format!("{}: never recorded", self.name),
            Some(fence) => {
                let state = if fence.is_known() { "done" } else { "not known to be done" };
                format!("{}: {fence}, {state}", self.name)
            }
        }
    }
}
