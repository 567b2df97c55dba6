//! The processes that descend from one.

use std::collections::{BTreeMap, BTreeSet};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// Finds a process's descendants, again and again.
pub(super) struct Tree {
    root: u32,
    system: System,
    known: BTreeSet<u32>,
}

impl Tree {
    pub(super) fn new(root: u32) -> Result<Self, sysinfo::Error> {
        Ok(Self {
            root,
            system: System::new()?,
            known: BTreeSet::from([root]),
        })
    }

    /// The root and its descendants. One whose parent has ended stays, as long as it was seen before.
    pub(super) fn look(&mut self) -> &BTreeSet<u32> {
        let nothing_else = ProcessRefreshKind::nothing().without_tasks();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, nothing_else);
        let parents: BTreeMap<u32, u32> = self
            .system
            .processes()
            .iter()
            .filter(|(_, process)| process.thread_kind().is_none())
            .map(|(pid, process)| {
                (
                    pid.as_u32(),
                    process.parent().map_or(0, sysinfo::Pid::as_u32),
                )
            })
            .collect();
        self.known = descendants(self.root, &self.known, &parents);
        &self.known
    }
}

/// Those of `known` that still exist, and whoever descends from them.
fn descendants(root: u32, known: &BTreeSet<u32>, parents: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = known
        .iter()
        .copied()
        .filter(|pid| parents.contains_key(pid))
        .collect();
    found.insert(root);
    loop {
        let before = found.len();
        let children: Vec<u32> = parents
            .iter()
            .filter(|(_, parent)| found.contains(parent))
            .map(|(pid, _)| *pid)
            .collect();
        found.extend(children);
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grandchildren_and_orphans_belong_to_the_tree() {
        let parents = BTreeMap::from([(10, 1), (11, 10), (12, 11), (13, 1), (14, 1)]);
        let known = BTreeSet::from([10, 13, 99]);
        assert_eq!(
            descendants(10, &known, &parents),
            BTreeSet::from([10, 11, 12, 13])
        );
    }
}
