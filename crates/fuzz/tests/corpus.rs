//! What the fuzzer has kept, and some thousand changes of it, without a fuzzer.

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

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    /// Some bytes changed, taken out, or taken from another.
    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(4) {
                _ if bytes.is_empty() => bytes.push(0),
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => drop(bytes.drain(at..(at + self.below(16)).min(bytes.len()))),
                _ => {
                    let from = self.below(other.len());
                    let piece = &other[from..(from + self.below(64)).min(other.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
    }
}

fn all_and_changes(folder: &str, changes: usize, run: impl Fn(&[u8])) {
    let inputs: Vec<Vec<u8>> = files(folder).iter().map(|file| bytes(file)).collect();
    assert!(inputs.len() > 5, "the corpus is there");
    let mut random = Random(7);
    for input in &inputs {
        run(input);
    }
    for _ in 0..changes {
        let (one, other) = (random.below(inputs.len()), random.below(inputs.len()));
        let mut input = inputs[one].clone();
        random.change(&mut input, &inputs[other]);
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
