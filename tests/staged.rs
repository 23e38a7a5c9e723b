//! Staged rows: what reaches the table, when, and what becomes of it where something fails.

mod common;

use common::*;
use gpubuf::backend::kit::{FailWhen, Operation};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::{Result, Status};
use gpubuf::fence::{Access, Device, Member, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::{Arc, AtomicBool, Ordering};
use gpubuf::workspace::{Spec, Workspace, WorkspaceOptions};

const ROWS: u64 = 8;
const COLUMNS: u64 = 6;

fn own(rows: u64, capacity_rows: u64, placement: Placement) -> Over {
    let (dtype, row_elements, release) = (Dtype::I32, COLUMNS, None);
    Over::Own { dtype, rows, row_elements, capacity_rows, placement, device_memory: 0, release }
}

fn options() -> StagedRowsOptions {
    StagedRowsOptions { depth: 2, max_writes: 8, staging_bytes: 256 }
}

fn rows(device: &Arc<Device>) -> Arc<StagedRows> {
    StagedRows::create(device, options(), own(ROWS, 0, Placement::Device), "").expect("staged rows")
}

fn stage(rows: &StagedRows, row: u64, first: u64, values: &[i32]) -> Result<()> {
    // SAFETY: as many values.
    unsafe { rows.stage(row, first, values.as_ptr().cast(), values.len() as u64) }
}

fn apply(rows: &StagedRows, stream: &Arc<Timeline>) -> Result<()> {
    rows.apply(stream, &[], Timeout::Infinite)
}

/// A row as the device sees it once the stream has run.
fn row(rows: &StagedRows, stream: &Arc<Timeline>, row: u64) -> Vec<i32> {
    ran(stream);
    let address = rows.device_address(std::slice::from_ref(stream)).expect("an address");
    let bytes = read_device(rows.device(), address + row * 4 * COLUMNS, 4 * COLUMNS);
    bytes.chunks_exact(4).map(|bytes| i32::from_ne_bytes(bytes.try_into().expect("four bytes"))).collect()
}

#[test]
fn writes_reach_the_table_with_one_copy_and_one_kernel() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    stage(&it, 2, 1, &[10, 11]).unwrap();
    stage(&it, 7, 0, &[20, 21, 22, 23, 24, 25]).unwrap();
    stage(&it, 0, 5, &[30]).unwrap();
    let copies = device.counters.copies.get();
    let fences = device.counters.fences_recorded.get();
    apply(&it, &stream).unwrap();
    assert_eq!(device.counters.copies.get() - copies, 1);
    assert_eq!(device.counters.fences_recorded.get() - fences, 1);
    assert_eq!(row(&it, &stream, 2), [0, 10, 11, 0, 0, 0]);
    assert_eq!(row(&it, &stream, 7), [20, 21, 22, 23, 24, 25]);
    assert_eq!(row(&it, &stream, 0), [0, 0, 0, 0, 0, 30]);
    let stats = it.stats().unwrap();
    assert_eq!((stats.writes, stats.applies, stats.pieces, stats.scatters), (3, 1, 3, 1));
    assert_eq!((stats.staged_bytes, stats.applied_bytes, it.staged().unwrap()), (36, 36, (0, 0)));
}

#[test]
fn a_consumer_that_cannot_wait_is_told_before_anything_is_queued() {
    let (device, other) = (device(), device());
    let it = rows(&device);
    let (applies, stranger, captures) = (stream(&device), stream(&other), stream(&device));
    kit(&captures).begin_capture().unwrap();
    stage(&it, 0, 0, &[1]).unwrap();
    let fences = device.counters.fences_recorded.get();
    for (consumer, answer) in [(&stranger, Status::WrongDevice), (&captures, Status::Capturing)] {
        assert_eq!(status(it.apply(&applies, std::slice::from_ref(consumer), Timeout::Infinite)), answer);
    }
    assert_eq!(device.counters.fences_recorded.get(), fences);
    kit(&captures).end_capture().unwrap();
    apply(&it, &applies).unwrap();
}

#[test]
fn consumers_come_behind_what_is_applied() {
    let device = device();
    let (it, applies, user) = (rows(&device), stream(&device), stream(&device));
    stage(&it, 0, 0, &[1]).unwrap();
    hold(&applies);
    it.apply(&applies, std::slice::from_ref(&user), Timeout::Infinite).unwrap();
    assert_eq!(status(user.synchronize(Timeout::Try)), Status::Busy, "it waits, with nothing else to do");
    release(&applies);
    ran(&user);
}

