//! Every function, with arguments that are as they should be, where it does not belong: after the end, in a child, in a capture, on
//! other threads, from callbacks, on a lost device, and out of order. Each state has a process of its own.

use crate::alone::{calling, is_alone, is_alone_and_says};
use crate::matrix::{Report, end_made, is_documented, is_last, usual};
use crate::valid;
use crate::world::{Region, World, made, message, number, ok, status};
use gpubuf_calls::{Answer, FUNCTIONS, Function, Returns, Role, call, function, status_name, structure};
use std::ffi::c_void;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// A call to be made, and what came of it.
struct Job {
    function: &'static Function,
    arguments: Vec<u64>,
    answer: Option<i32>,
    message: String,
}

impl Job {
    fn new(world: &mut World, function: &'static Function) -> Job {
        calling(function.name, "its preparation");
        Job { function, arguments: valid::arguments(world, function), answer: None, message: String::new() }
    }

    /// Makes the call, on whatever thread this is.
    fn run(&mut self) {
        // SAFETY: arguments as the header asks for them, in regions of a world that lives.
        self.answer = match unsafe { call(self.function.index, &self.arguments) } {
            Answer::Status(status) => Some(status),
            _ => None,
        };
        self.message = if self.answer.is_some_and(|status| status != 0) { message() } else { String::new() };
    }

    /// Looks at the answer: one of `wanted`, or, where that is empty, the usual one or a documented one.
    fn judge(&self, report: &mut Report, world: &World, before: &[Region], when: &str, wanted: &[&str]) {
        report.cells += 1;
        let Some(status) = self.answer else { return };
        let name = status_name(status);
        let fits = match wanted {
            [] => name == usual(self.function) || is_documented(self.function, name),
            _ => wanted.contains(&name),
        };
        report.count(when, name);
        if !fits {
            report.fail(self.function, when, format!("{name}, not {wanted:?}: {}", self.message));
        }
        if status != 0 {
            if self.message.is_empty() {
                report.fail(self.function, when, format!("{name} without a message"));
            }
            if world.regions.iter().zip(before).any(|(now, before)| now.0 != before.0) {
                report.fail(self.function, when, format!("{name}, and an output was written"));
            }
        }
    }

    /// Ends what the call has made.
    fn end(&self) {
        if self.answer == Some(0) {
            end_made(self.function, &self.arguments);
        }
    }
}

fn contents(world: &World) -> Vec<Region> {
    world.regions.iter().map(|region| Region(region.0)).collect()
}

fn functions() -> impl Iterator<Item = &'static Function> {
    let only = std::env::var("MISUSE_ONLY").unwrap_or_default();
    FUNCTIONS.iter().filter(move |function| !is_last(function.name) && function.name.contains(&only))
}

/// A world for each function, with its call. Nothing of them holds a stream shut.
fn prepared(lender: &World) -> Vec<(World, Job)> {
    functions()
        .map(|function| {
            let mut world = World::of_function(lender, function);
            let job = Job::new(&mut world, function);
            world.let_go();
            (world, job)
        })
        .collect()
}

