//! Configured plans: what each model needs, whether it fits now, and what its process really takes.

use shv_machine::sample::Process;

use super::{Families, Scrape, Success};
use crate::metrics::table::{self as t, Metric};
use crate::plans::Planned;

/// A figure of a plan.
type Figure = fn(&Planned) -> u64;

/// A figure of a process, where it is told.
type Actual = fn(&Process) -> Option<u64>;

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let plans = &scrape.settings.planned;
    let labels = |plan: &'_ Planned| [plan.name.clone(), plan.model.clone(), plan.quant.clone()];
    let named: Vec<_> = plans.iter().map(|plan| (plan, labels(plan))).collect();
    let rows: [(&Metric, Figure); 5] = [
        (&t::PLAN_WEIGHTS, |plan| plan.weights_bytes),
        (&t::PLAN_CACHE, |plan| plan.cache_bytes),
        (&t::PLAN_PEAK, |plan| plan.peak_bytes),
        (&t::PLAN_PEAK_LOW, |plan| plan.peak_low_bytes),
        (&t::PLAN_PEAK_HIGH, |plan| plan.peak_high_bytes),
    ];
    for (metric, figure) in rows {
        out.put_labelled(
            metric,
            named
                .iter()
                .map(|(plan, [a, b, c])| ([a.as_str(), b, c], figure(plan) as f64)),
        );
    }
    let Some(sample) = scrape.sample else {
        return plans.is_empty();
    };
    let reserved_bytes = scrape.reserved.reserved_bytes;
    let now: Vec<_> = named
        .iter()
        .filter_map(|(plan, labels)| Some((plan, labels, plan.now(sample, reserved_bytes)?)))
        .collect();
    out.put_labelled(
        &t::PLAN_FITS,
        now.iter()
            .map(|(_, [a, b, c], now)| ([a.as_str(), b, c], f64::from(u8::from(now.fits)))),
    );
    out.put_labelled(
        &t::PLAN_HEADROOM,
        now.iter()
            .map(|(_, [a, b, c], now)| ([a.as_str(), b, c], now.headroom_bytes as f64)),
    );
    let actual = |plan: &Planned, figure: Actual| {
        let watch = plan.watch.as_deref()?;
        let found: Vec<u64> = sample
            .processes
            .iter()
            .filter(|p| p.watch.as_deref() == Some(watch))
            .filter_map(figure)
            .collect();
        if found.is_empty() {
            None
        } else {
            Some(found.iter().sum::<u64>() as f64)
        }
    };
    let rows: [(&Metric, Actual); 2] = [
        (&t::PLAN_ACTUAL, |p| p.footprint_bytes),
        (&t::PLAN_ACTUAL_PEAK, |p| p.peak_footprint_bytes),
    ];
    for (metric, figure) in rows {
        out.put_labelled(
            metric,
            named
                .iter()
                .filter_map(|(plan, [a, b, c])| Some(([a.as_str(), b, c], actual(plan, figure)?))),
        );
    }
    true
}
