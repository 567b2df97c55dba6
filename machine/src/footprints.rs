//! What the processes of this machine cost it now: the largest of all, or one.

use crate::processes::ProcessTable;
use crate::sample::Process;

/// The most processes that are looked at; the ids are sorted first, so that it is the same ones each time.
const PROCESSES_MAX: usize = 16_384;

/// What one process costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footprint {
    /// So many bytes.
    Bytes(u64),
    /// It exists, but the kernel does not tell this user.
    Untold,
    /// It does not exist.
    Gone,
}

/// The `count` largest processes of this machine that the kernel tells this user of, largest first.
#[must_use]
pub fn largest(count: usize) -> Vec<Process> {
    with_native(|table| largest_of(table, count)).unwrap_or_default()
}

/// What a process of this machine costs now.
#[must_use]
pub fn of(pid: u32) -> Footprint {
    with_native(|table| of_one(table, pid)).unwrap_or(Footprint::Untold)
}

fn largest_of(table: &mut dyn ProcessTable, count: usize) -> Vec<Process> {
    let mut pids = table.pids();
    pids.sort_unstable();
    pids.truncate(PROCESSES_MAX);
    let mut sizes: Vec<(u64, u32)> = pids
        .into_iter()
        .filter_map(|pid| Some((table.size_bytes(pid)?, pid)))
        .collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    let mut processes: Vec<Process> = sizes
        .into_iter()
        .take(count)
        .filter_map(|(_, pid)| table.read(pid))
        .filter(|process| process.footprint_bytes.is_some())
        .collect();
    processes.sort_by_key(|process| std::cmp::Reverse(process.footprint_bytes));
    processes
}

fn of_one(table: &mut dyn ProcessTable, pid: u32) -> Footprint {
    match table.read(pid) {
        None => Footprint::Gone,
        Some(process) => process
            .footprint_bytes
            .map_or(Footprint::Untold, Footprint::Bytes),
    }
}

/// Calls `ask` with the process table of this machine; none where this system has no source.
#[cfg_attr(
    any(target_os = "macos", target_os = "linux"),
    allow(clippy::unnecessary_wraps, reason = "other systems have none")
)]
fn with_native<T>(ask: impl FnOnce(&mut dyn ProcessTable) -> T) -> Option<T> {
    #[cfg(target_os = "macos")]
    return Some(ask(&mut crate::source::mach::Table(
        &mut crate::source::mach::MacHost::new(),
    )));
    #[cfg(target_os = "linux")]
    return Some(ask(&mut crate::source::procfs::Table {
        proc: std::path::Path::new("/proc"),
    }));
    #[cfg(not(any(target_os = "macos", target_os = "linux")))]
    {
        let _ = ask;
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Processes by id and footprint; 0 is untold.
    struct Table(Vec<(u32, u64)>);

    impl ProcessTable for Table {
        fn pids(&mut self) -> Vec<u32> {
            self.0.iter().map(|row| row.0).collect()
        }
        fn names(&mut self, _: u32) -> Vec<String> {
            Vec::new()
        }
        fn listeners(&mut self, _: &[u32], _: u16) -> Vec<u32> {
            Vec::new()
        }
        fn read(&mut self, pid: u32) -> Option<Process> {
            let (_, bytes) = self.0.iter().find(|row| row.0 == pid)?;
            Some(Process {
                pid,
                footprint_bytes: (*bytes > 0).then_some(*bytes),
                ..Process::default()
            })
        }
    }

    #[test]
    fn the_largest_come_first_and_the_untold_not_at_all() {
        let mut table = Table(vec![(1, 10), (2, 0), (3, 30), (4, 20)]);
        let found = |table: &mut Table, count| -> Vec<u32> {
            largest_of(table, count).iter().map(|p| p.pid).collect()
        };
        assert_eq!(found(&mut table, 2), [3, 4]);
        assert_eq!(found(&mut table, 9), [3, 4, 1]);
        assert_eq!(of_one(&mut table, 3), Footprint::Bytes(30));
        assert_eq!(of_one(&mut table, 2), Footprint::Untold);
        assert_eq!(of_one(&mut table, 9), Footprint::Gone);
    }

    #[test]
    fn this_machine_tells_of_this_process() {
        let own = std::process::id();
        assert!(matches!(of(own), Footprint::Bytes(bytes) if bytes > 100_000));
        let all = largest(usize::MAX);
        assert!(all.is_sorted_by(|a, b| a.footprint_bytes >= b.footprint_bytes));
        assert!(all.iter().any(|process| process.pid == own));
        assert_eq!(of(u32::MAX), Footprint::Gone);
    }
}
