//! Paging events since boot.

use shv_machine::Sample;

use super::Families;
use crate::metrics::table as t;

pub(super) fn collect(sample: &Sample, out: &mut Families) {
    let counters = &sample.counters;
    let bytes = |kibibytes: Option<u64>| kibibytes.map(|count| count.saturating_mul(1024));
    out.put_counts(&[
        (&t::VM_PAGEINS, counters.pageins),
        (&t::VM_PAGEOUTS, counters.pageouts),
        (&t::VM_SWAPINS, counters.swapins),
        (&t::VM_SWAPOUTS, counters.swapouts),
        (&t::VM_FAULTS, counters.faults),
        (&t::VM_MAJOR_FAULTS, counters.major_faults),
        (&t::VM_COW_FAULTS, counters.cow_faults),
        (&t::VM_ZERO_FILLS, counters.zero_fills),
        (&t::VM_REACTIVATIONS, counters.reactivations),
        (&t::VM_PURGES, counters.purges),
        (&t::VM_COMPRESSIONS, counters.compressions),
        (&t::VM_DECOMPRESSIONS, counters.decompressions),
        (&t::VM_TAGGED_COMPRESSIONS, counters.tagged_compressions),
        (&t::VM_TAGGED_DECOMPRESSIONS, counters.tagged_decompressions),
        (
            &t::VM_SPECULATIVE_CREATED,
            counters.speculative_pages_created,
        ),
        (
            &t::VM_SPECULATIVE_ACTIVATED,
            counters.speculative_pages_activated,
        ),
        (&t::VM_OOM_KILLS, counters.oom_kills),
        (&t::VM_BLOCK_IN, bytes(counters.block_in_kibibytes)),
        (&t::VM_BLOCK_OUT, bytes(counters.block_out_kibibytes)),
    ]);
}
