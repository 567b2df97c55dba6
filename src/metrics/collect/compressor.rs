//! The macOS memory compressor.

use shv_machine::Sample;

use super::Families;
use crate::metrics::table as t;

pub(super) fn collect(sample: &Sample, out: &mut Families) {
    let compressor = &sample.compressor;
    out.put_counts(&[
        (&t::COMPRESSOR_OCCUPIED, compressor.occupied_bytes),
        (&t::COMPRESSOR_STORED, compressor.stored_bytes),
        (&t::COMPRESSOR_INPUT, compressor.input_bytes),
        (&t::COMPRESSOR_COMPRESSED, compressor.compressed_bytes),
        (&t::COMPRESSOR_USED, compressor.used_bytes),
        (&t::COMPRESSOR_SEGMENT_PAGES, compressor.segment_pages),
        (&t::COMPRESSOR_SEGMENT_LIMIT, compressor.segment_pages_limit),
        (&t::COMPRESSOR_EARLY_30, compressor.swapouts_under_30s),
        (&t::COMPRESSOR_EARLY_60, compressor.swapouts_under_60s),
        (&t::COMPRESSOR_EARLY_300, compressor.swapouts_under_300s),
        (&t::COMPRESSOR_THRASHING, compressor.swapout_thrashing),
    ]);
}
