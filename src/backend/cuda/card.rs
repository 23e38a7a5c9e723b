//! What the driver tells of a device without a context on it.

use super::codes;
use super::context::Context;
use super::driver::{Driver, driver};
use crate::backend::exit;
use crate::error::{Result, Status};
use crate::fail;
use cudarc::driver::sys::{CUdevice, CUdevice_attribute as Attribute, CUuuid};
use std::ffi::{c_char, c_int};

/// A device of the driver's, by its number there.
#[derive(Clone, Copy)]
pub struct Card {
    driver: &'static Driver,
    device: CUdevice,
}

impl Card {
    /// Device `ordinal`. Loads and initialises the driver, and opens nothing.
    pub fn find(ordinal: u32) -> Result<Card> {
        let driver = driver()?;
        if exit::is_near() {
            return fail!(ShutDown, "the process is exiting, and so is the driver");
        }
        let mut device = 0;
        // SAFETY: the driver is initialised; the pointer is that of a local.
        match unsafe { (driver.cuDeviceGet)(&mut device, c_int::try_from(ordinal).unwrap_or(c_int::MAX)) } {
            0 => Ok(Card { driver, device }),
            codes::INVALID_DEVICE => {
                let count = driver.device_count()?;
                fail!(NotFound, "CUDA device {ordinal} does not exist: there are {count}, counted from 0")
            }
            code => Err(driver.error(code, format_args!("finding CUDA device {ordinal}"))),
        }
    }

    /// The device of a context.
    pub fn of(context: &Context) -> Card {
        Card { driver: context.driver(), device: context.device() }
    }

    /// The driver's number of it.
    pub fn device(self) -> CUdevice {
        self.device
    }

    /// An attribute; `None` where the driver does not know it.
    pub fn attribute(self, attribute: c_int) -> Option<c_int> {
        let mut value = 0;
        // SAFETY: the pointer is that of a local.
        let code = unsafe { (self.driver.cuDeviceGetAttribute)(&mut value, attribute, self.device) };
        (code == 0).then_some(value)
    }

    /// Whether an attribute is there and not 0.
    pub fn has(self, attribute: Attribute) -> bool {
        self.attribute(attribute as c_int).unwrap_or(0) != 0
    }

    /// Its name, for people.
    pub fn name(self) -> String {
        let mut name = [0 as c_char; 256];
        // SAFETY: the buffer is a local one of the size named.
        unsafe { (self.driver.cuDeviceGetName)(name.as_mut_ptr(), 256, self.device) };
        text(&name)
    }

    /// Where it is plugged in, `0000:3b:00.0`.
    pub fn bus(self) -> Option<String> {
        let mut id = [0 as c_char; 32];
        // SAFETY: as above.
        let code = unsafe { (self.driver.cuDeviceGetPCIBusId)(id.as_mut_ptr(), 32, self.device) };
        (code == 0).then(|| text(&id).to_ascii_lowercase())
    }

    /// Its number in the world.
    pub fn uuid(self) -> Option<[u8; 16]> {
        let ask = self.driver.cuDeviceGetUuid_v2?;
        let mut uuid = CUuuid { bytes: [0; 16] };
        // SAFETY: the pointer is that of a local.
        let code = unsafe { ask(&mut uuid, self.device) };
        (code == 0).then(|| uuid.bytes.map(|byte| byte as u8))
    }

    /// Bytes of its memory.
    pub fn total_memory(self) -> Option<u64> {
        let ask = self.driver.cuDeviceTotalMem_v2?;
        let mut bytes = 0;
        // SAFETY: the pointer is that of a local.
        let code = unsafe { ask(&mut bytes, self.device) };
        (code == 0).then_some(bytes as u64)
    }
}

/// Free and total bytes of the device's memory.
pub fn memory_info(context: &Context) -> Result<(u64, u64)> {
    let Some(ask) = context.driver().cuMemGetInfo_v2 else {
        return fail!(Unsupported, "this driver does not tell how much memory is free");
    };
    let _entered = context.enter_relaxed()?;
    let (mut free, mut total) = (0, 0);
    // SAFETY: the context is current; the pointers are those of locals.
    let code = unsafe { ask(&mut free, &mut total) };
    context.check(code, "asking how much memory is free")?;
    Ok((free as u64, total as u64))
}

/// The device with the most free memory, and how that was found. Only a context tells: each device's primary one is retained
/// for the question, unless there is but one device.
pub fn most_free() -> Result<(u32, String)> {
    let count = driver()?.device_count()?;
    if count <= 1 {
        return Ok((0, "its only device".into()));
    }
    let mut best: Option<(u32, u64)> = None;
    let mut seen = Vec::new();
    let mut refused = None;
    for ordinal in 0..count {
        match Context::primary(ordinal).and_then(|context| memory_info(&context)) {
            Ok((free, total)) => {
                seen.push(format!("{ordinal}: {free} of {total}"));
                if best.is_none_or(|(_, most)| free > most) {
                    best = Some((ordinal, free));
                }
            }
            // In use by another process alone, or broken: not one to choose.
            Err(error) => {
                seen.push(format!("{ordinal}: {}", error.message()));
                refused.get_or_insert(error);
            }
        }
    }
    match (best, refused) {
        (Some((ordinal, _)), _) => {
            Ok((ordinal, format!("device {ordinal} has the most free memory, in bytes: {}", seen.join(", "))))
        }
        (None, Some(error)) if error.status() == Status::DeviceLost => Err(error),
        (None, _) => fail!(DriverError, "no device says how much of its memory is free ({})", seen.join(", ")),
    }
}

fn text(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
