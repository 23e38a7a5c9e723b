//! The driver's state: whether it was initialised, its devices and what a test has set about them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use gpubuf_engine::{Config, Delay, InPlace, MemoryKind, Pageable};
use parking_lot::{Mutex, RwLock};

use crate::code;
use crate::context::{self, Context};
use crate::entry::Out;
use crate::fault::Faults;

/// The driver of this process.
pub(crate) struct Driver {
    pub(crate) ordinals: Vec<Ordinal>,
    pub(crate) version: AtomicI32,
    init_code: i32,
    initialised: AtomicBool,
}

/// One device, whatever contexts it has.
pub(crate) struct Ordinal {
    pub(crate) index: i32,
    /// Attributes that a test has set.
    pub(crate) attributes: RwLock<BTreeMap<i32, i32>>,
    pub(crate) primary: Mutex<Primary>,
    /// What each context's emulated device is made with.
    pub(crate) config: Mutex<Config>,
    pub(crate) memory_bytes: u64,
    /// The code that a lost device answers with; 0 while it is not lost.
    pub(crate) lost: AtomicI32,
    pub(crate) faults: Faults,
    /// Held from looking at the limits to the end of an allocation, as contexts share them.
    pub(crate) allocating: Mutex<()>,
}

/// The context that all users of a device share, and how many have retained it.
#[derive(Default)]
pub(crate) struct Primary {
    pub(crate) context: Option<Arc<Context>>,
    pub(crate) retained: u64,
}

/// In a forked child the driver is unusable: its threads are not there.
static FORKED: AtomicBool = AtomicBool::new(false);
/// The process runs its exit handlers.
static EXITING: AtomicBool = AtomicBool::new(false);

extern "C" fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}

extern "C" fn exiting() {
    EXITING.store(true, Ordering::Relaxed);
}

/// The driver, with the environment read at first.
pub(crate) fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let count = number("GPUBUF_STANDIN_DEVICES", 2).min(64) as i32;
        Driver {
            ordinals: (0..count).map(Ordinal::new).collect(),
            version: AtomicI32::new(number("GPUBUF_STANDIN_DRIVER_VERSION", 12040) as i32),
            init_code: number("GPUBUF_STANDIN_INIT_CODE", 0) as i32,
            initialised: AtomicBool::new(false),
        }
    })
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The driver, if calls may be made. `NOT_INITIALIZED` before `cuInit` and in a forked child, whose parent's driver
/// cannot be used (programming guide, "CUDA and fork"; the hazards' note on fork). `DEINITIALIZED` while the process
/// exits (driver API, `CUresult`; a real driver may crash instead). `NOT_PERMITTED` from a host function (driver API,
/// `cuLaunchHostFunc`: "Attempting to use a CUDA API may result in CUDA_ERROR_NOT_PERMITTED").
pub(crate) fn expect_ready() -> Result<&'static Driver, i32> {
    expect_alive()?;
    let driver = driver();
    if !driver.initialised.load(Ordering::Acquire) {
        return Err(code::NOT_INITIALIZED);
    }
    Ok(driver)
}

fn expect_alive() -> Result<(), i32> {
    if gpubuf_engine::on_worker_thread() {
        return Err(code::NOT_PERMITTED);
    }
    if FORKED.load(Ordering::Relaxed) {
        return Err(code::NOT_INITIALIZED);
    }
    if EXITING.load(Ordering::Relaxed) {
        return Err(code::DEINITIALIZED);
    }
    Ok(())
}

impl Driver {
    /// A device by its number; `INVALID_DEVICE` for one that is not there.
    pub(crate) fn ordinal(&'static self, index: i32) -> Result<&'static Ordinal, i32> {
        usize::try_from(index).ok().and_then(|index| self.ordinals.get(index)).ok_or(code::INVALID_DEVICE)
    }
}

impl Ordinal {
    fn new(index: i32) -> Ordinal {
        let memory_bytes = number("GPUBUF_STANDIN_MEMORY_BYTES", 16 << 30);
        let delay = match number("GPUBUF_STANDIN_DELAY_NS", 0) {
            0 => Delay::None,
            ns => Delay::Fixed { ns },
        };
        let in_place = match std::env::var("GPUBUF_STANDIN_UVA").as_deref() {
            Ok("stale") => InPlace::Snapshot,
            _ => InPlace::Live,
        };
        let name = format!("gpubuf simulated GPU {index} (no hardware)");
        Ordinal {
            index,
            attributes: RwLock::default(),
            primary: Mutex::default(),
            config: Mutex::new(Config {
                name,
                device_memory_bytes: memory_bytes,
                delay,
                in_place,
                ..Config::default()
            }),
            memory_bytes,
            lost: AtomicI32::new(0),
            faults: Faults::default(),
            allocating: Mutex::new(()),
        }
    }

    /// The contexts on this device.
    pub(crate) fn contexts(&self) -> Vec<Arc<Context>> {
        context::all(|context| context.ordinal.index == self.index)
    }

    /// Changes what contexts are made with, for the present ones too.
    pub(crate) fn configure(&self, change: impl Fn(&mut Config)) {
        let mut config = self.config.lock();
        change(&mut config);
        for context in self.contexts() {
            context.engine.set_link(config.link_latency_ns, config.link_bandwidth);
            context.engine.set_delay(config.delay);
            context.engine.set_pageable(config.pageable);
            context.engine.set_in_place(config.in_place);
            context.engine.set_memory_limit(MemoryKind::Device, config.device_memory_bytes);
            context.engine.set_memory_limit(MemoryKind::Pinned, config.pinned_memory_bytes);
        }
    }

    pub(crate) fn is_pageable_late(&self) -> bool {
        self.config.lock().pageable == Pageable::Late
    }

    /// The limit for a kind of memory, and how much of it all contexts together use.
    pub(crate) fn usage(&self, kind: MemoryKind) -> (u64, u64) {
        let config = self.config.lock();
        let limit = match kind {
            MemoryKind::Device => config.device_memory_bytes,
            MemoryKind::Pinned => config.pinned_memory_bytes,
        };
        drop(config);
        (limit, self.contexts().iter().map(|context| context.engine.memory_used(kind)).sum())
    }

    /// Loses the device: every context on it answers with `code` from now on, and so does the making of new ones.
    pub(crate) fn lose(&self, code: i32) {
        self.lost.store(code, Ordering::Release);
        for context in self.contexts() {
            context.fail(code);
        }
    }
}

/// A number for each thing that is never used again.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

entry! {
    always fn cuInit(flags: u32) |_caller| {
        expect_alive()?;
        let driver = driver();
        if flags != 0 {
            return Err(code::INVALID_VALUE);
        }
        if driver.init_code != 0 {
            return Err(driver.init_code);
        }
        if driver.ordinals.is_empty() {
            return Err(code::NO_DEVICE);
        }
        if !driver.initialised.swap(true, Ordering::AcqRel) {
            // SAFETY: both are plain functions of this library, which is never unloaded. Without room for them the
            // system refuses, and only the answers after a fork or at exit are lost.
            unsafe {
                libc::pthread_atfork(None, None, Some(forked));
                libc::atexit(exiting);
            }
        }
        Ok(())
    }
}

entry! {
    always fn cuDriverGetVersion(version: Out<i32>) |_caller| { version.set(driver().version.load(Ordering::Relaxed)) }
}