/// What a function answers where the library is over: `over`, unless it ends something, or needs nothing.
fn when_over(function: &Function, over: &'static str) -> &'static str {
    let needs_nothing = ["gpubuf_ops_", "gpubuf_spec_"].iter().any(|start| function.name.starts_with(start));
    match function.name {
        name if name.ends_with("_destroy") => "GPUBUF_OK",
        "gpubuf_report" if over == "GPUBUF_SHUT_DOWN" => "GPUBUF_OK",
        // What runs on a stream runs to its end.
        "gpubuf_host_view_read" | "gpubuf_host_view_write" if over == "GPUBUF_SHUT_DOWN" => "GPUBUF_STALE_HANDLE",
        _ if needs_nothing => "GPUBUF_OK",
        _ => over,
    }
}

/// Makes every call, and then again with NULL and 0 everywhere.
fn make_all(report: &mut Report, prepared: &mut [(World, Job)], when: &'static str, over: &'static str) {
    for (world, job) in prepared {
        calling(job.function.name, when);
        let before = contents(world);
        job.run();
        job.judge(report, world, &before, when, &[when_over(job.function, over)]);
        let nothing = vec![0; job.arguments.len()];
        // SAFETY: without a pointer there is nothing to promise.
        if let Answer::Status(status) = unsafe { call(job.function.index, &nothing) }
            && !["GPUBUF_OK", "GPUBUF_INVALID_ARGUMENT", over].contains(&status_name(status))
        {
            report.fail(job.function, when, format!("{} for nothing but NULL", status_name(status)));
        }
    }
}

#[test]
fn after_the_shutdown() {
    if !is_alone("states::after_the_shutdown") {
        return;
    }
    let lender = World::new();
    let mut prepared = prepared(&lender);
    ok("gpubuf_shutdown", &[number("GPUBUF_TIMEOUT_DEFAULT")]);
    let mut report = Report::new();
    make_all(&mut report, &mut prepared, "after the shutdown", "GPUBUF_SHUT_DOWN");
    ok("gpubuf_shutdown", &[0]);
    report.finish("after the shutdown");
}

#[test]
fn in_a_child_after_fork() {
    if !is_alone("states::in_a_child_after_fork") {
        return;
    }
    let mut lender = World::new();
    let mut prepared = prepared(&lender);
    // SAFETY: the child only makes its calls and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut report = Report::new();
        make_all(&mut report, &mut prepared, "in a child", "GPUBUF_FORKED");
        report.failures.iter().for_each(|failure| eprintln!("{failure}"));
        // SAFETY: ends the child, and runs nothing of the parent's.
        unsafe { libc::_exit(i32::from(!report.failures.is_empty())) };
    }
    let mut state = 0;
    // SAFETY: the child's number.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut state, 0) }, child);
    assert_eq!(state, 0, "the child's exit");
    println!("# in a child: {} functions", prepared.len());
    lender.check();
    // The parent has noticed nothing.
    let mut report = Report::new();
    for (world, job) in &mut prepared {
        // Without their stream's capture these have lost what they need.
        if ["capture", "stream_release"].iter().any(|part| job.function.name.contains(part)) {
            continue;
        }
        calling(job.function.name, "after the child");
        let before = contents(world);
        job.run();
        job.judge(&mut report, world, &before, "after the child", &[usual(job.function)]);
        job.end();
        if job.function.name.starts_with("gpubuf_host_") {
            world.restore_device();
        }
    }
    report.finish("after the child");
}

/// What the exit handler finds.
static AT_EXIT: std::sync::Mutex<Vec<(World, Job)>> = std::sync::Mutex::new(Vec::new());

const RAN_AT_EXIT: &str = "at exit:";

extern "C" fn at_exit() {
    let mut prepared = AT_EXIT.lock().map(|mut all| std::mem::take(&mut *all)).unwrap_or_default();
    let mut report = Report::new();
    make_all(&mut report, &mut prepared, "at exit", "GPUBUF_SHUT_DOWN");
    let mut failures = report.failures;
    // Once the process exits, this one tells nothing either.
    failures.retain(|failure| !failure.starts_with("gpubuf_report"));
    println!("# {RAN_AT_EXIT} {} calls", report.cells);
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    if !failures.is_empty() {
        // SAFETY: ends the process.
        unsafe { libc::_exit(3) };
    }
}

#[test]
fn while_the_process_exits() {
    if !is_alone_and_says("states::while_the_process_exits", RAN_AT_EXIT) {
        return;
    }
    // Handlers run in the opposite order: the library's comes first.
    // SAFETY: a function of this program.
    assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
    let lender = World::new();
    *AT_EXIT.lock().expect("no panic") = prepared(&lender);
    std::mem::forget(lender);
}

#[test]
fn inside_a_capture() {
    if !is_alone("states::inside_a_capture") {
        return;
    }
    let (lender, mut sentinel) = (World::new(), World::new());
    let mut report = Report::new();
    for function in functions() {
        let mut world = World::of_function(&lender, function);
        // A stream of its own, as that captures.
        world.own_stream();
        let mut job = Job::new(&mut world, function);
        if !world.capturing {
            ok("gpubuf_host_capture_begin", &[world.of("stream")]);
            world.capturing = true;
        }
        let before = contents(&world);
        calling(function.name, "inside a capture");
        job.run();
        job.judge(&mut report, &world, &before, "inside a capture", &[]);
        job.end();
        if function.name.starts_with("gpubuf_host_") {
            world.restore_device();
        }
        calling(function.name, "the end of the capture");
        drop(world);
        sentinel.check();
    }
    report.finish("inside a capture");
}

