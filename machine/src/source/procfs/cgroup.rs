//! The control group this process lives in: version 2 (Documentation/admin-guide/cgroup-v2.rst), else version 1
//! (Documentation/admin-guide/cgroup-v1/memory.rst).
//!
//! A limit anywhere between the own group and the root binds, so each level is read and the one that leaves least is
//! reported.

use std::path::{Path, PathBuf};

use super::files::{Line, lines, read, read_if_told};
use crate::sample::Cgroup;
use crate::source::SourceError;

/// What a version calls things.
struct Version {
    usage: &'static str,
    limit: &'static str,
    high: Option<&'static str>,
    /// Lines of `memory.stat`: clean file pages not used lately, and kernel objects that can be dropped.
    reclaimable: &'static [&'static str],
    /// Says `0` in a group whose limit does not bind the groups below it.
    binds_below: Option<&'static str>,
}

static TWO: Version = Version {
    usage: "memory.current",
    limit: "memory.max",
    high: Some("memory.high"),
    reclaimable: &["inactive_file", "slab_reclaimable"],
    binds_below: None,
};

/// The soft limit of version 1 says who is reclaimed from first and throttles nobody, so it is no `high`.
static ONE: Version = Version {
    usage: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    high: None,
    reclaimable: &["total_inactive_file"],
    binds_below: Some("memory.use_hierarchy"),
};

/// From here on a limit of version 1 is none: the kernel says 2^63 - 1 rounded down to a page, of 64 KiB at most.
const UNLIMITED_BYTES: u64 = (i64::MAX as u64) & !0xffff;

/// The own group and its ancestors that can have a limit.
pub(super) struct OwnGroup {
    version: &'static Version,
    /// The own group first. The root of a version 2 hierarchy has no limits and is not among them.
    levels: Vec<PathBuf>,
}

impl OwnGroup {
    /// Finds the own group below `root`; `None` where there is no hierarchy that counts memory.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let groups = read(&root.join("proc/self/cgroup")).ok()?;
        let mounts = read(&root.join("proc/self/mountinfo")).ok()?;
        // Version 2 has the one line with hierarchy 0 and no controller. Beside version 1 it has no memory controller,
        // and its groups lack the files.
        let two = || {
            let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
            let mount = mounts.lines().find_map(cgroup2_mount)?;
            levels(root, own, mount, &TWO)
        };
        let one = || {
            let own = groups.lines().find_map(memory_group)?;
            let mount = mounts.lines().find_map(memory_mount)?;
            levels(root, own, mount, &ONE)
        };
        two().or_else(one)
    }

    /// Limits and usage of the level that leaves least; the own group's usage where no level has a limit.
    pub(super) fn read(&self) -> Result<Cgroup, SourceError> {
        let mut groups = Vec::new();
        for level in &self.levels {
            groups.push(read_level(level, self.version)?);
        }
        let tightest = groups
            .iter()
            .filter_map(|group| Some((left(group)?, group)))
            .min_by_key(|(left, _)| *left);
        Ok(tightest
            .map(|(_, group)| group)
            .or(groups.first())
            .cloned()
            .unwrap_or_default())
    }
}

/// What a group may still take before its lower limit, counting what it can drop.
fn left(group: &Cgroup) -> Option<i128> {
    let limit = [group.limit_bytes, group.high_bytes]
        .into_iter()
        .flatten()
        .min()?;
    let held = i128::from(group.usage_bytes?) - i128::from(group.reclaimable_bytes.unwrap_or(0));
    Some(i128::from(limit) - held)
}

/// The own group and its ancestors within a mount, which shows `mounted_group` at `mount_point`.
fn levels(
    root: &Path,
    own: &str,
    (mounted_group, mount_point): (&str, &str),
    version: &'static Version,
) -> Option<OwnGroup> {
    let mount_point = root.join(mount_point.trim_start_matches('/'));
    // Inside a container the mount may show a part of the hierarchy only.
    let below = own
        .strip_prefix(mounted_group.trim_end_matches('/'))
        .unwrap_or(own);
    let below = below.trim_start_matches('/');
    // A path that leads out of the mount (`/../sibling`, from a namespace) names no directory that can be read.
    if below.split('/').any(|part| part == "..") {
        return None;
    }
    let own = mount_point.join(below);
    let levels: Vec<PathBuf> = own
        .ancestors()
        .take_while(|level| level.starts_with(&mount_point))
        .take_while(|level| *level == own || binds_below(level, version))
        .filter(|level| level.join(version.usage).exists())
        .map(Path::to_owned)
        .collect();
    (!levels.is_empty()).then_some(OwnGroup { version, levels })
}

/// Whether a group's limit binds the groups below it, as it does unless the group says that it does not.
fn binds_below(level: &Path, version: &Version) -> bool {
    let Some(name) = version.binds_below else {
        return true;
    };
    read(&level.join(name)).map_or(true, |text| text.trim() != "0")
}

fn read_level(level: &Path, version: &Version) -> Result<Cgroup, SourceError> {
    let number = |name: &str| -> Result<Option<u64>, SourceError> {
        let path = level.join(name);
        let Some(text) = read_if_told(&path)? else {
            return Ok(None);
        };
        match text.trim() {
            "max" => Ok(None),
            text => Line {
                path: &path,
                number: 1,
            }
            .whole_number(name, text)
            .map(Some),
        }
    };
    Ok(Cgroup {
        limit_bytes: number(version.limit)?.filter(|&bytes| bytes < UNLIMITED_BYTES),
        high_bytes: version.high.map(number).transpose()?.flatten(),
        usage_bytes: number(version.usage)?,
        reclaimable_bytes: reclaimable(&level.join("memory.stat"), version.reclaimable)?,
    })
}

/// The sum of those lines of `memory.stat` that are there.
fn reclaimable(path: &Path, names: &[&str]) -> Result<Option<u64>, SourceError> {
    let Some(text) = read_if_told(path)? else {
        return Ok(None);
    };
    let mut sum = None;
    for (line, row) in lines(path, &text) {
        let Some((name, value)) = row.split_once(' ') else {
            continue;
        };
        if names.contains(&name) {
            sum = Some(
                sum.unwrap_or(0_u64)
                    .saturating_add(line.whole_number(name, value)?),
            );
        }
    }
    Ok(sum)
}

/// The own group where version 1 counts memory, from a line `4:memory:GROUP`; controllers may share a hierarchy.
fn memory_group(line: &str) -> Option<&str> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?);
    has(controllers, "memory").then_some(group)
}

/// The group and the place of the version 1 mount that counts memory: `35 31 0:32 GROUP PLACE … - cgroup NAME rw,memory`.
fn memory_mount(line: &str) -> Option<(&str, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut told = filesystem.split(' ');
    (told.next()? == "cgroup" && has(told.nth(1)?, "memory")).then_some(())?;
    group_and_place(mount)
}

/// Whether a list with commas has the word.
fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|one| one == word)
}

/// The group and the place of a cgroup2 mount, from a line of `mountinfo`: `36 35 0:30 GROUP PLACE OPTIONS … - cgroup2 …`.
fn cgroup2_mount(line: &str) -> Option<(&str, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    filesystem.starts_with("cgroup2 ").then_some(())?;
    group_and_place(mount)
}

fn group_and_place(mount: &str) -> Option<(&str, &str)> {
    let mut fields = mount.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}
