//! The C API from C: programs of tests/c, compiled against the header and linked with the shared library of this build.

#[path = "c_api/program.rs"]
mod program;

use program::{run, run_with};

#[test]
fn a_tour_of_every_noun() {
    run("tour");
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

/// One at each end: of a device, of the library; and none at the exit, when nothing is left to say.
#[test]
fn the_report_is_written_at_the_end() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("at_end");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let reports = |name: &str| {
        run_with("at_end", &[("GPUBUF_REPORT", folder.join(name)), ("GPUBUF_AT_END", name.into())]);
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            texts.push(std::fs::read_to_string(&path).expect("a report"));
            std::fs::remove_file(path).expect("a report");
        }
        assert_eq!(texts.len(), 1, "{name}");
        texts.remove(0)
    };
    let text = reports("exit-%p.json");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("\"device \\\"first\\\"\"") && lines[0].contains("\"copies\":1"), "{}", lines[0]);
    assert!(lines[0].contains("\"live_objects\":[]"), "{}", lines[0]);
    assert!(lines[1].contains("device \\\"second\\\"") && lines[1].contains("buffer \\\"kept\\\""), "{}", lines[1]);
    let text = reports("shutdown.json");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[1].contains("\"shut_down\":true") && lines[1].contains("buffer \\\"kept\\\""), "{}", lines[1]);
    let text = reports("exit.txt");
    assert!(text.contains("buffer \"kept\"") && !text.contains("live_objects\":"), "{text}");
}

#[test]
fn a_library_that_is_let_go_of() {
    run("unload");
}

#[test]
fn a_library_that_is_let_go_of_with_threads_inside() {
    run("unload_threads");
}

#[test]
fn processes_that_end_or_are_disturbed_with_the_library_in_use() {
    run("endings");
}
