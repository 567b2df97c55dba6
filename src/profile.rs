//! Follows a process and its children: memory over time, its peak, and the swap that came with it.

mod chart;
mod follow;
mod phases;
mod tree;

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shv_machine::source::{Source, SourceError};

pub use chart::{html, svg, terminal};
pub use follow::{End, Followed, SourceOf, follow, native_source_of};
pub use phases::{Beside, Expected, Phase};

/// Names the form of the document.
pub const SCHEMA: &str = "shvd.profile/v1";
/// The shortest time between two readings: 20 a second.
pub const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// A process's memory over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was started, or the process id.
    pub subject: String,
    /// From the first reading to the last.
    pub seconds: f64,
    /// Footprint of the process and all its children, over time.
    pub samples: Vec<Moment>,
    /// The largest of them.
    pub peak: Moment,
    /// The largest footprint that the kernel itself kept of one process, which no reading can miss; children that came
    /// and went between two readings are not in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel_peak_bytes: Option<u64>,
    /// Pages swapped out on the machine meanwhile, by anyone.
    pub swapouts: u64,
    /// The same swapped in.
    pub swapins: u64,
    /// The control group's usage at its highest (Linux), where there is a limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cgroup_peak_bytes: Option<u64>,
    /// How many processes there were at most.
    pub processes_max: usize,
    /// The plan of the model that it ran, beside it, where one was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<Beside>,
    /// How it ended: an exit code, or 128 and the signal's number; absent when it still runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
}

/// Memory at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Since the start.
    pub seconds: f64,
    /// What the processes cost the machine.
    pub bytes: u64,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The machine could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The processes of the machine could not be listed.
    #[error("cannot list processes: {0}")]
    List(String),
    /// There is no such process, or it may not be read.
    #[error("process {pid} is not there, or is another user's")]
    NoProcess {
        /// Its id.
        pid: u32,
    },
    /// The command did not start.
    #[error("cannot start {command}: {error}")]
    Start {
        /// What was to be started.
        command: String,
        /// What the system answered.
        #[source]
        error: io::Error,
    },
}

impl From<sysinfo::Error> for ProfileError {
    fn from(error: sysinfo::Error) -> Self {
        Self::List(error.to_string())
    }
}

/// The exit code a shell would report.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl Profile {
    /// Puts a profile together from what was followed.
    #[must_use]
    pub fn of(subject: String, followed: Followed, exit: Option<ExitStatus>) -> Self {
        let peak = followed
            .samples
            .iter()
            .copied()
            .max_by_key(|moment| moment.bytes)
            .unwrap_or_default();
        Self {
            schema: SCHEMA.to_owned(),
            subject,
            seconds: followed.samples.last().map_or(0.0, |moment| moment.seconds),
            samples: followed.samples,
            peak,
            kernel_peak_bytes: followed.kernel_peak_bytes,
            swapouts: followed.swapouts,
            swapins: followed.swapins,
            cgroup_peak_bytes: followed.cgroup_peak_bytes,
            processes_max: followed.processes_max,
            plan: None,
            exit_code: exit.map(exit_code),
        }
    }

    /// The same with the plan of the model beside it.
    #[must_use]
    pub fn beside(mut self, expected: Option<Expected>) -> Self {
        self.plan = expected.map(|expected| Beside::of(expected, &self.samples));
        self
    }

    /// The peak: what was seen, or what the kernel kept where that is more.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.peak.bytes.max(self.kernel_peak_bytes.unwrap_or(0))
    }
}

/// A source that reads one machine and the processes it was made for.
type Processes = Box<dyn Source>;

/// Keeps to a pace without drifting.
struct Pace {
    next: Instant,
    every: Duration,
}

impl Pace {
    fn new(every: Duration) -> Self {
        Self {
            next: Instant::now(),
            every: every.max(INTERVAL_MIN),
        }
    }

    fn wait(&mut self) {
        self.next += self.every;
        let now = Instant::now();
        if self.next > now {
            std::thread::sleep(self.next - now);
        } else {
            self.next = now;
        }
    }
}
