//! The schedulers: every plan with up to so many preemptions, one after the other, or plans by lot.
//!
//! A preemption takes a thread off that could go on. Where a thread waits or ends, every other one that can go on is tried
//! at no cost.

use crate::config::checks::{Check, disable};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// Models take turns: the library's own statics are shared by all.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// One choice on the current plan.
struct Choice {
    options: Vec<TaskId>,
    taken: usize,
}

/// Depth first, and no plan twice.
struct Exhaustive {
    preemptions: usize,
    choices: Vec<Choice>,
    step: usize,
    used: usize,
    started: bool,
    most: usize,
    executions: usize,
}

impl Scheduler for Exhaustive {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.started {
            while self.choices.last().is_some_and(|choice| choice.taken + 1 == choice.options.len()) {
                self.choices.pop();
            }
            self.choices.last_mut()?.taken += 1;
        }
        let limit = self.most;
        assert!(self.executions < limit, "more than {limit} executions of {} steps: too large a model", self.step);
        (self.started, self.step, self.used) = (true, 0, 0);
        self.executions += 1;
        Some(Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yielding: bool) -> Option<TaskId> {
        let current = current.filter(|current| runnable.iter().any(|task| task.id() == *current));
        if self.step == self.choices.len() {
            let others = runnable.iter().map(|task| task.id()).filter(|id| Some(*id) != current);
            let options = match current {
                Some(current) if !yielding => {
                    let more = if self.used < self.preemptions { usize::MAX } else { 0 };
                    std::iter::once(current).chain(others.take(more)).collect()
                }
                // Nothing comes of going on, unless nobody else can.
                Some(current) if runnable.len() == 1 => vec![current],
                _ => others.collect(),
            };
            self.choices.push(Choice { options, taken: 0 });
        }
        let choice = &self.choices[self.step];
        let next = choice.options[choice.taken];
        assert!(runnable.iter().any(|task| task.id() == next), "the model is not the same each time");
        if current.is_some_and(|current| current != next) && !yielding {
            self.used += 1;
        }
        self.step += 1;
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        panic!("a model asks for no random numbers")
    }
}

/// Plans by lot: a thread goes on for some while, then any other has its turn.
struct Random {
    seed: u64,
    left: usize,
    /// One switch in so many steps.
    stickiness: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.seed >> 33
    }
}

impl Scheduler for Random {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.left = self.left.checked_sub(1)?;
        self.stickiness = 1 + self.next() % 24;
        Some(Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yielding: bool) -> Option<TaskId> {
        let stays = !yielding && !self.next().is_multiple_of(self.stickiness);
        match current.filter(|current| stays && runnable.iter().any(|task| task.id() == *current)) {
            Some(current) => Some(current),
            None => Some(runnable[self.next() as usize % runnable.len()].id()),
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.next()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(3_000);
    config.silence_warnings = true;
    config
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) -> usize {
    Runner::new(scheduler, config()).run(move || {
        crate::sync::begin_time();
        model();
    })
}

fn exhaustive(preemptions: usize) -> Exhaustive {
    Exhaustive { preemptions, choices: Vec::new(), step: 0, used: 0, started: false, most: 20_000_000, executions: 0 }
}

/// Runs the model under every plan with up to so many preemptions (`GPUBUF_MODEL_PREEMPTIONS` sets another number), and then under plans by lot
/// (`GPUBUF_MODEL_RANDOM` times as many). Says how many there were.
pub fn check(name: &str, preemptions: usize, random: usize, model: impl Fn() + Send + Sync + Clone + 'static) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |key| std::env::var(key).ok().and_then(|text| text.parse::<usize>().ok());
    let preemptions = number("GPUBUF_MODEL_PREEMPTIONS").unwrap_or(preemptions);
    let random = random * number("GPUBUF_MODEL_RANDOM").unwrap_or(1);
    let seed = number("GPUBUF_MODEL_SEED").unwrap_or(1) as u64;
    let start = std::time::Instant::now();
    let all = run(exhaustive(preemptions), model.clone());
    let half = start.elapsed();
    run(Random { seed, left: random, stickiness: 1 }, model);
    println!(
        "{name}: {all} executions with up to {preemptions} preemptions ({half:.1?}), {random} by lot (seed {seed}, {:.1?})",
        start.elapsed() - half
    );
}

/// Runs the model with one check of the library taken out: some plan must find the damage. Returns what it says.
#[must_use]
pub fn finds(taken_out: Check, preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> String {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    disable(Some(taken_out));
    let found = catch_unwind(AssertUnwindSafe(|| run(exhaustive(preemptions), model)));
    disable(None);
    match found {
        Ok(executions) => panic!("{} is out, and {executions} executions saw nothing", taken_out.key()),
        Err(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast_ref::<&str>().map_or(String::new(), |text| text.to_string()),
        },
    }
}
