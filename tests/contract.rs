//! The reuse contract, check by check: each has one test that shows it, and the same test must notice its absence.
//!
//! No test depends on timing to pass: a stream is held shut, and the host tries. Where a stream must be seen not to run, it
//! waits for a held one, so waiting longer changes nothing; only a library without the check would run ahead.

#[path = "contract/buffer.rs"]
mod buffer;
mod common;
#[path = "contract/graph.rs"]
mod graph;
#[path = "contract/kit.rs"]
mod kit;
#[path = "contract/pinned.rs"]
mod pinned;
#[path = "contract/pool.rs"]
mod pool;
#[path = "contract/slots.rs"]
mod slots;
#[path = "contract/staged.rs"]
mod staged;
#[path = "contract/sync.rs"]
mod sync;
#[path = "contract/tiers.rs"]
mod tiers;
#[path = "contract/workspace.rs"]
mod workspace;

use gpubuf::config::checks::Check;
use kit::Case;

/// One case at a time: a check is taken out for the whole process.
static ONE: gpubuf::sync::Mutex<()> = gpubuf::sync::Mutex::new(());

fn cases() -> Vec<Case> {
    [
        buffer::CASES,
        graph::CASES,
        pinned::CASES,
        pool::CASES,
        slots::CASES,
        staged::CASES,
        sync::CASES,
        tiers::CASES,
        workspace::CASES,
    ]
    .concat()
}

#[test]
fn every_check_has_one_case_and_one_line_in_the_document() {
    let document = include_str!("../docs/reuse-contract.md");
    let cases = cases();
    for check in Check::ALL {
        let shown = cases.iter().filter(|case| case.check == *check).count();
        assert_eq!(shown, 1, "{} is shown by {shown} cases, not 1", check.key());
        let row = format!("| `{}` | {} | {} |", check.key(), check.kind().name(), check.text());
        assert!(document.contains(&row), "docs/reuse-contract.md lacks the row:\n{row}");
    }
    let rows = document.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Check::ALL.len(), "docs/reuse-contract.md lists checks that do not exist");
}

#[test]
fn the_contract_holds() {
    let _one = ONE.lock();
    // Where a failed case may leave a broken device behind, each is run in a process of its own.
    let only = std::env::var("GPUBUF_CONTRACT_CASE").ok();
    let mut cases = cases();
    cases.retain(|case| only.as_deref().is_none_or(|only| only == case.check.key()));
    assert!(!cases.is_empty(), "GPUBUF_CONTRACT_CASE names no case");
    for case in cases {
        if let Err(assertion) = (case.run)() {
            panic!("{}: not true that {assertion}", case.check.key());
        }
    }
}

/// Takes each check out in turn. Its case must fail on the assertion that names what is lost: not by a panic, not by an
/// assertion about something else.
#[cfg(feature = "mutants")]
#[test]
fn every_case_notices_the_absence_of_its_check() {
    use gpubuf::config::checks::disable;
    let _one = ONE.lock();
    let mut blind = Vec::new();
    for case in cases() {
        disable(Some(case.check));
        let outcome = std::panic::catch_unwind(case.run);
        disable(None);
        match outcome {
            Ok(Err(assertion)) if assertion == case.assertion => {}
            other => blind.push(format!("{}: wanted \"{}\", got {other:?}", case.check.key(), case.assertion)),
        }
    }
    assert!(blind.is_empty(), "checks whose absence is not noticed as it should be:\n{}", blind.join("\n"));
}
