//! Device attributes (driver API, `CUdevice_attribute`): what the simulation can do, and what tests switch off.

use crate::code;
use crate::driver::Ordinal;

pub(crate) const CAN_MAP_HOST_MEMORY: i32 = 19;
pub(crate) const MANAGED_MEMORY: i32 = 83;
pub(crate) const CAN_USE_STREAM_MEM_OPS: i32 = 92;
pub(crate) const CAN_FLUSH_REMOTE_WRITES: i32 = 98;
pub(crate) const HOST_REGISTER_SUPPORTED: i32 = 99;
pub(crate) const READ_ONLY_HOST_REGISTER_SUPPORTED: i32 = 113;
pub(crate) const MEMORY_POOLS_SUPPORTED: i32 = 115;
pub(crate) const CAN_USE_STREAM_WAIT_VALUE_NOR: i32 = 123;

/// Beyond the last attribute of any driver that this was written against, with room.
const END: i32 = 256;

/// Not a domain that a machine's buses have, so that nobody takes the device for hardware.
pub(crate) const PCI_DOMAIN: i32 = 0xffff;

/// Attributes that are not 0, other than those that differ by device.
const VALUES: &[(i32, i32)] = &[
    (1, 1024), // threads in a block
    (2, 1024), // its sizes
    (3, 1024),
    (4, 64),
    (5, i32::MAX), // the grid's sizes
    (6, 65535),
    (7, 65535),
    (10, 32),       // threads in a warp
    (11, i32::MAX), // longest pitch
    (15, 1),        // copies overlap with execution
    (16, 1),        // multiprocessors
    (CAN_MAP_HOST_MEMORY, 1),
    (40, 2), // copy engines
    (41, 1), // unified addressing
    (50, PCI_DOMAIN),
    (75, 7), // compute capability
    (MANAGED_MEMORY, 1),
    (89, 1), // concurrent managed access
    (CAN_USE_STREAM_MEM_OPS, 1),
    (HOST_REGISTER_SUPPORTED, 1),
    (MEMORY_POOLS_SUPPORTED, 1),
    (CAN_USE_STREAM_WAIT_VALUE_NOR, 1),
    (134, -1), // the host's NUMA node: not known
];

impl Ordinal {
    /// An attribute's value, as a test set it or by default; `INVALID_VALUE` for a number that is none.
    pub(crate) fn attribute(&self, attribute: i32) -> Result<i32, i32> {
        if !(1..END).contains(&attribute) {
            return Err(code::INVALID_VALUE);
        }
        if let Some(value) = self.attributes.read().get(&attribute) {
            return Ok(*value);
        }
        // The bus number.
        if attribute == 33 {
            return Ok(self.index + 1);
        }
        Ok(VALUES.iter().find(|(known, _)| *known == attribute).map_or(0, |(_, value)| *value))
    }

    /// Refuses with `NOT_SUPPORTED` what the device says that it cannot do.
    pub(crate) fn expect(&self, attribute: i32) -> Result<(), i32> {
        if self.attribute(attribute)? == 0 { Err(code::NOT_SUPPORTED) } else { Ok(()) }
    }
}
