//! Thousands of seeded operations over streams, threads and two emulated devices with random delays: every byte that work on
//! a stream sees *when it runs* is compared with what the host meant it to see.
//!
//! The seed is printed, and taken from GPUBUF_STRESS_SEED; GPUBUF_STRESS_STEPS sets the length.

#[path = "stress/buffers.rs"]
mod buffers;
mod common;
#[path = "stress/kit.rs"]
mod kit;
#[path = "stress/pools.rs"]
mod pools;
#[path = "stress/slots.rs"]
mod slots;

use kit::{Random, Rig, seed, steps};

/// Runs `body` on two devices at once, each in a thread of its own.
fn on_two_devices(what: &str, body: fn(&Rig, &mut Random, u64)) {
    let seed = seed();
    println!("{what}: seed {seed}, {} steps on each device", steps());
    let rigs = [Rig::new(seed), Rig::new(seed ^ 0x5555)];
    std::thread::scope(|scope| {
        for (number, rig) in rigs.iter().enumerate() {
            scope.spawn(move || body(rig, &mut Random::new(seed.wrapping_add(number as u64)), steps()));
        }
    });
    for rig in &rigs {
        rig.finish();
        assert_eq!(rig.wrong_bytes(), 0, "{what}: work on a stream saw bytes that were not meant for it (seed {seed})");
        assert!(rig.looks() > 0 && rig.blind() == 0, "{what}: nothing was looked at, or no memory");
    }
}

#[test]
fn buffers_never_show_wrong_bytes() {
    on_two_devices("buffers", buffers::run);
}

#[test]
fn pools_never_show_wrong_bytes() {
    on_two_devices("pools", pools::run);
}

#[test]
fn slots_never_show_wrong_bytes() {
    on_two_devices("slots", slots::run);
}
