//! The process whose footprint takes a reservation's place.

use serde::{Deserialize, Serialize};
use shv_machine::footprints::{self, Footprint};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::Denied;

/// How far two answers to when a process started may lie apart: the system reckons it from the time since it booted.
const START_SECONDS_APART_MAX: u64 = 2;

/// A process, and what it held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holder {
    /// Its id.
    pub(super) pid: u32,
    /// When it started, since 1970-01-01 UTC: ids are used again.
    pub(super) started_unix_seconds: u64,
    /// What it held when the reservation was granted, which is no part of it.
    pub(super) baseline_bytes: u64,
}

/// The process `pid`; none where the kernel does not tell what it holds, so that nothing can take its place.
pub(super) fn find(pid: u32) -> Result<Option<Holder>, Denied> {
    match footprints::of(pid) {
        Footprint::Gone => Err(Denied::NoProcess(pid)),
        Footprint::Untold => Ok(None),
        Footprint::Bytes(baseline_bytes) => Ok(started(pid).map(|started_unix_seconds| Holder {
            pid,
            started_unix_seconds,
            baseline_bytes,
        })),
    }
}

impl Holder {
    /// Whether it still is the process it was.
    pub(super) fn is_the_same(&self) -> bool {
        started(self.pid).is_some_and(|started| {
            started.abs_diff(self.started_unix_seconds) <= START_SECONDS_APART_MAX
        })
    }
}

fn started(pid: u32) -> Option<u64> {
    let pid = Pid::from_u32(pid);
    let mut system = System::new().ok()?;
    let kind = ProcessRefreshKind::nothing().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
    system.process(pid).map(sysinfo::Process::start_time)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_and_another_of_its_id_is_not() {
        let own = find(std::process::id()).unwrap().unwrap();
        assert!(own.is_the_same() && own.baseline_bytes > 0);
        let earlier = Holder {
            started_unix_seconds: own.started_unix_seconds - 60,
            ..own
        };
        assert!(!earlier.is_the_same());
        assert!(find(u32::MAX - 1).is_err());
    }
}
