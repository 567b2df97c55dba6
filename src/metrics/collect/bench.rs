//! The latest result of each row of the benchmark.

use super::{Families, Scrape, Success};
use crate::engine::bench::result::Row;
use crate::metrics::table::{self as t, Metric};

/// A figure of a row, where it has one.
type Figure = fn(&Row) -> Option<f64>;

static FIGURES: [(&Metric, Figure); 9] = [
    (&t::BENCH_SECONDS, |row| Some(row.timing?.median_seconds)),
    (&t::BENCH_LOW, |row| Some(row.timing?.low_seconds)),
    (&t::BENCH_HIGH, |row| Some(row.timing?.high_seconds)),
    (&t::BENCH_BASELINE, |row| row.baseline_seconds),
    (&t::BENCH_FLOOR, |row| row.floor_seconds),
    (&t::BENCH_BYTES, Row::bytes_per_second),
    (&t::BENCH_FLOPS, Row::flops_per_second),
    (&t::BENCH_RIGHT, |row| {
        Some(f64::from(u8::from(row.check?.passed())))
    }),
    (&t::BENCH_ABOVE, |row| {
        Some(f64::from(u8::from(row.timing.is_some() && row.above_limit)))
    }),
];

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let service = &scrape.runs.bench;
    let running = service.status().is_some_and(|status| status.running);
    out.put(&t::BENCH_RUNNING, Some(f64::from(u8::from(running))));
    let Some(result) = service.last() else {
        return true;
    };
    out.put(&t::BENCH_TIME, Some(result.measured_at_unix_seconds));
    let backend = result.backend.to_string();
    for (metric, figure) in FIGURES {
        out.put_labelled(
            metric,
            result
                .rows
                .iter()
                .filter_map(|row| Some(([row.name.as_str(), &backend], figure(row)?))),
        );
    }
    true
}
