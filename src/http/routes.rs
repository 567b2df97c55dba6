//! What is answered to whom.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream;
use serde::Serialize;
use shv_machine::Sample;
use shv_machine::derived::Derived;
use shv_machine::headroom::Headroom;
use tokio::sync::{oneshot, watch};
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;
use warp::{Filter as _, Reply as _};

use super::accept::said;
use super::{Shared, bench, catalog, gate, page, plan, plans, pressure, processes, reservations};
use crate::history::Stretch;
use crate::metrics::CONTENT_TYPE;
use crate::sampler::Reading;

/// How long a reload may take before the caller is told so.
const RELOAD_TIME_MAX: Duration = Duration::from_secs(10);

/// What the path of one reservation begins with.
const RESERVATION: &str = "/api/v1/reservations/";

/// Points of a history where the caller asks for no number: enough to draw, some 200 kB where all would be 1.2 MB.
const POINTS: usize = 600;

/// A comment is sent to followers after this long without a reading.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// All routes as one filter.
pub(super) fn all(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    let with = {
        let shared = shared.clone();
        warp::any().map(move || shared.clone())
    };
    // First of all, since it is asked for most: it tries no other route on its way.
    let scrapes = warp::get()
        .and(warp::path!("metrics"))
        .and(with.clone())
        .map(|shared: Arc<Shared>| metrics(&shared));
    let get = warp::get()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(with.clone())
        .map(
            |path: warp::path::FullPath, query: String, shared: Arc<Shared>| {
                answer(path.as_str(), &query, &shared)
            },
        );
    let plans = warp::post()
        .and(warp::path!("api" / "v1" / "plan"))
        .and(warp::body::bytes())
        .map(|body: bytes::Bytes| plan::answer(&body));
    let gates = warp::post()
        .and(warp::path!("api" / "v1" / "gate"))
        .and(warp::body::bytes())
        .and(with.clone())
        .then(gate::respond);
    let reserve = warp::post()
        .and(warp::path!("api" / "v1" / "reservations"))
        .and(warp::body::bytes())
        .and(with.clone())
        .then(reservations::post);
    let release = warp::delete()
        .and(warp::path!("api" / "v1" / "reservations" / String))
        .and(with.clone())
        .then(reservations::delete);
    let largest = warp::get()
        .and(warp::path!("api" / "v1" / "processes"))
        .and(with.clone())
        .then(processes::respond);
    let reload = warp::post()
        .and(warp::path!("-" / "reload"))
        .and(with)
        .then(reload);
    scrapes
        .or(plans)
        .unify()
        .or(gates)
        .unify()
        .or(reserve)
        .unify()
        .or(release)
        .unify()
        .or(largest)
        .unify()
        .or(reload)
        .unify()
        .or(pressure::routes(shared))
        .unify()
        .or(bench::routes(shared))
        .unify()
        .or(get)
        .unify()
        .or(warp::any().map(other))
        .unify()
        .boxed()
}

fn answer(path: &str, query: &str, shared: &Arc<Shared>) -> Response {
    match path {
        "/" => page::answer("index.html"),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(shared),
        "/api/v1/memory" => memory(shared),
        "/api/v1/history" => history(query, shared),
        "/api/v1/events" => events(shared),
        "/api/v1/catalog" => catalog::answer(),
        "/api/v1/plans" => plans::answer(shared),
        "/api/v1/reservations" => reservations::list(shared),
        "/api/v1/plan" | "/api/v1/gate" | "/-/reload" => wrong_method("POST"),
        path if path.starts_with(RESERVATION) => {
            reservations::one(&path[RESERVATION.len()..], shared)
        }
        _ => match path.strip_prefix("/page/") {
            Some(name) => page::answer(name),
            None => not_found(),
        },
    }
}

pub(super) fn not_found() -> Response {
    text(
        StatusCode::NOT_FOUND,
        "not found: /, /metrics, /healthz, /readyz and /api/v1/memory are here\n",
    )
}

/// Whatever no route takes: another method on a path that is, or a path that is not.
fn other() -> Response {
    wrong_method("GET")
}

pub(super) fn wrong_method(allowed: &'static str) -> Response {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method is not accepted here\n",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    warp::reply::with_status(body.into(), status).into_response()
}

/// A document, not to be kept by caches.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = warp::reply::with_status(warp::reply::json(value), status).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

/// An error as a document.
pub(super) fn problem(status: StatusCode, why: &str) -> Response {
    json(status, &Problem { error: why })
}

fn metrics(shared: &Shared) -> Response {
    match shared.exposition.encode() {
        Ok(body) => {
            let mut response = body.into_response();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
            response
        }
        Err(error) => {
            tracing::error!("metrics could not be written: {error}");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics could not be written; the log says why\n",
            )
        }
    }
}

pub(super) fn fresh(shared: &Shared) -> (Arc<Reading>, bool) {
    let reading = shared.readings.borrow().clone();
    let stale_after = Duration::from_millis(shared.settings.borrow().sampling.stale_after_ms.get());
    let is_fresh = reading.fresh(Instant::now(), stale_after).is_some();
    (reading, is_fresh)
}

