//! Pressure runs inside a program that goes on meanwhile: start, look, stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::outcome::Outcome;
use super::plan::{Plan, PlanError};
use super::reason::ReasonCode;
use super::run::{LOCK, Needs, RESULT, run};
use super::status::{Handle, State, Status};
use crate::engine::state::{StateDir, StateError};

/// Starts runs, one at a time, and remembers the last.
#[derive(Debug, Default)]
pub struct Service {
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    handle: Option<Handle>,
    last: Arc<Mutex<Option<Outcome>>>,
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
        let kept = std::fs::read(state.file(RESULT)).ok();
        let last = kept.and_then(|text| serde_json::from_slice(&text).ok());
        Self {
            current: Mutex::new(Current {
                handle: None,
                last: Arc::new(Mutex::new(last)),
            }),
        }
    }

    /// Starts `plan` and returns at once.
    ///
    /// # Errors
    /// [`StartError`] when the plan is not one or another run is under way.
    pub fn start(&self, plan: Plan, needs: Needs) -> Result<(), StartError> {
        plan.check()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .handle
            .as_ref()
            .is_some_and(|handle| handle.status().state != State::Ended)
        {
            return Err(StateError::Busy {
                path: needs.state.file(LOCK),
                holder: std::process::id().to_string(),
            }
            .into());
        }
        // Asked here so that the caller hears of another process's run; the run takes it again for itself.
        drop(needs.state.lock(LOCK)?);
        let handle = Handle::default();
        current.handle = Some(handle.clone());
        let last = Arc::clone(&current.last);
        thread::spawn(move || match run(&plan, needs, &handle) {
            Ok(finished) => {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(finished.outcome);
            }
            Err(error) => handle.update(|status| {
                status.state = State::Ended;
                status.reason = Some(super::Reason::new(ReasonCode::Refused, error.to_string()));
            }),
        });
        Ok(())
    }

    /// The run that was started last, here; `None` before the first.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.handle.as_ref().map(Handle::status)
    }

    /// What came of the last run that ended, one of an earlier process included.
    #[must_use]
    pub fn last(&self) -> Option<Outcome> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks the run to end. Whether there was one.
    pub fn stop(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let running = current
            .handle
            .as_ref()
            .filter(|handle| handle.status().state != State::Ended);
        if let Some(handle) = running {
            handle.stop();
        }
        running.is_some()
    }
}
