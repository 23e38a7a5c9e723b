//! The end of a sequence: all goes back.

use crate::machine::{Machine, message};
use crate::options::get;
use crate::oracle::{self, by_name};
use gpubuf_calls::structure;
use std::sync::atomic::Ordering;

/// Enough for any of the emulated device's work here, on a machine that is busy with other things, too.
const WAIT: u64 = 60_000_000_000;

/// Who depends on others ends before them.
const ORDER: [&str; 17] = [
    "step",
    "graph_hold",
    "block",
    "reservation",
    "tensor",
    "buffer",
    "pressure",
    "predictor",
    "workspace",
    "tiered_block",
    "tiers",
    "staged_rows",
    "slots",
    "pool",
    "pinned",
    "event",
    "stream",
];

impl Machine<'_> {
    /// Releases what is held shut, ends every object, and looks at what is left.
    pub fn end(&mut self) {
        for stream in self.live.get("stream").into_iter().flatten() {
            for _ in 0..8 {
                // SAFETY: a handle.
                unsafe { by_name("gpubuf_host_stream_release", &[*stream]) };
            }
        }
        // A capture that goes on would refuse what is to come.
        for stream in self.live.get("stream").into_iter().flatten() {
            let mut graph = 0u64;
            // SAFETY: a handle and a result.
            unsafe { by_name("gpubuf_host_capture_end", &[*stream, &raw mut graph as u64]) };
        }
        self.pools_add_up();
        self.end_guards();
        for kind in ORDER {
            for handle in self.live.remove(kind).unwrap_or_default() {
                let end =
                    if kind == "block" { "gpubuf_block_abandon".to_owned() } else { format!("gpubuf_{kind}_destroy") };
                // SAFETY: a handle.
                let status = unsafe { by_name(&end, &[handle]) };
                // A block may have gone back with its object; then its handle has ended.
                let ok = status == 0 || kind == "block" || self.void.load(Ordering::SeqCst);
                assert!(ok, "{end} answers {status}: {}", message());
            }
        }
        for device in self.live.remove("device").unwrap_or_default() {
            self.device_is_empty(device);
            // SAFETY: a handle.
            let status = unsafe { by_name("gpubuf_device_destroy", &[device]) };
            assert!(status == 0, "gpubuf_device_destroy answers {status}: {}", message());
        }
        oracle::check();
    }

    /// Memory stays while somebody may write it.
    fn end_guards(&self) {
        for token in self.numbers.get("token").into_iter().flatten() {
            for (kind, ends) in [
                ("block", &["end_write", "end_read"][..]),
                ("buffer", &["end_write", "end_read"]),
                ("tiered_block", &["release"]),
            ] {
                for (handle, end) in
                    self.live.get(kind).into_iter().flatten().flat_map(|one| ends.iter().map(move |end| (one, end)))
                {
                    // SAFETY: a handle and a number.
                    unsafe { by_name(&format!("gpubuf_{kind}_{end}"), &[*handle, *token]) };
                }
            }
        }
    }

    /// Blocks are free, held, or out of use.
    fn pools_add_up(&self) {
        let Some(of) = structure("gpubuf_pool_stats") else { return };
        for pool in self.live.get("pool").into_iter().flatten() {
            let mut words = vec![0u64; of.size.div_ceil(8)];
            words[0] = of.size as u64;
            // SAFETY: a handle, and memory of the struct's size.
            if unsafe { by_name("gpubuf_pool_stats_get", &[*pool, words.as_mut_ptr() as u64]) } != 0 {
                continue;
            }
            let figure = |name: &str| of.field(name).map_or(0, |field| get(&words, field));
            let sum = figure("free_blocks") + figure("held_blocks") + figure("quarantined_blocks");
            assert!(sum == figure("block_count"), "{sum} blocks of {}", figure("block_count"));
            assert!(figure("acquires") >= figure("releases"), "more releases than acquires");
        }
    }

    fn device_is_empty(&self, device: u64) {
        // SAFETY: a handle and a number.
        let synchronized = unsafe { by_name("gpubuf_device_synchronize", &[device, WAIT]) };
        // SAFETY: a handle and a number.
        let drained = unsafe { by_name("gpubuf_device_drain", &[device, WAIT]) };
        let Some(of) = structure("gpubuf_device_stats") else { return };
        let mut words = vec![0u64; of.size.div_ceil(8)];
        words[0] = of.size as u64;
        // SAFETY: a handle, and memory of the struct's size.
        let status = unsafe { by_name("gpubuf_device_stats_get", &[device, words.as_mut_ptr() as u64]) };
        if self.void.load(Ordering::SeqCst) || status != 0 {
            return;
        }
        assert!(
            synchronized == 0 && drained == 0,
            "a device does not come to rest: {synchronized} {drained}: {}",
            message()
        );
        let figure = |name: &str| of.field(name).map_or(0, |field| get(&words, field));
        if figure("quarantined_bytes") + figure("leaked_bytes") > 0 {
            return;
        }
        for name in ["deferred_bytes", "pinned_bytes", "device_bytes", "host_bytes", "managed_bytes"] {
            assert!(figure(name) == 0, "{} {name} are left when all objects have ended", figure(name));
        }
        assert!(figure("copied_bytes") == 0 || figure("copies") > 0, "bytes without copies");
        assert!(
            figure("unfenced_pointers") <= 300 && figure("allocations") >= figure("frees"),
            "frees without allocations"
        );
    }
}
