//! Graphs and their launches (driver API, "Graph Management").

use std::sync::Arc;

use gpubuf_engine::{GraphExec, Op, OpKind, View};
use parking_lot::Mutex;

use crate::code;
use crate::context::{self, Context};
use crate::entry::Out;
use crate::fault::Fate;
use crate::stream::{self, Stream};
use crate::table::Table;

struct Graph {
    engine: gpubuf_engine::Graph,
    /// Of the stream that captured it.
    context: Arc<Context>,
}

struct Executable {
    handle: u64,
    engine: GraphExec,
    context: Arc<Context>,
    kinds: Vec<OpKind>,
    /// Recorded after each launch.
    launched: gpubuf_engine::Event,
    /// The stream of the newest launch; 0 before the first. Locked while one is queued.
    newest: Mutex<u64>,
}

static GRAPHS: Table<(u64, Graph)> = Table::new(4);
static EXECUTABLES: Table<Executable> = Table::new(5);

pub(crate) fn forget_all_of(context: &Context) {
    drop(EXECUTABLES.remove_all(|executable| std::ptr::eq(&*executable.context, context)));
    drop(GRAPHS.remove_all(|(_, graph)| std::ptr::eq(&*graph.context, context)));
}

pub(crate) fn count_of(context: &Context) -> u64 {
    let executables = EXECUTABLES.all(|executable| std::ptr::eq(&*executable.context, context)).len();
    (executables + GRAPHS.all(|(_, graph)| std::ptr::eq(&*graph.context, context)).len()) as u64
}

/// Makes the handle of a captured graph.
pub(crate) fn keep(engine: gpubuf_engine::Graph, context: &Arc<Context>) -> Result<u64, i32> {
    let context = context.clone();
    Ok(GRAPHS.insert(|handle| (handle, Graph { engine, context }))?.0)
}

entry! {
    contextual fn cuGraphGetNodes(graph: u64, nodes: Out<u64>, count: Out<usize>) |_current| {
        let graph = GRAPHS.get(graph)?;
        count.required()?;
        // Nodes have no handles here.
        if !nodes.is_null() {
            return Err(code::NOT_SUPPORTED);
        }
        count.set(graph.1.engine.nodes().len())
    }
}

entry! {
    contextual fn cuGraphDestroy(graph: u64) |_current| { GRAPHS.remove(graph).map(drop) }
}

entry! {
    contextual fn cuGraphInstantiateWithFlags(executable: Out<u64>, graph: u64, flags: u64) |_current| {
        executable.required()?;
        // `CUgraphInstantiate_flags`: the lowest four are known to all drivers.
        if flags & !15 != 0 {
            return Err(code::INVALID_VALUE);
        }
        let graph = &GRAPHS.get(graph)?.1;
        graph.context.check()?;
        let made = EXECUTABLES.insert(|handle| Executable {
            handle,
            engine: graph.engine.instantiate(),
            context: graph.context.clone(),
            kinds: graph.engine.nodes(),
            launched: graph.context.engine.create_event(),
            newest: Mutex::new(0),
        })?;
        executable.set(made.handle)
    }
}

entry! {
    contextual fn cuGraphExecDestroy(executable: u64) |_current| {
        // A launch that is queued or running goes on (driver API).
        EXECUTABLES.remove(executable).map(drop)
    }
}

entry! {
    contextual fn cuGraphLaunch(executable: u64, stream: u64) |current| {
        let executable = EXECUTABLES.get(executable)?;
        let stream = stream::find(stream, current)?;
        if !Arc::ptr_eq(&executable.context, &stream.context) {
            return Err(code::INVALID_HANDLE);
        }
        executable.launch(&stream).map_err(|fault| stream.context.code(fault))
    }
}

impl Executable {
    fn launch(&self, stream: &Stream) -> Result<(), gpubuf_engine::Fault> {
        if stream.is_capturing() {
            return stream.engine.launch(&self.engine, 0);
        }
        let mut newest = self.newest.lock();
        // A launch begins when the one before has ended, whatever its stream (driver API, `cuGraphLaunch`: "ordered
        // behind ... any previous launches of hGraphExec").
        if *newest != 0 && *newest != stream.engine.id() {
            stream.engine.wait_event(&self.launched)?;
        }
        match self.fate(stream) {
            Fate::Run => stream.engine.launch(&self.engine, 0)?,
            // SAFETY: the operation names no memory.
            Fate::Fail(code) | Fate::Lose(code) => unsafe { stream.engine.submit(stream.failing(code), 0)? },
        }
        let arguments = [self.context.handle as usize, 0];
        // SAFETY: the function takes any numbers.
        unsafe { stream.engine.submit(Op::Call { function: look, arguments }, 0)? };
        stream.engine.record(&self.launched, 0)?;
        *newest = stream.engine.id();
        Ok(())
    }

    /// Counts what the launch brings to execution.
    fn fate(&self, stream: &Stream) -> Fate {
        let faults = &stream.context.ordinal.faults;
        if !faults.any() {
            return Fate::Run;
        }
        let failing = |kind: &OpKind| match faults.replay(*kind) {
            Fate::Run => None,
            fate => Some(fate),
        };
        self.kinds.iter().find_map(failing).unwrap_or(Fate::Run)
    }
}

/// Runs in a stream after a launch: nodes that failed, as those that name freed memory do, end the context as an
/// illegal access does.
fn look(_view: &View<'_>, [context, _]: [usize; 2]) {
    if let Ok(context) = context::find(context as u64) {
        let failed = context.engine.counters().failed;
        // Waits fail for other contexts' loss, too.
        if failed.total() > failed.wait {
            context.fail(code::ILLEGAL_ADDRESS);
        }
    }
}
