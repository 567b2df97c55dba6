//! The daemon as a process, under the names that Prometheus's client libraries use.

use std::sync::{Mutex, PoisonError};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Families, Scrape, Success};
use crate::metrics::table as t;

/// The system's view of this process, kept so that a scrape reads it again instead of building it.
pub(super) struct OwnProcess {
    system: Mutex<Option<System>>,
    pid: Pid,
}

impl Default for OwnProcess {
    fn default() -> Self {
        Self {
            system: Mutex::new(System::new().ok()),
            pid: Pid::from_u32(std::process::id()),
        }
    }
}

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let footprint = scrape
        .sample
        .and_then(|sample| sample.own_process.as_ref()?.footprint_bytes);
    out.put_count(&t::OWN_FOOTPRINT, footprint);

    let own = scrape.own;
    let mut system = own.system.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(system) = system.as_mut() else {
        return false;
    };
    let kind = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own.pid]), false, kind);
    let Some(process) = system.process(own.pid) else {
        return false;
    };
    out.put(
        &t::OWN_CPU,
        Some(process.accumulated_cpu_time() as f64 / 1e3),
    );
    out.put_counts(&[
        (&t::OWN_RESIDENT, Some(process.memory())),
        (&t::OWN_VIRTUAL, Some(process.virtual_memory())),
        (&t::OWN_START, Some(process.start_time())),
        (&t::OWN_FDS, process.open_files().map(|count| count as u64)),
        (
            &t::OWN_FDS_MAX,
            process.open_files_limit().map(|count| count as u64),
        ),
    ]);
    true
}
