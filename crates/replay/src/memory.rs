//! Memory for arguments.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Bytes of one region: address space, of which only what is touched is there.
pub const REGION: usize = 1 << 34;

/// A region that reads as zeroes.
fn reserve() -> Option<u64> {
    // SAFETY: a new private mapping of nothing.
    let region = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            REGION,
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
        let data = reserve().ok_or("no address space for the data of calls")?;
        Ok(Memory { data, foreign: HashMap::new(), words: Vec::new() })
    }

    /// As [`Memory::new`], with the same region in every run of this process.
    ///
    /// # Panics
    /// If there is no address space.
    pub fn shared() -> Memory {
        static DATA: OnceLock<Option<u64>> = OnceLock::new();
        let data = DATA.get_or_init(reserve).expect("address space for the data of calls");
        Memory { data, foreign: HashMap::new(), words: Vec::new() }
    }

    /// Where all data is read and written.
    pub fn data(&self) -> u64 {
        self.data
    }

    /// What stands for memory of the application's: of the same alignment, and at the same distance from its neighbours.
    pub fn foreign(&mut self, address: u64) -> u64 {
        let (zone, offset) = (address / REGION as u64, address % REGION as u64);
        if zone == 0 {
            return address;
        }
        let data = self.data;
        *self.foreign.entry(zone).or_insert_with(|| reserve().unwrap_or(data)) + offset
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
