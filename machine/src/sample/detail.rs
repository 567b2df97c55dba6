//! Figures that only newer releases of macOS tell: tag storage, and the finer queues.

use serde::{Deserialize, Serialize};

optional_fields! {
    /// Tag storage (macOS 26 and later, chips with memory tagging), in bytes.
    pub struct TagStorage {
        /// Memory set aside for tags.
        total_bytes: u64,
        /// Of it, what holds tags.
        holding_tags_bytes: u64,
        /// Of it, free.
        free_bytes: u64,
        /// Of it, lent out to pageable memory.
        nontag_pageable_bytes: u64,
        /// Of it, lent out to wired memory.
        nontag_wired_bytes: u64,
        /// Tagged memory in all.
        tagged_bytes: u64,
        /// Tagged memory that is resident.
        tagged_resident_bytes: u64,
        /// Tagged memory in the compressor, before compression.
        tagged_compressed_bytes: u64,
        /// Tags in the compressor, after compression.
        compressed_tags_bytes: u64,
    }
}

optional_fields! {
    /// The fields that macOS 27 added to `vm_statistics64`, under the kernel's names, in bytes. Of `swap_count` no header
    /// states the unit, so it is left out.
    pub struct VmDetail {
        /// `executable_count`.
        executable_bytes: u64,
        /// `shared_region_count`.
        shared_region_bytes: u64,
        /// `boot_stolen_count`: taken before the kernel started to count.
        boot_stolen_bytes: u64,
        /// `secluded_count`.
        secluded_bytes: u64,
        /// `active_internal_count`.
        active_anonymous_bytes: u64,
        /// `inactive_internal_count`.
        inactive_anonymous_bytes: u64,
        /// `active_external_count`.
        active_file_backed_bytes: u64,
        /// `inactive_external_count`.
        inactive_file_backed_bytes: u64,
        /// `purgeable_pageable_count`.
        purgeable_pageable_bytes: u64,
        /// `purgeable_wired_count`.
        purgeable_wired_bytes: u64,
        /// `background_internal_count`.
        background_anonymous_bytes: u64,
        /// `background_external_count`.
        background_file_backed_bytes: u64,
        /// `donated_count`.
        donated_bytes: u64,
        /// `realtime_count`.
        realtime_bytes: u64,
        /// `max_mem_count`: memory the kernel manages.
        managed_bytes: u64,
    }
}