#[test]
fn the_last_write_wins_and_what_it_covers_is_not_sent() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    stage(&it, 1, 0, &[1, 1, 1, 1]).unwrap();
    stage(&it, 1, 2, &[2, 2, 2]).unwrap();
    stage(&it, 1, 3, &[3]).unwrap();
    stage(&it, 4, 0, &[9]).unwrap();
    stage(&it, 4, 0, &[8]).unwrap();
    apply(&it, &stream).unwrap();
    assert_eq!(row(&it, &stream, 1), [1, 1, 2, 3, 2, 0]);
    assert_eq!(row(&it, &stream, 4), [8, 0, 0, 0, 0, 0]);
    assert_eq!(it.stats().unwrap().applied_bytes, 4 * 6);
}

#[test]
fn elements_that_are_appended_are_one_write() {
    let device = device();
    let it = rows(&device);
    for column in 0..COLUMNS {
        stage(&it, 3, column, &[column as i32]).unwrap();
    }
    assert_eq!(it.staged().unwrap(), (1, 4 * COLUMNS));
    // A neighbour in the table that is none in its row is another write.
    stage(&it, 4, 0, &[1]).unwrap();
    assert_eq!(it.staged().unwrap(), (2, 4 * COLUMNS + 4));
}

#[test]
fn an_apply_of_nothing_is_nothing() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    stage(&it, 0, 0, &[1]).unwrap();
    it.clear().unwrap();
    stage(&it, 0, 0, &[]).unwrap();
    let fences = device.counters.fences_recorded.get();
    apply(&it, &stream).unwrap();
    assert!(stream.stream().is_idle().unwrap() && device.counters.fences_recorded.get() == fences);
    assert_eq!(it.stats().unwrap().applies, 0);
}

#[test]
fn what_cannot_be_is_refused_and_stages_nothing() {
    let device = device();
    let it = rows(&device);
    for (at, first, count) in [(ROWS, 0, 1), (u64::MAX, 0, 1), (0, COLUMNS, 1), (0, 5, 2), (0, u64::MAX, 2)] {
        // SAFETY: refused before it is read.
        let refused = unsafe { it.stage(at, first, std::ptr::null(), count) };
        assert_eq!(status(refused), Status::InvalidArgument, "{at} {first} {count}");
    }
    for write in 0..8 {
        stage(&it, write % ROWS, write / ROWS, &[1]).unwrap();
    }
    let refused = stage(&it, 0, 3, &[1]).unwrap_err();
    assert_eq!(refused.status(), Status::Overflow);
    assert!(refused.message().contains("8 of 8 writes"), "{refused}");
    it.clear().unwrap();
    for write in 0..2 {
        stage(&it, write, 0, &[1; 6]).unwrap();
    }
    assert_eq!(it.staged().unwrap(), (2, 48));
    assert_eq!(it.stats().unwrap().refusals, 6);

    let create = |options, over| status(StagedRows::create(&device, options, over, ""));
    for wrong in [
        StagedRowsOptions { depth: 0, ..options() },
        StagedRowsOptions { depth: 17, ..options() },
        StagedRowsOptions { max_writes: 0, ..options() },
        StagedRowsOptions { max_writes: u32::MAX, ..options() },
        StagedRowsOptions { staging_bytes: 0, ..options() },
        StagedRowsOptions { staging_bytes: u64::MAX, ..options() },
    ] {
        assert_eq!(create(wrong, own(ROWS, 0, Placement::Device)), Status::InvalidArgument, "{wrong:?}");
    }
    assert_eq!(create(options(), own(0, 0, Placement::Device)), Status::InvalidArgument);
    assert_eq!(create(options(), own(ROWS, 0, Placement::Pinned)), Status::InvalidArgument);
    assert_eq!(create(options(), own(ROWS, u64::MAX, Placement::Device)), Status::Overflow);
    let pinned = BufferOptions { device: Placement::None, ..pair_of(64) };
    assert_eq!(create(options(), Over::Buffer(buffer(&device, pinned).into())), Status::Unsupported);
    let elsewhere = Device::open(&common::options(), 0, "").unwrap();
    assert_eq!(create(options(), Over::Buffer(buffer(&elsewhere, pair_of(64)).into())), Status::WrongDevice);
}

