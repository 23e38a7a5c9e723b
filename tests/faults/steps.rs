//! The parts of the scenario that are about steps: slots, staged rows, tensors, graphs, events.

use super::kit::{LONG, Run, open, shut, unseen};
use super::memory::{BYTES, Block, Ended, options, pattern};
use crate::common::{kit, kit_of};
use gpubuf::buffer::Buffer;
use gpubuf::config::{ALL, Placement};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::{Access, Event, Timeline};
use gpubuf::graph::GraphHold;
use gpubuf::lease::{AloneOptions, Lease, Twin};
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::slots::{SlotKind, SlotOptions, SlotRows, Slots, SlotsOptions, SlotsParts, Step};
use gpubuf::staged::{Over, StagedRows, StagedRowsOptions};
use gpubuf::sync::Arc;
use gpubuf::tensor::{Tensor, TensorOptions};
use gpubuf::workspace::{Workspace, WorkspaceOptions};
use std::slice::from_ref;

fn slot<'a>(name: &'a str, dims: &[u64], kind: SlotKind) -> SlotOptions<'a> {
    let shape = Shape::new(dims).expect("a shape");
    SlotOptions { name, dtype: Dtype::U8, shape, kind, own_copy: false, follows_tokens: false, pad: None }
}

/// A step that ends, whatever happens.
struct Under(Step);

impl Drop for Under {
    fn drop(&mut self) {
        // Refused where it is over.
        let _ = self.0.close();
    }
}

/// Of a commit of which a part was queued the step is over: the same call again is out of order.
fn commit(run: &Run, step: &Under, stream: &Arc<Timeline>, consumers: &[Arc<Timeline>]) -> Option<u64> {
    run.try_step("commit", &[Status::NotBegun], || step.0.commit(stream, consumers))?.ok()
}

pub fn slots(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let make = || {
        let options = SlotsOptions { depth: 2, device_depth: 2, read_back_bytes: BYTES, ..SlotsOptions::default() };
        let slots = Slots::create(&device, options, "slots")?;
        slots.add(&slot("need", &[100], SlotKind::Required))?;
        slots.add(&slot("keep", &[8, 64], SlotKind::Kept))?;
        slots.add(&SlotOptions { own_copy: true, ..slot("table", &[8, 512], SlotKind::Kept) })?;
        slots.add(&slot("state", &[4, 64], SlotKind::Dynamic))?;
        Ok(slots)
    };
    let slots = Ended(run.step("slots create", make)?, Slots::destroy);
    run.step("freeze", || slots.freeze())?;
    let lend = || AloneOptions {
        placement: Placement::Uva,
        bytes: BYTES,
        twin: Twin::Never,
        timed: false,
        label: String::new(),
    };
    let state = Block(run.step("block create", || Lease::create(&device, lend()))?);
    let (mut keep, mut table) = (vec![0u8; 8 * 64], vec![0u8; 8 * 512]);
    for round in 0..3u8 {
        let step = Under(run.step("begin", || slots.begin(LONG))?);
        let need = pattern(round, 100);
        // SAFETY: as many rows, here and below.
        run.step("write", || unsafe { step.0.write(0, 0, 100, need.as_ptr()) })?;
        let row = pattern(40 + round, 64);
        let at = u64::from(round);
        // SAFETY: as above.
        run.step("write a kept row", || unsafe { step.0.write(1, at, 1, row.as_ptr()) })?;
        keep[at as usize * 64..][..64].copy_from_slice(&row);
        if round == 1 {
            let row = pattern(90, 512);
            // SAFETY: as above.
            run.step("write a row of the table", || unsafe { step.0.write(2, 3, 1, row.as_ptr()) })?;
            table[3 * 512..][..512].copy_from_slice(&row);
        }
        run.step("bind", || step.0.bind_block(3, &state, 0, 256))?;
        shut(s);
        let ticket = commit(run, &step, s, from_ref(t))?;
        let back = run.step("read back", || slots.read_back(ticket, 1, 0, ALL, t))?;
        let need_at = run.step("address", || step.0.address(0))?;
        let table_at = run.step("address", || step.0.address(2))?;
        open(s);
        let (data, count) = run.step("begin read", || slots.begin_read(back, LONG))?;
        // SAFETY: the read-back covers so many bytes.
        let got = unsafe { std::slice::from_raw_parts(data, count as usize) }.to_vec();
        run.step("end read", || slots.end_read(back))?;
        run.expect_bytes("a read-back", &got, &keep);
        run.step("synchronize", || s.synchronize(LONG))?;
        run.expect_device("a required slot", need_at, &need);
        run.expect_device("a table", table_at, &table);
        run.step("retire", || step.0.retire(from_ref(t)))?;
    }
    let step = Under(run.step("begin", || slots.begin(LONG))?);
    run.step("abort", || step.0.abort())?;
    // Committed, and never retired.
    let step = Under(run.step("begin", || slots.begin(LONG))?);
    // SAFETY: as above.
    run.step("write", || unsafe { step.0.write(0, 0, 100, pattern(9, 100).as_ptr()) })?;
    run.step("bind", || step.0.bind_block(3, &state, 0, 64))?;
    commit(run, &step, t, &[])?;
    Some(())
}

