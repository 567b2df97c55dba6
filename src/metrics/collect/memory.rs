//! Memory by what it is used for, and swap space.

use shv_machine::Sample;

use super::Families;
use crate::metrics::table as t;

pub(super) fn collect(sample: &Sample, out: &mut Families) {
    let (memory, swap) = (&sample.memory, &sample.swap);
    out.put_counts(&[
        (&t::MEMORY_TOTAL, memory.total_bytes),
        (&t::MEMORY_FREE, memory.free_bytes),
        (&t::MEMORY_SPECULATIVE, memory.speculative_bytes),
        (&t::MEMORY_ACTIVE, memory.active_bytes),
        (&t::MEMORY_INACTIVE, memory.inactive_bytes),
        (&t::MEMORY_WIRED, memory.wired_bytes),
        (&t::MEMORY_PURGEABLE, memory.purgeable_bytes),
        (&t::MEMORY_THROTTLED, memory.throttled_bytes),
        (&t::MEMORY_ANONYMOUS, memory.anonymous_bytes),
        (&t::MEMORY_FILE_BACKED, memory.file_backed_bytes),
        (&t::MEMORY_AVAILABLE, memory.available_bytes),
        (&t::MEMORY_CACHED, memory.cached_bytes),
        (&t::MEMORY_BUFFERS, memory.buffers_bytes),
        (&t::MEMORY_SHARED, memory.shared_bytes),
        (&t::MEMORY_SLAB_RECLAIMABLE, memory.slab_reclaimable_bytes),
        (
            &t::MEMORY_SLAB_UNRECLAIMABLE,
            memory.slab_unreclaimable_bytes,
        ),
        (&t::MEMORY_UNEVICTABLE, memory.unevictable_bytes),
        (&t::SWAP_TOTAL, swap.total_bytes),
        (&t::SWAP_USED, swap.used_bytes),
        (&t::SWAPPED, swap.swapped_bytes),
    ]);
}
