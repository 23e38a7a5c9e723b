//! Stream capture (driver API, "Stream Management"; programming guide, "Creating a Graph Using Stream Capture"). The
//! rules are the engine's.

use std::sync::Arc;

use gpubuf_engine::{CaptureMode, CaptureStatus, exchange_capture_mode};

use crate::code;
use crate::context::Context;
use crate::entry::Out;
use crate::graph;
use crate::stream::{self, Stream};

/// `CUstreamCaptureMode`.
fn mode(number: i32) -> Result<CaptureMode, i32> {
    match number {
        0 => Ok(CaptureMode::Global),
        1 => Ok(CaptureMode::ThreadLocal),
        2 => Ok(CaptureMode::Relaxed),
        _ => Err(code::INVALID_VALUE),
    }
}

entry! {
    contextual fn cuStreamBeginCapture_v2(stream: u64, number: i32) |current| {
        let mode = mode(number)?;
        let stream = stream::find(stream, current)?;
        stream.engine.begin_capture(mode).map_err(|fault| stream.context.code(fault))
    }
}

entry! {
    contextual fn cuStreamEndCapture(stream: u64, graph: Out<u64>) |current| {
        graph.set(0)?;
        let stream = stream::find(stream, current)?;
        let captured = stream.engine.end_capture().map_err(|fault| stream.context.code(fault))?;
        graph.set(graph::keep(captured, &stream.context)?)
    }
}

entry! {
    contextual fn cuThreadExchangeStreamCaptureMode(number: Out<i32>) |_current| {
        let old = exchange_capture_mode(mode(number.get()?)?);
        number.set(match old {
            CaptureMode::Global => 0,
            CaptureMode::ThreadLocal => 1,
            CaptureMode::Relaxed => 2,
        })
    }
}

/// `CUstreamCaptureStatus`, and the capture's id.
fn status(stream: &Stream) -> Result<(i32, u64), i32> {
    // Asked about the legacy stream while a blocking stream captures, the driver refuses and the capture goes on
    // (driver API, `cuStreamIsCapturing`).
    if stream.engine.is_legacy() && blocking_capture(&stream.context) {
        return Err(code::STREAM_CAPTURE_IMPLICIT);
    }
    Ok(match stream.engine.capture_status() {
        CaptureStatus::None => (0, 0),
        CaptureStatus::Active { id } => (1, id),
        CaptureStatus::Invalidated { id } => (2, id),
    })
}

fn blocking_capture(context: &Arc<Context>) -> bool {
    context.engine.is_capturing()
        && stream::all_of(context).iter().any(|stream| stream.engine.is_blocking() && stream.is_capturing())
}

entry! {
    contextual fn cuStreamIsCapturing(stream: u64, answer: Out<i32>) |current| {
        answer.required()?;
        answer.set(status(&*stream::find(stream, current)?)?.0)
    }
}

/// Answers status and id; a graph that is being captured has no handle and no nodes to see.
fn info(
    stream: u64,
    current: &Arc<Context>,
    answer: Out<i32>,
    id: Out<u64>,
    nulls: [Out<u64>; 3],
    dependencies: Out<usize>,
) -> Result<(), i32> {
    answer.required()?;
    let (number, capture) = status(&*stream::find(stream, current)?)?;
    answer.set(number)?;
    // The rest is only told of a capture that is active (driver API).
    if number == 1 {
        id.offer(capture);
        nulls.into_iter().for_each(|null| null.offer(0));
        dependencies.offer(0);
    }
    Ok(())
}

entry! {
    contextual fn cuStreamGetCaptureInfo_v2(
        stream: u64, answer: Out<i32>, id: Out<u64>, graph: Out<u64>, nodes: Out<u64>, count: Out<usize>,
    ) |current| { info(stream, current, answer, id, [graph, nodes, nodes], count) }
}

entry! {
    contextual fn cuStreamGetCaptureInfo_v3(
        stream: u64, answer: Out<i32>, id: Out<u64>, graph: Out<u64>, nodes: Out<u64>, edges: Out<u64>,
        count: Out<usize>,
    ) |current| { info(stream, current, answer, id, [graph, nodes, edges], count) }
}
