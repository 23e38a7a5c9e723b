//! What the fuzzer has kept, and some thousand changes of it, without a fuzzer.

use gpubuf_fuzz::change::Random;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn bytes(file: &Path) -> Vec<u8> {
    std::fs::read(file).expect("a file")
}

fn all_and_changes(folder: &str, changes: usize, run: impl Fn(&[u8])) {
    let inputs: Vec<Vec<u8>> = files(folder).iter().map(|file| bytes(file)).collect();
    assert!(inputs.len() > 5, "the corpus is there");
    let mut random = Random(7);
    for input in &inputs {
        run(input);
    }
    for _ in 0..changes {
        let input = random.changed(&inputs);
        // What fails is found again by this file.
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{folder}-{}.failed", std::process::id()));
        std::fs::write(&kept, &input).expect("written");
        run(&input);
        std::fs::remove_file(&kept).expect("removed");
    }
}

#[test]
fn sequences_of_calls_keep_what_must_hold() {
    all_and_changes("calls", 150, gpubuf_fuzz::calls);
}

#[test]
fn no_bytes_make_the_reader_of_recordings_fail() {
    all_and_changes("recording", 1_000, gpubuf_fuzz::recording);
}

#[test]
fn a_recording_is_a_sequence_with_its_calls() {
    for file in files("recording") {
        let Ok(recording) = gpubuf_replay::recording::Recording::read(&bytes(&file)) else { continue };
        let seed = gpubuf_fuzz::seed::of(&recording);
        assert!(recording.calls.len() < 3 || seed.len() > recording.calls.len(), "{}", file.display());
    }
}
