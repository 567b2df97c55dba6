//! A run as seen from outside while it runs: for the progress bar, the metrics and the daemon's answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shv_machine::sample::PressureLevel;

use super::outcome::Outcome;
use super::reason::Reason;

/// Where a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The worker opens its backend; nothing is held.
    #[default]
    Starting,
    /// Memory is taken.
    Ramping,
    /// Memory is held and read again.
    Holding,
    /// Memory is given back.
    Releasing,
    /// It is over.
    Ended,
}

impl State {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Starting,
        Self::Ramping,
        Self::Holding,
        Self::Releasing,
        Self::Ended,
    ];

    /// The name in JSON and as a metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ramping => "ramping",
            Self::Holding => "holding",
            Self::Releasing => "releasing",
            Self::Ended => "ended",
        }
    }
}

/// A run as seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where it is.
    pub state: State,
    /// What is to be held.
    pub target_bytes: u64,
    /// What is held and written; stays at its last value once the run is over.
    pub touched_bytes: u64,
    /// Read again and compared, all passes together.
    pub verified_bytes: u64,
    /// What was not as written.
    pub mismatches: u64,
    /// While filling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill_bytes_per_second: Option<f64>,
    /// While verifying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_bytes_per_second: Option<f64>,
    /// The level of memory pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<PressureLevel>,
    /// What the worker costs the machine now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footprint_bytes: Option<u64>,
    /// Since the start.
    pub seconds: f64,
    /// Why it ended, once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Status {
    /// A run that is over, as its outcome tells.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            state: State::Ended,
            target_bytes: outcome.target_bytes,
            touched_bytes: outcome.touched_bytes,
            verified_bytes: outcome.verified_bytes,
            mismatches: outcome.mismatches,
            fill_bytes_per_second: outcome.fill_bytes_per_second,
            verify_bytes_per_second: outcome.verify_bytes_per_second,
            level: outcome.levels.last().map(|reached| reached.level),
            footprint_bytes: None,
            seconds: outcome.seconds,
            reason: Some(outcome.reason.clone()),
        }
    }
}

/// Shared between a run and whoever looks at it or wants it to end.
#[derive(Debug, Clone, Default)]
pub struct Handle {
    status: Arc<Mutex<Status>>,
    stop: Arc<AtomicBool>,
}

impl Handle {
    /// The run as it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks the run to give everything back and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(super) fn stop_wanted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
