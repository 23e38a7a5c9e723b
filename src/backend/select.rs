//! Which device: by number, by name, or the one with the most room.

use super::{BackendKind, DeviceOptions, cuda, host};
use crate::error::{Error, Result, Status};
use crate::fail;

/// As `ordinal`: the device with the most free memory.
pub const MOST_FREE: u32 = u32::MAX;

/// What is known of a device that nobody has opened.
#[derive(Clone, Debug)]
pub struct DeviceSummary {
    /// Which backend.
    pub kind: BackendKind,
    /// Which device of it.
    pub ordinal: u32,
    /// For people.
    pub name: String,
    /// 12040 is CUDA 12.4; 0: there is no driver.
    pub driver_version: u32,
    /// No hardware is behind it.
    pub simulation: bool,
    /// It shares its memory with the CPU.
    pub integrated: bool,
    /// The memory node that is near it.
    pub numa_node: Option<u32>,
    /// Bytes of its memory.
    pub memory: Option<u64>,
    /// Its number in the world.
    pub uuid: Option<[u8; 16]>,
    /// Where it is plugged in, `0000:3b:00.0`.
    pub bus: Option<String>,
}

impl DeviceSummary {
    /// A device of a backend, without opening it.
    pub fn of(kind: Option<BackendKind>, ordinal: u32) -> Result<DeviceSummary> {
        match super::choose(kind)?.0 {
            BackendKind::Host => host::summary(ordinal),
            BackendKind::Cuda => cuda::summary(ordinal),
        }
    }

    /// Its number in the world, as `nvidia-smi -L` has it.
    pub fn uuid_text(&self) -> Option<String> {
        let hex: String = self.uuid?.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }
}

/// The device of a backend with the most free memory, and how that was found.
pub fn most_free(kind: BackendKind) -> Result<(u32, String)> {
    match kind {
        BackendKind::Cuda => cuda::most_free(),
        BackendKind::Host => Ok((0, "emulated devices have equal memory, so the first".into())),
    }
}

impl DeviceOptions {
    /// The device of that name: `auto`, `cuda`, `host`, each with `:number` or `:auto`, a UUID with `GPU-` or `MIG-` (or as much
    /// of it as only one device has), or a place on the bus, `0000:3b:00.0`.
    pub fn select(&mut self, name: &str) -> Result<()> {
        if self.kind.is_some() || self.ordinal != 0 || self.native_context != 0 {
            return fail!(
                InvalidArgument,
                "device {name:?} is named, and backend, ordinal or native_context is set as well: one of the ways, not two"
            );
        }
        let lower = name.to_ascii_lowercase();
        let (backend, ordinal) = lower.split_once(':').map_or((&*lower, None), |(before, after)| (before, Some(after)));
        let kind = match backend {
            "auto" if ordinal.is_none() => {
                (self.kind, self.ordinal) = (None, MOST_FREE);
                return Ok(());
            }
            "cuda" => BackendKind::Cuda,
            "host" => BackendKind::Host,
            _ => {
                (self.kind, self.ordinal) = (Some(BackendKind::Cuda), find(name, &lower)?);
                return Ok(());
            }
        };
        let ordinal = match ordinal {
            None => 0,
            Some("auto") => MOST_FREE,
            Some(text) => text.parse().ok().filter(|ordinal| *ordinal != MOST_FREE).ok_or_else(|| unknown(name))?,
        };
        (self.kind, self.ordinal) = (Some(kind), ordinal);
        Ok(())
    }
}

#[cold]
fn unknown(name: &str) -> Error {
    Error::new(
        Status::InvalidArgument,
        format!(
            "device {name:?} is not a name: use auto, cuda, cuda:1, cuda:auto, host, a UUID (GPU-...) or a bus id (0000:3b:00.0)"
        ),
    )
}

