//! Processes on Linux.
//!
//! What a process costs is its resident memory and what of it was swapped out, as `status` tells anyone. In a small
//! process much of that is shared libraries, so there its proportional share is taken (`Pss` + `SwapPss` of
//! `smaps_rollup`, which the kernel tells the same user). In a large one they do not matter, and asking would: the kernel
//! walks every page with the process's memory map locked, 20 ms for a GiB of 4 KiB pages.

use std::path::Path;

use super::files::{Line, lines, read_if_told};
use super::sockets;
use crate::processes::ProcessTable;
use crate::sample::Process;

/// How many arguments are of use for recognising a program.
const ARGUMENTS_MAX: usize = 3;

/// The resident size up to which the proportional share is asked for.
const PROPORTIONAL_BYTES_MAX: u64 = 64 << 20;

/// The process table below a `proc` directory.
pub(crate) struct Table<'proc> {
    pub(crate) proc: &'proc Path,
}

impl Table<'_> {
    fn directory(&self, pid: u32) -> std::path::PathBuf {
        self.proc.join(pid.to_string())
    }
}

impl ProcessTable for Table<'_> {
    fn pids(&mut self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir(self.proc) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    fn names(&mut self, pid: u32) -> Vec<String> {
        let directory = self.directory(pid);
        let comm = text(&directory, "comm").map(|comm| comm.trim_end().to_owned());
        let arguments = text(&directory, "cmdline").unwrap_or_default();
        let arguments = arguments
            .split('\0')
            .filter(|argument| !argument.is_empty())
            .take(ARGUMENTS_MAX);
        comm.into_iter()
            .chain(arguments.map(str::to_owned))
            .collect()
    }

    fn listeners(&mut self, pids: &[u32], port: u16) -> Vec<u32> {
        sockets::listeners(self.proc, pids, port)
    }

    fn read(&mut self, pid: u32) -> Option<Process> {
        read(&self.directory(pid))
    }

    fn size_bytes(&mut self, pid: u32) -> Option<u64> {
        let directory = self.directory(pid);
        let status = Fields {
            text: text(&directory, "status")?,
            directory: &directory,
        };
        let swapped = status.bytes("VmSwap").unwrap_or(0);
        Some(status.bytes("VmRSS")?.saturating_add(swapped))
    }
}

/// The process whose files lie in `directory`; `None` when it is gone. A figure whose line is not as it should be is
/// absent: a process that ends while it is read must not spoil the whole reading.
pub(super) fn read(directory: &Path) -> Option<Process> {
    let status = Fields {
        text: text(directory, "status")?,
        directory,
    };
    let pid = status
        .text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))?
        .trim()
        .parse()
        .ok()?;
    let name = status
        .text
        .lines()
        .find_map(|line| line.strip_prefix("Name:"))?
        .trim()
        .to_owned();
    let resident_bytes = status.bytes("VmRSS");
    let swapped = status.bytes("VmSwap");
    let is_small = resident_bytes.is_some_and(|bytes| bytes <= PROPORTIONAL_BYTES_MAX);
    let share = if is_small {
        proportional_bytes(directory)
    } else {
        None
    };
    let resident_and_swapped =
        || resident_bytes.map(|rss| rss.saturating_add(swapped.unwrap_or(0)));
    Some(Process {
        pid,
        name,
        watch: None,
        footprint_bytes: share.or_else(resident_and_swapped),
        peak_footprint_bytes: status.bytes("VmHWM"),
        resident_bytes,
        compressed_bytes: swapped,
    })
}

fn proportional_bytes(directory: &Path) -> Option<u64> {
    let rollup = Fields {
        text: text(directory, "smaps_rollup")?,
        directory,
    };
    Some(
        rollup
            .bytes("Pss")?
            .saturating_add(rollup.bytes("SwapPss").unwrap_or(0)),
    )
}

fn text(directory: &Path, name: &str) -> Option<String> {
    read_if_told(&directory.join(name)).ok().flatten()
}

/// Lines of `Name: number kB`.
struct Fields<'path> {
    text: String,
    directory: &'path Path,
}

impl Fields<'_> {
    fn bytes(&self, name: &str) -> Option<u64> {
        lines(self.directory, &self.text).find_map(|(line, row): (Line, &str)| {
            let value = row.strip_prefix(name)?.strip_prefix(':')?;
            line.kibibytes(name, value.trim()).ok()
        })
    }
}
