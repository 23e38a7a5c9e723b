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
        let Some(fence) = self.latest() else { return Ok(()) };
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
        let timer = |event: &Event| {
            let Some(timer) = event.timer.clone() else {
                return fail!(Unsupported, "{} notes no times: create it with gpubuf_event_create_timed", event.name);
            };
            match event.latest() {
                None => fail!(NotBegun, "{} was never recorded", event.name),
                Some(_) => event.wait(Timeout::Try).map(|()| timer),
            }
        };
        timer(self)?.elapsed_since(&*timer(earlier)?)
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