#[test]
fn the_ring_lets_the_host_run_ahead_by_its_depth() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    hold(&stream);
    for value in [1, 2] {
        stage(&it, 0, 0, &[value]).unwrap();
        apply(&it, &stream).unwrap();
    }
    stage(&it, 0, 0, &[3]).unwrap();
    assert_eq!(status(it.apply(&stream, &[], Timeout::Try)), Status::Busy);
    let late = it.apply(&stream, &[], Timeout::from_ns(1_000_000, 1));
    assert_eq!(status(late), Status::Timeout);
    assert_eq!(it.staged().unwrap(), (1, 4), "what could not be applied is still staged");
    assert_eq!((it.stats().unwrap().free_entries, it.stats().unwrap().timeouts), (0, 2));
    release(&stream);
    assert_eq!(row(&it, &stream, 0)[0], 2);
    apply(&it, &stream).unwrap();
    assert_eq!(row(&it, &stream, 0)[0], 3);
}

#[test]
fn an_apply_comes_behind_readers_and_consumers_behind_it() {
    let device = device();
    let (copies, reader, it) = (stream(&device), stream(&device), rows(&device));
    hold(&reader);
    busy(&reader);
    it.used_on(&reader, Access::Read).unwrap();
    stage(&it, 5, 0, &[5]).unwrap();
    apply(&it, &copies).unwrap();
    assert!(!copies.stream().is_idle().unwrap(), "it waits for the reader");
    assert_eq!(it.stats().unwrap().device_waits, 1);
    release(&reader);
    ran(&copies);
    hold(&copies);
    stage(&it, 5, 0, &[6]).unwrap();
    it.apply(&copies, std::slice::from_ref(&reader), Timeout::Try).unwrap();
    busy(&reader);
    assert!(!reader.stream().is_idle().unwrap(), "the consumer waits for the apply");
    release(&copies);
    assert_eq!(row(&it, &reader, 5)[0], 6);
}

#[test]
fn a_table_is_a_buffer_of_the_callers_too() {
    let device = device();
    let stream = stream(&device);
    let shape = Shape::new(&[4, 3, 2]).unwrap();
    let made = buffer(&device, BufferOptions { dtype: Dtype::I32, shape, ..pair_of(1) });
    let it = StagedRows::create(&device, options(), Over::Buffer(made.clone().into()), "").unwrap();
    assert_eq!((it.rows(), it.row_elements()), (4, COLUMNS));
    stage(&it, 3, 1, &[7, 8]).unwrap();
    apply(&it, &stream).unwrap();
    assert_eq!(row(&it, &stream, 3), [0, 7, 8, 0, 0, 0]);
    // What was written there is newer on the device side, and nothing else.
    assert_eq!(made.stats().unwrap().newer, [0, 8]);
    assert_eq!(status(it.grow(8, &stream, Timeout::Try)), Status::Unsupported);
    // The buffer grows, and its rows with it.
    made.resize(Shape::new(&[9, 3, 2]).unwrap(), (true, true), Some(&stream), Timeout::Infinite).unwrap();
    stage(&it, 8, 5, &[9]).unwrap();
    apply(&it, &stream).unwrap();
    assert_eq!(row(&it, &stream, 3), [0, 7, 8, 0, 0, 0]);
    assert_eq!(row(&it, &stream, 8), [0, 0, 0, 0, 0, 9]);
    // Rows that it loses again are not written.
    stage(&it, 8, 0, &[1]).unwrap();
    made.resize(Shape::new(&[2, 3, 2]).unwrap(), (true, true), Some(&stream), Timeout::Infinite).unwrap();
    assert_eq!(status(apply(&it, &stream)), Status::InvalidArgument);
    made.resize(Shape::new(&[12]).unwrap(), (true, true), Some(&stream), Timeout::Infinite).unwrap();
    assert_eq!(status(stage(&it, 0, 0, &[1])), Status::InvalidArgument, "rows of another size");
}

#[test]
fn a_window_of_a_buffer_is_a_table_with_gaps() {
    let device = device();
    let stream = stream(&device);
    let shape = Shape::new(&[4, 10]).unwrap();
    let whole = buffer(&device, BufferOptions { dtype: Dtype::I32, shape, ..pair_of(1) });
    let window = whole.window((1, 3), (2, 3)).unwrap();
    let it = StagedRows::create(&device, options(), Over::Buffer(window.into()), "").unwrap();
    stage(&it, 0, 0, &[1, 2, 3]).unwrap();
    stage(&it, 2, 2, &[4]).unwrap();
    apply(&it, &stream).unwrap();
    ran(&stream);
    let mut wanted = [0; 40];
    wanted[12..15].copy_from_slice(&[1, 2, 3]);
    wanted[34] = 4;
    whole.copy(false, 0, 40, &stream, Some(Timeout::Infinite)).unwrap();
    let mut found = [0i32; 40];
    // SAFETY: as many elements.
    unsafe { whole.copy_out(0, 40, found.as_mut_ptr().cast(), Timeout::Infinite) }.unwrap();
    assert_eq!(found, wanted);
}

