//! What a fault on watched memory is, in words.

use super::{KNOWN, Stage, State, Watched, in_words, made};
use crate::backend::CpuAccess;
use crate::backend::trap::{Fault, Judge, Verdict};
use crate::config::log::{self, Level};
use crate::fence::name::callers_of_fault;
use crate::fence::side::Which;
use std::backtrace::Backtrace;
use std::fmt::Write as _;

/// The one judge.
pub(in crate::fence) static JUDGE: OfMemory = OfMemory;

pub(in crate::fence) struct OfMemory;

impl Judge for OfMemory {
    fn judge(&self, fault: &Fault) -> Verdict {
        let Some(watched) = KNOWN.lock().find(fault.address).cloned() else { return Verdict::Foreign };
        let mut state = watched.state.lock();
        watched.forget_known(&mut state);
        watched.apply(&mut state);
        let host = watched.memory.host as usize;
        if watched.which == Which::Host
            && state.stage != Stage::Ended
            && fault.address.wrapping_sub(host) < watched.pages.end
        {
            let at = fault.address - host;
            let allowed = state.allowed.iter().find(|(range, _)| (range.start..range.end).contains(&at));
            let enough = if fault.store == Some(false) { CpuAccess::Read } else { CpuAccess::ReadWrite };
            match allowed.filter(|_| !state.open) {
                Some((_, access)) if *access >= enough => return Verdict::Again,
                Some(_) => {}
                // Not shut by us, or not any more: what faults there still does so for another reason.
                None if system_allows(fault.address, enough) => return Verdict::Again,
                None => return Verdict::Foreign,
            }
        }
        Verdict::Stray(report(&watched, &state, fault))
    }

    fn conclude(&self, text: &str, trace: Option<&Backtrace>) -> String {
        let mut rest = String::new();
        match trace.map(|trace| callers_of_fault(&trace.to_string())) {
            Some(site) if !site.is_empty() => {
                let _ = writeln!(rest, "  the access was made by: {site}");
            }
            _ => rest.push_str("  the access was made by code whose stack could not be walked\n"),
        }
        rest.push_str("  The process ends by the signal, as it would have without the debug mode where memory faults by itself.\n");
        log::write(Level::Error, format_args!("{text}{rest}"));
        log::deliver();
        rest
    }
}

/// Whether the system would let the CPU in.
fn system_allows(address: usize, access: CpuAccess) -> bool {
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    String::from_utf8_lossy(&maps).lines().any(|line| {
        let mut words = line.split(['-', ' ']);
        let mut number = || usize::from_str_radix(words.next()?, 16).ok();
        let (Some(start), Some(end), Some(rights)) = (number(), number(), words.next()) else { return false };
        (start..end).contains(&address) && rights.starts_with(if access == CpuAccess::Read { "r" } else { "rw" })
    })
}

fn report(watched: &Watched, state: &State, fault: &Fault) -> String {
    let verb = match fault.store {
        Some(true) => "a write to",
        Some(false) => "a read of",
        None => "an access to",
    };
    let mut text = String::new();
    let address = fault.address;
    let in_host = watched.which == Which::Host && offset(watched.memory.host as u64, address, watched).is_some();
    let in_device = offset(watched.memory.device, address, watched).filter(|at| *at >= 0 && !in_host);
    let title = watched.title();
    if let Some(at) = in_device {
        let _ = writeln!(text, "==gpubuf== {verb} a device address by the CPU");
        let _ = writeln!(text, "  address {address:#x}: byte {at} of the device address of {title}");
        if state.stage == Stage::Ended {
            let _ = writeln!(text, "    freed by: {}", state.left);
        }
        made(&mut text, watched);
        where_it_was(&mut text, fault);
        text.push_str("  The device alone uses this address. The CPU has the host side, between begin and end.\n");
        watched.seeded(&mut text);
        return text;
    }
    let at = address as i128 - watched.memory.host as usize as i128;
    let bytes = watched.memory.bytes as i128;
    let place = match at {
        at if at < 0 => format!("{} bytes before {title}", -at),
        at if at >= bytes => format!("{} bytes behind the end of {title}", at - bytes + 1),
        at => format!("byte {at} of {title}"),
    };
    let outside = at < 0 || at >= bytes;
    let what = match state.stage {
        Stage::Ended => "host memory that was freed",
        Stage::Released => "host memory that was released",
        Stage::Destroyed => "host memory of an object that was destroyed",
        Stage::Live if outside => "memory beside a block",
        Stage::Live => "host memory that is in flight",
    };
    let _ = writeln!(text, "==gpubuf== {verb} {what}");
    let _ = writeln!(text, "  address {address:#x}: {place}");
    if state.stage != Stage::Live {
        let how = match state.stage {
            Stage::Released => "released",
            Stage::Destroyed => "destroyed",
            _ => "freed",
        };
        let _ = writeln!(text, "    {how} by: {}", state.left);
    }
    for u in state.uses.iter().filter(|u| watched.touches_page(u.area, at)) {
        let _ = writeln!(text, "  in flight: {}, up to {}, which is not known to be done", in_words(u), u.fence);
        let _ = writeln!(text, "    queued by: {}", u.site);
    }
    if let Some((who, site)) = &state.exposed {
        let _ = writeln!(text, "  in use: {who}");
        let _ = writeln!(text, "    given by: {site}");
    }
    made(&mut text, watched);
    where_it_was(&mut text, fault);
    text.push_str(match state.stage {
        Stage::Live if outside => "  The access runs over an end of the block.\n",
        Stage::Live => {
            "  Whoever writes or reads there opens a guard first, which waits for the work: begin_write or begin_read, a span of a\n  step, copy_in or copy_out. An address is not kept from one to the next.\n"
        }
        _ => "  An address was kept, and used after its block was given back.\n",
    });
    watched.seeded(&mut text);
    text
}

/// Where in memory that begins at `base`, pages before and behind included, an address is.
fn offset(base: u64, address: usize, watched: &Watched) -> Option<i128> {
    let at = address as i128 - i128::from(base);
    let behind = (watched.memory.bytes.next_multiple_of(super::PAGE) + super::PAGE) as i128;
    (base != 0 && at >= -(super::PAGE as i128) && at < behind).then_some(at)
}

fn where_it_was(text: &mut String, fault: &Fault) {
    let path = format!("/proc/self/task/{}/comm", fault.thread);
    let name = std::fs::read_to_string(path).unwrap_or_default();
    let _ = write!(text, "  by thread {} \"{}\"", fault.thread, name.trim_end());
    match fault.instruction {
        0 => text.push('\n'),
        instruction => {
            let _ = writeln!(text, ", instruction {instruction:#x}");
        }
    }
}
