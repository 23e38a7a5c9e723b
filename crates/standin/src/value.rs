//! Words of memory that streams wait for and write (driver API, "Stream Memory Operations").

use std::sync::Arc;

use gpubuf_engine::{Compare, Op, OpKind};

use crate::attributes::{CAN_FLUSH_REMOTE_WRITES, CAN_USE_STREAM_MEM_OPS, CAN_USE_STREAM_WAIT_VALUE_NOR};
use crate::code;
use crate::memory::{self, Sort};
use crate::stream::{self, Stream};

/// `CU_STREAM_WAIT_VALUE_FLUSH`.
const FLUSH: u32 = 1 << 30;
/// `CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER`.
const NO_BARRIER: u32 = 1;

/// The word must be aligned and in memory that the device reaches, other than managed memory (driver API, "Stream
/// Memory Operations": managed memory is not supported).
fn expect_word(address: u64, stream: &Arc<Stream>) -> Result<(), i32> {
    stream.context.ordinal.expect(CAN_USE_STREAM_MEM_OPS)?;
    let found = memory::expect_known(address, 4, &stream.context)?;
    if !address.is_multiple_of(4) || found.memory.sort == Sort::Managed {
        return Err(code::INVALID_VALUE);
    }
    Ok(())
}

entry! {
    contextual fn cuStreamWaitValue32_v2(stream: u64, address: u64, value: u32, flags: u32) |current| {
        let stream = stream::find(stream, current)?;
        let compare = match flags & !FLUSH {
            0 => Compare::AtLeast,
            1 => Compare::Equal,
            2 => Compare::AnyBit,
            3 => Compare::NoBit,
            _ => return Err(code::INVALID_VALUE),
        };
        expect_word(address, &stream)?;
        if flags & FLUSH != 0 {
            stream.context.ordinal.expect(CAN_FLUSH_REMOTE_WRITES)?;
        }
        if compare == Compare::NoBit {
            stream.context.ordinal.expect(CAN_USE_STREAM_WAIT_VALUE_NOR)?;
        }
        // SAFETY: the word is in the driver's memory, or in memory that the caller registered and so answers for.
        unsafe { stream.submit(OpKind::WaitValue, Op::WaitValue { address, value, compare }) }
    }
}

entry! {
    contextual fn cuStreamWriteValue32_v2(stream: u64, address: u64, value: u32, flags: u32) |current| {
        let stream = stream::find(stream, current)?;
        if flags & !NO_BARRIER != 0 {
            return Err(code::INVALID_VALUE);
        }
        expect_word(address, &stream)?;
        // SAFETY: as for the wait.
        unsafe { stream.submit(OpKind::WriteValue, Op::WriteValue { address, value }) }
    }
}
