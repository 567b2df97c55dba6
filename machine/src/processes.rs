//! Which processes to watch, and finding them.

use std::collections::HashMap;

use crate::sample::Process;

/// A search for processes is made at every so many readings; in between, those found are read again.
const READINGS_PER_SEARCH: u32 = 5;
/// At every so many searches each process is looked at anew; in between, only those not known yet. Looking at all of
/// them each time would be the most that a daemon at rest does.
const SEARCHES_PER_FULL_SEARCH: u32 = 12;
/// How often a process is looked at before what was seen is believed: one that has only just been forked still goes by
/// its parent's name.
const LOOKS_TO_BELIEVE: u32 = 2;
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
    /// About what a process costs, as cheaply as can be: for ranking. `None` when it is gone or untold.
    fn size_bytes(&mut self, pid: u32) -> Option<u64> {
        self.read(pid)?.footprint_bytes
    }
}

/// Finds the processes of some watches and reads them, again and again.
#[derive(Debug, Default)]
pub struct Watcher {
    watches: Vec<Watch>,
    found: Vec<Found>,
    known: HashMap<u32, Known>,
    readings: u32,
}

/// What is known of a process from earlier searches.
#[derive(Debug, Default)]
struct Known {
    looks: u32,
    /// The watches whose name it goes by.
    watches: Vec<usize>,
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
            ..Self::default()
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

    fn search(&mut self, table: &mut impl ProcessTable) -> Vec<Found> {
        let full = (self.readings / READINGS_PER_SEARCH).is_multiple_of(SEARCHES_PER_FULL_SEARCH);
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
        self.look_at_names(table, &pids, full);

        let mut found = Vec::new();
        for (index, watch) in self.watches.iter().enumerate() {
            let matching: Vec<u32> = match &watch.selector {
                Selector::Pid(pid) => vec![*pid],
                Selector::Port(port) => self.listeners(table, &pids, index, *port, full),
                Selector::Name(_) => {
                    let goes_by = |pid: &u32| {
                        self.known
                            .get(pid)
                            .is_some_and(|known| known.watches.contains(&index))
                    };
                    pids.iter().copied().filter(goes_by).collect()
                }
            };
            found.extend(
                matching
                    .into_iter()
                    .take(PROCESSES_PER_WATCH_MAX)
                    .map(|pid| Found { pid, watch: index }),
            );
        }
        found
    }

    fn look_at_names(&mut self, table: &mut impl ProcessTable, pids: &[u32], full: bool) {
        if !self
            .watches
            .iter()
            .any(|watch| matches!(watch.selector, Selector::Name(_)))
        {
            return;
        }
        let mut earlier = std::mem::take(&mut self.known);
        for &pid in pids {
            let mut known = earlier.remove(&pid).unwrap_or_default();
            if full || known.looks < LOOKS_TO_BELIEVE {
                let names = table.names(pid);
                known.looks += 1;
                known.watches.clear();
                let is_meant = |watch: &Watch| matches!(&watch.selector, Selector::Name(name) if goes_by(&names, name));
                known.watches.extend(
                    (0..self.watches.len()).filter(|&index| is_meant(&self.watches[index])),
                );
            }
            self.known.insert(pid, known);
        }
    }

    /// Those found last time if one still exists: to ask who listens, the kernel walks all its sockets.
    fn listeners(
        &self,
        table: &mut impl ProcessTable,
        pids: &[u32],
        watch: usize,
        port: u16,
        full: bool,
    ) -> Vec<u32> {
        let found = self
            .found
            .iter()
            .filter(|found| found.watch == watch)
            .map(|found| found.pid);
        let still: Vec<u32> = found
            .filter(|pid| pids.binary_search(pid).is_ok())
            .collect();
        if full || still.is_empty() {
            table.listeners(pids, port)
        } else {
            still
        }
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

    /// Processes by (pid, names, port), how often all were listed, and how often names were asked.
    struct Table {
        rows: Vec<(u32, Vec<&'static str>, u16)>,
        searches: u32,
        looks: u32,
    }

    impl ProcessTable for Table {
        fn pids(&mut self) -> Vec<u32> {
            self.searches += 1;
            self.rows.iter().map(|row| row.0).rev().collect()
        }
        fn names(&mut self, pid: u32) -> Vec<String> {
            self.looks += 1;
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
            looks: 0,
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

    /// Makes the next search and all readings up to the one after it.
    fn search(watcher: &mut Watcher, table: &mut Table) -> Vec<Process> {
        for _ in 1..READINGS_PER_SEARCH {
            watcher.read(table);
        }
        watcher.read(table)
    }

    #[test]
    fn known_processes_are_not_looked_at_again_until_the_full_search() {
        let mut watcher = Watcher::new(vec![watch(
            "server",
            Selector::Name("mlx_lm.server".to_owned()),
        )]);
        let mut table = table();
        for _ in 0..SEARCHES_PER_FULL_SEARCH {
            assert_eq!(search(&mut watcher, &mut table).len(), 2);
        }
        assert_eq!(table.looks, 4 * LOOKS_TO_BELIEVE);
        search(&mut watcher, &mut table);
        assert_eq!(table.looks, 4 * (LOOKS_TO_BELIEVE + 1));
    }

    #[test]
    fn a_process_that_becomes_another_program_is_found() {
        let mut watcher = Watcher::new(vec![watch(
            "server",
            Selector::Name("mlx_lm.server".to_owned()),
        )]);
        let mut table = table();
        search(&mut watcher, &mut table);
        table.rows.push((30, vec!["zsh"], 0));
        assert_eq!(search(&mut watcher, &mut table).len(), 2);
        table.rows[4].1 = vec!["mlx_lm.server"];
        assert_eq!(search(&mut watcher, &mut table).len(), 3);
    }

    #[test]
    fn a_port_changes_hands() {
        let mut watcher = Watcher::new(vec![watch("port", Selector::Port(8080))]);
        let mut table = table();
        assert_eq!(seen(&search(&mut watcher, &mut table)), [(10, "port")]);
        // The old one lives on without the port: seen at the full search.
        (table.rows[0].2, table.rows[1].2) = (0, 8080);
        for _ in 1..SEARCHES_PER_FULL_SEARCH {
            assert_eq!(seen(&search(&mut watcher, &mut table)), [(10, "port")]);
        }
        assert_eq!(seen(&search(&mut watcher, &mut table)), [(11, "port")]);
        // The old one is gone: seen at the next search.
        table.rows.remove(1);
        table.rows[0].2 = 8080;
        assert_eq!(seen(&search(&mut watcher, &mut table)), [(10, "port")]);
    }
}
