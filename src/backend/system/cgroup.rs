//! Limits of control groups, version 2 (`memory.max`) and version 1 (`memory.limit_in_bytes`), nested.
//!
//! The group that `/proc/self/cgroup` names is found below its mount; where the mount shows only a part of the tree, as in a
//! container, the mount itself is the group. Every group up to the mount counts: a process dies by whichever is full first.

use super::{number, text};
use std::path::{Component, Path, PathBuf};

/// A version 1 group without a limit has the largest number of whole pages.
const UNLIMITED: u64 = 1 << 62;

/// What the groups of this process leave it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The lowest limit.
    pub limit: Option<u64>,
    /// What the group with that limit uses.
    pub used: Option<u64>,
    /// The least that a group leaves before its limit.
    pub room: Option<u64>,
}

/// The files of one version.
struct Version {
    /// The controller in `/proc/self/cgroup`, and its mount's type.
    controller: &'static str,
    mount: &'static str,
    /// Where it is mounted where no mount says so.
    usual: &'static str,
    limit: &'static str,
    used: &'static str,
    /// Page cache that nobody has touched for long, by its key in `memory.stat`.
    cache: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        controller: "",
        mount: "cgroup2",
        usual: "/sys/fs/cgroup",
        limit: "memory.max",
        used: "memory.current",
        cache: "inactive_file ",
    },
    Version {
        controller: "memory",
        mount: "cgroup",
        usual: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        cache: "total_inactive_file ",
    },
];

impl Cgroup {
    /// Of the groups that this process is in, as the files below `root` say.
    pub fn of_this_process(root: &Path) -> Cgroup {
        let member = text(root, "proc/self/cgroup");
        let mounts = text(root, "proc/self/mountinfo");
        let mut found = Cgroup::default();
        for version in &VERSIONS {
            let Some(group) = version.group(&member) else { continue };
            let mount = version.mount(&mounts);
            for folder in mount.folders(group) {
                found.add(version, root, &folder);
            }
        }
        found
    }

    fn add(&mut self, version: &Version, root: &Path, folder: &Path) {
        let file = |name: &str| text(root, folder.strip_prefix("/").unwrap_or(folder).join(name));
        let count = |name: &str| file(name).trim().parse::<u64>().ok();
        // "max" is no number.
        let Some(limit) = count(version.limit).filter(|limit| *limit < UNLIMITED) else { return };
        let used = count(version.used);
        if self.limit.is_none_or(|known| limit < known) {
            (self.limit, self.used) = (Some(limit), used);
        }
        let cache = number(&file("memory.stat"), version.cache).unwrap_or(0);
        let room = limit.saturating_sub(used.unwrap_or(0).saturating_sub(cache));
        self.room = Some(self.room.map_or(room, |known| known.min(room)));
    }
}

impl Version {
    /// The process's group, of a line `number:controllers:/path`.
    fn group<'a>(&self, member: &'a str) -> Option<&'a str> {
        member.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|controller| controller == self.controller).then_some(path)
        })
    }

    /// Where the version is mounted, of lines `id parent device root mount-point options [fields] - type source options`.
    fn mount(&self, mounts: &str) -> Mount {
        let found = mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let has_type = kind.next() == Some(self.mount);
            let options = kind.nth(1).unwrap_or("");
            if !has_type || !(self.controller.is_empty() || options.split(',').any(|option| option == self.controller))
            {
                return None;
            }
            let mut place = place.split(' ').skip(3);
            Some(Mount { root: unescaped(place.next()?), point: unescaped(place.next()?) })
        });
        found.unwrap_or_else(|| Mount { root: "/".into(), point: self.usual.into() })
    }
}

