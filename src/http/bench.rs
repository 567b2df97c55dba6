//! `POST` and `GET /api/v1/bench`: starts a benchmark in a process of its own, tells how far it is and what was measured
//! last.

use std::sync::Arc;

use serde::Serialize;
use warp::Filter as _;
use warp::filters::BoxedFilter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::Shared;
use super::pressure::of_state;
use super::routes::{json, problem, wrong_method};
use crate::engine::Runs;
use crate::engine::bench::result::BenchResult;
use crate::engine::bench::service::{Request, StartError, Status};
use crate::engine::state::StateError;

/// The run and the last result.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    /// The run that this daemon started last.
    run: Option<Status>,
    /// The newest result, whoever measured it.
    last: Option<&'a BenchResult>,
}

pub(super) fn routes(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    let shared = shared.clone();
    warp::path!("api" / "v1" / "bench")
        .and(warp::method())
        .and(warp::body::bytes())
        .then(move |method: Method, body: bytes::Bytes| {
            let runs = shared.runs.clone();
            async move {
                match method {
                    Method::GET => document(StatusCode::OK, &runs),
                    Method::POST => start(&body, runs).await,
                    _ => wrong_method("GET, POST"),
                }
            }
        })
        .boxed()
}

fn document(status: StatusCode, runs: &Runs) -> Response {
    let last = runs.bench.last();
    let document = Document {
        schema: "shvd.bench_status/v1",
        run: runs.bench.status(),
        last: last.as_deref(),
    };
    json(status, &document)
}

async fn start(body: &[u8], runs: Arc<Runs>) -> Response {
    let request: Request = match body {
        b"" => Request::default(),
        body => match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("body: {error}")),
        },
    };
    let begun = runs.clone();
    // Locks and directories are the disk's, which may take its time.
    let started = tokio::task::spawn_blocking(move || begin(&request, &begun)).await;
    match started {
        Ok(Ok(())) => document(StatusCode::ACCEPTED, &runs),
        Ok(Err(error)) => problem(status_of(&error), &error.to_string()),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn begin(request: &Request, runs: &Runs) -> Result<(), StartError> {
    // Before a place for results is made.
    request.rows()?;
    let program = std::env::current_exe().map_err(|error| StateError::Io {
        what: "find",
        path: "shvd itself".into(),
        error,
    })?;
    runs.bench.start(request, program, &runs.state()?)
}

fn status_of(error: &StartError) -> StatusCode {
    match error {
        StartError::Request { .. } => StatusCode::BAD_REQUEST,
        StartError::State(error) => of_state(error),
        StartError::Process { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}
