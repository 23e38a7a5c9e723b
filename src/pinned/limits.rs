//! What the machine allows.

use crate::backend::SystemMemory;

/// The part of the machine's memory that an automatic budget is: one in so many.
const SHARE: u64 = 2;

/// The automatic budget: half of the smaller of the host's memory and what the control group allows; 0 if nobody knows. What
/// `RLIMIT_MEMLOCK` says does not matter: the driver locks pages outside of it.
pub(super) fn automatic_budget(system: &SystemMemory) -> u64 {
    [system.total, system.cgroup_limit].into_iter().flatten().min().unwrap_or(0) / SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_budget_is_half_of_what_there_is() {
        let of =
            |total, cgroup_limit| automatic_budget(&SystemMemory { total, cgroup_limit, ..SystemMemory::default() });
        assert_eq!(of(Some(1000), None), 500);
        assert_eq!(of(Some(1000), Some(400)), 200);
        assert_eq!(of(None, Some(400)), 200);
        assert_eq!(of(None, None), 0);
    }
}
