//! Buffers of one workspace: nameless ones for one holder alone, named ones that several threads have, while others evict,
//! clear and release names.

use crate::kit::Random;
use crate::site::{BLOCK, Site, Work};
use gpubuf::config::{ALL, Placement};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::Access;
use gpubuf::workspace::{Content, Held, Spec};
use std::slice::from_ref;

pub fn run(site: &Site, random: &mut Random) {
    let mut held: Vec<(Held, Vec<u8>)> = Vec::new();
    for _ in 0..site.rounds {
        if !site.round() {
            return;
        }
        let _ = match random.below(8) {
            0..3 if held.len() < 2 => allocate(site, &mut held, random),
            0..5 if !held.is_empty() => {
                let at = random.below(held.len() as u64) as usize;
                let (buffer, bytes) = &mut held[at];
                let used = use_it(site, buffer, bytes, random);
                if used.is_err() || random.below(2) == 0 {
                    held.swap_remove(at);
                }
                used
            }
            7 => {
                let name = site.workspace.release_name(NAMES[random.below(2) as usize]);
                site.get("the release of a name", &[Status::NotFound], name).map(drop)
            }
            _ => named(site, random),
        };
    }
}

const NAMES: [&str; 2] = ["weights", "cache"];

fn spec(elements: u64) -> Spec {
    let shape = Shape::new(&[elements]).expect("a shape");
    Spec::new(Dtype::U8, shape, Placement::Pinned, Placement::Device).expect("a spec")
}

fn allocate(site: &Site, held: &mut Vec<(Held, Vec<u8>)>, random: &mut Random) -> Work<()> {
    let (stream, bytes) = (site.stream(random), BLOCK / (1 + random.below(2)));
    let zeroes = random.below(2) == 0;
    let content = if zeroes { Content::Zeroes(Some(&stream)) } else { Content::Any };
    let got = site.workspace.allocate(&spec(bytes), content, site.patience());
    let Some(buffer) = site.get("a nameless buffer", &[Status::Budget], got)? else { return Ok(()) };
    let mut expected = vec![0; bytes as usize];
    if zeroes {
        let address = site.must("an address", buffer.device_address(from_ref(&stream)))?;
        site.look(&stream, address, &expected)?;
        check(site, &buffer, &expected)?;
    } else {
        use_it(site, &buffer, &mut expected, random)?;
    }
    held.push((buffer, expected));
    Ok(())
}

fn check(site: &Site, buffer: &Held, expected: &[u8]) -> Work<()> {
    let mut found = vec![0xEE; expected.len()];
    // SAFETY: the vector has room for every element.
    let copied = unsafe { buffer.copy_out(0, ALL, found.as_mut_ptr(), site.patience()) };
    site.must("a read", copied)?;
    site.expect("a buffer of the workspace", &found, expected);
    Ok(())
}

/// Nobody else has it: it is filled, sent, looked at there, and brought back.
fn use_it(site: &Site, buffer: &Held, bytes: &mut [u8], random: &mut Random) -> Work<()> {
    let (stream, value) = (site.stream(random), random.next() as u8);
    site.must("a fill", buffer.fill(true, false, &[value], None, site.patience()))?;
    bytes.fill(value);
    site.must("a copy", buffer.copy(true, 0, ALL, &stream, None))?;
    let address = site.must("an address", buffer.device_address(from_ref(&stream)))?;
    site.look(&stream, address, bytes)?;
    if random.below(3) == 0 {
        site.must("a copy back", buffer.copy(false, 0, ALL, &stream, None))?;
        check(site, buffer, bytes)?;
    }
    Ok(())
}

/// A buffer that others have, too: whoever writes writes all of it, so it never holds two values.
fn named(site: &Site, random: &mut Random) -> Work<()> {
    const SHARED: &[Status] = &[Status::Busy];
    let name = NAMES[random.below(2) as usize];
    let got = site.workspace.get(name, &spec(BLOCK), site.patience());
    let Some(buffer) = site.get("a named buffer", &[Status::Budget], got)? else { return Ok(()) };
    let (stream, all) = (site.stream(random), BLOCK as usize);
    if let Some((data, token)) =
        site.get("a shared write", SHARED, buffer.begin(Access::Write, 0, ALL, site.patience()))?
    {
        // SAFETY: the guard covers the whole side.
        unsafe { data.write_bytes(random.next() as u8, all) };
        site.again("the end of a shared write", || buffer.end(Access::Write, token))?;
    }
    site.get("a shared copy", SHARED, buffer.copy(random.below(2) == 0, 0, ALL, &stream, None))?;
    if let Some((data, token)) =
        site.get("a shared read", SHARED, buffer.begin(Access::Read, 0, ALL, site.patience()))?
    {
        // SAFETY: the guard covers the whole side.
        let found = unsafe { std::slice::from_raw_parts(data, all) };
        site.expect("a shared buffer", found, &vec![found[0]; all]);
        site.again("the end of a shared read", || buffer.end(Access::Read, token))?;
    }
    Ok(())
}
