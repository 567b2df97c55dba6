//! Watched processes.

use shv_machine::sample::Process;

use super::{Families, Scrape, Success};
use crate::metrics::table::{self as t, Metric};

/// A figure of a process, where it is told.
type Figure = fn(&Process) -> Option<u64>;

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let Some(sample) = scrape.sample else {
        return false;
    };
    let processes: Vec<_> = sample
        .processes
        .iter()
        .map(|process| (process, process.pid.to_string()))
        .collect();
    let watched_by = |process: &Process, label: &str| process.watch.as_deref() == Some(label);
    out.put_labelled(
        &t::WATCH_FOUND,
        scrape.settings.watch.iter().map(|watch| {
            let found = sample
                .processes
                .iter()
                .filter(|process| watched_by(process, &watch.label))
                .count();
            ([watch.label.as_str()], found as f64)
        }),
    );
    let rows: [(&Metric, Figure); 4] = [
        (&t::PROCESS_FOOTPRINT, |process| process.footprint_bytes),
        (&t::PROCESS_PEAK, |process| process.peak_footprint_bytes),
        (&t::PROCESS_RESIDENT, |process| process.resident_bytes),
        (&t::PROCESS_COMPRESSED, |process| process.compressed_bytes),
    ];
    for (metric, value) in rows {
        let series = processes.iter().filter_map(|(process, pid)| {
            let labels = [
                process.watch.as_deref().unwrap_or_default(),
                &process.name,
                pid,
            ];
            Some((labels, value(process)? as f64))
        });
        out.put_labelled(metric, series);
    }
    true
}