#[test]
fn on_another_thread() {
    if !is_alone("states::on_another_thread") {
        return;
    }
    let (lender, mut sentinel) = (World::new(), World::new());
    let mut report = Report::new();
    for function in functions() {
        let mut world = World::of_function(&lender, function);
        let mut job = Job::new(&mut world, function);
        let before = contents(&world);
        calling(function.name, "on another thread");
        let job = std::thread::spawn(move || {
            job.run();
            job
        });
        let job = job.join().expect("no panic");
        // A capture is ended by the thread that began it.
        let wanted = if function.name == "gpubuf_host_capture_end" { "GPUBUF_CAPTURING" } else { usual(function) };
        job.judge(&mut report, &world, &before, "on another thread", &[wanted]);
        job.end();
        if function.name.starts_with("gpubuf_host_") {
            world.restore_device();
        }
    }
    sentinel.check();
    report.finish("on another thread");
}

/// What is for one thread at a time, and has calls that wait inside it: a function that goes in, and those that have no need to.
const ALONE: [(&str, &str, &[&str]); 4] = [
    ("buffer", "stats_get", &["destroy", "info_get"]),
    ("block", "stats_get", &[]),
    ("tensor", "mark", &["destroy", "info_get", "data", "stats_get"]),
    ("staged_rows", "stats_get", &["destroy", "device_address", "used_on"]),
];

/// A call that waits inside the object for work on a stream that is held shut. None where what the function needs is in the
/// way of that work.
fn waiting(kind: &str, object: u64, held: u64) -> Option<(String, Vec<u64>)> {
    const LONG: u64 = 60_000_000_000;
    let function = |name: &str| format!("gpubuf_{kind}_{name}");
    let streams = [held];
    let one = streams.as_ptr() as u64;
    // Results that nobody looks at.
    let [first, second] = [(); 2].map(|()| Box::leak(Box::new(0u64)) as *mut u64 as u64);
    match kind {
        "buffer" | "block" => {
            let queued = status(&function("to_device"), &[object, 8, 4, held]) == 0;
            queued.then(|| (function("begin_write"), vec![object, 8, 4, LONG, first, second]))
        }
        "tensor" => {
            let read = number("GPUBUF_ACCESS_READ");
            let queued = status(&function("publish"), &[object, one, 1, read, LONG, first]) == 0;
            queued.then(|| (function("synchronize"), vec![object, LONG]))
        }
        _ => {
            let value = 7u32;
            let stage = || status(&function("stage"), &[object, 1, 0, &raw const value as u64, 1]) == 0;
            while stage() && status(&function("apply"), &[object, held, 0, 0, 0]) == 0 {}
            stage().then(|| (function("apply"), vec![object, held, 0, 0, LONG]))
        }
    }
}

/// Makes that call on another thread, and returns when it is inside. `ask` is a function that goes in, too.
fn wait_inside((name, arguments): (String, Vec<u64>), ask: &str) -> std::thread::JoinHandle<i32> {
    let mut figures = [0u64; 64];
    figures[0] = 16;
    let object = arguments[0];
    let asked = if ask.ends_with("mark") { vec![object, 0, 0] } else { vec![object, figures.as_mut_ptr() as u64] };
    let waiter = std::thread::spawn(move || {
        loop {
            match status(&name, &arguments) {
                // Whoever asked was inside.
                busy if status_name(busy) == "GPUBUF_BUSY" => std::thread::yield_now(),
                answer => break answer,
            }
        }
    });
    while status_name(status(ask, &asked)) != "GPUBUF_BUSY" {
        if waiter.is_finished() {
            panic!("{ask}: nobody is inside: {}", status_name(waiter.join().expect("no panic")));
        }
        std::thread::yield_now();
    }
    waiter
}

