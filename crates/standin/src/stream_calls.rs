//! The entries for streams (driver API, "Stream Management"), and for host functions in them.

use std::sync::Arc;

use gpubuf_engine::{Op, OpKind, View};

use crate::code;
use crate::context::Context;
use crate::entry::Out;
use crate::stream::{self, NON_BLOCKING};

fn create(out: Out<u64>, flags: u32, priority: i32, current: &Arc<Context>) -> Result<(), i32> {
    out.required()?;
    if flags & !NON_BLOCKING != 0 {
        return Err(code::INVALID_VALUE);
    }
    let engine = match flags {
        NON_BLOCKING => current.engine.create_stream(),
        _ => current.engine.create_blocking_stream(),
    };
    let engine = engine.map_err(|fault| current.code(fault))?;
    out.set(stream::keep(current, engine, flags, priority)?.handle)
}

entry! {
    contextual fn cuStreamCreate(stream: Out<u64>, flags: u32) |current| { create(stream, flags, 0, current) }
}

entry! {
    contextual fn cuStreamCreateWithPriority(stream: Out<u64>, flags: u32, _priority: i32) |current| {
        // Priorities that are not supported are clamped to the one that is (driver API).
        create(stream, flags, 0, current)
    }
}

entry! {
    contextual fn cuStreamDestroy_v2(stream: u64) |current| {
        // Looked up first: a stream of a failed context stays, as every call about it fails.
        stream::find(stream, current)?;
        // The special streams are not in the table by these names, and so refused. Queued work still runs (driver API,
        // `cuStreamDestroy`: the call "will return immediately").
        stream::remove(stream).map(drop)
    }
}

entry! {
    contextual fn cuStreamQuery(stream: u64) |current| {
        let stream = stream::find(stream, current)?;
        let done = stream.engine.query().map_err(|fault| stream.context.code(fault))?;
        stream.context.check()?;
        if done { Ok(()) } else { Err(code::NOT_READY) }
    }
}

entry! {
    contextual fn cuStreamSynchronize(stream: u64) |current| { stream::find(stream, current)?.synchronize() }
}

entry! {
    contextual fn cuStreamGetCtx(stream: u64, context: Out<u64>) |current| {
        context.set(stream::find(stream, current)?.context.handle)
    }
}

entry! {
    contextual fn cuStreamGetId(stream: u64, id: Out<u64>) |current| {
        id.set(stream::find(stream, current)?.engine.id())
    }
}

entry! {
    contextual fn cuStreamGetFlags(stream: u64, flags: Out<u32>) |current| {
        flags.set(stream::find(stream, current)?.flags)
    }
}

entry! {
    contextual fn cuStreamGetPriority(stream: u64, priority: Out<i32>) |current| {
        priority.set(stream::find(stream, current)?.priority)
    }
}

/// A host function as C passes it.
type HostFunction = unsafe extern "C" fn(*mut libc::c_void);

entry! {
    contextual fn cuLaunchHostFunc(stream: u64, function: Option<HostFunction>, data: Out<libc::c_void>) |current| {
        let stream = stream::find(stream, current)?;
        let function = function.ok_or(code::INVALID_VALUE)?;
        let op = Op::Call { function: call, arguments: [function as usize, data.address() as usize] };
        // SAFETY: the caller of this entry answers for the function: sound to call once on another thread with its data
        // (driver API, `cuLaunchHostFunc`). No memory is named.
        unsafe { stream.submit(OpKind::Call, op) }
    }
}

/// Runs a host function on the stream's thread, where calls of the driver are refused.
fn call(_view: &View<'_>, [function, data]: [usize; 2]) {
    // SAFETY: the number is the function's address, put there by `cuLaunchHostFunc`.
    let function = unsafe { std::mem::transmute::<usize, HostFunction>(function) };
    // SAFETY: the caller of `cuLaunchHostFunc` answers for a call with this data.
    unsafe { function(data as *mut libc::c_void) };
}
