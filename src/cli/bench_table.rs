//! The lines that `shvd bench` prints.

use crate::engine::backend::DeviceInfo;
use crate::engine::bench::advice::Advice;
use crate::engine::bench::compare::Change;
use crate::engine::bench::result::{MachineLimits, Row};

const NAME: usize = 28;

/// What stands above the rows.
pub(super) fn heading(device: &DeviceInfo, limits: &MachineLimits) -> String {
    let library = device
        .library
        .as_deref()
        .map_or_else(String::new, |library| format!(" · {library}"));
    let source = limits
        .source
        .as_deref()
        .unwrap_or("unknown: no floor, no check of rates");
    format!(
        "{}{library}\nlimits: {source}\nbaseline: M4 Pro, 48 GB, MLX 0.26.5; ratio above 1 is faster than it\n\n\
         {:<NAME$}{:>11}{:>9}{:>11}{:>18}{:>10}{:>7}  ",
        device.name, "", "median ms", "±95 %", "floor ms", "rate", "base ms", "ratio"
    )
}

/// One row.
pub(super) fn row(row: &Row) -> String {
    let name = &row.name;
    let Some(timing) = row.timing else {
        return format!(
            "{name:<NAME$}{:>11}  {}",
            "–",
            row.left_out.as_deref().unwrap_or_default()
        );
    };
    let half = (timing.high_seconds - timing.low_seconds) / 2.0 / timing.median_seconds * 100.0;
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{value:.digits$}"))
    };
    let mut notes = Vec::new();
    if let Some(check) = row.check.filter(|check| !check.passed()) {
        notes.push(format!(
            "WRONG: error {:.1e}, allowed {:.0e}",
            check.error_max, check.tolerance
        ));
    }
    if row.above_limit {
        notes.push(
            "above the machine's limit: a cache held the data, or the clock is wrong".to_owned(),
        );
    }
    let rate = match (
        row.samples_per_second(),
        row.flops_per_second(),
        row.bytes_per_second(),
    ) {
        (Some(samples), ..) => format!("{samples:.0} sample/s"),
        (_, Some(_), Some(bytes)) if row.work.flops < 16 * row.work.bytes => giga(bytes, "B/s"),
        (_, Some(flops), _) => giga(flops, "FLOPS"),
        (_, _, Some(bytes)) => giga(bytes, "B/s"),
        _ => String::new(),
    };
    format!(
        "{name:<NAME$}{:>11.4}{half:>8.1}%{:>11}{rate:>18}{:>10}{:>7}  {}",
        timing.median_seconds * 1e3,
        optional(row.floor_seconds.map(|seconds| seconds * 1e3), 4),
        optional(row.baseline_seconds.map(|seconds| seconds * 1e3), 2),
        optional(row.ratio(), 2),
        notes.join("; "),
    )
    .trim_end()
    .to_owned()
}

fn giga(rate: f64, unit: &str) -> String {
    let (value, prefix) = if rate >= 1e12 {
        (rate / 1e12, "T")
    } else {
        (rate / 1e9, "G")
    };
    format!("{value:.1} {prefix}{unit}")
}

/// One recommendation.
pub(super) fn advice(advice: &Advice) -> String {
    let Advice {
        recommendation,
        with,
        without,
        ..
    } = advice;
    let found = match (advice.gain, advice.significant) {
        (Some(gain), true) => format!("{gain:.2}× as fast"),
        (Some(gain), false) => format!("no difference beyond chance ({gain:.2}×)"),
        (None, _) => format!(
            "not measured: {}",
            advice.left_out.as_deref().unwrap_or_default()
        ),
    };
    format!("{recommendation:<24}{with} beside {without}: {found}")
}

/// One compared row.
pub(super) fn change(change: &Change, regression: bool) -> String {
    let verdict = match (regression, change.significant) {
        (true, _) => "REGRESSION",
        (false, true) => "changed",
        (false, false) => "within chance",
    };
    format!(
        "{:<NAME$}{:>8.3}× the earlier time  {verdict}",
        change.name, change.ratio
    )
}