#[test]
fn while_another_thread_is_inside() {
    if !is_alone("states::while_another_thread_is_inside") {
        return;
    }
    let (lender, mut sentinel) = (World::new(), World::new());
    let mut report = Report::new();
    let mut left_out = Vec::new();
    for (kind, ask, apart) in ALONE {
        let of_kind = |function: &&Function| {
            function.params.first().is_some_and(|param| param.role == Role::Handle { kind })
                && function.returns == Returns::Status
        };
        for function in functions().filter(of_kind) {
            let mut world = World::of_function(&lender, function);
            let mut job = Job::new(&mut world, function);
            let held = made("gpubuf_stream_create", &[world.of("device")]);
            calling(function.name, "while another thread is inside");
            ok("gpubuf_host_stream_hold", &[held]);
            // While a stream captures, a driver lets nobody wait.
            let may_wait = !world.capturing || !crate::driver::is_used();
            let call = may_wait.then(|| waiting(kind, job.arguments[0], held)).flatten();
            if let Some(call) = call {
                let waiter = wait_inside(call, &format!("gpubuf_{kind}_{ask}"));
                let before = contents(&world);
                job.run();
                let free = apart.iter().any(|name| function.name == format!("gpubuf_{kind}_{name}"));
                let wanted = if free { usual(function) } else { "GPUBUF_BUSY" };
                job.judge(&mut report, &world, &before, "while another thread is inside", &[wanted]);
                job.end();
                ok("gpubuf_host_stream_release", &[held]);
                assert_eq!(status_name(waiter.join().expect("no panic")), "GPUBUF_OK", "{}", function.name);
            } else {
                left_out.push(function.name);
                ok("gpubuf_host_stream_release", &[held]);
            }
            ok("gpubuf_stream_destroy", &[held]);
        }
    }
    println!("# left out: {left_out:?}");
    assert!(left_out.len() <= 5, "what needs a capture, or a block with one side");
    sentinel.check();
    report.finish("while another thread is inside");
}

/// Runs the job that `user_data` points to, once.
fn perform(user_data: *mut c_void) {
    // SAFETY: a job slot of this file, which outlives the callback.
    let slot = unsafe { &*user_data.cast::<Slot>() };
    if let Some(mut job) = slot.job.lock().expect("no panic").take() {
        job.run();
        slot.done.send(job).expect("somebody waits");
    }
}

/// A job for a callback, and where it goes when it is done.
struct Slot {
    job: std::sync::Mutex<Option<Job>>,
    done: Sender<Job>,
}

impl Slot {
    fn new(job: Job) -> (Box<Slot>, Receiver<Job>) {
        let (done, finished) = channel();
        (Box::new(Slot { job: std::sync::Mutex::new(Some(job)), done }), finished)
    }

    fn address(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }
}

extern "C" fn on_stream(_: *mut c_void, user_data: *mut c_void) {
    perform(user_data);
}
extern "C" fn on_log(_: i32, _: *const c_void, user_data: *mut c_void) {
    perform(user_data);
}
extern "C" fn on_entry(_: *const c_void, user_data: *mut c_void) {
    perform(user_data);
}
extern "C" fn on_warm(_: u64, user_data: *mut c_void) -> u64 {
    perform(user_data);
    0
}
extern "C" fn on_notice(_: u32, _: u64, _: *const c_void, user_data: *mut c_void) {
    perform(user_data);
}
extern "C" fn on_read(_: u32, _: *mut u64, _: *mut u64, user_data: *mut c_void) {
    perform(user_data);
}
extern "C" fn on_release(user_data: *mut c_void) {
    perform(user_data);
}
extern "C" fn on_give_back(_: u32, _: i32, _: i32, user_data: *mut c_void) {
    perform(user_data);
}
extern "C" fn on_shortage(_: u32, _: u64, _: u32, user_data: *mut c_void) -> u32 {
    perform(user_data);
    0
}
extern "C" fn on_change(_: u32, _: u32, _: u64, _: u64, _: *const c_void, user_data: *mut c_void) {
    perform(user_data);
}
/// Memory is full.
extern "C" fn on_full(_: u32, used: *mut u64, limit: *mut u64, _: *mut c_void) {
    // SAFETY: the library's, for the time of this call.
    unsafe { *used = *limit }
}

