//! Which processes to watch, and finding them.

use crate::sample::Process;

/// A full search through all processes is made at every so many readings; in between, those found are read again. A
/// search opens files of every process, which at one a second would be the most that a daemon at rest does.
const READINGS_PER_SEARCH: u32 = 5;
/// The most processes that one watch reports, the lowest ids first.
const PROCESSES_PER_WATCH_MAX: usize = 64;

/// What to watch, and under which label to report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Goes into [`Process::watch`].
    pub label: String,
    /// Which processes.
    pub selector: Selector,
}

/// Which processes a watch means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The program's name, or the file name of its script or module: `mlx_lm.server` finds `mlx_lm.server`,
    /// `python3 /opt/venv/bin/mlx_lm.server` and `python3 -m mlx_lm.server`.
    Name(String),
    /// One process id.
    Pid(u32),
    /// Whoever listens on this TCP port.
    Port(u16),
}

/// The processes of a machine, as a source knows them.
pub trait ProcessTable {
    /// Ids of all processes.
    fn pids(&mut self) -> Vec<u32>;
    /// The names a process goes by: its program's, then those of its first arguments, paths and all. Empty when gone.
    fn names(&mut self, pid: u32) -> Vec<String>;
    /// Which of `pids` listen on a TCP port, as far as the caller may know.
    fn listeners(&mut self, pids: &[u32], port: u16) -> Vec<u32>;
    /// What a process holds; `None` when it is gone.
    fn read(&mut self, pid: u32) -> Option<Process>;
}

/// Finds the processes of some watches and reads them, again and again.
#[derive(Debug, Default)]
pub struct Watcher {
    watches: Vec<Watch>,
    found: Vec<Found>,
    readings: u32,
}

#[derive(Debug)]
struct Found {
    pid: u32,
    watch: usize,
}

impl Watcher {
    /// Watches nothing when `watches` is empty, and then costs nothing.
    #[must_use]
    pub fn new(watches: Vec<Watch>) -> Self {
        Self {
            watches,
            found: Vec::new(),
            readings: 0,
        }
    }

    /// The watched processes that exist now, by process id; one that two watches mean appears once for each.
    pub fn read(&mut self, table: &mut impl ProcessTable) -> Vec<Process> {
        if self.watches.is_empty() {
            return Vec::new();
        }
        if self.readings.is_multiple_of(READINGS_PER_SEARCH) {
            self.found = self.search(table);
        }
        self.readings = self.readings.wrapping_add(1);
        let watches = &self.watches;
        let mut processes: Vec<Process> = self
            .found
            .iter()
            .filter_map(|found| {
                let process = table.read(found.pid)?;
                Some(Process {
                    watch: Some(watches[found.watch].label.clone()),
                    ..process
                })
            })
            .collect();
        processes.sort_by(|a, b| (a.pid, &a.watch).cmp(&(b.pid, &b.watch)));
        processes
    }

    fn search(&self, table: &mut impl ProcessTable) -> Vec<Found> {
        let by_name = self
            .watches
            .iter()
            .any(|watch| matches!(watch.selector, Selector::Name(_)));
        let by_pid_only = self
            .watches
            .iter()
            .all(|watch| matches!(watch.selector, Selector::Pid(_)));
        let mut pids = if by_pid_only {
            Vec::new()
        } else {
            table.pids()
        };
        pids.sort_unstable();
        let names: Vec<(u32, Vec<String>)> = if by_name {
            pids.iter().map(|&pid| (pid, table.names(pid))).collect()
        } else {
            Vec::new()
        };

        let mut found = Vec::new();
        for (watch, Watch { selector, .. }) in self.watches.iter().enumerate() {
            let matching: Vec<u32> = match selector {
                Selector::Pid(pid) => vec![*pid],
                Selector::Port(port) => table.listeners(&pids, *port),
                Selector::Name(name) => names
                    .iter()
                    .filter(|(_, names)| goes_by(names, name))
                    .map(|&(pid, _)| pid)
                    .collect(),
            };
            found.extend(
                matching
                    .into_iter()
                    .take(PROCESSES_PER_WATCH_MAX)
                    .map(|pid| Found { pid, watch }),
            );
        }
        found
    }
}