/// Staged rows of 16 with 64 bytes each.
fn table(run: &Run) -> Option<Arc<StagedRows>> {
    let device = run.device();
    run.step("rows create", || {
        let over = Over::Own {
            dtype: Dtype::U8,
            rows: 16,
            row_elements: 64,
            capacity_rows: 0,
            placement: Placement::Device,
            device_memory: 0,
            release: None,
        };
        StagedRows::create(&device, StagedRowsOptions { depth: 2, max_writes: 8, staging_bytes: BYTES }, over, "rows")
    })
}

pub fn staged(run: &Run) -> Option<()> {
    let (s, t) = (run.s(), run.t());
    let rows = table(run)?;
    let mut table = vec![0u8; 16 * 64];
    for round in 0..4u8 {
        for row in [1u64, 5, 6 + u64::from(round)] {
            let values = pattern(round.wrapping_mul(50) + row as u8, 32);
            // SAFETY: as many values.
            run.step("stage", || unsafe { rows.stage(row, 16, values.as_ptr(), 32) })?;
            table[row as usize * 64 + 16..][..32].copy_from_slice(&values);
        }
        let (stream, consumer) = if round % 2 == 0 { (s, t) } else { (t, s) };
        run.step("apply", || rows.apply(stream, from_ref(consumer), LONG))?;
        if round == 2 {
            run.step("grow", || rows.grow(32, s, LONG))?;
            table.resize(32 * 64, 0);
        }
    }
    run.step("synchronize", || s.synchronize(LONG))?;
    run.step("synchronize", || t.synchronize(LONG))?;
    let address = run.step("device address", || rows.device_address(from_ref(s)))?;
    run.expect_device("a table", address, &table);
    run.step("used on", || rows.used_on(s, Access::Read))?;
    shut(s);
    // SAFETY: as many values.
    run.step("stage", || unsafe { rows.stage(0, 0, table.as_ptr(), 64) })?;
    run.step("apply", || rows.apply(s, &[], LONG))?;
    Some(())
}

pub fn tensors(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    for twin in [Twin::Never, Twin::Eager] {
        let placement = if twin == Twin::Eager { Placement::Pinned } else { Placement::Uva };
        let options = || PoolOptions { twin, ..PoolOptions::new(placement, BYTES, 2) };
        let pool = Ended(run.step("pool create", || Pool::create(&device, options()))?, Pool::destroy);
        let options = || TensorOptions {
            dtype: Dtype::U8,
            shape: Shape::new(&[BYTES]).expect("a shape"),
            max_blocks: 2,
            label: String::new(),
        };
        let tensor = run.step("tensor create", || Tensor::create(&pool, options()))?;
        let mut truth = vec![0u8; BYTES as usize];
        for (round, stream) in [s, t, s].into_iter().enumerate() {
            let piece = pattern(round as u8 + 10, 512);
            // SAFETY: as many elements.
            run.step("write", || unsafe { tensor.write(256 * round as u64, 512, piece.as_ptr()) })?;
            truth[256 * round..][..512].copy_from_slice(&piece);
            if round == 1 {
                shut(t);
            }
            let address = run.step("publish", || tensor.publish(from_ref(stream), Access::Read, LONG))?;
            open(t);
            run.step("synchronize", || stream.synchronize(LONG))?;
            run.expect_device("a tensor", address, &truth);
        }
        run.step("publish for writing", || tensor.publish(from_ref(t), Access::Write, LONG))?;
        run.step("to host", || tensor.to_host(0, ALL, Some(t), LONG))?;
        // SAFETY: the tensor's memory, which nobody writes meanwhile.
        let got = unsafe { std::slice::from_raw_parts(tensor.data(), BYTES as usize) }.to_vec();
        run.expect_bytes("the truth", &got, &truth);
        run.step("wait", || tensor.synchronize(LONG))?;
    }
    Some(())
}

