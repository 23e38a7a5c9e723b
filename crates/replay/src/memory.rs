//! Memory for arguments.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Bytes of one region: address space, of which only what is touched is there.
pub const REGION: usize = 1 << 34;

/// So many bytes that read as zeroes.
fn reserve(bytes: usize) -> Option<u64> {
    // SAFETY: a new private mapping of nothing.
    let region = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    (region != libc::MAP_FAILED).then_some(region as u64)
}

/// Memory for arguments: of a call, and of the application.
pub struct Memory {
    /// Stands for all memory that a call reads or writes.
    data: u64,
    /// The application's own memory that objects were made around, by the upper bits of its address.
    foreign: HashMap<u64, u64>,
    /// Of the call in progress.
    words: Vec<Box<[u64]>>,
}

impl Memory {
    /// Reserves address space.
    pub fn new() -> Result<Memory, String> {
        let data = reserve(REGION).ok_or("no address space for the data of calls")?;
        Ok(Memory { data, foreign: HashMap::new(), words: Vec::new() })
    }

    /// As [`Memory::new`], with the same region in every run of this process.
    ///
    /// # Panics
    /// If there is no address space.
    pub fn shared() -> Memory {
        static DATA: OnceLock<Option<u64>> = OnceLock::new();
        let data = DATA.get_or_init(|| reserve(REGION)).expect("address space for the data of calls");
        Memory { data, foreign: HashMap::new(), words: Vec::new() }
    }

    /// Where all data is read and written.
    pub fn data(&self) -> u64 {
        self.data
    }

    /// What stands for so many bytes of the application's memory: of the same alignment, and at the same distance from its
    /// neighbours. `None`: there is no address space for it.
    pub fn foreign(&mut self, address: u64, bytes: u64) -> Option<u64> {
        let (zone, offset) = (address / REGION as u64, address % REGION as u64);
        if bytes > REGION as u64 {
            return None;
        }
        let region = match self.foreign.get(&zone) {
            Some(region) => *region,
            // It may begin at the very end of its zone.
            None => reserve(2 * REGION)?,
        };
        self.foreign.insert(zone, region);
        Some(region + offset)
    }

    /// Space for a struct or a list, zeroed, until the next call.
    pub fn space(&mut self, bytes: usize) -> &mut [u64] {
        self.words.push(vec![0; bytes.div_ceil(8).max(1)].into_boxed_slice());
        self.words.last_mut().expect("just put there")
    }

    /// A text, until the next call.
    pub fn text(&mut self, text: &[u8]) -> u64 {
        let text: Vec<u8> = text.iter().copied().take_while(|byte| *byte != 0).collect();
        let space = self.space(text.len() + 1);
        for (at, byte) in text.iter().enumerate() {
            space[at / 8] |= u64::from(*byte) << (8 * (at % 8));
        }
        space.as_ptr() as u64
    }

    /// Numbers, until the next call.
    pub fn list(&mut self, items: &[u64]) -> u64 {
        let space = self.space(8 * items.len());
        space[..items.len()].copy_from_slice(items);
        space.as_ptr() as u64
    }

    /// The call is over.
    pub fn clear(&mut self) {
        self.words.clear();
    }
}

/// Whatever a callback gets, it does nothing.
pub extern "C" fn nothing() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_application_ends_where_its_zone_does_not() {
        let mut memory = Memory::new().expect("address space");
        let zone = REGION as u64;
        let near = |memory: &mut Memory, address| memory.foreign(address, 8192).expect("address space");
        let last = near(&mut memory, 6 * zone - 4096);
        let own = last..last + 8192;
        assert!(!own.contains(&memory.data()), "the data of calls lies behind it");
        for other in [4, 5, 6, 7] {
            let first = near(&mut memory, other * zone);
            assert!(!own.contains(&first), "memory of zone {other} lies behind it");
        }
        // SAFETY: the last of its bytes, which nobody else has.
        unsafe { *((own.end - 1) as *mut u8) = 1 };
        assert_eq!(near(&mut memory, 6 * zone - 4096), last, "the same again");
        assert_eq!(memory.foreign(zone, zone + 1), None);
    }
}
