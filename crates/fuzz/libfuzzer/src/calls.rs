//! Sequences of calls.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gpubuf_fuzz::calls(bytes));
