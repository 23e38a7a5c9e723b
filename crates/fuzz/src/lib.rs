//! Any bytes are a sequence of calls: live handles mostly, damaged ones sometimes, on the emulated device. See docs/record-replay.md.

mod bytes;
pub mod change;
mod ending;
mod machine;
mod options;
mod oracle;
pub mod seed;

use machine::Machine;

/// Makes the calls that the bytes are.
///
/// # Panics
/// If what must hold does not: no fault of the library, nothing written by a refused call, all memory back at the end, bytes on
/// the device that are those on the host.
pub fn calls(bytes: &[u8]) {
    let mut machine = Machine::new(bytes);
    while machine.step() {}
    machine.end();
}

/// Reads the bytes as a recording.
pub fn recording(bytes: &[u8]) {
    if let Ok(recording) = gpubuf_replay::recording::Recording::read(bytes) {
        for call in &recording.calls {
            drop(gpubuf_replay::print::call(call));
        }
        drop(seed::of(&recording));
    }
}
