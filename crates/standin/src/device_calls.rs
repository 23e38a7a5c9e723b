//! The entries for devices (driver API, "Device Management").

use std::ffi::c_char;

use crate::attributes::PCI_DOMAIN;
use crate::code;
use crate::entry::Out;

entry! {
    initialised fn cuDeviceGetCount(count: Out<i32>) |driver| { count.set(driver.ordinals.len() as i32) }
}

entry! {
    initialised fn cuDeviceGet(device: Out<i32>, ordinal: i32) |driver| { device.set(driver.ordinal(ordinal)?.index) }
}

/// Writes a C string, cut to `room` bytes with its end.
fn write(out: Out<c_char>, room: usize, text: &str) -> Result<(), i32> {
    let cut = room.checked_sub(1).ok_or(code::INVALID_VALUE)?;
    let bytes = text.as_bytes();
    let bytes = &bytes[..bytes.len().min(cut)];
    for (index, byte) in bytes.iter().enumerate() {
        out.set_at(index, *byte as c_char)?;
    }
    out.set_at(bytes.len(), 0)
}

entry! {
    initialised fn cuDeviceGetName(name: Out<c_char>, room: i32, device: i32) |driver| {
        let device = driver.ordinal(device)?;
        let room = usize::try_from(room).map_err(|_| code::INVALID_VALUE)?;
        let text = device.config.lock().name.clone();
        write(name, room, &text)
    }
}

entry! {
    initialised fn cuDeviceGetPCIBusId(id: Out<c_char>, room: i32, device: i32) |driver| {
        let device = driver.ordinal(device)?;
        let text = format!("{PCI_DOMAIN:04X}:{:02X}:00.0", device.index + 1);
        match usize::try_from(room) {
            // "domain:bus:device.function" and its end must fit (driver API).
            Ok(room) if room > text.len() => write(id, room, &text),
            _ => Err(code::INVALID_VALUE),
        }
    }
}

entry! {
    initialised fn cuDeviceGetAttribute(value: Out<i32>, attribute: i32, device: i32) |driver| {
        value.required()?;
        value.set(driver.ordinal(device)?.attribute(attribute)?)
    }
}

entry! {
    initialised fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) |driver| {
        bytes.set(driver.ordinal(device)?.memory_bytes as usize)
    }
}

entry! {
    initialised fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: i32) |driver| {
        let mut bytes = *b"gpubuf-simulated";
        bytes[15] = driver.ordinal(device)?.index as u8;
        uuid.set(bytes)
    }
}
