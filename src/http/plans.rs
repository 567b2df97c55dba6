//! `GET /api/v1/plans`: the plans of the settings, each held against the latest sample.

use serde::Serialize;
use shv_machine::Sample;
use warp::http::StatusCode;
use warp::reply::Response;

use super::Shared;
use super::routes::{fresh, json};
use crate::plans::Planned;

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    model: &'a str,
    quantization: &'a str,
    watch: Option<&'a str>,
    weights_bytes: u64,
    cache_bytes: u64,
    peak_bytes: u64,
    peak_low_bytes: u64,
    peak_high_bytes: u64,
    /// Whether it could be started now; null without a fresh sample.
    fits: Option<bool>,
    /// From the expected peak to the lowest ceiling, what is free included.
    headroom_bytes: Option<i64>,
    /// What the processes of its watch take together.
    actual_bytes: Option<u64>,
}

impl<'a> Row<'a> {
    fn of(plan: &'a Planned, sample: Option<&Sample>, reserved_bytes: u64) -> Self {
        let now = sample.and_then(|sample| plan.now(sample, reserved_bytes));
        Self {
            name: &plan.name,
            model: &plan.model,
            quantization: &plan.quant,
            watch: plan.watch.as_deref(),
            weights_bytes: plan.weights_bytes,
            cache_bytes: plan.cache_bytes,
            peak_bytes: plan.peak_bytes,
            peak_low_bytes: plan.peak_low_bytes,
            peak_high_bytes: plan.peak_high_bytes,
            fits: now.map(|now| now.fits),
            headroom_bytes: now.map(|now| now.headroom_bytes),
            actual_bytes: sample.and_then(|sample| taken(plan, sample)),
        }
    }
}

/// What the processes of a plan's watch take; none where no process is seen.
fn taken(plan: &Planned, sample: &Sample) -> Option<u64> {
    let watch = plan.watch.as_deref()?;
    sample
        .processes
        .iter()
        .filter(|process| process.watch.as_deref() == Some(watch))
        .filter_map(|process| process.footprint_bytes)
        .reduce(u64::saturating_add)
}

pub(super) fn answer(shared: &Shared) -> Response {
    let settings = shared.settings.borrow().clone();
    let (reading, is_fresh) = fresh(shared);
    let sample = reading.outcome.as_ref().ok().filter(|_| is_fresh);
    let reserved_bytes = shared.reservations.shown().reserved_bytes;
    let rows: Vec<Row<'_>> = settings
        .planned
        .iter()
        .map(|plan| Row::of(plan, sample, reserved_bytes))
        .collect();
    json(StatusCode::OK, &rows)
}
