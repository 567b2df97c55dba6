//! Linux: `/proc` and the control groups, below any root, so that tests read recorded directories.

mod cgroup;
mod files;
mod meminfo;
mod process;
mod sockets;
mod stall;
mod vmstat;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::cgroup::OwnGroup;
pub(crate) use self::process::Table;
use super::{Source, SourceError};
use crate::processes::{Watch, Watcher};
use crate::sample::{Sample, unix_seconds};

/// Reads a Linux machine.
pub struct Procfs {
    root: PathBuf,
    watcher: Watcher,
    group: Option<OwnGroup>,
}

impl Procfs {
    /// A source over the `proc` and `sys` directories below `root` (`/` on a running machine) that also reads the
    /// processes of `watches`. Where the own control group lies is found out here, once.
    #[must_use]
    pub fn new(root: &Path, watches: Vec<Watch>) -> Self {
        Self {
            root: root.to_owned(),
            watcher: Watcher::new(watches),
            group: OwnGroup::find(root),
        }
    }
}

impl Source for Procfs {
    fn read(&mut self) -> Result<Sample, SourceError> {
        let proc = self.root.join("proc");
        let mut sample = Sample {
            taken_at_unix_seconds: unix_seconds(SystemTime::now()),
            ..Sample::default()
        };
        meminfo::describe(&proc.join("meminfo"), &mut sample)?;
        vmstat::describe(&proc.join("vmstat"), &mut sample)?;
        sample.pressure.stall = stall::read(&proc.join("pressure/memory"))?;
        sample.cgroup = self
            .group
            .as_ref()
            .map(OwnGroup::read)
            .transpose()?
            .unwrap_or_default();
        sample.own_process = process::read(&proc.join("self"));
        sample.processes = self.watcher.read(&mut Table { proc: &proc });
        Ok(sample)
    }
}

#[cfg(test)]
mod tests;
