//! The fault matrix: each thing that a scenario asks of the device fails once, or the device is lost there. docs/faults.md says
//! what is expected then.
//!
//! Of the rarer kinds each is tried, of the others a sample; `GPUBUF_FAULTS=all` tries every one.

mod common;
#[path = "faults/kit.rs"]
mod kit;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/steps.rs"]
mod steps;

use common::backend;
use common::random::Random;
use gpubuf::backend::BackendKind;
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::sync::{AtomicU64, Ordering};
use kit::{Done, Fault, KINDS, LOST, OUT_OF_MEMORY, Run, UNKNOWN};
use std::collections::BTreeMap;
use std::time::Instant;

/// One run: every noun once.
fn run(faults: &[Fault]) -> Done {
    scenario(Run::new(faults))
}

fn scenario(run: Run) -> Done {
    run.part("streams", memory::streams);
    run.part("buffers", memory::buffers);
    run.part("borrowed memory", memory::borrowed);
    run.part("pools", memory::pools);
    run.part("page-locked memory", memory::pinned);
    run.part("workspaces", memory::workspaces);
    run.part("tiers", memory::tiers);
    run.part("predictors", memory::predictors);
    run.part("slots", steps::slots);
    run.part("staged rows", steps::staged);
    run.part("tensors", steps::tensors);
    run.part("graphs", steps::graphs);
    run.part("replays", steps::replays);
    run.part("events", steps::events);
    run.end()
}

fn all() -> bool {
    std::env::var("GPUBUF_FAULTS").is_ok_and(|which| which == "all")
}

/// The numbers of 1 to `count` that are tried: all of them, or about so many, the first, the second and the last among them.
fn numbers(count: u64, most: u64) -> Vec<u64> {
    let most = match (all(), host()) {
        (false, _) => most,
        (true, true) => count,
        // Of the thousands of calls by which others get to their context, each place has dozens that are alike.
        (true, false) => 10 * most.max(30),
    };
    let step = if count <= most { 1 } else { count.div_ceil(most) };
    let mut numbers: Vec<u64> = (1..=count).filter(|nth| *nth <= 2 || *nth == count || nth % step == 0).collect();
    numbers.dedup();
    numbers
}

/// What the runs of one kind of fault came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    quiet: u64,
    quarantined: u64,
    missed: u64,
    answers: BTreeMap<&'static str, u64>,
}

static FAILED: AtomicU64 = AtomicU64::new(0);

/// What went wrong is told by now.
fn finish() {
    assert_eq!(FAILED.swap(0, Ordering::Relaxed), 0, "so many runs went wrong: see above");
}

/// Runs the scenario with each of these faults.
fn runs(what: &str, faults: impl IntoIterator<Item = Vec<Fault>>) {
    let began = Instant::now();
    let mut sum = Sum::default();
    let mut failed = 0;
    for fault in faults {
        sum.runs += 1;
        // Each is told, not only the first.
        let Ok(done) = std::panic::catch_unwind(|| run(&fault)) else {
            failed += 1;
            continue;
        };
        sum.quiet += u64::from(done.answers.is_empty());
        sum.quarantined += u64::from(done.quarantined);
        sum.missed += u64::from(done.struck == Some(0));
        done.answers.into_iter().for_each(|(name, count)| *sum.answers.entry(name).or_default() += count);
    }
    eprintln!(
        "{what}: {} runs ({} with a quarantine, {} in which nothing was answered otherwise, {} whose fault did not strike), {:.1} s: {:?}",
        sum.runs,
        sum.quarantined,
        sum.quiet,
        sum.missed,
        began.elapsed().as_secs_f64(),
        sum.answers
    );
    FAILED.fetch_add(failed, Ordering::Relaxed);
}

/// A run without faults: what it asks for, and how many steps it has.
fn counted() -> Done {
    let done = run(&[]);
    assert_eq!((done.answers.len(), done.quarantined), (0, false), "nothing fails without a fault");
    done
}

fn host() -> bool {
    backend() == BackendKind::Host
}

