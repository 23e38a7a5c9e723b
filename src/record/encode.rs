//! The bytes of a recording: numbers of variable length, and records with their length in front.

/// What a record is, by its first byte: below [`flags::CALL`] one of these.
pub struct Kind;

impl Kind {
    /// The end, with why.
    pub const END: u8 = 0;
    /// A function: its number, name, and what its arguments are.
    pub const FUNCTION: u8 = 1;
    /// So many calls are missing here.
    pub const LOST: u8 = 2;

    /// The process exited.
    pub const END_EXIT: u8 = 0;
    /// The limit was reached.
    pub const END_LIMIT: u8 = 1;
}

/// The bits of the first byte of a call.
pub mod flags {
    /// It is a call.
    pub const CALL: u8 = 0x80;
    /// Of another thread than the one before: its number follows.
    pub const THREAD: u8 = 1;
    /// Milliseconds since the one before follow.
    pub const LATER: u8 = 2;
    /// Calls that ended between its begin and its end: how many follows.
    pub const MEANWHILE: u8 = 4;
    /// From a callback inside another call.
    pub const INSIDE: u8 = 8;
    /// From a function on a stream, or a callback on a thread of the library's.
    pub const ELSEWHERE: u8 = 16;
    /// Its status follows.
    pub const REFUSED: u8 = 32;
    /// Milliseconds that it took follow.
    pub const TOOK: u8 = 64;
}

/// Adds a number: seven bits a byte, the lowest first, the upper bit on all but the last.
pub fn number(out: &mut impl Extend<u8>, mut value: u64) {
    while value >= 0x80 {
        out.extend([value as u8 | 0x80]);
        value >>= 7;
    }
    out.extend([value as u8]);
}

/// A signed number as one without: small ones stay small.
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Writes values.
pub struct Encoder {
    bytes: Vec<u8>,
}

/// Longer texts are cut, longer lists too.
const TEXT: usize = 1023;

impl Encoder {
    /// After what is there.
    pub const fn new(bytes: Vec<u8>) -> Encoder {
        Encoder { bytes }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// A number.
    pub fn number(&mut self, value: u64) {
        number(&mut self.bytes, value);
    }

    /// A signed number.
    pub fn signed(&mut self, value: i64) {
        self.number(zigzag(value));
    }

    /// A text: its length and one, its bytes. `None` is a 0.
    pub fn text_or_none(&mut self, text: Option<&[u8]>) {
        match text {
            None => self.number(0),
            Some(text) => {
                let text = &text[..text.len().min(TEXT)];
                self.number(text.len() as u64 + 1);
                self.bytes.extend_from_slice(text);
            }
        }
    }

    /// A text.
    pub fn text(&mut self, text: &[u8]) {
        self.text_or_none(Some(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_what_they_need() {
        let bytes = |value| {
            let mut out = Vec::new();
            number(&mut out, value);
            out
        };
        assert_eq!(bytes(0), [0]);
        assert_eq!(bytes(127), [127]);
        assert_eq!(bytes(128), [0x80, 1]);
        assert_eq!(bytes(u64::MAX).len(), 10);
        assert_eq!([0, -1, 1, i64::MIN].map(zigzag), [0, 1, 2, u64::MAX]);
    }
}
