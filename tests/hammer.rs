//! Every noun at the same time: many threads on one device with random delays, each of which knows what its memory has to hold.
//! Then the same where operations are refused, where they fail, and where the device is lost in the middle; and one object in the
//! hands of several threads, which is answered `busy` and never damaged.
//!
//! The seed is printed, and taken from GPUBUF_STRESS_SEED; GPUBUF_STRESS_STEPS sets the length.

#[path = "hammer/buffers.rs"]
mod buffers;
#[path = "hammer/caretakers.rs"]
mod caretakers;
mod common;
#[path = "hammer/graphs.rs"]
mod graphs;
#[allow(dead_code)]
#[path = "stress/kit.rs"]
mod kit;
#[path = "hammer/one_object.rs"]
mod one_object;
#[path = "hammer/pinned.rs"]
mod pinned;
#[path = "hammer/site.rs"]
mod site;
#[path = "hammer/staged.rs"]
mod staged;
#[path = "hammer/tensors.rs"]
mod tensors;
#[path = "hammer/tiers.rs"]
mod tiers;
#[path = "hammer/workspaces.rs"]
mod workspaces;

use site::{Site, Weather};

/// Who is at work, each in a thread of its own.
const WORKERS: [(&str, site::Worker); 12] = [
    ("staged rows", staged::run),
    ("staged rows", staged::run),
    ("tiers", tiers::run),
    ("tiers", tiers::run),
    ("workspace", workspaces::run),
    ("workspace", workspaces::run),
    ("pinned manager", pinned::run),
    ("pinned manager", pinned::run),
    ("tensors", tensors::run),
    ("tensors", tensors::run),
    ("graphs", graphs::run),
    ("buffers", buffers::run),
];

fn hammer(weather: Weather) {
    let site = Site::new(weather, kit::seed());
    site.work(&WORKERS, &[caretakers::stranger, caretakers::run, caretakers::run, caretakers::weather]);
    site.end();
}

#[test]
fn everything_at_once_is_right_and_comes_back() {
    hammer(Weather::Fair);
}

#[test]
fn a_refused_operation_costs_its_object_alone() {
    hammer(Weather::Refusals);
}

#[test]
fn a_copy_that_fails_is_told_to_its_user() {
    if common::copies_fail_alone() {
        hammer(Weather::Failures);
    }
}

#[test]
fn a_device_lost_in_the_middle_lets_everybody_go() {
    hammer(Weather::Loss);
}

#[test]
fn a_second_thread_in_one_object_is_told_and_damages_nothing() {
    one_object::run(kit::seed(), kit::steps() / 10);
}
