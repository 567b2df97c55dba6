//! The runs of a program that goes on meanwhile, and where their results are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::state::{StateDir, StateError};
use super::{bench, pressure};

/// Pressure runs and benchmarks, with the place for their results.
#[derive(Debug)]
pub struct Runs {
    given: Option<PathBuf>,
    /// Pressure runs.
    pub pressure: pressure::Service,
    /// Benchmarks.
    pub bench: bench::service::Service,
}

impl Runs {
    /// Knows what is kept in the `given` directory, or the platform's place for such files. Nothing is created yet, and
    /// where there is no such place, nothing is known.
    #[must_use]
    pub fn new(given: Option<PathBuf>) -> Self {
        let state = StateDir::at(given.as_deref());
        let (pressure, bench) = match &state {
            Ok(state) => (
                pressure::Service::new(state),
                bench::service::Service::new(state),
            ),
            Err(_) => Default::default(),
        };
        Self {
            given,
            pressure,
            bench,
        }
    }

    /// The place for results, created.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be had.
    pub fn state(&self) -> Result<StateDir, StateError> {
        StateDir::open(self.given.as_deref())
    }

    /// Where results were asked to be kept.
    #[must_use]
    pub fn given(&self) -> Option<&Path> {
        self.given.as_deref()
    }

    /// Ends what is under way, within `time`.
    pub fn end(&self, time: Duration) {
        self.bench.stop();
        self.pressure.end(time);
    }
}
