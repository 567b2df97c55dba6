//! `POST`, `GET` and `DELETE /api/v1/pressure`: starts a pressure run, tells how it goes and what came of the last one,
//! stops it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use warp::Filter as _;
use warp::filters::BoxedFilter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::Shared;
use super::routes::{json, problem, wrong_method};
use crate::engine::Runs;
use crate::engine::pressure::{
    Changes, Needs, Outcome, Plan, StartError, State, Status, WorkerCommand, native_source,
};
use crate::engine::state::StateError;

/// How long a caller waits to hear whether its run was refused. A backend that takes longer to open, as a GPU's first
/// time may, is answered for by `GET`.
const DECISION_TIME_MAX: Duration = Duration::from_secs(10);
/// How often the decision is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The run and the last one.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    /// The run that this daemon started last.
    run: Option<Status>,
    /// The last that ended, whoever started it.
    last: Option<&'a Outcome>,
}

pub(super) fn routes(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    let shared = shared.clone();
    warp::path!("api" / "v1" / "pressure")
        .and(warp::method())
        .and(warp::body::bytes())
        .then(move |method: Method, body: bytes::Bytes| {
            let shared = shared.clone();
            async move {
                match method {
                    Method::GET => document(StatusCode::OK, &shared.runs),
                    Method::POST => start(&body, &shared).await,
                    Method::DELETE => stop(&shared.runs),
                    _ => wrong_method("GET, POST, DELETE"),
                }
            }
        })
        .boxed()
}

fn document(status: StatusCode, runs: &Runs) -> Response {
    let last = runs.pressure.last();
    let document = Document {
        schema: "shvd.pressure_status/v1",
        run: runs.pressure.status(),
        last: last.as_deref(),
    };
    json(status, &document)
}

async fn start(body: &[u8], shared: &Arc<Shared>) -> Response {
    let changes: Changes = match body {
        b"" => Changes::default(),
        body => match serde_json::from_slice(body) {
            Ok(changes) => changes,
            Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("body: {error}")),
        },
    };
    let plan = changes.over(shared.settings.borrow().pressure.clone());
    let runs = shared.runs.clone();
    // Locks and directories are the disk's, which may take its time.
    let started = tokio::task::spawn_blocking(move || begin(plan, changes.force, &runs)).await;
    match started {
        Ok(Ok(())) => decided(&shared.runs).await,
        Ok(Err(error)) => problem(status_of(&error), &error.to_string()),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn begin(plan: Plan, force: bool, runs: &Runs) -> Result<(), StartError> {
    // Before a place for results is made.
    plan.check()?;
    let worker = WorkerCommand::own().map_err(|error| StateError::Io {
        what: "find",
        path: "shvd itself".into(),
        error,
    })?;
    let needs = Needs {
        worker,
        source: native_source(),
        state: runs.state()?,
        force,
        planted_fault: None,
    };
    runs.pressure.start(plan, needs)
}

fn status_of(error: &StartError) -> StatusCode {
    match error {
        StartError::Plan(_) => StatusCode::BAD_REQUEST,
        StartError::State(error) => of_state(error),
    }
}

/// What a place that cannot be had, or is taken, means to a caller.
pub(super) fn of_state(error: &StateError) -> StatusCode {
    match error {
        StateError::Busy { .. } => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Waits until the run was let start or refused.
async fn decided(runs: &Runs) -> Response {
    let until = Instant::now() + DECISION_TIME_MAX;
    loop {
        let status = runs.pressure.status().unwrap_or_default();
        if let (State::Ended, 0, Some(reason)) =
            (status.state, status.touched_bytes, &status.reason)
        {
            return problem(StatusCode::UNPROCESSABLE_ENTITY, &reason.to_string());
        }
        let settled = matches!(status.state, State::Ramping | State::Holding | State::Ended);
        if settled || Instant::now() >= until {
            return document(StatusCode::ACCEPTED, runs);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn stop(runs: &Runs) -> Response {
    if runs.pressure.stop() {
        document(StatusCode::ACCEPTED, runs)
    } else {
        problem(
            StatusCode::NOT_FOUND,
            "no pressure run of this daemon is under way",
        )
    }
}