#[test]
fn from_a_function_on_a_stream() {
    if !is_alone("states::from_a_function_on_a_stream") {
        return;
    }
    let (lender, mut sentinel) = (World::new(), World::new());
    let mut report = Report::new();
    for function in functions() {
        let mut world = World::of_function(&lender, function);
        let job = Job::new(&mut world, function);
        world.let_go();
        // On the stream that the arguments name, and on one of another device.
        let stream = world.of("stream");
        let before = contents(&world);
        let (slot, finished) = Slot::new(job);
        calling(function.name, "from a function on a stream");
        ok("gpubuf_host_stream_call", &[stream, on_stream as *const () as u64, slot.address()]);
        let job = finished.recv_timeout(Duration::from_secs(60)).expect("the function ran");
        // It would wait for the work that it is part of.
        let dead = "GPUBUF_WOULD_DEADLOCK";
        let waits = job.answer.is_some_and(|status| status_name(status) == dead);
        // What is there only outside: the capture, and the hold.
        job.judge(
            &mut report,
            &world,
            &before,
            "from a function on a stream",
            if waits { &["GPUBUF_WOULD_DEADLOCK"] } else { &[] },
        );
        job.end();
        if function.name.starts_with("gpubuf_host_") {
            world.restore_device();
        }
        status("gpubuf_stream_synchronize", &[stream, number("GPUBUF_TIMEOUT_DEFAULT")]);
        drop(world);
    }
    sentinel.check();
    report.finish("from a function on a stream");
}

/// The shutdown itself, where it does not belong: it ends the library all the same, and says what it could not wait for.
fn shut_down(test: &str, when: &'static str, wanted: &'static str, run: impl FnOnce(&World, &Slot)) {
    if !is_alone(test) {
        return;
    }
    let mut world = World::new();
    let job = Job::new(&mut world, function("gpubuf_shutdown").expect("it is there"));
    let before = contents(&world);
    let (slot, finished) = Slot::new(job);
    calling("gpubuf_shutdown", when);
    // Whoever has its address may use it until the process ends.
    run(&world, Box::leak(slot));
    let mut report = Report::new();
    finished.recv_timeout(Duration::from_secs(60)).expect("it ran").judge(
        &mut report,
        &world,
        &before,
        when,
        &[wanted],
    );
    assert_eq!(status_name(status("gpubuf_stream_query", &[world.of("stream")])), "GPUBUF_SHUT_DOWN");
    ok("gpubuf_shutdown", &[number("GPUBUF_TIMEOUT_DEFAULT")]);
    report.finish(when);
}

#[test]
fn a_shutdown_from_a_function_on_a_stream() {
    let test = "states::a_shutdown_from_a_function_on_a_stream";
    shut_down(test, "from a function on a stream", "GPUBUF_WOULD_DEADLOCK", |world, slot| {
        ok("gpubuf_host_stream_call", &[world.of("stream"), on_stream as *const () as u64, slot.address()]);
    });
}

#[test]
fn a_shutdown_from_the_log() {
    shut_down("states::a_shutdown_from_the_log", "from the log", "GPUBUF_OK", |world, slot| {
        ok("gpubuf_log_set_callback", &[on_log as *const () as u64, slot.address()]);
        // Ended before: that is logged.
        let event = made("gpubuf_event_create", &[world.of("device")]);
        ok("gpubuf_event_destroy", &[event]);
        status("gpubuf_event_destroy", &[event]);
    });
}

#[test]
fn a_shutdown_on_another_thread() {
    shut_down("states::a_shutdown_on_another_thread", "on another thread", "GPUBUF_OK", |_, slot| {
        let address = slot.address();
        std::thread::spawn(move || perform(address as usize as *mut c_void)).join().expect("no panic");
    });
}

#[test]
fn a_shutdown_inside_a_capture() {
    shut_down("states::a_shutdown_inside_a_capture", "inside a capture", "GPUBUF_CAPTURING", |world, slot| {
        ok("gpubuf_host_capture_begin", &[world.of("stream")]);
        perform(slot.address() as usize as *mut c_void);
    });
}

/// A callback that the library makes in the middle of a call, on the same thread.
type Trigger = fn(&mut World, &Slot);

