//! Who may touch a block when: the reuse contract, in one place, for buffers, pool blocks and slots alike.
//!
//! `docs/reuse-contract.md` is the design. Nouns: a *timeline* numbers the *fences* of a stream; a *use* says that work up
//! to a fence reads or writes a range; a *guard* is an open CPU access; a side is *sealed* while its address is with work
//! that the library cannot see; memory whose completion cannot be proven is *quarantined*.

mod area;
mod block;
mod deferred;
mod device;
mod devices;
mod dirty;
mod event;
mod figures;
mod flow;
mod hold;
mod known;
mod name;
mod probed;
mod side;
mod storage;
mod timeline;
mod transfer;
mod upkeep;
mod uses;
mod watch;

pub use area::Area;
pub(crate) use block::Lineage;
pub use block::{Block, Entry, HoldMark, Keep, scatter};
pub use device::{Care, Device, Member};
pub use devices::{shut_down_all, uptime};
pub use dirty::Policy;
pub use event::Event;
pub use figures::device_records;
pub use flow::{Flow, Flows};
pub use hold::{BlockGuard, Holdable};
pub use name::Name;
pub use side::{Access, OrderCount, Side, Which};
pub use storage::{Arena, Borrow, Charge, ReleaseCallback, Storage};
pub use timeline::{Fence, Fences, HostWait, Proof, Submission, Timeline, record_all};
pub use transfer::{Outcome, Piece, transfer};
pub use uses::{Range, Role};
