//! node_exporter's names, for dashboards and alerts that were written for it. They show figures of the same sample as
//! the names of this project.

use shv_machine::Sample;

use super::Families;
use crate::metrics::table as t;

pub(super) fn collect_meminfo(sample: &Sample, out: &mut Families) {
    let (memory, swap, counters) = (&sample.memory, &sample.swap, &sample.counters);
    // The two systems share no name there, and a sample with wired memory comes from macOS.
    if memory.wired_bytes.is_none() {
        let swap_free = swap
            .total_bytes
            .zip(swap.used_bytes)
            .map(|(total, used)| total.saturating_sub(used));
        out.put_counts(&[
            (&t::NODE_MEM_TOTAL, memory.total_bytes),
            (&t::NODE_MEM_FREE, memory.free_bytes),
            (&t::NODE_MEM_AVAILABLE, memory.available_bytes),
            (&t::NODE_BUFFERS, memory.buffers_bytes),
            (&t::NODE_CACHED, memory.cached_bytes),
            (&t::NODE_ACTIVE, memory.active_bytes),
            (&t::NODE_INACTIVE, memory.inactive_bytes),
            (&t::NODE_ANON, memory.anonymous_bytes),
            (&t::NODE_SHMEM, memory.shared_bytes),
            (&t::NODE_SRECLAIMABLE, memory.slab_reclaimable_bytes),
            (&t::NODE_SUNRECLAIM, memory.slab_unreclaimable_bytes),
            (&t::NODE_UNEVICTABLE, memory.unevictable_bytes),
            (&t::NODE_SWAP_TOTAL, swap.total_bytes),
            (&t::NODE_SWAP_FREE, swap_free),
        ]);
        return;
    }
    let page = sample.page_size_bytes;
    let bytes = |pages: Option<u64>| Some(pages?.saturating_mul(page?));
    let free = memory
        .free_bytes
        .map(|free| free + memory.speculative_bytes.unwrap_or(0));
    out.put_counts(&[
        (&t::NODE_MAC_TOTAL, memory.total_bytes),
        (&t::NODE_MAC_FREE, free),
        (&t::NODE_MAC_ACTIVE, memory.active_bytes),
        (&t::NODE_MAC_INACTIVE, memory.inactive_bytes),
        (&t::NODE_MAC_WIRED, memory.wired_bytes),
        (&t::NODE_MAC_PURGEABLE, memory.purgeable_bytes),
        (&t::NODE_MAC_INTERNAL, memory.anonymous_bytes),
        (&t::NODE_MAC_COMPRESSED, sample.compressor.occupied_bytes),
        (&t::NODE_MAC_SWAPPED_IN, bytes(counters.swapins)),
        (&t::NODE_MAC_SWAPPED_OUT, bytes(counters.swapouts)),
        (&t::NODE_MAC_SWAP_TOTAL, swap.total_bytes),
        (&t::NODE_MAC_SWAP_USED, swap.used_bytes),
    ]);
}

pub(super) fn collect_vmstat(sample: &Sample, out: &mut Families) {
    let counters = &sample.counters;
    out.put_counts(&[
        (&t::NODE_PGFAULT, counters.faults),
        (&t::NODE_PGMAJFAULT, counters.major_faults),
        (&t::NODE_PGPGIN, counters.block_in_kibibytes),
        (&t::NODE_PGPGOUT, counters.block_out_kibibytes),
        (&t::NODE_PSWPIN, counters.swapins),
        (&t::NODE_PSWPOUT, counters.swapouts),
        (&t::NODE_OOM_KILL, counters.oom_kills),
    ]);
}
