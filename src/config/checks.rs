//! The checks of the reuse contract, each by name: every refusal, host wait, device-side wait and deferral built so far.
//!
//! `docs/reuse-contract.md` lists them for readers and a test holds the two lists together. With the feature `mutants` a
//! test can take one check out and see that the check's own test notices; without it, [`on`] is the constant `true`.

macro_rules! checks {
    ($($variant:ident = $number:literal, $kind:ident, $key:literal, $text:literal;)+) => {
        /// One check of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Check { $(#[doc = $text] $variant = $number,)+ }

        impl Check {
            /// Every check, in the order of its numbers.
            pub const ALL: &'static [Check] = &[$(Check::$variant),+];

            /// The name used in the contract's list and by its test.
            pub const fn key(self) -> &'static str {
                match self { $(Check::$variant => $key,)+ }
            }

            /// What it does when it acts.
            pub const fn kind(self) -> Kind {
                match self { $(Check::$variant => Kind::$kind,)+ }
            }

            /// One line on what it prevents.
            pub const fn text(self) -> &'static str {
                match self { $(Check::$variant => $text,)+ }
            }
        }
    };
}

/// What a check does when it acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers a status and changes nothing.
    Refusal,
    /// The host waits, up to the deadline.
    HostWait,
    /// One stream waits for another; the host does not.
    DeviceWait,
    /// Work is put off until it is safe.
    Deferral,
}

impl Kind {
    /// Its name in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Refusal => "refusal",
            Kind::HostWait => "host wait",
            Kind::DeviceWait => "device wait",
            Kind::Deferral => "deferral",
        }
    }
}

