//! Two clocks: one that never jumps, by which reservations end while the daemon runs, and the calendar's, by which they
//! are shown and outlive a restart.

use std::time::{Duration, Instant, SystemTime};

use shv_machine::sample::unix_seconds;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Since the daemon started; never jumps, and stands still while a Mac sleeps, as its processes do.
    pub running: Duration,
    /// Since 1970-01-01 UTC; jumps when the clock is set.
    pub unix_seconds: f64,
}

impl Moment {
    /// By how much the calendar has jumped since `earlier`.
    pub(super) fn skew_seconds(self, earlier: Self) -> f64 {
        let ran = self.running.saturating_sub(earlier.running).as_secs_f64();
        (self.unix_seconds - earlier.unix_seconds - ran).abs()
    }
}

/// Tells the moment.
pub(super) struct Clock {
    begun: Instant,
    now: Box<dyn Fn(Instant) -> Moment + Send + Sync>,
}

impl Clock {
    pub(super) fn system() -> Self {
        let now = |begun: Instant| Moment {
            running: begun.elapsed(),
            unix_seconds: unix_seconds(SystemTime::now()),
        };
        Self {
            begun: Instant::now(),
            now: Box::new(now),
        }
    }

    /// A clock that a test sets.
    #[cfg(test)]
    pub(super) fn set_by(now: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self {
            begun: Instant::now(),
            now: Box::new(move |_| now()),
        }
    }

    pub(super) fn now(&self) -> Moment {
        (self.now)(self.begun)
    }

    /// A moment of the system's steady clock on this one.
    pub(super) fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.begun)
    }
}
