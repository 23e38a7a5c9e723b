//! What the system lets this process have: memory, limits, pages. Read from files below a root folder, which tests replace.

mod cgroup;

pub use cgroup::Cgroup;

use std::path::{Path, PathBuf};

/// The folder that stands for `/` in every file that is read here, for tests: `GPUBUF_SYSTEM_ROOT`.
const ROOT: &str = "GPUBUF_SYSTEM_ROOT";

/// What host memory there is, and what this process may have of it, in bytes. `None`: not known, or no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemMemory {
    /// Memory of the machine.
    pub total: Option<u64>,
    /// What new work may take without swapping.
    pub available: Option<u64>,
    /// The lowest limit of the process's control group and of those around it.
    pub cgroup_limit: Option<u64>,
    /// What the group with that limit uses, the page cache included.
    pub cgroup_used: Option<u64>,
    /// The least that any of the groups leaves before its limit, counting page cache that can be dropped as free.
    pub cgroup_room: Option<u64>,
    /// What may be locked with `mlock` (`RLIMIT_MEMLOCK`); `None`: no limit.
    pub memlock_limit: Option<u64>,
    /// What is locked so now.
    pub memlock_used: Option<u64>,
    /// Bytes of a huge page; `None`: the system has none.
    pub huge_page: Option<u64>,
    /// Huge pages that were set apart, and that are free.
    pub huge_pages_free: u64,
    /// A mapping can ask for huge pages, or gets them unasked.
    pub transparent_huge_pages: bool,
    /// The process seems to run in a container.
    pub container: bool,
}

/// As the system is now.
pub fn system_memory() -> SystemMemory {
    SystemMemory::read(&root())
}

fn root() -> PathBuf {
    std::env::var_os(ROOT).filter(|root| !root.is_empty()).map_or_else(|| "/".into(), PathBuf::from)
}

/// The system's page size.
pub fn page_bytes() -> usize {
    // SAFETY: a query without side effects.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

impl SystemMemory {
    /// As the files below `root` say. What cannot be read stays unknown.
    pub fn read(root: &Path) -> SystemMemory {
        let meminfo = text(root, "proc/meminfo");
        let status = text(root, "proc/self/status");
        let group = Cgroup::of_this_process(root);
        let transparent = text(root, "sys/kernel/mm/transparent_hugepage/enabled");
        SystemMemory {
            total: kibibytes(&meminfo, "MemTotal:"),
            available: kibibytes(&meminfo, "MemAvailable:"),
            cgroup_limit: group.limit,
            cgroup_used: group.used,
            cgroup_room: group.room,
            memlock_limit: memlock_limit(&text(root, "proc/self/limits")),
            memlock_used: kibibytes(&status, "VmLck:"),
            huge_page: kibibytes(&meminfo, "Hugepagesize:").filter(|bytes| *bytes > 0),
            huge_pages_free: number(&meminfo, "HugePages_Free:").unwrap_or(0),
            transparent_huge_pages: transparent.contains("[always]") || transparent.contains("[madvise]"),
            container: root.join(".dockerenv").exists() || root.join("run/.containerenv").exists(),
        }
    }

    /// What can still be had, by the tightest of what is known.
    pub fn room(&self) -> Option<u64> {
        [self.available, self.cgroup_room].into_iter().flatten().min()
    }
}

/// A file below the root; empty where it cannot be read.
fn text(root: &Path, path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root.join(path)).unwrap_or_default()
}

/// The number behind a key at the beginning of a line.
fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    number(text, key)?.checked_mul(1024)
}

/// The soft limit, of a line `Max locked memory  8388608  8388608  bytes`.
fn memlock_limit(text: &str) -> Option<u64> {
    number(text, "Max locked memory")
}

#[cfg(test)]
mod tests {
    use super::cgroup::tests::Tree;
    use super::*;

    #[test]
    fn figures_are_those_of_the_files() {
        let tree = Tree::new("figures");
        tree.file(
            "proc/meminfo",
            "MemTotal:       1000 kB\nMemAvailable:    400 kB\nHugePages_Free:   3\nHugepagesize: 2048 kB\n",
        );
        tree.file(
            "proc/self/limits",
            "Limit     Soft Limit  Hard Limit  Units\nMax locked memory         65536                unlimited            bytes     \n",
        );
        tree.file("proc/self/status", "Name:\tx\nVmLck:\t      8 kB\n");
        tree.file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        tree.file(".dockerenv", "");
        assert_eq!(
            SystemMemory::read(tree.root()),
            SystemMemory {
                total: Some(1_024_000),
                available: Some(409_600),
                memlock_limit: Some(65_536),
                memlock_used: Some(8192),
                huge_page: Some(2 << 20),
                huge_pages_free: 3,
                transparent_huge_pages: true,
                container: true,
                ..Default::default()
            }
        );
    }

    #[test]
    fn nothing_is_known_where_nothing_can_be_read() {
        let tree = Tree::new("nothing");
        assert_eq!(SystemMemory::read(tree.root()), SystemMemory::default());
        tree.file("proc/meminfo", "MemTotal:       many kB\nHugepagesize: 0 kB\n");
        tree.file("proc/self/limits", "Max locked memory         unlimited            unlimited            bytes\n");
        tree.file("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
        assert_eq!(SystemMemory::read(tree.root()), SystemMemory::default());
    }

    #[test]
    fn room_is_the_tightest_of_what_is_known() {
        let room = |available, cgroup_room| SystemMemory { available, cgroup_room, ..Default::default() }.room();
        assert_eq!(room(None, None), None);
        assert_eq!(room(Some(5), None), Some(5));
        assert_eq!(room(Some(5), Some(3)), Some(3));
    }

    #[test]
    fn the_system_at_hand_has_memory() {
        let here = SystemMemory::read(Path::new("/"));
        assert!(here.total > Some(0) && here.available <= here.total, "{here:?}");
        assert!(here.cgroup_used.is_none() || here.cgroup_limit.is_some(), "{here:?}");
    }
}
