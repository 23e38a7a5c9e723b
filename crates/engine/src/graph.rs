//! Graphs: what a capture gives, and what a launch replays.

use std::fmt;
use std::sync::Arc;

use crate::operation::{Op, OpKind, Task};
use crate::policy::{self, Fault};

/// One operation of a graph: its addresses, never what they hold.
#[derive(Clone)]
pub(crate) struct Node {
    op: Op,
    /// The device whose stream captured it.
    device: u64,
    /// Whether its target and its source were the caller's own memory when it was captured.
    foreign: [bool; 2],
    /// The nodes that it comes after. They are earlier in the list, so the list itself is an order to run in.
    pub(crate) after: Vec<usize>,
}

impl Node {
    /// Checks an operation as a submission does, and keeps none of its memory.
    ///
    /// # Safety
    /// As for [`Stream::submit`](crate::Stream::submit), which asks that it hold at each replay.
    pub(crate) unsafe fn capture(device: u64, op: &Op, after: Vec<usize>) -> Result<Node, Fault> {
        // SAFETY: this function's contract.
        let task = unsafe { Task::prepare(device, op.clone(), policy::STAGES_IN_GRAPH)? };
        Ok(Node { op: op.clone(), device, foreign: task.foreign(), after })
    }

    /// Looks the addresses up again, for one replay.
    pub(crate) fn prepare(&self) -> Result<Task, Fault> {
        // SAFETY: whoever submitted the operation to the capture answers for each replay.
        let task = unsafe { Task::prepare(self.device, self.op.clone(), policy::STAGES_IN_GRAPH)? };
        // Memory that was freed so long ago that its addresses are the engine's no more is still not the caller's.
        let strayed = self.foreign.iter().zip(task.foreign()).any(|(then, now)| now && !then);
        if strayed { Err(Fault::InvalidAddress) } else { Ok(task) }
    }

    pub(crate) fn kind(&self) -> OpKind {
        self.op.kind()
    }

    pub(crate) fn device(&self) -> u64 {
        self.device
    }
}

/// The nodes that no other comes after.
pub(crate) fn leaves(nodes: &[Node]) -> Vec<usize> {
    let mut leaf = vec![true; nodes.len()];
    for node in nodes {
        for before in &node.after {
            leaf[*before] = false;
        }
    }
    (0..nodes.len()).filter(|index| leaf[*index]).collect()
}

/// Whether each node is one of `ends` or comes before one of them.
pub(crate) fn all_lead_to(nodes: &[Node], ends: &[usize]) -> bool {
    let mut leads = vec![false; nodes.len()];
    for end in ends {
        leads[*end] = true;
    }
    for (index, node) in nodes.iter().enumerate().rev() {
        if !leads[index] {
            return false;
        }
        for before in &node.after {
            leads[*before] = true;
        }
    }
    true
}

/// Operations and the order between them, as captured. Cheap to clone, and outlives what it was captured from.
#[derive(Clone)]
pub struct Graph {
    nodes: Arc<Vec<Node>>,
}

impl Graph {
    pub(crate) fn new(nodes: Vec<Node>) -> Graph {
        Graph { nodes: Arc::new(nodes) }
    }

    /// The kinds of the graph's operations, in the order they were captured. Records of events and waits for them are
    /// edges and not among them.
    pub fn nodes(&self) -> Vec<OpKind> {
        self.nodes.iter().map(Node::kind).collect()
    }

    /// Makes a graph that can be launched.
    pub fn instantiate(&self) -> GraphExec {
        GraphExec { nodes: self.nodes.clone() }
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Graph").field(&self.nodes()).finish()
    }
}

/// A graph to launch, as often as wanted. Plain data, cheap to clone: it names addresses and keeps no memory alive.
#[derive(Clone)]
pub struct GraphExec {
    pub(crate) nodes: Arc<Vec<Node>>,
}

impl fmt::Debug for GraphExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphExec").field("nodes", &self.nodes.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{CaptureMode, Config, Device, MemoryKind, Op};

    /// Here and not with the other tests, as those may be given the addresses again while this one runs.
    #[test]
    fn memory_freed_long_ago_is_not_taken_for_the_callers() {
        let device = Device::new(Config::default()).unwrap();
        let stream = device.create_stream().unwrap();
        let [freed, target] = [(); 2].map(|()| device.allocate(MemoryKind::Pinned, 8).unwrap());
        stream.begin_capture(CaptureMode::ThreadLocal).unwrap();
        // SAFETY: both addresses are the engine's own.
        unsafe { stream.submit(Op::Copy { dst: target.device, src: freed.device, bytes: 8 }, 0).unwrap() };
        let exec = stream.end_capture().unwrap().instantiate();
        device.free(freed.device).unwrap();
        // More frees than the engine keeps the addresses of.
        for _ in 0..300 {
            let memory = device.allocate(MemoryKind::Pinned, 1 << 20).unwrap();
            device.free(memory.device).unwrap();
        }
        stream.launch(&exec, 0).unwrap();
        stream.synchronize(None).unwrap();
        assert_eq!(device.counters().failed.copy, 1);
    }
}
