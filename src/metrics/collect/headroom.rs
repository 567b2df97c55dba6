//! How far the machine is from trouble, and what its figures imply.

use shv_machine::Sample;
use shv_machine::derived::Derived;
use shv_machine::headroom::{Distance, Headroom};

use super::Families;
use crate::metrics::table::{self as t, Metric};

pub(super) fn collect(sample: &Sample, out: &mut Families) {
    let (headroom, derived) = (Headroom::of(sample), Derived::of(sample));
    out.put_counts(&[
        (&t::RECLAIMABLE, headroom.reclaimable_bytes),
        (&t::APP, derived.app_bytes),
        (&t::USED, derived.used_bytes),
        (&t::CACHED_FILES, derived.cached_files_bytes),
    ]);
    out.put(&t::COMPRESSION_RATIO, derived.compression_ratio);
    distance(&t::TO_WARNING, headroom.to_warning, out);
    distance(&t::TO_CRITICAL, headroom.to_critical, out);
}

fn distance(metric: &'static Metric, distance: Option<Distance>, out: &mut Families) {
    if let Some(distance) = distance {
        let rows = [
            (["low"], distance.low_bytes as f64),
            (["expected"], distance.expected_bytes as f64),
            (["high"], distance.high_bytes as f64),
        ];
        out.put_labelled(metric, rows);
    }
}
