//! `GET /api/v1/processes`: the largest processes of this machine, largest first; of a recording, those it has.

use std::sync::Arc;

use serde::Serialize;
use shv_machine::footprints;
use shv_machine::sample::Process;
use warp::http::StatusCode;
use warp::reply::Response;

use super::gate::is_this_computer;
use super::routes::{fresh, json};
use super::{Shared, away};

/// How many are told.
const PROCESSES_MAX: usize = 20;

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    processes: Vec<Process>,
}

pub(super) async fn respond(shared: Arc<Shared>) -> Response {
    away(move || {
        let processes = if is_this_computer(&shared) {
            footprints::largest(PROCESSES_MAX)
        } else {
            recorded(&shared)
        };
        let answer = Answer {
            schema: "shvd.processes/v1",
            processes,
        };
        json(StatusCode::OK, &answer)
    })
    .await
}

fn recorded(shared: &Shared) -> Vec<Process> {
    let (reading, _) = fresh(shared);
    let mut processes = match &reading.outcome {
        Ok(sample) => sample.processes.clone(),
        Err(_) => Vec::new(),
    };
    processes.sort_by_key(|process| std::cmp::Reverse(process.footprint_bytes));
    processes.dedup_by_key(|process| process.pid);
    processes.truncate(PROCESSES_MAX);
    processes
}
