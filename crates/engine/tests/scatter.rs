//! The scatter operation: pieces of a packed entry go to their places in a table.

use gpubuf_engine::{Config, Device, FailWhen, Fault, MemoryKind, Op, OpKind, Stream};

const ENTRY: usize = 256;
const TABLE: usize = 64;

/// A device, a stream, an entry that the CPU fills, and a table.
struct Bench {
    device: Device,
    stream: Stream,
    entry: gpubuf_engine::Allocation,
    table: gpubuf_engine::Allocation,
}

impl Bench {
    fn new() -> Bench {
        let device = Device::new(Config::default()).unwrap();
        let [entry, table] = [ENTRY, TABLE].map(|bytes| device.allocate(MemoryKind::Pinned, bytes).unwrap());
        Bench { stream: device.create_stream().unwrap(), device, entry, table }
    }

    /// Packs an entry: for each piece its place in the table, its place in the entry, and its bytes.
    fn pack(&self, ticket: u64, pieces: &[(u64, u32, &[u8])]) {
        let mut bytes = vec![0; ENTRY];
        bytes[..8].copy_from_slice(&ticket.to_ne_bytes());
        for (place, (target, source, piece)) in pieces.iter().enumerate() {
            let at = 16 + 16 * place;
            bytes[at..at + 8].copy_from_slice(&target.to_ne_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&source.to_ne_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&(piece.len() as u32).to_ne_bytes());
            if let Some(room) = bytes.get_mut(*source as usize..*source as usize + piece.len()) {
                room.copy_from_slice(piece);
            }
        }
        // SAFETY: nothing runs, and the entry has as many bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.entry.host, ENTRY) };
    }

    fn scatter(&self, pieces: usize, ticket: u64) -> Result<(), Fault> {
        let (entry, table) = (self.entry.device, self.table.device);
        let op = Op::Scatter { entry, entry_bytes: ENTRY, table, table_bytes: TABLE, pieces, ticket };
        // SAFETY: both addresses are the engine's own.
        unsafe { self.stream.submit(op, 0) }?;
        self.stream.synchronize(None)
    }

    fn table(&self) -> Vec<u8> {
        // SAFETY: nothing runs, and the table has as many bytes.
        unsafe { std::slice::from_raw_parts(self.table.host, TABLE) }.to_vec()
    }
}

#[test]
fn pieces_go_to_their_places() {
    let it = Bench::new();
    it.pack(7, &[(3, 64, b"abc"), (60, 70, b"wxyz"), (0, 80, b"")]);
    it.scatter(3, 7).unwrap();
    let mut wanted = vec![0; TABLE];
    wanted[3..6].copy_from_slice(b"abc");
    wanted[60..].copy_from_slice(b"wxyz");
    assert_eq!(it.table(), wanted);
    assert_eq!(it.device.counters().executed.of(OpKind::Scatter), 1);
}

#[test]
fn an_entry_with_another_ticket_does_nothing() {
    let it = Bench::new();
    it.pack(7, &[(0, 64, b"old")]);
    it.scatter(1, 8).unwrap();
    assert_eq!(it.table(), vec![0; TABLE]);
}

#[test]
fn a_piece_that_leaves_its_memory_fails_the_operation() {
    for astray in [(61, 68), (u64::MAX, 68), (0, 253)] {
        let it = Bench::new();
        it.pack(1, &[(0, 64, b"ok"), (astray.0, astray.1, b"abcd")]);
        it.scatter(2, 1).unwrap();
        assert_eq!(it.device.counters().failed.scatter, 1, "{astray:?}");
        assert_eq!(&it.table()[..3], b"ok\0", "{astray:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let it = Bench::new();
    let op = |entry, table| Op::Scatter { entry, entry_bytes: ENTRY, table, table_bytes: TABLE, pieces: 15, ticket: 1 };
    let pageable = vec![0u8; ENTRY];
    let (entry, table, foreign) = (it.entry.device, it.table.device, pageable.as_ptr() as u64);
    for (op, fault) in [
        (op(foreign & !7, table), Fault::InvalidAddress),
        (op(entry, foreign), Fault::InvalidAddress),
        (op(entry + 4, table), Fault::InvalidValue),
        (op(0, table), Fault::InvalidValue),
    ] {
        // SAFETY: refused, whatever it names.
        assert_eq!(unsafe { it.stream.submit(op, 0) }, Err(fault));
    }
    assert_eq!(it.scatter(16, 1), Err(Fault::InvalidValue), "16 descriptors do not fit");
}

#[test]
fn faults_strike_scatters() {
    let it = Bench::new();
    it.pack(1, &[(0, 64, b"x")]);
    it.device.fail_operation(Some(OpKind::Scatter), 1, FailWhen::Submission);
    assert_eq!(it.scatter(1, 1), Err(Fault::OperationFailed));
    it.device.fail_operation(Some(OpKind::Scatter), 1, FailWhen::Execution);
    it.scatter(1, 1).unwrap();
    assert_eq!(it.table(), vec![0; TABLE]);
    it.scatter(1, 1).unwrap();
    assert_eq!(it.table()[0], b'x');
}