/// Whether one of a process's names is `name`, whole or as the last part of a path.
fn goes_by(names: &[String], name: &str) -> bool {
    names
        .iter()
        .any(|own| own == name || own.rsplit('/').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes by (pid, names, port), and how often all of them were listed.
    struct Table {
        rows: Vec<(u32, Vec<&'static str>, u16)>,
        searches: u32,
    }

    impl ProcessTable for Table {
        fn pids(&mut self) -> Vec<u32> {
            self.searches += 1;
            self.rows.iter().map(|row| row.0).rev().collect()
        }
        fn names(&mut self, pid: u32) -> Vec<String> {
            self.rows
                .iter()
                .filter(|row| row.0 == pid)
                .flat_map(|row| row.1.iter().map(ToString::to_string))
                .collect()
        }
        fn listeners(&mut self, pids: &[u32], port: u16) -> Vec<u32> {
            self.rows
                .iter()
                .filter(|row| row.2 == port && pids.contains(&row.0))
                .map(|row| row.0)
                .collect()
        }
        fn read(&mut self, pid: u32) -> Option<Process> {
            self.rows
                .iter()
                .find(|row| row.0 == pid)
                .map(|row| Process {
                    pid,
                    name: row.1[0].to_owned(),
                    footprint_bytes: Some(u64::from(pid) * 100),
                    ..Process::default()
                })
        }
    }

    fn table() -> Table {
        Table {
            rows: vec![
                (
                    10,
                    vec!["python3", "python3", "/opt/bin/mlx_lm.server"],
                    8080,
                ),
                (11, vec!["python3", "python3", "-m", "mlx_lm.server"], 0),
                (12, vec!["mlx_lm.server.old", "/bin/mlx_lm.server.old"], 0),
                (13, vec!["ollama", "/usr/bin/ollama"], 11434),
            ],
            searches: 0,
        }
    }

    fn watch(label: &str, selector: Selector) -> Watch {
        Watch {
            label: label.to_owned(),
            selector,
        }
    }

    fn seen(processes: &[Process]) -> Vec<(u32, &str)> {
        processes
            .iter()
            .map(|process| (process.pid, process.watch.as_deref().unwrap_or("")))
            .collect()
    }

    #[test]
    fn finds_by_name_pid_and_port() {
        let mut watcher = Watcher::new(vec![
            watch("server", Selector::Name("mlx_lm.server".to_owned())),
            watch("port", Selector::Port(8080)),
            watch("other", Selector::Pid(13)),
            watch("gone", Selector::Pid(99)),
        ]);
        let processes = watcher.read(&mut table());
        assert_eq!(
            seen(&processes),
            [(10, "port"), (10, "server"), (11, "server"), (13, "other")]
        );
        assert_eq!(processes[3].footprint_bytes, Some(1300));
    }

    #[test]
    fn searches_now_and_then_and_drops_what_has_gone_at_once() {
        let mut watcher = Watcher::new(vec![watch(
            "server",
            Selector::Name("mlx_lm.server".to_owned()),
        )]);
        let mut table = table();
        assert_eq!(watcher.read(&mut table).len(), 2);
        table.rows.remove(0);
        assert_eq!(seen(&watcher.read(&mut table)), [(11, "server")]);
        table.rows.push((20, vec!["mlx_lm.server"], 0));
        for _ in 2..READINGS_PER_SEARCH {
            assert_eq!(watcher.read(&mut table).len(), 1);
        }
        assert_eq!(
            seen(&watcher.read(&mut table)),
            [(11, "server"), (20, "server")]
        );
        assert_eq!(table.searches, 2);
    }

    #[test]
    fn never_lists_all_processes_for_nothing() {
        let mut table = table();
        assert!(Watcher::new(Vec::new()).read(&mut table).is_empty());
        assert_eq!(
            Watcher::new(vec![watch("one", Selector::Pid(10))])
                .read(&mut table)
                .len(),
            1
        );
        assert_eq!(table.searches, 0);
    }
}
