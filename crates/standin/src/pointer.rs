//! What is known about an address (driver API, "Unified Addressing").

use crate::code;
use crate::entry::{In, Out};
use crate::memory::{self, Located, Sort};

const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// An attribute's value as the caller's place wants it.
enum Value {
    Boolean(bool),
    Number(u32),
    Wide(u64),
}

impl Value {
    /// The value for an address that the driver does not know, of the same width.
    fn none(&self, attribute: i32) -> Value {
        match self {
            Value::Boolean(_) => Value::Boolean(false),
            // "DEVICE_ORDINAL will have -2" is how it tells an ordinal from none; the others are 0.
            Value::Number(_) => Value::Number(if attribute == 9 { -2i32 as u32 } else { 0 }),
            Value::Wide(_) => Value::Wide(0),
        }
    }

    fn write(&self, out: Out<u8>) -> Result<(), i32> {
        let bytes = match self {
            // One byte, as the reference says "boolean" and C++ callers hand in a bool.
            Value::Boolean(value) => &[u8::from(*value)][..],
            Value::Number(value) => &value.to_ne_bytes(),
            Value::Wide(value) => &value.to_ne_bytes(),
        };
        bytes.iter().enumerate().try_for_each(|(index, byte)| out.set_at(index, *byte))
    }
}

/// An attribute of known memory. `Err` if there is no such attribute or the memory has no such value.
fn value(attribute: i32, found: &Located) -> Result<Value, i32> {
    let memory = &*found.memory;
    Ok(match attribute {
        1 => Value::Wide(memory.context.handle),
        // Managed memory counts as the device's here and is told by IS_MANAGED.
        2 => Value::Number(if matches!(memory.sort, Sort::Device | Sort::Managed) { DEVICE } else { HOST }),
        3 => Value::Wide(memory.device + found.offset),
        4 if memory.host != 0 => Value::Wide(memory.host + found.offset),
        6 => Value::Boolean(false),
        7 => Value::Wide(memory.id),
        8 => Value::Boolean(memory.sort == Sort::Managed),
        9 => Value::Number(memory.context.ordinal.index as u32),
        // Of the range that the address was found by.
        11 if memory.host == 0 || memory.sort == Sort::Managed => Value::Wide(memory.device),
        11 => Value::Wide(memory.host),
        12 => Value::Wide(memory.bytes as u64),
        13 => Value::Boolean(true),
        _ => return Err(code::INVALID_VALUE),
    })
}

/// The width of an attribute, by a value of it.
fn width(attribute: i32) -> Result<Value, i32> {
    Ok(match attribute {
        6 | 8 | 13 => Value::Boolean(false),
        2 | 9 => Value::Number(0),
        1 | 3 | 4 | 7 | 11 | 12 => Value::Wide(0),
        _ => return Err(code::INVALID_VALUE),
    })
}

entry! {
    contextual fn cuPointerGetAttribute(data: Out<u8>, attribute: i32, address: u64) |_current| {
        data.required()?;
        let found = memory::find(address).ok_or(code::INVALID_VALUE)?;
        value(attribute, &found)?.write(data)
    }
}

entry! {
    contextual fn cuPointerGetAttributes(
        count: u32, attributes: In<i32>, data: In<Out<u8>>, address: u64,
    ) |_current| {
        // An address that is not known is no error here: its attributes are null (driver API).
        let found = memory::find(address);
        for index in 0..count as usize {
            let attribute = attributes.get(index)?;
            let none = width(attribute)?.none(attribute);
            let known = found.as_ref().and_then(|found| value(attribute, found).ok());
            known.unwrap_or(none).write(data.get(index)?)?;
        }
        Ok(())
    }
}
