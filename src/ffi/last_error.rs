//! The message of this thread's last refused call.

use std::cell::RefCell;

/// Longer messages are cut.
const MOST: usize = 1024;

struct Text {
    bytes: [u8; MOST],
    length: usize,
}

thread_local! {
    // Without a destructor, so that it can be used to the very end of a thread.
    static LAST: RefCell<Text> = const { RefCell::new(Text { bytes: [0; MOST], length: 0 }) };
}

/// Remembers `entry: message`. Allocates nothing.
pub fn set(entry: &str, message: &str) {
    LAST.with_borrow_mut(|text| {
        text.length = 0;
        for part in [entry, ": ", message] {
            let end = whole_characters(part, MOST - text.length);
            text.bytes[text.length..text.length + end].copy_from_slice(&part.as_bytes()[..end]);
            text.length += end;
        }
    });
}

/// Reads the message.
pub fn with<R>(read: impl FnOnce(&[u8]) -> R) -> R {
    LAST.with_borrow(|text| read(&text.bytes[..text.length]))
}

/// The longest whole number of characters within `most` bytes.
fn whole_characters(text: &str, most: usize) -> usize {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = "é".repeat(MOST);
        set("gpubuf_x", &long);
        with(|bytes| {
            let text = std::str::from_utf8(bytes).expect("whole characters");
            assert!(text.starts_with("gpubuf_x: é") && bytes.len() >= MOST - 1 && bytes.len() <= MOST);
        });
        set("gpubuf_y", "short");
        with(|bytes| assert_eq!(bytes, b"gpubuf_y: short"));
        std::thread::spawn(|| with(|bytes| assert!(bytes.is_empty()))).join().expect("no panic");
    }
}
