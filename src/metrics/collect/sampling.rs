//! How the readings go. It has something to say also when they fail.

use super::{Families, Scrape, Success};
use crate::metrics::table as t;

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let reading = scrape.reading;
    let flag = |set: bool| f64::from(u8::from(set));
    out.put(&t::SAMPLE_SUCCESS, Some(flag(scrape.sample.is_some())));
    if reading.sequence > 0 {
        let age = scrape.now.saturating_duration_since(reading.ended_at);
        out.put(&t::SAMPLE_AGE, Some(age.as_secs_f64()));
        out.put(&t::SAMPLE_DURATION, Some(reading.duration.as_secs_f64()));
    }
    out.put(
        &t::SAMPLE_TIME,
        scrape.sample.map(|sample| sample.taken_at_unix_seconds),
    );
    if cfg!(target_os = "macos") {
        out.put(
            &t::SAMPLE_CACHED,
            scrape.sample.map(|sample| flag(sample.kernel_cached)),
        );
    }
    out.put_count(&t::SAMPLES, Some(reading.sequence));
    let failures = reading.failures;
    let rows = [
        (["source"], failures.source as f64),
        (["timeout"], failures.timeout as f64),
        (["went_back"], failures.went_back as f64),
    ];
    out.put_labelled(&t::SAMPLE_FAILURES, rows);
    scrape.sample.is_some()
}
