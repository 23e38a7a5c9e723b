//! Batches of copies.

mod common;
use common::*;

const IN_ORDER: u32 = 1;
const DURING_CALL: u32 = 2;

struct Batch {
    dsts: Vec<u64>,
    srcs: Vec<u64>,
    sizes: Vec<usize>,
    attributes: Vec<CopyAttributes>,
    starts: Vec<usize>,
}

impl Batch {
    fn new(copies: &[(u64, u64, usize)], orders: &[(usize, u32)]) -> Batch {
        Batch {
            dsts: copies.iter().map(|copy| copy.0).collect(),
            srcs: copies.iter().map(|copy| copy.1).collect(),
            sizes: copies.iter().map(|copy| copy.2).collect(),
            attributes: orders
                .iter()
                .map(|order| CopyAttributes { source_order: order.1, hints: [[0; 2]; 2], flags: 0 })
                .collect(),
            starts: orders.iter().map(|order| order.0).collect(),
        }
    }

    fn submit(&self, stream: u64) -> (i32, usize) {
        let mut failed = 12345;
        let code = cuda().cuMemcpyBatchAsync(
            self.dsts.as_ptr(),
            self.srcs.as_ptr(),
            self.sizes.as_ptr(),
            self.sizes.len(),
            self.attributes.as_ptr(),
            self.starts.as_ptr(),
            self.starts.len(),
            &mut failed,
            stream,
        );
        (code, failed)
    }
}

#[test]
fn each_copy_reads_as_its_attributes_say() {
    let _session = session();
    let cuda = cuda();
    let (stream, target, source) = (side_stream(), device_memory(256), pinned(256, 1));
    let copies = [(target, source, 64), (target + 64, source + 64, 64), (target + 128, source + 128, 64)];
    hold(stream);
    assert_eq!(Batch::new(&copies, &[(0, IN_ORDER), (1, DURING_CALL)]).submit(stream), (0, 12345));
    set(source, 256, 2);
    release(stream);
    ok(cuda.cuStreamSynchronize(stream));
    let mut expected = vec![2u8; 64];
    expected.extend([1u8; 128]);
    assert_eq!(fetch(target, 192), expected);
    // Memory that was read during the call is not needed afterwards, even where copies read late.
    ok(cuda.gpubuf_standin_set_pageable_late(0, 1));
    let own = vec![5u8; 64];
    hold(stream);
    assert_eq!(Batch::new(&[(target, own.as_ptr() as u64, 64)], &[(0, DURING_CALL)]).submit(stream).0, 0);
    drop(own);
    release(stream);
    ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(fetch(target, 64), [5; 64]);
    ok(cuda.gpubuf_standin_set_pageable_late(0, 0));
}

#[test]
fn bad_batches_queue_nothing_and_name_the_copy() {
    let _session = session();
    let cuda = cuda();
    let (stream, target, source) = (side_stream(), device_memory(128), pinned(128, 1));
    let good = (target, source, 64);
    let whole = usize::MAX;
    hold(stream);
    for (copies, orders, failed) in [
        (&[][..], &[(0, IN_ORDER)][..], whole),
        (&[good], &[], whole),
        (&[good], &[(1, IN_ORDER)], whole),
        (&[good, good], &[(0, IN_ORDER), (0, IN_ORDER)], whole),
        (&[good, good], &[(0, IN_ORDER), (2, IN_ORDER)], whole),
        (&[good], &[(0, 0)], whole),
        (&[good], &[(0, 4)], whole),
        (&[good, (target, source, 0)], &[(0, IN_ORDER)], 1),
        (&[good, (0, source, 64)], &[(0, IN_ORDER)], 1),
        (&[good, (target, 0, 64)], &[(0, IN_ORDER)], 1),
        (&[good, good, (target, source, 129)], &[(0, IN_ORDER)], 2),
    ] {
        assert_eq!(Batch::new(copies, orders).submit(stream), (1, failed), "{copies:?} {orders:?}");
    }
    ok(cuda.cuStreamQuery(stream));
    // A copy that is refused by an armed fault takes the others with it.
    ok(cuda.gpubuf_standin_fail_operation(0, 1, 2, 0, 2));
    assert_eq!(Batch::new(&[good, good, good], &[(0, IN_ORDER)]).submit(stream), (2, 1));
    ok(cuda.cuStreamQuery(stream));
    release(stream);
}

#[test]
fn the_legacy_stream_takes_no_batches() {
    let _session = session();
    let (target, source) = (device_memory(64), pinned(64, 1));
    let batch = Batch::new(&[(target, source, 64)], &[(0, IN_ORDER)]);
    assert_eq!(batch.submit(0).0, 1);
    assert_eq!(batch.submit(1).0, 1);
    assert_eq!(batch.submit(2).0, 0);
    ok(cuda().cuStreamSynchronize(2));
    assert_eq!(fetch(target, 64), [1; 64]);
}

#[test]
fn a_batch_in_a_capture_is_refused_and_the_capture_stays_whole() {
    let _session = session();
    let cuda = cuda();
    let (stream, target, source) = (side_stream(), device_memory(64), pinned(64, 1));
    ok(cuda.cuStreamBeginCapture_v2(stream, 0));
    assert_eq!(Batch::new(&[(target, source, 64)], &[(0, IN_ORDER)]).submit(stream).0, 900);
    assert_eq!(made(|status| cuda.cuStreamIsCapturing(stream, status)), 1);
    let graph = made(|graph| cuda.cuStreamEndCapture(stream, graph));
    // The copy is silently missing.
    assert_eq!(made(|count| cuda.cuGraphGetNodes(graph, std::ptr::null_mut(), count)), 0);
}
