//! `POST /api/v1/gate`: may a model be started now? `shvplan gate`'s decision, for a model of the catalog or one
//! described in the request, against the latest reading; with `reserve`, a yes is kept for that long.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shv_machine::footprints;
use shv_machine::hardware::Hardware;
use shv_machine::sample::{Process, Sample};
use shvplan::budget::{self, Backend, Limits, Machine};
use shvplan::gate::{self, About, Decision, PROGRAMS_MAX, Program};
use shvplan::plan::Request;
use shvplan::units::{MIB, parse_seconds};
use shvplan::verdict::MARGIN_BYTES;
use warp::http::StatusCode;
use warp::reply::Response;

use super::Shared;
use super::question::{self, Asked, Refusal, bad};
use super::reservations::{denied, model_name, room};
use super::routes::{json as document, problem};
use crate::config::SourceKind;
use crate::reservations::{Desk, Wish};

/// Decides. May wait for another decision and for the disk.
pub(super) fn answer(body: &[u8], shared: &Shared) -> Response {
    match decided(body, shared) {
        Ok(response) => response,
        Err((status, why)) => problem(status, &why),
    }
}

/// What this route takes beside a question.
struct Wanted {
    allow_tight: bool,
    /// Seconds.
    reserve: Option<u64>,
    pid: Option<u32>,
}

fn decided(body: &[u8], shared: &Shared) -> Result<Response, Refusal> {
    let mut body = question::object(body)?;
    let wanted = Wanted {
        allow_tight: question::take(&mut body, "allow_tight")?.unwrap_or(false),
        reserve: question::take::<Value>(&mut body, "reserve")?
            .filter(|value| !value.is_null())
            .map(|value| seconds(&value, shared))
            .transpose()?,
        pid: question::take(&mut body, "pid")?,
    };
    let asked = question::asked(body)?;
    let mut desk = shared.reservations.desk();
    // After the desk was had: a later reading may show what reservations turned into, an earlier one may not.
    let room = match room(shared, desk.reserved_bytes()) {
        Ok(room) => room,
        Err((code, why)) => return Ok(shut(code, &why)),
    };
    let (machine, backend) = machine(&asked, &room.sample, shared);
    let request = Request {
        model: &asked.model,
        scheme: &asked.scheme,
        workload: asked.workload,
        machine: &machine,
        backend,
        limits: Limits {
            wired_limit_mib: asked.limits.wired_limit_mib.or(wired_limit(&room.sample)),
            ..asked.limits
        },
        margin_bytes: MARGIN_BYTES,
    };
    let decision = gate::decide(&request, room.now)
        .map_err(|e| (StatusCode::UNPROCESSABLE_ENTITY, e.to_string()))?;
    let reservation = reserve(&mut desk, &wanted, &asked, &decision, shared)?;
    drop(desk);
    let close = if decision.is_short_of_memory() {
        largest(&room.sample, shared)
    } else {
        Vec::new()
    };
    let about = About {
        subject: &asked.subject,
        scheme: &asked.scheme,
        allow_tight: wanted.allow_tight,
        origin: "this daemon",
        age_seconds: room.age_seconds,
    };
    let mut told = gate::document(about, &decision, &close);
    if let Some(reservation) = reservation {
        told["reservation"] = reservation;
    }
    Ok(document(StatusCode::OK, &told))
}

fn seconds(value: &Value, shared: &Shared) -> Result<u64, Refusal> {
    let most = shared.settings.borrow().reservations.ttl_max_s.get();
    let seconds = match value {
        Value::String(text) => parse_seconds(text).map_err(|why| bad("reserve", why))?,
        value => value
            .as_u64()
            .ok_or_else(|| bad("reserve", "a time such as \"10m\", or seconds, is expected"))?,
    };
    super::reservations::within("reserve", seconds, most)
}

fn reserve(
    desk: &mut Desk<'_>,
    wanted: &Wanted,
    asked: &Asked,
    decision: &Decision,
    shared: &Shared,
) -> Result<Option<Value>, Refusal> {
    let Some(seconds) = wanted.reserve else {
        return Ok(None);
    };
    if !decision.is_go(wanted.allow_tight) {
        return Ok(None);
    }
    let wish = Wish {
        model: model_name(&asked.subject.name)?,
        bytes: decision.reserve_bytes(),
        ttl: Duration::from_secs(seconds),
        pid: wanted.pid,
    };
    let count_max = shared.settings.borrow().reservations.count_max.count();
    desk.grant(wish, decision.now.takeable_bytes, count_max)
        .map(|view| Some(json!(view)))
        .map_err(|why| denied(&why))
}

/// Without a fresh reading the gate stays shut.
fn shut(code: &str, why: &str) -> Response {
    let mut told = gate::shut(code, why);
    told["error"] = json!(why);
    document(StatusCode::SERVICE_UNAVAILABLE, &told)
}

/// The machine that is named, else the one that is read.
fn machine(asked: &Asked, sample: &Sample, shared: &Shared) -> (Machine, Backend) {
    match &asked.machine {
        Some(machine) => (machine.clone(), Backend::Metal),
        None => read_machine(sample, shared),
    }
}

/// The machine that is read: this computer where it is one that is known, else the default chip with its memory. A
/// computer without Apple's GPU runs MLX on its processor, where no working set binds.
pub(super) fn read_machine(sample: &Sample, shared: &Shared) -> (Machine, Backend) {
    let this = is_this_computer(shared);
    let named = this.then(|| Hardware::this().machine_name()).flatten();
    if let Some(machine) = named.and_then(|name| budget::find(&name).ok()) {
        return (machine, Backend::Metal);
    }
    let default = budget::default();
    let machine = match sample.memory.total_bytes {
        Some(bytes) => budget::with_memory(&default, bytes),
        None => default,
    };
    let no_gpu = this && cfg!(not(target_os = "macos"));
    (machine, if no_gpu { Backend::Cpu } else { Backend::Metal })
}

/// What the GPU may wire, where the machine was told so.
pub(super) fn wired_limit(sample: &Sample) -> Option<u64> {
    let bytes = sample.limits.gpu_wired_bytes.filter(|&bytes| bytes > 0)?;
    Some(bytes / MIB)
}

pub(super) fn is_this_computer(shared: &Shared) -> bool {
    shared.settings.borrow().source.kind != SourceKind::Replay
}

/// The largest programs: of this computer, or those of a recording.
fn largest(sample: &Sample, shared: &Shared) -> Vec<Program> {
    let processes: Vec<Process> = if is_this_computer(shared) {
        footprints::largest(PROGRAMS_MAX)
    } else {
        sample.processes.clone()
    };
    gate::largest(processes.into_iter().filter_map(|process| {
        Some(Program {
            pid: process.pid,
            name: process.name,
            footprint_bytes: process.footprint_bytes?,
        })
    }))
}

/// As [`answer`], away from the threads that serve.
pub(super) async fn respond(body: bytes::Bytes, shared: Arc<Shared>) -> Response {
    super::away(move || answer(&body, &shared)).await
}
