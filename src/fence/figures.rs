//! What a device tells of itself, its streams and its objects, in a report.

use super::device::Device;
use super::devices::all_devices;
use super::timeline::Timeline;
use crate::backend::Capability;
use crate::stats::Record;
use crate::sync::Arc;

/// Every device of the process that is open, or whose objects live.
pub fn device_records() -> Vec<Record> {
    all_devices().iter().map(|device| device.record()).collect()
}

impl Device {
    /// Its figures, by the names that the C structs have for them; its streams and objects are the parts.
    pub fn record(&self) -> Record {
        let backend = self.backend();
        let facts = backend.facts();
        let (allocator, fallbacks) = (backend.allocator(), backend.fallbacks());
        let counters = &self.counters;
        let mut record = Record::new("device", self.name())
            .with("number", self.name().number())
            .with("backend", backend.kind().name())
            .with("reason", self.reason())
            .with("hardware", backend.name())
            .with("driver_version", facts.driver_version)
            .with("simulation", facts.simulation)
            .with("integrated", facts.integrated)
            .with("numa_node", facts.numa_node)
            .with("lost", backend.is_lost())
            .with("shut_down", self.is_closed());
        for (now, peak, total, level) in [
            ("host_bytes", "host_peak_bytes", "host_total_bytes", &counters.host_bytes),
            ("pinned_bytes", "pinned_peak_bytes", "pinned_total_bytes", &counters.pinned_bytes),
            ("device_bytes", "device_peak_bytes", "device_total_bytes", &counters.device_bytes),
            ("managed_bytes", "managed_peak_bytes", "managed_total_bytes", &counters.managed_bytes),
        ] {
            record = record.with(now, level.get()).with(peak, level.peak()).with(total, level.total());
        }
        for (key, value) in [
            ("deferred_bytes", counters.deferred_bytes.get()),
            ("deferred_objects", counters.deferred_objects.get()),
            ("quarantined_bytes", counters.quarantined_bytes.get()),
            ("leaked_bytes", counters.leaked_bytes.get()),
            ("copies", counters.copies.get()),
            ("copied_bytes", counters.copied_bytes.get()),
            ("fences_recorded", counters.fences_recorded.get()),
            ("device_waits", counters.device_waits.get()),
            ("host_waits", counters.host.waits.get()),
            ("host_wait_ns", counters.host.wait_ns.get()),
            ("timeouts", counters.host.timeouts.get()),
            ("events_created", counters.events_created.get()),
            ("events_on_demand", counters.events_on_demand.get()),
            ("refusals", counters.refusals.get()),
            ("copy_failures", counters.copy_failures.get()),
            ("damage_found", counters.damage_found.get()),
            ("sealed_at_destroy", counters.sealed_at_destroy.get()),
            ("unfenced_pointers", counters.unfenced_pointers.get()),
            ("fallbacks", fallbacks.all() + counters.stand_ins.get()),
            ("fallbacks_registration", fallbacks.registration),
            ("fallbacks_node", fallbacks.node),
            ("fallbacks_uva", counters.stand_ins.get()),
            ("allocations", allocator.allocations.get()),
            ("allocation_failures", allocator.allocation_failures.get()),
            ("allocation_ns", allocator.allocation_ns.get()),
            ("frees", allocator.frees.get()),
            ("free_ns", allocator.free_ns.get()),
            ("free_failures", allocator.free_failures.get()),
        ] {
            record = record.with(key, value);
        }
        record.parts = self.capability_records();
        record.parts.extend(self.live_timelines().iter().map(stream_record));
        record.parts.extend(self.members().iter().map(|member| member.record()));
        record
    }

    /// What the latest probe found, if there was one.
    fn capability_records(&self) -> Vec<Record> {
        let Some(found) = self.capabilities() else { return Vec::new() };
        let one = |capability: Capability| {
            let answer = found.answer(capability);
            Record::new("capability", capability.name())
                .with("answer", answer.finding.name())
                .with("reason", answer.reason.as_str())
        };
        Capability::ALL.map(one).into()
    }
}

fn stream_record(timeline: &Arc<Timeline>) -> Record {
    let (given, known) = timeline.progress();
    Record::new("stream", timeline.name())
        .with("number", timeline.name().number())
        .with("fences", given)
        .with("known_done", known)
}