/// A graph, destroyed in the end; what an application does itself, no fault meets.
struct Graph<'a>(&'a Run, u64);

impl Drop for Graph<'_> {
    fn drop(&mut self) {
        let device = self.0.device();
        // SAFETY: destroyed once. Refused where the device is lost.
        unseen(|| drop(unsafe { kit_of(&device).destroy_graph(self.1) }));
    }
}

/// Begins and ends a capture around the work; None where the device refuses, as a lost one does.
fn captured<'a>(run: &'a Run, stream: &Timeline, work: impl FnOnce() -> Option<()>) -> Option<Graph<'a>> {
    if let Err(error) = unseen(|| kit(stream).begin_capture()) {
        assert!(run.is_lost(), "{}: {error}", run.where_it_is());
        return None;
    }
    let done = work();
    match unseen(|| kit(stream).end_capture()) {
        Ok(graph) => {
            let graph = Graph(run, graph);
            done.map(|()| graph)
        }
        Err(error) => {
            assert!(run.is_lost(), "{}: the capture is broken: {error}", run.where_it_is());
            None
        }
    }
}

pub fn graphs(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let [up, down] = [(); 2].map(|()| run.step("buffer create", || Buffer::create(&device, options(BYTES))));
    let (up, down) = (up?, down?);
    run.step("fill", || down.fill(false, true, &[4], Some(t), LONG))?;
    run.step("synchronize", || t.synchronize(LONG))?;
    let hold = run.step("hold create", || GraphHold::create(&device, "graph"))?;
    for buffer in [&up, &down] {
        run.step("add", || hold.add(buffer.clone(), Some(LONG)))?;
    }
    let graph = captured(run, s, || {
        run.step("capture up", || hold.capture(&*up, true, 0, ALL, s))?;
        run.step("capture down", || hold.capture(&*down, false, 0, 256, s))
    })?;
    run.step("set graph", || hold.set_graph(graph.1))?;
    let mut bytes = vec![0; 256];
    for seed in 20..23 {
        let values = pattern(seed, BYTES);
        // SAFETY: as many elements.
        run.step("copy in", || unsafe { up.copy_in(0, BYTES, values.as_ptr(), LONG) })?;
        if seed == 21 {
            shut(s);
        }
        run.step("launch", || hold.launch(s))?;
        run.step("fill", || down.fill(false, true, &[seed], Some(t), LONG))?;
        open(s);
        // SAFETY: room for as many elements.
        run.step("copy out", || unsafe { down.copy_out(0, 256, bytes.as_mut_ptr(), LONG) })?;
        run.step("synchronize", || s.synchronize(LONG))?;
        let before = if seed == 20 { 4 } else { seed - 1 };
        run.expect_bytes("what a replay read", &bytes, &[before; 256]);
        let memory = up.lock().ok()?.memory(gpubuf::fence::Which::Device);
        if let Ok(memory) = memory {
            run.expect_device("what a replay wrote", memory.device, &values);
        }
    }
    // Launched by somebody else, and declared.
    // SAFETY: the graph is alive.
    let launched = unseen(|| unsafe { s.stream().launch_graph(graph.1, 0) });
    assert!(launched.is_ok() || run.is_lost() || !again_on_the_driver(), "{}: {launched:?}", run.where_it_is());
    run.step("replayed", || hold.replayed(s))?;
    shut(s);
    run.step("launch", || hold.launch(s))?;
    drop((hold, up, down, graph));
    open(s);
    Some(())
}

/// Whether what the application launches itself meets no fault.
fn again_on_the_driver() -> bool {
    super::kit::driver().is_some()
}

