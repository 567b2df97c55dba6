//! The daemon as a process, under the names that Prometheus's client libraries use.

use std::sync::{Mutex, PoisonError};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Families, Scrape, Success};
use crate::metrics::table as t;

/// The system's view of this process.
pub(super) struct OwnProcess {
    pid: Pid,
    /// Kept so that it is read again instead of built.
    system: Mutex<Option<System>>,
}

struct Figures {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    start_unix_seconds: u64,
    open_files: Option<usize>,
    open_files_max: Option<usize>,
}

impl Default for OwnProcess {
    fn default() -> Self {
        Self {
            pid: Pid::from_u32(std::process::id()),
            system: Mutex::new(System::new().ok()),
        }
    }
}

impl OwnProcess {
    fn figures(&self) -> Option<Figures> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        read(system.as_mut()?, self.pid)
    }
}

fn read(system: &mut System, pid: Pid) -> Option<Figures> {
    let kind = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
    let process = system.process(pid)?;
    Some(Figures {
        cpu_seconds: process.accumulated_cpu_time() as f64 / 1e3,
        resident_bytes: process.memory(),
        virtual_bytes: process.virtual_memory(),
        start_unix_seconds: process.start_time(),
        open_files: process.open_files(),
        open_files_max: process.open_files_limit(),
    })
}

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let footprint = scrape
        .sample
        .and_then(|sample| sample.own_process.as_ref()?.footprint_bytes);
    out.put_count(&t::OWN_FOOTPRINT, footprint);

    let Some(figures) = scrape.own.figures() else {
        return false;
    };
    let count = |files: Option<usize>| files.map(|files| files as u64);
    out.put(&t::OWN_CPU, Some(figures.cpu_seconds));
    out.put_counts(&[
        (&t::OWN_RESIDENT, Some(figures.resident_bytes)),
        (&t::OWN_VIRTUAL, Some(figures.virtual_bytes)),
        (&t::OWN_START, Some(figures.start_unix_seconds)),
        (&t::OWN_FDS, count(figures.open_files)),
        (&t::OWN_FDS_MAX, count(figures.open_files_max)),
    ]);
    true
}
