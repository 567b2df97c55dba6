//! Runs inside a program that goes on meanwhile: start, look, stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::plan::{Plan, PlanError};
use super::reason::{Reason, ReasonCode};
use super::run::{LOCK, Needs, RESULT, run};
use super::status::{Handle, State, Status};
use crate::engine::kept::Kept;
use crate::engine::state::{StateDir, StateError};

/// How often a run that was asked to end is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Starts runs, one at a time, and remembers the last, whoever started it.
#[derive(Debug, Default)]
pub struct Service {
    current: Mutex<Option<Current>>,
    kept: Option<Kept<Outcome>>,
}

/// The run that was started last, here.
#[derive(Debug, Clone, Default)]
struct Current {
    handle: Handle,
    /// Its outcome is known, and kept where it can be.
    over: Arc<AtomicBool>,
    outcome: Arc<Mutex<Option<Arc<Outcome>>>>,
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The plan is not one.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Another run is under way, here or in another process, or the state directory is not to be had.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Service {
    /// A service that knows the last run kept in `state`, if one is.
    #[must_use]
    pub fn new(state: &StateDir) -> Self {
        let kept = Kept::new(state.clone(), |state| Some(state.file(RESULT)));
        Self {
            current: Mutex::default(),
            kept: Some(kept),
        }
    }

    fn current(&self) -> Option<Current> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts `plan` and returns at once.
    ///
    /// # Errors
    /// [`StartError`] when the plan is not one or another run is under way.
    pub fn start(&self, plan: Plan, needs: Needs) -> Result<(), StartError> {
        plan.check()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| !current.is_over()) {
            return Err(StateError::Busy {
                path: needs.state.file(LOCK),
                holder: std::process::id().to_string(),
            }
            .into());
        }
        // Asked here so that the caller hears of another process's run; the run takes it again for itself.
        drop(needs.state.lock(LOCK)?);
        let started = current.insert(Current::default()).clone();
        thread::spawn(move || started.run(&plan, needs));
        Ok(())
    }

    /// The run that was started last, here; `None` before the first.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let current = self.current()?;
        // In this order: over is said after ended.
        let over = current.is_over();
        let mut status = current.handle.status();
        if status.state == State::Ended && !over {
            status.state = State::Releasing;
        }
        Some(status)
    }

    /// What came of the last run that ended, one of another process included.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Outcome>> {
        let kept = self.kept.as_ref().and_then(Kept::latest);
        let own = self.current().and_then(|current| {
            let outcome = current.outcome.lock();
            outcome.unwrap_or_else(PoisonError::into_inner).clone()
        });
        // One that could not be kept is newer than the one that was.
        let at = |outcome: &Arc<Outcome>| outcome.ended_at_unix_seconds;
        match (own, kept) {
            (Some(own), Some(kept)) if at(&kept) > at(&own) => Some(kept),
            (own, kept) => own.or(kept),
        }
    }

    /// Asks the run to end. Whether there was one.
    pub fn stop(&self) -> bool {
        let running = self.current().filter(|current| !current.is_over());
        if let Some(current) = &running {
            current.handle.stop();
        }
        running.is_some()
    }

    /// Asks the run to end and waits for that, until `time` has passed.
    pub fn end(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.stop() && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Current {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn run(&self, plan: &Plan, needs: Needs) {
        match run(plan, needs, &self.handle) {
            Ok(finished) => {
                let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
                *outcome = Some(Arc::new(finished.outcome));
            }
            Err(error) => self.handle.update(|status| {
                status.state = State::Ended;
                status.reason = Some(Reason::new(ReasonCode::Refused, error.to_string()));
            }),
        }
        self.over.store(true, Ordering::SeqCst);
    }
}
