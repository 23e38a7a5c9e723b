//! Numbers from bytes, and bytes for numbers.

/// Numbers at borders.
const BORDERS: [u64; 8] = [
    i64::MAX as u64,
    i64::MAX as u64 - 1,
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64 / 2,
];

/// Reads bytes: 0 where there are no more.
pub struct Bytes<'b>(pub &'b [u8]);

impl Bytes<'_> {
    /// Whether there are no more.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            None => 0,
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
        }
    }

    /// A number of so many bytes, the lowest first.
    pub fn fixed(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, at| value | u64::from(self.byte()) << (8 * at))
    }

    /// A number: small ones, powers of two, and those at borders are one byte.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..128 => small.into(),
            power @ 128..192 => 1 << (power - 128),
            border @ 192..200 => BORDERS[usize::from(border - 192)],
            200..228 => self.fixed(2),
            _ => self.fixed(8),
        }
    }
}

/// The bytes of a number.
pub fn put_number(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        out.push(value as u8);
    } else if let Some(border) = BORDERS.iter().position(|border| *border == value) {
        out.push(192 + border as u8);
    } else if value.is_power_of_two() {
        out.push(128 + value.trailing_zeros() as u8);
    } else if value < 1 << 16 {
        out.push(200);
        out.extend((value as u16).to_le_bytes());
    } else {
        out.push(255);
        out.extend(value.to_le_bytes());
    }
}

/// What stands for a function: by its name, so that new functions change little in what old bytes mean.
pub fn code(name: &str) -> u16 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read() {
        for value in [0, 1, 127, 128, 129, 4096, 65535, 65536, 70_000, u64::MAX, i64::MAX as u64, 1 << 63] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(Bytes(&out).number(), value);
        }
    }
}