/// A part of the tree of groups, and where it is seen.
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// The folders of a group and of those around it, as far as they are seen.
    fn folders(&self, group: &str) -> Vec<PathBuf> {
        let inside = Path::new(group).strip_prefix(&self.root).unwrap_or(Path::new(""));
        // Outside of the part that this process sees.
        let inside =
            if inside.components().all(|part| matches!(part, Component::Normal(_))) { inside } else { Path::new("") };
        inside.ancestors().map(|part| self.point.join(part)).collect()
    }
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;

    /// A folder that stands for `/`, gone with the value.
    pub struct Tree(PathBuf);

    impl Tree {
        pub fn new(name: &str) -> Tree {
            let folder = std::env::temp_dir().join(format!("gpubuf-system-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).expect("a folder");
            Tree(folder)
        }

        pub fn root(&self) -> &Path {
            &self.0
        }

        pub fn file(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }

        fn v2(&self, group: &str, limit: &str, used: &str) {
            self.file(&format!("sys/fs/cgroup{group}/memory.max"), limit);
            self.file(&format!("sys/fs/cgroup{group}/memory.current"), used);
        }

        fn v1(&self, group: &str, limit: &str, used: &str) {
            self.file(&format!("sys/fs/cgroup/memory{group}/memory.limit_in_bytes"), limit);
            self.file(&format!("sys/fs/cgroup/memory{group}/memory.usage_in_bytes"), used);
        }

        fn cgroup(&self) -> Cgroup {
            Cgroup::of_this_process(self.root())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const V2_MOUNT: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNT: &str = "30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    fn found(limit: u64, used: u64, room: u64) -> Cgroup {
        Cgroup { limit: Some(limit), used: Some(used), room: Some(room) }
    }

    #[test]
    fn the_lowest_limit_of_nested_groups_counts() {
        let tree = Tree::new("nested");
        tree.file("proc/self/cgroup", "0::/a/b/c\n");
        tree.file("proc/self/mountinfo", V2_MOUNT);
        assert_eq!(tree.cgroup(), Cgroup::default(), "no group has a limit");
        tree.v2("/a", "1000\n", "600\n");
        tree.v2("/a/b", "max\n", "500\n");
        tree.v2("/a/b/c", "2000\n", "100\n");
        assert_eq!(tree.cgroup(), found(1000, 600, 400));
        tree.v2("/a/b/c", "700\n", "100\n");
        assert_eq!(tree.cgroup(), found(700, 100, 400), "the room is less where more is used");
        tree.file("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 550\nactive_file 9\n");
        assert_eq!(tree.cgroup(), found(700, 100, 600), "cache makes room");
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        let tree = Tree::new("container");
        // Its path is that of the host, of which only a part is mounted.
        tree.file("proc/self/cgroup", "0::/docker/0123\n");
        tree.file("proc/self/mountinfo", "31 23 0:28 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        tree.v2("", "4096\n", "96\n");
        assert_eq!(tree.cgroup(), found(4096, 96, 4000));
        // Moved out of what it sees, or of another part.
        for member in ["0::/../other\n", "0::/kubepods/pod\n", "0::/\n"] {
            tree.file("proc/self/cgroup", member);
            assert_eq!(tree.cgroup(), found(4096, 96, 4000), "{member}");
        }
    }

    #[test]
    fn version_1_has_its_own_files_and_a_number_for_no_limit() {
        let tree = Tree::new("v1");
        tree.file("proc/self/cgroup", "4:cpu,memory:/jobs/7\n1:cpuset:/\n0::/\n");
        tree.file("proc/self/mountinfo", V1_MOUNT);
        tree.v1("/jobs/7", "9223372036854771712\n", "77\n");
        assert_eq!(tree.cgroup(), Cgroup::default());
        tree.v1("/jobs", "800\n", "900\n");
        assert_eq!(tree.cgroup(), found(800, 900, 0), "over its limit");
        tree.file("sys/fs/cgroup/memory/jobs/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n");
        assert_eq!(tree.cgroup(), found(800, 900, 200));
    }

    #[test]
    fn both_versions_may_be_mounted() {
        let tree = Tree::new("hybrid");
        tree.file("proc/self/cgroup", "4:memory:/one\n0::/two\n");
        tree.file(
            "proc/self/mountinfo",
            &format!("{V1_MOUNT}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"),
        );
        tree.v1("/one", "500\n", "100\n");
        tree.v2("/unified/two", "300\n", "250\n");
        assert_eq!(tree.cgroup(), found(300, 250, 50));
    }

    #[test]
    fn without_mounts_the_usual_places_are_tried() {
        let tree = Tree::new("usual");
        tree.file("proc/self/cgroup", "0::/a\n");
        tree.v2("/a", "10\n", "1\n");
        assert_eq!(tree.cgroup(), found(10, 1, 9));
    }

    #[test]
    fn what_is_not_understood_is_no_limit() {
        let tree = Tree::new("odd");
        for member in ["", "nonsense", "0:", "0::", ":::::", "0::/a b\n"] {
            tree.file("proc/self/cgroup", member);
            tree.file("proc/self/mountinfo", "31 23\n - cgroup2\n1 2 3 4 - cgroup2 x y\n");
            tree.v2("/a b", "junk\n", "\n");
            assert_eq!(tree.cgroup(), Cgroup::default(), "{member:?}");
        }
        tree.file("proc/self/mountinfo", "31 23 0:28 / /sys/fs\\040x/cg rw - cgroup2 cgroup2 rw\n");
        tree.file("sys/fs x/cg/a b/memory.max", "5\n");
        assert_eq!(tree.cgroup(), Cgroup { limit: Some(5), used: None, room: Some(5) });
    }
}
