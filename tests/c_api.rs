//! The C API from C: programs of tests/c, compiled against the header and linked with the shared library of this build.

#[path = "c_api/header.rs"]
mod header;
#[path = "c_api/program.rs"]
mod program;

use program::{run, run_generated, run_with};

#[test]
fn a_tour_of_every_noun() {
    run("tour");
}

#[test]
fn pointers_that_point_to_nothing() {
    let functions = header::functions();
    assert!(functions.len() > 100, "only {} functions found in the header", functions.len());
    run_generated("pointers.c", &header::pointer_cases(&functions), &[]);
}

#[test]
fn structs_of_other_versions() {
    run("structs");
}

#[test]
fn many_threads_use_and_end_the_same_handles() {
    run("threads");
}

#[test]
fn callbacks_call_the_library() {
    run("callbacks");
}

#[test]
fn a_child_after_fork() {
    run("fork");
}

#[test]
fn the_end_of_the_library_and_of_the_process() {
    run("shutdown");
}

#[test]
fn upkeep_goes_on_through_a_fork_and_into_the_exit() {
    run_with("upkeep", &[("GPUBUF_BACKEND", "host".into())]);
}

#[test]
fn what_nobody_destroyed_is_named_at_the_end() {
    run_with("leaks", &[("GPUBUF_TRACK", "1".into())]);
}

#[test]
fn a_library_that_is_let_go_of() {
    run("unload");
}