checks! {
    WriteGuard = 0, Refusal, "write-guard", "begin_write, copy_in and host fill: no other guard may cover the range (busy)";
    WriteSealed = 1, Refusal, "write-sealed", "begin_write and copy_in of a sealed UVA side (unfenced)";
    WriteWaitsReads = 2, HostWait, "write-waits-reads", "begin_write waits for queued work that reads the range (an h2d copy, a kernel)";
    WriteWaitsWrites = 3, HostWait, "write-waits-writes", "begin_write waits for queued work that writes the range (a d2h copy)";
    EndToken = 4, Refusal, "end-token", "end_write and end_read take only the token of an open guard (not begun)";
    ReadGuard = 5, Refusal, "read-guard", "begin_read: no write guard may cover the range (busy)";
    ReadSealed = 6, Refusal, "read-sealed", "begin_read of a sealed UVA side whose unseen work may write (unfenced)";
    ReadWaitsWrites = 7, HostWait, "read-waits-writes", "begin_read waits for queued work that writes the range";
    UploadGuard = 8, Refusal, "upload-guard", "to_device: no write guard may cover the source range (busy)";
    UploadWaitsHostWrites = 9, DeviceWait, "upload-waits-host-writes", "to_device waits on the device for a d2h copy on another stream that writes its source";
    UploadWaitsDeviceUses = 10, DeviceWait, "upload-waits-device-uses", "to_device, device fill and apply of staged rows wait on the device for every use of the target by other streams";
    DownloadGuard = 11, Refusal, "download-guard", "to_host: no guard at all may cover the target range (busy)";
    DownloadWaitsDeviceWrites = 12, DeviceWait, "download-waits-device-writes", "to_host waits on the device for writes of the source by other streams";
    DownloadWaitsHostUses = 13, DeviceWait, "download-waits-host-uses", "to_host waits on the device for uses of the host target by other streams";
    DeclaredStreams = 14, DeviceWait, "declared-streams", "streams named with a device address are fenced before conflicting work elsewhere";
    WrongDevice = 15, Refusal, "wrong-device", "objects of two devices do not mix (wrong device)";
    BlockingCopy = 16, HostWait, "blocking-copy", "a blocking copy returns only when its bytes have landed";
    DeadlockCallback = 17, Refusal, "deadlock-callback", "a wait from a function that runs on a stream (would deadlock)";
    DeadlockHeld = 18, Refusal, "deadlock-held", "a wait for a stream that this thread holds shut (would deadlock)";
    CopyFailed = 19, Refusal, "copy-failed", "a copy that failed when it ran is reported by the object's next operation (copy failed)";
    LostQuarantines = 20, Refusal, "lost-quarantines", "uses not proven before the device was lost quarantine the block (device lost, quarantined)";
    FreeWaits = 21, Deferral, "free-waits", "memory of a destroyed object is freed, and the release callback of borrowed memory called, after the last use only";
    FreeSealed = 22, Deferral, "free-sealed", "memory whose reader nobody declared is freed only after a drain of the whole device";
    BorrowOverlap = 23, Refusal, "borrow-overlap", "two wrappers of the same foreign memory (exists)";
    DetachWaits = 24, HostWait, "detach-waits", "detach returns borrowed storage only when its uses are proven";
    AcquireWaits = 25, HostWait, "acquire-waits", "pool acquire waits for every use a recycled block still has";
    AcquirePrefersProven = 26, HostWait, "acquire-prefers-proven", "pool acquire takes a proven block before one it must wait for";
    TimeoutKeepsUses = 27, Refusal, "timeout-keeps-uses", "an acquire that times out puts the block back with its uses";
    AddressGuard = 28, Refusal, "address-guard", "a device address while a write guard is open (busy)";
    ReleaseSealed = 29, Refusal, "release-sealed", "release of a sealed block (unfenced)";
    ReleaseGuard = 30, Refusal, "release-guard", "release or fence with a guard open (busy)";
    HandOver = 31, Deferral, "hand-over", "a block handed to a waiter keeps its uses, and the waiter waits for them";
    RecordQuarantines = 32, Deferral, "record-quarantines", "a block whose release could not be recorded is quarantined";
    Exhausted = 33, Refusal, "exhausted", "every block quarantined: acquire and its waiters are told at once (exhausted)";
    DestroyWakes = 34, Refusal, "destroy-wakes", "destroying a pool wakes its waiters (shut down)";
    BeginWaits = 35, HostWait, "begin-waits", "a step's begin waits for the copy that still reads its entry";
    BeginBusy = 36, Refusal, "begin-busy", "begin while every entry is being filled (busy)";
    StepOrder = 37, Refusal, "step-order", "write, pad, commit and abort after commit (not begun)";
    CommitSpan = 38, Refusal, "commit-span", "commit with a span open (busy)";
    CommitUnwritten = 39, Refusal, "commit-unwritten", "commit with a required slot not written in this step (slot unwritten)";
    CommitUnretired = 40, Refusal, "commit-unretired", "commit while the step that has its copy of the device block is not retired (not retired)";
    CommitWaitsRetire = 41, DeviceWait, "commit-waits-retire", "commit waits on the device for the consumers, on other streams, of the step before on its copy";
    CommitWaitsReadBack = 42, DeviceWait, "commit-waits-read-back", "commit waits on the device for read-backs on other streams";
    CommitWaitsMarked = 43, DeviceWait, "commit-waits-marked", "a step retired on its commit stream is fenced there when the next one commits elsewhere";
    ConsumerWaits = 44, DeviceWait, "consumer-waits", "each declared consumer waits on the device for the step's copy";
    RetireOnce = 45, Refusal, "retire-once", "retire of a ticket that is not the committed step's, or twice (not begun)";
    ReadBackOrder = 46, Refusal, "read-back-order", "read_back after retire (not begun)";
    ReadBackBusy = 47, Refusal, "read-back-busy", "read_back while every read-back entry is in use (busy)";
    ReadBackWaits = 48, HostWait, "read-back-waits", "begin_read of a read-back waits for its copy";
    LiveGaps = 49, Deferral, "live-gaps", "a copy spans rows that this step did not write only after refilling them from the mirror";
    TornResends = 50, Deferral, "torn-resends", "after a failed commit the next one to the same copy sends every slot";
    FrozenLayout = 51, Refusal, "frozen-layout", "no slot is added after freeze, no step begun before it (frozen)";
    ReadBackWaitsWriter = 52, DeviceWait, "read-back-waits-writer", "read_back waits on the device for work on other streams that writes its source";
    RetireAllConsumers = 53, DeviceWait, "retire-all-consumers", "retire fences the union of its streams and the declared consumers";
    CopySealed = 54, Refusal, "copy-sealed", "a copy to a sealed side, or from a sealed device side (unfenced)";
    NotHeld = 55, Refusal, "not-held", "any access by a lease that was released (not held)";
    UsesFull = 56, Refusal, "uses-full", "work on a side whose uses in flight can no longer be told apart (busy)";
    StagingWaits = 57, HostWait, "staging-waits", "to_device from pageable memory waits for a download that still writes it: the driver may read it at the call";
    NamedStreams = 58, HostWait, "named-streams", "CPU access to memory that kernels use in place fences the streams named with its address, and waits for them";
    CaptureCopies = 59, Refusal, "capture-copies", "copies, fills, commits, applies, read-backs and launches on a stream that captures (capturing)";
    CaptureFences = 60, Refusal, "capture-fences", "event records, used_on, fence, release_after and retire on a stream that captures (capturing)";
    CaptureWaits = 61, Refusal, "capture-waits", "query and synchronize of a stream that captures, or of its device, and its wait for an event (capturing)";
    CaptureBegun = 62, Refusal, "capture-begun", "a captured copy on a stream that does not capture (not begun)";
    CaptureHeld = 63, Refusal, "capture-held", "a captured copy of a block that is not in the graph hold (not held)";
    CaptureGuard = 64, Refusal, "capture-guard", "a captured copy while a write guard is open on its range (busy)";
    PageableCapture = 65, Refusal, "pageable-capture", "a captured copy of a pageable host side: when a replay reads it is the driver's choice (unsupported)";
    CapturedSeals = 66, Refusal, "captured-seals", "a captured copy seals both sides until the graph is set or a replay declared (unfenced)";
    HoldIdle = 67, HostWait, "hold-idle", "a block enters a graph hold when each of its uses is over";
    HoldGuard = 68, Refusal, "hold-guard", "a block with a guard open enters no graph hold (busy)";
    HoldSealed = 69, Refusal, "hold-sealed", "a block whose address is with undeclared work enters no graph hold (unfenced)";
    HoldRelease = 70, Refusal, "hold-release", "release of a block that a graph holds (graph held)";
    HoldDetach = 71, Refusal, "hold-detach", "detach of a buffer that a graph holds (graph held)";
    HoldDestroy = 72, Deferral, "hold-destroy", "the device memory of destroyed slots stays while a graph holds it";
    LaunchGuard = 73, Refusal, "launch-guard", "a launch while a write guard is open on a held block, or a read guard on bytes that the graph writes (busy)";
    LaunchDeclares = 74, HostWait, "launch-declares", "a launch, or a replay that was declared, is a use of every held block: CPU writes wait for it";
    LaunchOrders = 75, DeviceWait, "launch-orders", "a launch waits on the device for uses of the held blocks by other streams";
    ViewUnseals = 76, Refusal, "view-unseals", "used_on of a view lifts only a seal that lies within the view (unfenced)";
    SyncGuard = 77, Refusal, "sync-guard", "sync while a write guard is open on its range: what its holder writes would be missed (busy)";
    ResizeGuard = 78, Refusal, "resize-guard", "resize with a guard open (busy)";
    ResizeHeld = 79, Refusal, "resize-held", "resize beyond the capacity of a buffer that a graph holds (graph held)";
    ResizeViews = 80, Refusal, "resize-views", "resize that would take memory, or rows, from under live views (busy)";
    ResizeWaits = 81, HostWait, "resize-waits", "resize that keeps the host contents waits for work that still writes them";
    PartWaits = 82, Deferral, "part-waits", "memory of a manager's block is given out again after its last use only";
    ReuseWaits = 83, HostWait, "reuse-waits", "a workspace gives a free buffer to the next holder when each use by the last is over";
    ReuseSealed = 84, Deferral, "reuse-sealed", "a buffer whose address is with undeclared work is given to no next holder: it leaves the workspace";
    TensorEnds = 85, HostWait, "tensor-ends", "a tensor's blocks go back to their pool with a fence on each stream that was named with their address";
    CopyCatchesUp = 86, Deferral, "copy-catches-up", "a copy of the device block is sent the kept rows that were committed to other copies since its last commit";
    BindingHolds = 87, Refusal, "binding-holds", "release of a block that is bound to a step, before the step is retired or given up (graph held)";
    BindingOrders = 88, DeviceWait, "binding-orders", "commit waits on the device for work on other streams that writes a block bound to the step";
    BindingFollows = 89, DeviceWait, "binding-follows", "commit waits on the device for the streams named with memory bound to the step";
    BindingSeals = 90, Refusal, "binding-seals", "a block bound to a committed step is not written before the step is retired (unfenced)";
    BindingDeclares = 91, HostWait, "binding-declares", "the consumers of a retired step are uses of the blocks bound to it: CPU writes wait for them";
    ApplyWaits = 92, HostWait, "apply-waits", "apply of staged rows waits for the copy and the scatter that still use its staging entry";
    TierMoves = 93, Refusal, "tier-moves", "a block that an access holds in its tier is not moved (busy)";
    TierHolds = 94, Refusal, "tier-holds", "no access to a tiered block beside an open one that it conflicts with (busy)";
    TierOrders = 95, DeviceWait, "tier-orders", "streams that get the address of a tiered block wait on the device for what comes before, its move included";
    AddressOrders = 96, DeviceWait, "address-orders", "streams that get an address, by publish or by name, wait on the device for work on other streams that writes those bytes";
}

/// Whether the check is in force.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_check: Check) -> bool {
    true
}

#[cfg(feature = "mutants")]
mod mutants {
    use super::Check;
    use crate::sync::Ordering;
    use crate::sync::plain::AtomicU32;

    /// The number of the check that is taken out.
    static DISABLED: AtomicU32 = AtomicU32::new(NONE);
    const NONE: u32 = u32::MAX;

    /// Whether the check is in force.
    pub fn on(check: Check) -> bool {
        DISABLED.load(Ordering::Relaxed) != check as u32
    }

    /// Takes one check out, for the whole process; `None` puts all back.
    pub fn disable(check: Option<Check>) {
        DISABLED.store(check.map_or(NONE, |c| c as u32), Ordering::Relaxed);
    }
}

#[cfg(feature = "mutants")]
pub use mutants::{disable, on};

#[cfg(test)]
mod tests {
    use super::Check;

    #[test]
    fn numbers_are_dense_and_keys_unique() {
        for (index, check) in Check::ALL.iter().enumerate() {
            assert_eq!(*check as usize, index);
            assert!(Check::ALL[..index].iter().all(|other| other.key() != check.key()));
        }
    }
}