fn by_log(world: &mut World, slot: &Slot) {
    ok("gpubuf_log_set_callback", &[on_log as *const () as u64, slot.address()]);
    // Ended before: that is logged.
    let event = made("gpubuf_event_create", &[world.of("device")]);
    ok("gpubuf_event_destroy", &[event]);
    status("gpubuf_event_destroy", &[event]);
    ok("gpubuf_log_set_callback", &[0, 0]);
}

fn by_list(world: &mut World, slot: &Slot) {
    let spec = world.options("gpubuf_spec");
    let wait = number("GPUBUF_TIMEOUT_DEFAULT");
    let workspace = made("gpubuf_workspace_create", &[world.of("device"), 0]);
    let entry = made("gpubuf_workspace_get", &[workspace, c"listed".as_ptr() as u64, spec, wait]);
    ok("gpubuf_workspace_list", &[workspace, on_entry as *const () as u64, slot.address()]);
    status("gpubuf_workspace_release", &[workspace, entry]);
    status("gpubuf_workspace_destroy", &[workspace]);
}

fn by_prewarm(world: &mut World, slot: &Slot) {
    let predictor = made("gpubuf_predictor_create", &[world.of("device"), 0]);
    for _ in 0..4 {
        ok("gpubuf_predictor_record", &[predictor, 64, 0]);
    }
    ok("gpubuf_predictor_prewarm", &[predictor, on_warm as *const () as u64, slot.address(), 0]);
    status("gpubuf_predictor_destroy", &[predictor]);
}

/// Sets a callback and its argument in the options that were filled last.
fn set(world: &mut World, of: &str, callback: &str, function: u64, slot: &Slot) {
    let known = structure(of).expect("the struct");
    let offset = |field: &str| known.field(field).expect("a field").offset;
    let user_data = match callback {
        "release" => "release_user_data".to_owned(),
        _ => format!("{callback}_user_data"),
    };
    world.regions[11].set(offset(callback), function.to_ne_bytes());
    world.regions[11].set(offset(&user_data), slot.address().to_ne_bytes());
}

/// A request that the manager's budget does not have.
fn by_request(world: &mut World, slot: &Slot, callback: &str, function: u64) {
    let options = world.options("gpubuf_pinned_options");
    set(world, "gpubuf_pinned_options", callback, function, slot);
    let pinned = made("gpubuf_pinned_create", &[world.of("device"), options]);
    let request = world.options("gpubuf_pinned_request");
    let bytes = structure("gpubuf_pinned_request").and_then(|of| of.field("bytes")).expect("a field").offset;
    world.regions[11].set(bytes, (2u64 << 20).to_ne_bytes());
    let mut block = 0u64;
    let refused = status("gpubuf_pinned_allocate", &[pinned, request, &raw mut block as u64]);
    assert_eq!(status_name(refused), "GPUBUF_BUDGET");
    status("gpubuf_pinned_destroy", &[pinned]);
}

fn by_notice(world: &mut World, slot: &Slot) {
    by_request(world, slot, "notify", on_notice as *const () as u64);
}

fn by_shortage(world: &mut World, slot: &Slot) {
    by_request(world, slot, "out_of_memory", on_shortage as *const () as u64);
}

fn by_give_back(world: &mut World, slot: &Slot) {
    let options = world.options("gpubuf_pool_options");
    set(world, "gpubuf_pool_options", "give_back", on_give_back as *const () as u64, slot);
    let pool = made("gpubuf_pool_create", &[world.of("device"), options]);
    // All there are, then one for somebody who comes first and waits, if only for a moment.
    let mut held = Vec::new();
    let mut block = 0u64;
    while status("gpubuf_pool_acquire", &[pool, 0, 0, &raw mut block as u64]) == 0 {
        held.push(block);
    }
    let late = status("gpubuf_pool_acquire", &[pool, 1, 1, &raw mut block as u64]);
    assert_eq!(status_name(late), "GPUBUF_TIMEOUT");
    held.into_iter().for_each(|block| ok("gpubuf_block_release", &[block]));
    status("gpubuf_pool_destroy", &[pool]);
}

fn by_reading(world: &mut World, slot: &Slot) {
    by_look(world, slot, &[("read", on_read as *const () as u64)]);
}