#[test]
fn a_uva_table_is_written_where_it_is() {
    let device = device();
    let stream = stream(&device);
    let it = StagedRows::create(&device, options(), own(ROWS, 0, Placement::Uva), "").unwrap();
    stage(&it, 1, 0, &[5, 6]).unwrap();
    hold(&stream);
    apply(&it, &stream).unwrap();
    let read = it.table().begin(Access::Read, 0, 8, Timeout::Try);
    assert_eq!(status(read), Status::Busy, "the kernel has not run");
    release(&stream);
    let (at, token) = it.table().begin(Access::Read, COLUMNS, 2, Timeout::Try).unwrap();
    // SAFETY: the guard covers two elements.
    assert_eq!(unsafe { std::slice::from_raw_parts(at.cast::<i32>(), 2) }, [5, 6]);
    stage(&it, 1, 0, &[7]).unwrap();
    assert_eq!(status(apply(&it, &stream)), Status::Busy, "the CPU reads it");
    it.table().end(Access::Read, token).unwrap();
    apply(&it, &stream).unwrap();
    assert_eq!(row(&it, &stream, 1)[0], 7);
}

#[test]
fn a_table_may_be_the_callers_device_memory() {
    let device = device();
    let stream = stream(&device);
    let lender = buffer(&device, BufferOptions { host: Placement::None, ..pair_of(4 * COLUMNS * ROWS) });
    let device_memory = lender.device_address(std::slice::from_ref(&stream)).unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let tell = told.clone();
    let over = Over::Own {
        dtype: Dtype::I32,
        rows: ROWS,
        row_elements: COLUMNS,
        capacity_rows: 0,
        placement: Placement::Device,
        device_memory,
        release: Some(Box::new(move || tell.store(true, Ordering::SeqCst))),
    };
    let it = StagedRows::create(&device, options(), over, "").unwrap();
    assert_eq!(it.device_address(std::slice::from_ref(&stream)).unwrap(), device_memory);
    stage(&it, 7, 5, &[3]).unwrap();
    hold(&stream);
    apply(&it, &stream).unwrap();
    assert_eq!(status(it.grow(ROWS + 1, &stream, Timeout::Try)), Status::Unsupported);
    drop(it);
    assert!(!told.load(Ordering::SeqCst), "the kernel still writes it");
    release(&stream);
    device.maintain();
    assert!(told.load(Ordering::SeqCst));
    assert_eq!(read_device(&device, device_memory + 4 * (COLUMNS * ROWS - 1), 4), 3i32.to_ne_bytes());
}

#[test]
fn a_workspace_hands_no_table_to_others() {
    let device = device();
    let workspace = Workspace::create(&device, WorkspaceOptions::default()).unwrap();
    let shape = Shape::new(&[ROWS, COLUMNS]).unwrap();
    let spec = Spec::new(Dtype::I32, shape, Placement::Pinned, Placement::Device).unwrap();
    let held = workspace.get("table", &spec, Timeout::Try).unwrap();
    let it = StagedRows::create(&device, options(), Over::Buffer(held.with(held.shared())), "").unwrap();
    drop(held);
    assert_eq!(workspace.stats().held_entries, 1, "the rows hold it");
    drop(it);
    assert_eq!(workspace.stats().held_entries, 0);
}

#[test]
fn a_table_grows_while_it_is_in_use() {
    let device = device();
    let stream = stream(&device);
    let it = StagedRows::create(&device, options(), own(2, 4, Placement::Device), "").unwrap();
    let before = it.device_address(std::slice::from_ref(&stream)).unwrap();
    stage(&it, 1, 0, &[1, 2]).unwrap();
    hold(&stream);
    apply(&it, &stream).unwrap();
    assert!(!it.grow(4, &stream, Timeout::Try).unwrap(), "there is memory for four rows");
    assert_eq!(it.device_address(std::slice::from_ref(&stream)).unwrap(), before);
    stage(&it, 3, 0, &[3]).unwrap();
    assert!(it.grow(100, &stream, Timeout::Try).unwrap(), "the table moves");
    assert_ne!(it.device_address(std::slice::from_ref(&stream)).unwrap(), before);
    assert!(device.deferred().0 > 0, "the old memory waits for its last use");
    apply(&it, &stream).unwrap();
    release(&stream);
    assert_eq!(row(&it, &stream, 1), [1, 2, 0, 0, 0, 0]);
    assert_eq!(row(&it, &stream, 3), [3, 0, 0, 0, 0, 0]);
    assert_eq!(row(&it, &stream, 99), [0; 6]);
    assert_eq!(status(it.grow(99, &stream, Timeout::Try)), Status::InvalidArgument);
    assert_eq!((it.stats().unwrap().grows, it.stats().unwrap().moves), (2, 1));
    device.maintain();
    assert_eq!(device.deferred().0, 0);
}