fn ready(shared: &Shared) -> Response {
    let (reading, is_fresh) = fresh(shared);
    if is_fresh {
        return text(StatusCode::OK, "ready\n");
    }
    let why = reading.outcome.as_ref().err().map_or_else(
        || "the latest sample is stale".to_owned(),
        ToString::to_string,
    );
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {why}\n"),
    )
}

/// A sample with what it implies.
#[derive(Serialize)]
struct Memory<'a> {
    schema: &'static str,
    age_seconds: f64,
    /// Promised to launches and not in use yet: no part of what is free for others.
    reserved_bytes: u64,
    sample: &'a Sample,
    headroom: Headroom,
    derived: Derived,
}

impl<'a> Memory<'a> {
    fn of(sample: &'a Sample, shared: &Shared) -> Self {
        Self {
            schema: "shvd.memory/v1",
            age_seconds: sample.age(SystemTime::now()).as_secs_f64(),
            reserved_bytes: shared.reservations.shown().reserved_bytes,
            sample,
            headroom: Headroom::of(sample),
            derived: Derived::of(sample),
        }
    }
}

fn memory(shared: &Shared) -> Response {
    let (reading, is_fresh) = fresh(shared);
    match &reading.outcome {
        Ok(sample) if is_fresh => json(StatusCode::OK, &Memory::of(sample, shared)),
        Ok(_) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the latest sample is stale",
        ),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn history(query: &str, shared: &Shared) -> Response {
    let Some((stretch, most)) = stretch_of(query) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "stretch=hour or stretch=day is expected, and points= with the most points that are wanted, 1 or more",
        );
    };
    let points = shared
        .history
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .points(stretch, most);
    json(StatusCode::OK, &points)
}

/// The stretch and the most points that a query asks for.
fn stretch_of(query: &str) -> Option<(Stretch, usize)> {
    let (mut stretch, mut most) = (Stretch::Hour, POINTS);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("stretch", "hour") => stretch = Stretch::Hour,
            ("stretch", "day") => stretch = Stretch::Day,
            ("points", number) => most = number.parse().ok().filter(|n| *n > 0)?,
            _ => return None,
        }
    }
    Some((stretch, most))
}

/// Counts a follower for as long as its stream lives.
struct Follower {
    shared: Arc<Shared>,
    readings: watch::Receiver<Arc<Reading>>,
    ended: watch::Receiver<bool>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn events(shared: &Arc<Shared>) -> Response {
    let most = shared.settings.borrow().limits.event_streams_max.get();
    let before = shared.followers.fetch_add(1, Ordering::Relaxed);
    let mut follower = Follower {
        shared: shared.clone(),
        readings: shared.readings.clone(),
        ended: shared.ended.clone(),
    };
    if before as u64 >= most {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "as many followers as limits.event_streams_max allows are there already",
        );
    }
    // The first event is what is known now.
    follower.readings.mark_changed();
    let readings = stream::unfold(follower, |mut follower| async move {
        tokio::select! {
            changed = follower.readings.changed() => changed.ok()?,
            () = said(&mut follower.ended) => return None,
        }
        let reading = follower.readings.borrow_and_update().clone();
        let event = match &reading.outcome {
            Ok(sample) => warp::sse::Event::default()
                .event("sample")
                .json_data(Memory::of(sample, &follower.shared)),
            Err(error) => warp::sse::Event::default()
                .event("failure")
                .json_data(Problem {
                    error: &error.to_string(),
                }),
        };
        let event = event.unwrap_or_else(|_| warp::sse::Event::default().comment("not shown"));
        Some((Ok::<_, Infallible>(event), follower))
    });
    // Readings may come more rarely than a connection may stand still.
    let idle = Duration::from_millis(shared.settings.borrow().limits.idle_time_ms.get());
    let kept_alive = warp::sse::keep_alive().interval(KEEP_ALIVE.min(idle / 2));
    let mut response = warp::sse::reply(kept_alive.stream(readings)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn reload(shared: Arc<Shared>) -> Response {
    let (answer, answered) = oneshot::channel();
    if shared.reload.send(answer).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the server is ending");
    }
    match tokio::time::timeout(RELOAD_TIME_MAX, answered).await {
        Ok(Ok(Ok(()))) => text(StatusCode::OK, "settings were read and are in force\n"),
        Ok(Ok(Err(why))) => problem(StatusCode::BAD_REQUEST, &why),
        Ok(Err(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, "the server is ending"),
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "reading the settings takes long; the log will say how it went",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_has_so_many_points_where_none_are_asked_for() {
        assert_eq!(stretch_of(""), Some((Stretch::Hour, POINTS)));
        assert_eq!(stretch_of("stretch=day"), Some((Stretch::Day, POINTS)));
        let all = stretch_of("stretch=day&points=5760");
        assert_eq!(all, Some((Stretch::Day, 5760)));
        for refused in ["stretch=week", "points=0", "points=-1", "points", "x=1"] {
            assert_eq!(stretch_of(refused), None, "{refused}");
        }
    }
}
