//! Figures that only newer releases of macOS tell.

use shv_machine::Sample;

use super::Families;
use crate::metrics::table as t;

pub(super) fn collect(sample: &Sample, out: &mut Families) {
    let (tags, detail) = (&sample.tag_storage, &sample.detail);
    out.put_counts(&[
        (&t::TAGS_TOTAL, tags.total_bytes),
        (&t::TAGS_HOLDING, tags.holding_tags_bytes),
        (&t::TAGS_FREE, tags.free_bytes),
        (&t::TAGS_PAGEABLE, tags.nontag_pageable_bytes),
        (&t::TAGS_WIRED, tags.nontag_wired_bytes),
        (&t::TAGGED, tags.tagged_bytes),
        (&t::TAGGED_RESIDENT, tags.tagged_resident_bytes),
        (&t::TAGGED_COMPRESSED, tags.tagged_compressed_bytes),
        (&t::TAGS_COMPRESSED, tags.compressed_tags_bytes),
    ]);
    let fields = [
        ("executable", detail.executable_bytes),
        ("shared_region", detail.shared_region_bytes),
        ("boot_stolen", detail.boot_stolen_bytes),
        ("secluded", detail.secluded_bytes),
        ("active_internal", detail.active_anonymous_bytes),
        ("inactive_internal", detail.inactive_anonymous_bytes),
        ("active_external", detail.active_file_backed_bytes),
        ("inactive_external", detail.inactive_file_backed_bytes),
        ("purgeable_pageable", detail.purgeable_pageable_bytes),
        ("purgeable_wired", detail.purgeable_wired_bytes),
        ("background_internal", detail.background_anonymous_bytes),
        ("background_external", detail.background_file_backed_bytes),
        ("donated", detail.donated_bytes),
        ("realtime", detail.realtime_bytes),
        ("max_mem", detail.managed_bytes),
    ];
    let told = fields
        .into_iter()
        .filter_map(|(field, value)| Some(([field], value? as f64)));
    out.put_labelled(&t::DETAIL, told);
}