#[test]
fn a_table_that_a_graph_holds_does_not_move() {
    let device = device();
    let stream = stream(&device);
    let it = StagedRows::create(&device, options(), own(2, 4, Placement::Device), "").unwrap();
    let hold = GraphHold::create(&device, "").unwrap();
    hold.add(it.table().shared(), Some(Timeout::Infinite)).unwrap();
    assert_eq!(status(it.grow(5, &stream, Timeout::Try)), Status::GraphHeld);
    assert!(!it.grow(4, &stream, Timeout::Try).unwrap(), "where it is it may grow");
    drop(hold);
    assert!(it.grow(5, &stream, Timeout::Try).unwrap());
}

#[test]
fn an_address_that_nobody_declared_keeps_the_table_as_it_is() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    it.device_address(&[]).unwrap();
    stage(&it, 0, 0, &[1]).unwrap();
    assert_eq!(status(apply(&it, &stream)), Status::Unfenced);
    it.used_on(&stream, Access::Read).unwrap();
    apply(&it, &stream).unwrap();
}

#[test]
fn what_is_refused_half_way_is_still_staged_and_the_table_as_it_was() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    stage(&it, 0, 0, &[1]).unwrap();
    apply(&it, &stream).unwrap();
    stage(&it, 0, 0, &[2]).unwrap();
    for (operation, torn) in [(Operation::Copy, 0), (Operation::Kernel, 1)] {
        kit_of(&device).fail_operation(Some(operation), 1, FailWhen::Submission).unwrap();
        assert_eq!(status(apply(&it, &stream)), Status::DriverError, "{operation:?}");
        assert_eq!(row(&it, &stream, 0)[0], 1, "{operation:?}");
        assert_eq!(it.stats().unwrap().torn_applies, torn, "{operation:?}");
    }
    apply(&it, &stream).unwrap();
    assert_eq!(row(&it, &stream, 0)[0], 2);
}

/// Two applies of rows of which only the first and the last are the same: what failed in the first is no matter of the second.
#[test]
fn an_apply_does_not_hide_that_the_one_before_it_failed() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    hold(&stream);
    for (apply_number, middle) in [3, 5].into_iter().enumerate() {
        for row in [0, middle, 7] {
            stage(&it, row, 0, &[1; 6]).unwrap();
        }
        if apply_number == 0 {
            kit_of(&device).fail_operation(Some(Operation::Kernel), 1, FailWhen::Execution).unwrap();
        }
        apply(&it, &stream).unwrap();
    }
    release(&stream);
    ran(&stream);
    stage(&it, 1, 0, &[1]).unwrap();
    assert_eq!(status(apply(&it, &stream)), Status::CopyFailed);
    assert_eq!(it.table().stats().unwrap().flows.failures, 1);
    apply(&it, &stream).expect("it is told once");
}

#[test]
fn a_copy_that_failed_lets_no_old_entry_through() {
    if !copies_fail_alone() {
        return;
    }
    let device = device();
    let stream = stream(&device);
    let depth_one = StagedRowsOptions { depth: 1, ..options() };
    let it = StagedRows::create(&device, depth_one, own(ROWS, 0, Placement::Device), "").unwrap();
    let other = rows(&device);
    for (operation, value) in [(Operation::Copy, 3), (Operation::Kernel, 4)] {
        stage(&it, 0, 0, &[2]).unwrap();
        apply(&it, &stream).unwrap();
        it.table().fill(false, true, &9i32.to_ne_bytes(), Some(&stream), Timeout::Infinite).unwrap();
        ran(&stream);
        stage(&it, 1, 0, &[value]).unwrap();
        kit_of(&device).fail_operation(Some(operation), 1, FailWhen::Execution).unwrap();
        apply(&it, &stream).unwrap();
        ran(&stream);
        stage(&other, 0, 0, &[value]).unwrap();
        apply(&other, &stream).expect("another object is not told");
        stage(&it, 2, 0, &[value]).unwrap();
        assert_eq!(status(apply(&it, &stream)), Status::CopyFailed, "{operation:?}");
        apply(&it, &stream).expect("it is told once");
        assert_eq!(
            row(&it, &stream, 0),
            [9; 6],
            "{operation:?}: what is left in the staging memory is not written again"
        );
        assert_eq!(row(&it, &stream, 1), [9; 6], "{operation:?}");
        assert_eq!(row(&it, &stream, 2)[0], value, "{operation:?}");
    }
}