pub fn events(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let make = |timed| run.step("event create", || Event::create(&device, timed, ""));
    let (first, second) = (make(true)?, make(true)?);
    let plain: Arc<Event> = make(false)?;
    shut(s);
    run.step("record", || first.record(s))?;
    run.step("order", || first.order(t))?;
    run.step("record", || second.record(t))?;
    run.step("record", || plain.record(t))?;
    open(s);
    run.step("wait", || second.wait(LONG))?;
    run.step("wait", || plain.wait(LONG))?;
    run.step("elapsed", || second.elapsed_since(&first))?;
    run.step("probe", || device.probe(LONG))?;
    run.step("synchronize", || device.synchronize(LONG))
}

/// A graph that reads the copies of slots, whose memory is a workspace's, and a table.
pub fn replays(run: &Run) -> Option<()> {
    let (device, s, t) = (run.device(), run.s(), run.t());
    let workspace = run.step("workspace create", || Workspace::create(&device, WorkspaceOptions::default()))?;
    let workspace = Ended(workspace, Workspace::destroy);
    let make = || {
        let options = SlotsOptions { depth: 2, device_depth: 2, read_back_bytes: BYTES, ..SlotsOptions::default() };
        let parts = SlotsParts { source: Some(workspace.clone()), ..SlotsParts::default() };
        let slots = Slots::create_with(&device, options, parts, "slots")?;
        slots.add(&SlotOptions { follows_tokens: true, ..slot("tokens", &[BYTES], SlotKind::Required) })?;
        Ok(slots)
    };
    let slots = Ended(run.step("slots create", make)?, Slots::destroy);
    run.step("freeze", || slots.freeze())?;
    let rows = table(run)?;
    let results = run.step("buffer create", || Buffer::create(&device, options(BYTES)))?;
    let hold = run.step("hold create", || GraphHold::create(&device, "steps"))?;
    run.step("add the copies", || hold.add_all(slots.held_copies(), Some(LONG)))?;
    run.step("add the table", || hold.add(rows.table().shared(), Some(LONG)))?;
    let graph = captured(run, s, || unseen(|| kit(s).capture_call(|_, _| (), [0, 0])).ok())?;
    run.step("set graph", || hold.set_graph(graph.1))?;
    let mut cells = vec![0u8; 16 * 64];
    for round in 0..3u8 {
        let step = Under(run.step("begin a replay", || slots.begin_replay(LONG))?);
        let tokens = pattern(60 + round, 100);
        let list = [SlotRows { slot: 0, first: 0, count: 100, data: tokens.as_ptr() }];
        // SAFETY: as many rows.
        run.step("write many", || unsafe { step.0.write_many(&list, Some(100)) })?;
        run.step("pad tokens", || step.0.pad_tokens())?;
        // SAFETY: as many values.
        run.step("stage", || unsafe { rows.stage(u64::from(round), 0, tokens.as_ptr(), 64) })?;
        cells[usize::from(round) * 64..][..64].copy_from_slice(&tokens[..64]);
        shut(s);
        run.step("apply", || rows.apply(s, &[], LONG))?;
        let ticket = commit(run, &step, s, &[])?;
        let address = run.step("address", || step.0.address(0))?;
        run.step("launch", || hold.launch(s))?;
        run.step("fill", || results.fill(false, true, &[round], Some(s), LONG))?;
        let range = results.elements(64, 64).ok()?;
        let back = run.step("read back a buffer", || slots.read_back_block(ticket, &mut *results.lock()?, range, t))?;
        open(s);
        run.step("retire", || slots.retire(ticket, from_ref(s)))?;
        let (data, count) = run.step("begin read", || slots.begin_read(back, LONG))?;
        // SAFETY: the read-back covers so many bytes.
        let got = unsafe { std::slice::from_raw_parts(data, count as usize) }.to_vec();
        run.step("end read", || slots.end_read(back))?;
        run.expect_bytes("results", &got, &[round; 64]);
        run.step("synchronize", || s.synchronize(LONG))?;
        run.expect_device("tokens", address, &tokens);
        let address = run.step("device address", || rows.device_address(from_ref(t)))?;
        run.expect_device("a table that a graph reads", address, &cells);
    }
    let _filling = Under(run.step("begin", || slots.begin(LONG))?);
    let given_up = run.step("abort all", || slots.abort_all(|_| ()))?;
    assert_eq!(given_up, 1, "{}", run.where_it_is());
    shut(s);
    run.step("launch", || hold.launch(s))?;
    drop((hold, graph));
    open(s);
    Some(())
}