/// The CUDA device with this UUID or place.
fn find(name: &str, lower: &str) -> Result<u32> {
    let uuid = lower.strip_prefix("gpu-").or_else(|| lower.strip_prefix("mig-"));
    let place = Place::parse(lower);
    if uuid.is_none_or(str::is_empty) && place.is_none() {
        return Err(unknown(name));
    }
    let mut found = Vec::new();
    let mut all = Vec::new();
    for ordinal in 0..cuda::device_count()? {
        // One that fails is no reason not to find another.
        let device = match cuda::summary(ordinal) {
            Ok(device) => device,
            Err(error) => {
                all.push(format!("cuda:{ordinal} does not answer ({})", error.message()));
                continue;
            }
        };
        let own = device.uuid_text().unwrap_or_default();
        let bus = device.bus.clone().unwrap_or_default();
        let fits = match uuid {
            Some(start) => own.starts_with(start),
            None => place.is_some() && Place::parse(&bus) == place,
        };
        if fits {
            found.push(ordinal);
        }
        all.push(format!("cuda:{ordinal} is GPU-{own} at {bus}"));
    }
    match found[..] {
        [ordinal] => Ok(ordinal),
        [] => fail!(NotFound, "there is no device {name:?}: {}", all.join(", ")),
        _ => fail!(InvalidArgument, "{name:?} is more than one device: {}", all.join(", ")),
    }
}

/// A place on the bus: domain, bus, device, function.
#[derive(PartialEq, Eq, Debug)]
struct Place([u32; 4]);

impl Place {
    /// Of `0000:3b:00.0`, where the domain may have more digits, or be left out if it is 0.
    fn parse(text: &str) -> Option<Place> {
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let (rest, function) = text.split_once('.')?;
        let mut parts = rest.rsplit(':');
        let (device, bus) = (parts.next()?, parts.next()?);
        let domain = parts.next().unwrap_or("0");
        let place = Place([number(domain)?, number(bus)?, number(device)?, number(function)?]);
        parts.next().is_none().then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(name: &str) -> (Option<BackendKind>, u32) {
        let mut options = DeviceOptions::default();
        options.select(name).expect("a device");
        (options.kind, options.ordinal)
    }

    #[test]
    fn names_without_a_driver() {
        assert_eq!(selected("auto"), (None, MOST_FREE));
        assert_eq!(selected("cuda"), (Some(BackendKind::Cuda), 0));
        assert_eq!(selected("CUDA:3"), (Some(BackendKind::Cuda), 3));
        assert_eq!(selected("cuda:auto"), (Some(BackendKind::Cuda), MOST_FREE));
        assert_eq!(selected("host"), (Some(BackendKind::Host), 0));
        assert_eq!(selected("host:0"), (Some(BackendKind::Host), 0));
    }

    #[test]
    fn what_is_no_name_changes_nothing_and_says_what_is() {
        for name in ["", " ", "gpu", "gpu-", "cuda:", "cuda:-1", "cuda:one", "cuda:4294967295", "auto:1", "tpu:0", "1"]
        {
            let mut options = DeviceOptions::default();
            let error = options.select(name).expect_err(name);
            assert_eq!((options.kind, options.ordinal), (None, 0));
            assert_eq!(error.status(), Status::InvalidArgument, "{name}");
            assert!(error.message().contains("cuda:1"), "{}", error.message());
        }
    }

    #[test]
    fn a_device_is_named_in_one_way() {
        for mut options in [
            DeviceOptions { ordinal: 1, ..Default::default() },
            DeviceOptions { kind: Some(BackendKind::Host), ..Default::default() },
            DeviceOptions { native_context: 8, ..Default::default() },
        ] {
            let error = options.select("host:0").expect_err("two ways");
            assert!(error.message().contains("not two"), "{}", error.message());
        }
    }

    #[test]
    fn places_are_numbers_however_written() {
        assert_eq!(Place::parse("00000000:3b:00.0"), Some(Place([0, 0x3b, 0, 0])));
        assert_eq!(Place::parse("3b:1f.7"), Some(Place([0, 0x3b, 0x1f, 7])));
        assert_eq!(Place::parse("ffff:01:00.0"), Some(Place([0xffff, 1, 0, 0])));
        for text in ["", "3b", "3b:00", "x:00.0", "1:2:3:4.0", "3b:00.z"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
