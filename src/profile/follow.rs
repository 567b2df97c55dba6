//! Reads a process and its children at a steady pace until it ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use shv_machine::processes::{Selector, Watch};
use shv_machine::sample::Sample;
use shv_machine::source::{SourceError, native};

use super::tree::Tree;
use super::{Moment, Pace, Processes, ProfileError};

/// Children are looked for at every so many readings: a search reads every process of the machine.
const READINGS_PER_SEARCH: u32 = 5;
/// The most readings that are kept: eleven days at the fastest pace would need no more than every tenth.
const SAMPLES_MAX: usize = 100_000;

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Followed {
    /// Memory over time.
    pub samples: Vec<Moment>,
    /// The largest peak that the kernel keeps of any one process.
    pub kernel_peak_bytes: Option<u64>,
    /// Pages swapped out meanwhile.
    pub swapouts: u64,
    /// Pages swapped in.
    pub swapins: u64,
    /// The control group's usage at its highest.
    pub cgroup_peak_bytes: Option<u64>,
    /// The most processes at a time.
    pub processes_max: usize,
}

/// What asks for the end.
pub trait End {
    /// Whether to stop following.
    fn reached(&mut self) -> bool;
}

impl<F: FnMut() -> bool> End for F {
    fn reached(&mut self) -> bool {
        self()
    }
}

/// Makes a source that reads the given processes.
pub type SourceOf<'a> = &'a mut dyn FnMut(&BTreeSet<u32>) -> Result<Processes, SourceError>;

/// The machine's own source.
///
/// # Errors
/// Where the system has none.
pub fn native_source_of(pids: &BTreeSet<u32>) -> Result<Processes, SourceError> {
    let watch = |pid: &u32| Watch {
        label: pid.to_string(),
        selector: Selector::Pid(*pid),
    };
    native(pids.iter().map(watch).collect())
}

/// Follows `root` and its children until `end`, or until `root` is gone.
///
/// # Errors
/// [`ProfileError::NoProcess`] when the process cannot be read at all.
pub fn follow(
    root: u32,
    every: Duration,
    source_of: SourceOf<'_>,
    end: &mut dyn End,
) -> Result<Followed, ProfileError> {
    let start = Instant::now();
    let mut tree = Tree::new(root)?;
    let mut pids = BTreeSet::new();
    let mut source = source_of(&pids)?;
    let mut followed = Followed::default();
    let mut first: Option<Sample> = None;
    let mut pace = Pace::new(every);
    let mut keep_every = 1;
    for reading in 0_u32.. {
        if reading.is_multiple_of(READINGS_PER_SEARCH) {
            let now = tree.look();
            if *now != pids {
                pids.clone_from(now);
                source = source_of(&pids)?;
            }
        }
        let sample = source.read()?;
        let there = sample
            .processes
            .iter()
            .any(|process| process.pid == root && process.footprint_bytes.is_some());
        if !there && first.is_none() {
            return Err(ProfileError::NoProcess { pid: root });
        }
        if !there {
            break;
        }
        let seconds = start.elapsed().as_secs_f64();
        followed.add(
            &sample,
            first.get_or_insert_with(|| sample.clone()),
            seconds,
            reading.is_multiple_of(keep_every),
        );
        if followed.samples.len() >= SAMPLES_MAX {
            followed.thin_out();
            keep_every *= 2;
        }
        if end.reached() {
            break;
        }
        pace.wait();
    }
    Ok(followed)
}

impl Followed {
    fn add(&mut self, sample: &Sample, first: &Sample, seconds: f64, keep: bool) {
        let bytes = sample
            .processes
            .iter()
            .filter_map(|process| process.footprint_bytes)
            .sum();
        let highest = self.samples.iter().map(|moment| moment.bytes).max();
        // A new peak is kept whatever the pace.
        if keep || highest.is_none_or(|highest| bytes > highest) {
            self.samples.push(Moment { seconds, bytes });
        }
        let kept = sample
            .processes
            .iter()
            .filter_map(|process| process.peak_footprint_bytes)
            .max();
        self.kernel_peak_bytes = self.kernel_peak_bytes.max(kept);
        self.processes_max = self.processes_max.max(sample.processes.len());
        let since = |now: Option<u64>, then: Option<u64>| {
            now.unwrap_or(0).saturating_sub(then.unwrap_or(0))
        };
        self.swapouts = since(sample.counters.swapouts, first.counters.swapouts);
        self.swapins = since(sample.counters.swapins, first.counters.swapins);
        let usage = sample
            .cgroup
            .usage_bytes
            .filter(|_| sample.cgroup.limit_bytes.is_some());
        self.cgroup_peak_bytes = self.cgroup_peak_bytes.max(usage);
    }

    /// Keeps every second moment, and the highest.
    fn thin_out(&mut self) {
        let highest = self.samples.iter().map(|moment| moment.bytes).max();
        let mut index = 0;
        self.samples.retain(|moment| {
            index += 1;
            index % 2 == 1 || Some(moment.bytes) == highest
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use shv_machine::sample::Process;
    use shv_machine::source::Source;

    /// The process 7 with a footprint that rises and falls, then is gone.
    struct Hill(u64);
    impl Source for Hill {
        fn read(&mut self) -> Result<Sample, SourceError> {
            self.0 += 1;
            let mut sample = Sample::default();
            if self.0 <= 5 {
                sample.processes.push(Process {
                    pid: 7,
                    footprint_bytes: Some([10, 20, 50, 30, 10][self.0 as usize - 1]),
                    peak_footprint_bytes: Some(55),
                    ..Process::default()
                });
            }
            sample.counters.swapouts = Some(100 + self.0);
            Ok(sample)
        }
    }

    #[test]
    fn the_peak_and_the_swap_are_found() {
        let mut made = 0;
        let mut source_of = |_: &BTreeSet<u32>| {
            made += 1;
            Ok(Box::new(Hill(0)) as Processes)
        };
        let followed = follow(7, Duration::ZERO, &mut source_of, &mut || false).unwrap();
        let profile = super::super::Profile::of("hill".to_owned(), followed, None);
        assert_eq!(
            (profile.peak.bytes, profile.peak_bytes(), profile.swapouts),
            (50, 55, 4)
        );
        assert_eq!(profile.samples.len(), 5);
        assert!(profile.peak.seconds > 0.09, "{:?}", profile.peak);
        assert_eq!(made, 2);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        let mut source_of = |_: &BTreeSet<u32>| Ok(Box::new(Hill(9)) as Processes);
        let error = follow(8, Duration::ZERO, &mut source_of, &mut || false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "process 8 is not there, or is another user's"
        );
    }

    #[test]
    fn thinning_keeps_the_peak() {
        let mut followed = Followed {
            samples: [1, 9, 2, 3]
                .map(|bytes| Moment {
                    seconds: 0.0,
                    bytes,
                })
                .to_vec(),
            ..Followed::default()
        };
        followed.thin_out();
        assert_eq!(
            followed
                .samples
                .iter()
                .map(|moment| moment.bytes)
                .collect::<Vec<_>>(),
            [1, 9, 2]
        );
    }
}