/// For whoever looks into one of them: `GPUBUF_FAULT=function:nth:code`, or `Kind:nth:Submission`, with `GPUBUF_FAULTS_TRACE=1` each
/// step and its answer.
#[test]
#[ignore = "one run, of the fault that GPUBUF_FAULT names"]
fn one_fault() {
    let fault = std::env::var("GPUBUF_FAULT").expect("GPUBUF_FAULT");
    let parts: Vec<&str> = fault.split(':').collect();
    let [what, nth, how] = parts[..] else { panic!("{fault} has three parts") };
    let nth = nth.parse().expect("a number");
    let kind = KINDS.into_iter().find(|kind| format!("{kind:?}") == what);
    let fault = match (kind, how.parse()) {
        (Some(kind), _) => {
            let all = [FailWhen::Submission, FailWhen::Execution, FailWhen::Loss];
            let when = all.into_iter().find(|when| format!("{when:?}") == how).expect("when");
            Fault::Operation { kind, nth, when }
        }
        (None, Ok(code)) if what == "any" && code == LOST => Fault::LossAtCall { nth },
        (None, Ok(_)) if what == "step" => Fault::LossAtStep { nth },
        (None, Ok(code)) => Fault::Call { function: what.into(), nth, code },
        _ => panic!("{how} is no code"),
    };
    runs("one fault", [vec![fault]]);
    finish();
}

#[test]
fn each_call_of_the_driver_fails_once() {
    if host() {
        return;
    }
    let Done { steps, calls, .. } = counted();
    let all: u64 = calls.iter().map(|(_, count)| count).sum();
    eprintln!("{steps} steps; {all} calls");
    for (function, count) in calls.into_iter().filter(|(_, count)| *count > 0) {
        let mut codes = vec![UNKNOWN];
        if ["cuMemAlloc", "cuMemHostAlloc", "cuMemHostRegister", "cuStreamCreate"]
            .iter()
            .any(|it| function.starts_with(it))
        {
            codes.push(OUT_OF_MEMORY);
        }
        for code in codes {
            let call = |nth| vec![Fault::Call { function: function.clone(), nth, code }];
            runs(&format!("{function} answering {code}"), numbers(count, 3).into_iter().map(call));
        }
    }
    runs("the device lost at a call", numbers(all, 40).into_iter().map(|nth| vec![Fault::LossAtCall { nth }]));
    runs("the device lost before a step", numbers(steps, 20).into_iter().map(|nth| vec![Fault::LossAtStep { nth }]));
    finish();
}

#[test]
fn each_operation_fails_once() {
    if !host() {
        return;
    }
    let Done { steps, operations, .. } = counted();
    eprintln!("{steps} steps; {operations:?}");
    for (kind, count) in operations {
        assert!(count > 0, "{kind:?}: the scenario has some");
        let most = if kind == Operation::Event { 12 } else { 60 };
        let with = |when| numbers(count, most).into_iter().map(move |nth| vec![Fault::Operation { kind, nth, when }]);
        runs(&format!("{kind:?} refused"), with(FailWhen::Submission));
        // A wait that is not kept is no failure that a device could have.
        if matches!(kind, Operation::Copy | Operation::Fill | Operation::Kernel | Operation::Record) {
            runs(&format!("{kind:?} failing when it runs"), with(FailWhen::Execution));
        }
        runs(&format!("the device lost at {kind:?}"), with(FailWhen::Loss));
    }
    runs("the device lost before a step", numbers(steps, 60).into_iter().map(|nth| vec![Fault::LossAtStep { nth }]));
    finish();
}

/// Two things go wrong in one run: a seeded sample.
#[test]
fn pairs_of_failures() {
    let Done { operations, calls, .. } = counted();
    let mut random = Random::new(20_241_107);
    let count = match (all(), host()) {
        (true, true) => 1000,
        (true, false) => 300,
        (false, true) => 60,
        (false, false) => 25,
    };
    let mut one = || {
        if host() {
            let (kind, count) = operations[random.below(operations.len() as u64) as usize];
            let whens = [FailWhen::Submission, FailWhen::Submission, FailWhen::Execution, FailWhen::Loss];
            let when = match whens[random.below(4) as usize] {
                FailWhen::Execution if kind == Operation::Wait || kind.makes() => FailWhen::Submission,
                when => when,
            };
            return Fault::Operation { kind, nth: 1 + random.below(count), when };
        }
        let called: Vec<_> = calls.iter().filter(|(_, count)| *count > 0).collect();
        let (function, count) = called[random.below(called.len() as u64) as usize];
        let nth = 1 + random.below(*count);
        Fault::Call { function: function.clone(), nth, code: UNKNOWN }
    };
    let mut pairs = Vec::new();
    while pairs.len() < count {
        let pair = [one(), one()];
        // A kind, and a function, has one fault at a time.
        let same = match &pair {
            [Fault::Operation { kind, .. }, Fault::Operation { kind: other, .. }] => kind == other,
            [Fault::Call { function, .. }, Fault::Call { function: other, .. }] => function == other,
            _ => false,
        };
        if !same {
            pairs.push(pair.to_vec());
        }
    }
    runs("pairs", pairs);
    finish();
}