#[test]
fn an_apply_that_cannot_be_fenced_quarantines_what_it_uses() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    stage(&it, 0, 0, &[1]).unwrap();
    kit_of(&device).fail_operation(Some(Operation::Record), 1, FailWhen::Submission).unwrap();
    assert_eq!(status(apply(&it, &stream)), Status::Quarantined);
    assert_eq!(status(apply(&it, &stream)), Status::Quarantined, "the table is given up");
    assert_eq!(it.stats().unwrap().quarantined_entries, 1);
}

#[test]
fn a_loss_is_told_and_what_was_in_flight_is_never_touched_again() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    hold(&stream);
    stage(&it, 0, 0, &[1]).unwrap();
    apply(&it, &stream).unwrap();
    lose(&device);
    stage(&it, 0, 0, &[1]).unwrap();
    assert_eq!(status(apply(&it, &stream)), Status::DeviceLost);
    let stats = it.stats().unwrap();
    assert_eq!((stats.free_entries, stats.quarantined_entries), (1, 1));
}

#[test]
fn a_capture_is_left_whole() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    stage(&it, 0, 0, &[1]).unwrap();
    kit(&stream).begin_capture().unwrap();
    assert_eq!(status(apply(&it, &stream)), Status::Capturing);
    let graph = kit(&stream).end_capture().expect("a whole capture");
    // SAFETY: it is launched nowhere.
    unsafe { kit_of(&device).destroy_graph(graph) }.unwrap();
    apply(&it, &stream).unwrap();
    assert_eq!(row(&it, &stream, 0)[0], 1);
}

#[test]
fn destroyed_rows_leave_their_memory_to_the_work_that_uses_it() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    hold(&stream);
    stage(&it, 0, 0, &[1]).unwrap();
    apply(&it, &stream).unwrap();
    drop(it);
    device.maintain();
    assert_eq!(device.deferred().0, 3, "the table, and both sides of the entry");
    release(&stream);
    device.maintain();
    assert_eq!(device.deferred().0, 0);
}

#[test]
fn figures_are_in_the_record() {
    let device = device();
    let (stream, it) = (stream(&device), rows(&device));
    stage(&it, 0, 0, &[1]).unwrap();
    apply(&it, &stream).unwrap();
    let record = it.record();
    assert_eq!(record.kind, "staged rows");
    assert_eq!(record.get("applies"), Some(&1u64.into()));
    assert_eq!(record.get("by_kernel"), Some(&true.into()));
    assert!(device.members().iter().any(|member| member.record().kind == "staged rows"));
    assert!(it.describe().contains("8 rows of 6 i32"), "{}", it.describe());
}

#[test]
fn a_slice_whose_rows_begin_anywhere_is_written_to_the_byte() {
    let device = device();
    let stream = stream(&device);
    let shape = Shape::new(&[40, 7]).unwrap();
    let whole: Arc<Buffer> = buffer(&device, BufferOptions { dtype: Dtype::U8, shape, ..pair_of(1) });
    let room = StagedRowsOptions { depth: 2, max_writes: 64, staging_bytes: 1024 };
    let slice = whole.slice(3, 30).unwrap();
    let it = StagedRows::create(&device, room, Over::Buffer(slice.into()), "").unwrap();
    let mut wanted = vec![0u8; 280];
    for row in 0..30usize {
        let (first, count) = (row % 5, 1 + row % 3);
        let values: Vec<u8> = (0..count).map(|at| (10 * row + at) as u8).collect();
        // SAFETY: as many values.
        unsafe { it.stage(row as u64, first as u64, values.as_ptr(), count as u64) }.unwrap();
        wanted[7 * (3 + row) + first..][..count].copy_from_slice(&values);
    }
    apply(&it, &stream).unwrap();
    ran(&stream);
    let address = whole.device_address(&[stream]).unwrap();
    assert_eq!(read_device(&device, address, 280), wanted);
}
