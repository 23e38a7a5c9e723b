//! Graphs: what a capture gives, and what a launch replays.

use crate::operation::OpKind;

/// Operations and the order between them, as captured.
#[derive(Clone)]
pub struct Graph;

impl Graph {
    /// The kinds of the graph's operations.
    pub fn nodes(&self) -> Vec<OpKind> {
        todo!()
    }

    /// Makes a graph that can be launched.
    pub fn instantiate(&self) -> GraphExec {
        todo!()
    }
}

/// A graph to launch, as often as wanted. Plain data, cheap to clone: it names addresses and holds no bytes.
#[derive(Clone)]
pub struct GraphExec;
