//! Reservations: what is promised, and what became of promises.

use std::collections::BTreeMap;

use super::{Families, Scrape, Success};
use crate::metrics::table as t;

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let shown = scrape.reserved;
    out.put_count(&t::RESERVED, Some(shown.reserved_bytes));
    out.put_count(
        &t::RESERVATIONS_LIVING,
        Some(shown.reservations.len() as u64),
    );
    // Names of reservations would be new series each; models come again.
    let mut models: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for one in &shown.reservations {
        let (bytes, remaining) = models.entry(&one.model).or_default();
        *bytes = bytes.saturating_add(one.bytes);
        *remaining = remaining.saturating_add(one.remaining_bytes);
    }
    let bytes = models.iter().map(|(&model, row)| ([model], row.0 as f64));
    out.put_labelled(&t::RESERVATION_BYTES, bytes);
    let remaining = models.iter().map(|(&model, row)| ([model], row.1 as f64));
    out.put_labelled(&t::RESERVATION_REMAINING, remaining);
    let counts = shown.counts;
    let events = [
        ("granted", counts.granted),
        ("refused", counts.refused),
        ("expired", counts.expired),
        ("released", counts.released),
        ("process_ended", counts.process_ended),
        ("set_aside", counts.set_aside),
    ];
    out.put_labelled(
        &t::RESERVATION_EVENTS,
        events.iter().map(|&(event, count)| ([event], count as f64)),
    );
    true
}
