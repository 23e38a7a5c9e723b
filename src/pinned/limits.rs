//! What the machine allows.

use std::fs;

/// The part of the machine's memory that an automatic budget is: a half, as numerator and denominator.
const SHARE: (u64, u64) = (1, 2);

/// The automatic budget: half of the smaller of the host's memory and what the control group allows; 0 if nobody knows.
pub(super) fn automatic_budget() -> u64 {
    let limits = [host_memory(), cgroup_limit()];
    let smallest = limits.into_iter().flatten().min().unwrap_or(0);
    smallest / SHARE.1 * SHARE.0
}

/// Bytes of a page.
pub(super) fn page_bytes() -> u64 {
    // SAFETY: no memory is involved.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if page > 0 { page as u64 } else { 4096 }
}

/// The limit for locked memory (`ulimit -l`), where this process has one.
pub(super) fn memlock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of a local.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (got == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn host_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The smallest limit of this process's group and those above it.
fn cgroup_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut smallest = None;
    let mut at = path.trim_end_matches('/');
    loop {
        let limit = fs::read_to_string(format!("/sys/fs/cgroup{at}/memory.max")).ok();
        let limit: Option<u64> = limit.and_then(|text| text.trim().parse().ok());
        smallest = match (smallest, limit) {
            (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
            (one, other) => one.or(other),
        };
        match at.rsplit_once('/') {
            Some((parent, _)) => at = parent,
            None => return smallest,
        }
    }
}
