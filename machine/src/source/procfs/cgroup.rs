//! The control group this process lives in (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).
//!
//! A limit anywhere between the own group and the root binds, so each level is read and the one that leaves least is
//! reported. Version 1 has other files and is not read.

use std::path::{Path, PathBuf};

use super::files::{Line, lines, read, read_if_told};
use crate::sample::Cgroup;
use crate::source::SourceError;

/// The own group and its ancestors that can have a limit.
pub(super) struct OwnGroup {
    /// The own group first. The root of the hierarchy has no limits and is not among them.
    levels: Vec<PathBuf>,
}

impl OwnGroup {
    /// Finds the own group below `root`; `None` without a cgroup v2 hierarchy.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let groups = read(&root.join("proc/self/cgroup")).ok()?;
        // Version 2 has the one line with hierarchy 0 and no controller.
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let mounts = read(&root.join("proc/self/mountinfo")).ok()?;
        let (mounted_group, mount_point) = mounts.lines().find_map(cgroup2_mount)?;
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
        let levels: Vec<PathBuf> = mount_point
            .join(below)
            .ancestors()
            .take_while(|level| level.starts_with(&mount_point))
            .filter(|level| level.join("memory.current").exists())
            .map(Path::to_owned)
            .collect();
        (!levels.is_empty()).then_some(Self { levels })
    }

    /// Limits and usage of the level that leaves least; the own group's usage where no level has a limit.
    pub(super) fn read(&self) -> Result<Cgroup, SourceError> {
        let mut groups = Vec::new();
        for level in &self.levels {
            groups.push(read_level(level)?);
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

fn read_level(level: &Path) -> Result<Cgroup, SourceError> {
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
        limit_bytes: number("memory.max")?,
        high_bytes: number("memory.high")?,
        usage_bytes: number("memory.current")?,
        reclaimable_bytes: reclaimable(&level.join("memory.stat"))?,
    })
}

/// Clean file pages not used lately, and kernel objects that can be dropped.
fn reclaimable(path: &Path) -> Result<Option<u64>, SourceError> {
    let Some(text) = read_if_told(path)? else {
        return Ok(None);
    };
    let mut sum = None;
    for (line, row) in lines(path, &text) {
        let Some((name @ ("inactive_file" | "slab_reclaimable"), value)) = row.split_once(' ')
        else {
            continue;
        };
        sum = Some(
            sum.unwrap_or(0_u64)
                .saturating_add(line.whole_number(name, value)?),
        );
    }
    Ok(sum)
}

/// The group and the place of a cgroup2 mount, from a line of `mountinfo`: `36 35 0:30 GROUP PLACE OPTIONS … - cgroup2 …`.
fn cgroup2_mount(line: &str) -> Option<(&str, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    filesystem.starts_with("cgroup2 ").then_some(())?;
    let mut fields = mount.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}
