//! Blocks of any size of one manager, whose budget changes: allocated, reserved and committed, given back in flight.

use crate::kit::Random;
use crate::site::{Site, Work};
use gpubuf::config::{ALL, Placement};
use gpubuf::error::Status;
use gpubuf::fence::Access;
use gpubuf::lease::{Lease, Twin};
use gpubuf::pinned::{Over, Request};
use std::slice::from_ref;

pub fn run(site: &Site, random: &mut Random) {
    for _ in 0..site.rounds {
        if !site.round() {
            return;
        }
        let _ = one_round(site, random);
        let f = site.pinned.figures();
        let sum = f.requested_bytes + f.cached_bytes + f.quarantined_bytes + f.reserved_bytes + f.available_bytes;
        assert_eq!(sum, f.budget_bytes, "seed {}: {f:?}", site.seed);
    }
}

fn one_round(site: &Site, random: &mut Random) -> Work<()> {
    let over = [Over::Fail, Over::Wait, Over::Pageable][random.below(3) as usize];
    let twin = if random.below(4) == 0 { Twin::Eager } else { Twin::Never };
    let bytes = 1 + random.below(20_000);
    let request =
        Request { over, twin, priority: random.below(3) as i32, timeout: site.patience(), ..Request::new(bytes) };
    let got = if random.below(4) == 0 {
        let whole = Request { over: Over::Wait, twin: Twin::Never, ..request };
        let reserved = site.get("a reservation", &[Status::Budget], site.pinned.reserve(&whole))?;
        let Some(reservation) = reserved else { return Ok(()) };
        assert_eq!(reservation.left(), bytes);
        site.get("a commit", &[], reservation.commit(&request))?
    } else {
        site.get("a block", &[Status::Budget], site.pinned.allocate(&request))?
    };
    let Some(block) = got else { return Ok(()) };
    let used = use_it(site, &block, bytes as usize, random);
    if used.is_err() {
        // Whatever failed, nothing uses it that is not named here.
        site.get("the end of a block", &[Status::NotHeld], block.release_after(&site.rig.streams))?;
    }
    used
}

fn use_it(site: &Site, block: &Lease, bytes: usize, random: &mut Random) -> Work<()> {
    let (stream, value) = (site.stream(random), random.next() as u8);
    let (data, token) = site.must("a write", block.begin(Access::Write, 0, ALL, site.patience()))?;
    // SAFETY: the guard covers the block.
    unsafe { data.write_bytes(value, bytes) };
    site.must("the end of a write", block.end(Access::Write, token))?;
    let twin = site.must("a lease", block.has_device_side())?;
    if twin {
        site.must("a copy", block.copy(true, 0, ALL, &stream, None))?;
    }
    if twin || block.placement() != Placement::Pageable {
        let address = site.must("an address", block.device_address())?;
        site.look(&stream, address, &vec![value; bytes])?;
        site.must("a release", block.release_after(from_ref(&stream)))
    } else {
        site.must("a free", site.pinned.free(block))
    }
}