fn by_change(world: &mut World, slot: &Slot) {
    by_look(world, slot, &[("read", on_full as *const () as u64), ("notify", on_change as *const () as u64)]);
}

/// One look at how full memory is.
fn by_look(world: &mut World, slot: &Slot, callbacks: &[(&str, u64)]) {
    let options = world.options("gpubuf_pressure_options");
    for (callback, function) in callbacks {
        set(world, "gpubuf_pressure_options", callback, *function, slot);
    }
    let pressure = made("gpubuf_pressure_create", &[world.of("device"), options]);
    status("gpubuf_pressure_step", &[pressure, 0]);
    status("gpubuf_pressure_destroy", &[pressure]);
}

fn by_release(world: &mut World, slot: &Slot) {
    let memory = world.regions[10].address();
    let options = world.options("gpubuf_buffer_options");
    set(world, "gpubuf_buffer_options", "release", on_release as *const () as u64, slot);
    let of = structure("gpubuf_buffer_options").expect("the struct");
    world.regions[11].set(of.field("host_memory").expect("a field").offset, memory.to_ne_bytes());
    let buffer = made("gpubuf_buffer_create", &[world.of("device"), options]);
    ok("gpubuf_buffer_destroy", &[buffer]);
    // If not yet, then now.
    status("gpubuf_device_drain", &[world.of("device"), number("GPUBUF_TIMEOUT_DEFAULT")]);
}

