//! `GET`, `POST` and `DELETE /api/v1/reservations[/ID]`: what is promised to launches.
//!
//! `POST` takes `{"model", "bytes", "ttl_seconds", "pid"}`: what `shvplan gate --reserve` sends, which has planned the
//! model itself, local files included. It is granted where it fits beside what is reserved.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use shv_machine::headroom::Headroom;
use shv_machine::sample::{PressureLevel, Sample};
use shvplan::budget::Limits;
use shvplan::gate::{self, Now, Pressed};
use warp::http::StatusCode;
use warp::reply::Response;

use super::gate::{read_machine, wired_limit};
use super::question::{Refusal as Refused, bad};
use super::routes::{fresh, json, problem};
use super::{Shared, away};
use crate::reservations::{Denied, Refusal, View, Wish};

/// The longest name of a model.
const NAME_BYTES_MAX: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    model: String,
    bytes: u64,
    ttl_seconds: u64,
    #[serde(default)]
    pid: Option<u32>,
}

/// What there is to reserve from.
pub(super) struct Room {
    pub(super) sample: Sample,
    pub(super) age_seconds: f64,
    pub(super) now: Now,
}

/// What the latest reading leaves; else a code and a sentence that say why there is none.
pub(super) fn room(shared: &Shared, reserved_bytes: u64) -> Result<Room, (&'static str, String)> {
    let (reading, is_fresh) = fresh(shared);
    let sample = match &reading.outcome {
        Ok(sample) if is_fresh => sample.clone(),
        Ok(_) => return Err(("reading_stale", "the latest sample is stale".to_owned())),
        Err(error) => return Err(("reading_failed", error.to_string())),
    };
    let takeable = Headroom::of(&sample).takeable_bytes().ok_or((
        "reading_incomplete",
        "the reading lacks what is free, file-backed or purgeable".to_owned(),
    ))?;
    let pressed = match sample.pressure.level {
        Some(PressureLevel::Critical) => Pressed::Critical,
        Some(PressureLevel::Warning) => Pressed::Warning,
        Some(PressureLevel::Normal) | None => Pressed::No,
    };
    Ok(Room {
        age_seconds: sample.age(std::time::SystemTime::now()).as_secs_f64(),
        sample,
        now: Now {
            takeable_bytes: takeable,
            reserved_bytes,
            pressed,
        },
    })
}

/// All that live, oldest first.
pub(super) fn list(shared: &Shared) -> Response {
    json(StatusCode::OK, &shared.reservations.shown().reservations)
}

/// One of them.
pub(super) fn one(id: &str, shared: &Shared) -> Response {
    let shown = shared.reservations.shown();
    match shown.reservations.iter().find(|one| one.id == id) {
        Some(view) => json(StatusCode::OK, view),
        None => missing(),
    }
}

fn missing() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "there is no such reservation: it has ended, or never was",
    )
}

/// Reserves, away from the threads that serve.
pub(super) async fn post(body: bytes::Bytes, shared: Arc<Shared>) -> Response {
    away(move || match granted(&body, &shared) {
        Ok(view) => json(StatusCode::CREATED, &view),
        Err((status, why)) => problem(status, &why),
    })
    .await
}

/// Releases, away from the threads that serve.
pub(super) async fn delete(id: String, shared: Arc<Shared>) -> Response {
    away(move || match shared.reservations.desk().release(&id) {
        Some(view) => json(StatusCode::OK, &view),
        None => missing(),
    })
    .await
}

fn granted(body: &[u8], shared: &Shared) -> Result<View, Refused> {
    let wanted: Wanted = serde_json::from_slice(body).map_err(|e| bad("body", e))?;
    let (count_max, ttl_max) = {
        let settings = &shared.settings.borrow().reservations;
        (settings.count_max.count(), settings.ttl_max_s.get())
    };
    if wanted.bytes == 0 {
        return Err(bad(
            "bytes",
            "0 is nothing to reserve: 1 or more is expected",
        ));
    }
    let wish = Wish {
        model: model_name(&wanted.model)?,
        bytes: wanted.bytes,
        ttl: Duration::from_secs(within("ttl_seconds", wanted.ttl_seconds, ttl_max)?),
        pid: wanted.pid,
    };
    let mut desk = shared.reservations.desk();
    let reserved_bytes = desk.reserved_bytes();
    let room =
        room(shared, reserved_bytes).map_err(|(_, why)| (StatusCode::SERVICE_UNAVAILABLE, why))?;
    let (machine, backend) = read_machine(&room.sample, shared);
    let limits = Limits {
        wired_limit_mib: wired_limit(&room.sample),
        ..Limits::default()
    };
    let left = gate::unreserved_bytes(&machine, backend, limits, room.now);
    desk.grant(wish, left.saturating_add(reserved_bytes), count_max)
        .map_err(|why| denied(&why))
}

/// A model's name as it may stand in lists and labels.
pub(super) fn model_name(name: &str) -> Result<String, Refused> {
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
    if is_good {
        return Ok(name.to_owned());
    }
    Err(bad(
        "model",
        format!("a name of 1 to {NAME_BYTES_MAX} bytes without control characters is expected"),
    ))
}

pub(super) fn within(field: &str, seconds: u64, most: u64) -> Result<u64, Refused> {
    if (1..=most).contains(&seconds) {
        return Ok(seconds);
    }
    Err(bad(
        field,
        format!("{seconds} s is out of range: 1 to {most} s are accepted (reservations.ttl_max_s)"),
    ))
}

/// A denial as a status and a sentence.
pub(super) fn denied(why: &Denied) -> Refused {
    let status = match why {
        Denied::Refused(Refusal::Short { .. }) => StatusCode::CONFLICT,
        Denied::Refused(Refusal::TooMany(_)) => StatusCode::TOO_MANY_REQUESTS,
        Denied::NoProcess(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Denied::NotKept(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, why.to_string())
}