#[test]
fn from_callbacks() {
    if !is_alone("states::from_callbacks") {
        return;
    }
    let triggers: [(&'static str, Trigger); 9] = [
        ("from the log", by_log),
        ("from a list", by_list),
        ("from a prewarming", by_prewarm),
        ("from a notice", by_notice),
        ("from a reading of memory", by_reading),
        ("from a release", by_release),
        ("from a shortage", by_shortage),
        ("from a request to give back", by_give_back),
        ("from a change of pressure", by_change),
    ];
    let (lender, mut sentinel) = (World::new(), World::new());
    let mut report = Report::new();
    for function in functions() {
        for (place, (when, trigger)) in triggers.into_iter().enumerate() {
            // All from the log; from each of the others those that work on the same things, and a part of the rest.
            let own =
                ["", "workspace", "predictor", "pinned", "pressure", "buffer", "pinned", "pool", "pressure"][place];
            let others = || function.index % (triggers.len() - 1) == place - 1;
            if !own.is_empty() && !function.name.contains(own) && !others() {
                continue;
            }
            // This one replaces the callback that it is called from.
            if function.name == "gpubuf_log_set_callback" && when == "from the log" {
                continue;
            }
            let mut world = World::of_function(&lender, function);
            let job = Job::new(&mut world, function);
            // Borrowed memory goes when no stream of this thread captures any more, and the driver may wait for all work first.
            if (world.capturing || world.held) && when == "from a release" {
                continue;
            }
            let before = contents(&world);
            let (slot, finished) = Slot::new(job);
            calling(function.name, when);
            // In a world of the trigger's own: the function may end what it is given.
            trigger(&mut sentinel, &slot);
            let job = finished.recv_timeout(Duration::from_secs(60)).expect("the callback ran");
            // The thread that tells may be the one that has the driver let memory go: then it cannot wait for that.
            let busy = when == "from a release" && function.name == "gpubuf_buffer_detach" && crate::driver::is_used();
            let wanted: &[&str] = if busy { &["GPUBUF_OK", "GPUBUF_TIMEOUT"] } else { &[usual(function)] };
            job.judge(&mut report, &world, &before, when, wanted);
            job.end();
            ok("gpubuf_log_set_callback", &[0, 0]);
            if function.name.starts_with("gpubuf_host_") {
                world.restore_device();
            }
        }
    }
    sentinel.check();
    report.finish("from callbacks");
}

#[test]
fn in_any_order() {
    if !is_alone("states::in_any_order") {
        return;
    }
    let kind = |function: &Function| match function.params.first().map(|param| param.role) {
        Some(Role::Handle { kind }) => Some(kind),
        _ => None,
    };
    let ends = |function: &Function| {
        ["_destroy", "_release", "_abandon", "_abort", "_retire", "_shutdown", "_lose_device"]
            .iter()
            .any(|end| function.name.ends_with(end))
    };
    let (lender, mut sentinel) = (World::new(), World::new());
    let mut report = Report::new();
    for function in functions().filter(|function| function.returns == Returns::Status && kind(function).is_some()) {
        let own_device = kind(function) == Some("device");
        let mut world = if own_device { World::new() } else { World::of_function(&lender, function) };
        let mut job = Job::new(&mut world, function);
        calling(function.name, "before others");
        job.run();
        job.end();
        // Everything else of that object, once as it is now; what ends it comes last.
        let mut others: Vec<_> =
            functions().filter(|other| kind(other) == kind(function) && other.returns == Returns::Status).collect();
        others.sort_by_key(|other| ends(other));
        for other in others {
            // Whose effects outlive this world.
            if other.name.starts_with("gpubuf_host_set")
                || other.name.starts_with("gpubuf_host_limit")
                || other.name.starts_with("gpubuf_host_fail")
            {
                continue;
            }
            let mut job = Job {
                function: other,
                arguments: valid::unprepared(&mut world, other),
                answer: None,
                message: String::new(),
            };
            let before = contents(&world);
            calling(other.name, function.name);
            job.run();
            job.judge(&mut report, &world, &before, "in any order", &[]);
            job.end();
        }
        world.restore_device();
    }
    sentinel.check();
    report.finish("in any order");
}

#[test]
fn on_a_lost_device() {
    if !is_alone("states::on_a_lost_device") {
        return;
    }
    let lender = World::new();
    let mut prepared = prepared(&lender);
    let mut report = Report::new();
    ok("gpubuf_host_lose_device", &[lender.of("device")]);
    for (world, job) in &mut prepared {
        if !crate::driver::is_used() {
            status("gpubuf_host_lose_device", &[world.of("device")]);
        }
        let before = contents(world);
        calling(job.function.name, "on a lost device");
        job.run();
        job.judge(&mut report, world, &before, "on a lost device", &[]);
        job.end();
    }
    report.finish("on a lost device");
}

#[cfg(feature = "mutants")]
#[test]
fn with_a_broken_object() {
    if !is_alone("states::with_a_broken_object") {
        return;
    }
    std::panic::set_hook(Box::new(|_| ()));
    let mut sentinel = World::new();
    let mut report = Report::new();
    for function in functions() {
        let handles = function.params.iter().any(|param| matches!(param.role, Role::Handle { .. }));
        if !handles || function.returns != Returns::Status {
            continue;
        }
        let mut world = World::new();
        let mut job = Job::new(&mut world, function);
        let before = contents(&world);
        calling(function.name, "a fault inside");
        assert_eq!(gpubuf::ffi::mutants::gpubuf_mutant_panic(1), 0);
        job.run();
        assert_eq!(gpubuf::ffi::mutants::gpubuf_mutant_panic(0), 0);
        let wanted: &[&str] = match usual(function) {
            "GPUBUF_OK" => &["GPUBUF_INTERNAL"],
            _ => &["GPUBUF_INTERNAL", "GPUBUF_STALE_HANDLE", "GPUBUF_UNSUPPORTED"],
        };
        job.judge(&mut report, &world, &before, "a fault inside", wanted);
        // What it had in hand is broken, or was ended; an end of what is broken is no mistake.
        calling(function.name, "with a broken object");
        job.run();
        // This one's object is a device, which does not end.
        let ends = function.name.ends_with("_destroy") && function.name != "gpubuf_host_graph_destroy";
        let wanted: &[&str] =
            if ends { &["GPUBUF_OK", "GPUBUF_STALE_HANDLE"] } else { &["GPUBUF_BROKEN", "GPUBUF_STALE_HANDLE"] };
        let wanted = if ["gpubuf_describe", "gpubuf_set_label"].contains(&function.name) {
            &["GPUBUF_OK", "GPUBUF_BROKEN"]
        } else {
            wanted
        };
        job.judge(&mut report, &world, &before, "with a broken object", wanted);
    }
    sentinel.check();
    // What follows is to be seen.
    drop(std::panic::take_hook());
    report.finish("with a broken object");
}
