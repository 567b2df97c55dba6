//! `vm_statistics64` as an array of ints, of any revision.
//!
//! The structure has grown: 38 ints up to macOS 15, 62 in macOS 26, 104 in macOS 27, and some headers say 40. The fields
//! never moved, so each is read at its place if it lies below the count that the kernel returned, and is absent
//! otherwise. Places are those of `osfmk/mach/vm_statistics.h` (xnu-11417.101.15, through 38) and of its successors.

use super::calls::{HostCalls, KERN_SUCCESS, MIG_ARRAY_TOO_LARGE};
use crate::sample::{Compressor, Counters, Memory, Sample, Swap, TagStorage, VmDetail};
use crate::source::SourceError;

/// Ints asked for first: the oldest revision that has the compressor. A larger count than the running kernel knows makes
/// macOS 26.6.2 log memory corruption.
pub(crate) const FIRST_COUNT: u32 = 38;
/// Ints in the buffer: several times the largest revision known.
pub(crate) const BUFFER_INTS: usize = 512;

/// One answer of the kernel.
#[derive(Clone)]
pub(crate) struct VmInfo {
    ints: [i32; BUFFER_INTS],
    count: usize,
}

impl VmInfo {
    /// Asks the kernel: with 38 ints, and once more with the count it names if that is too few.
    ///
    /// # Errors
    /// [`SourceError::Kernel`] when the call fails, or names a count that is no larger than what was asked or larger than
    /// the buffer.
    pub(crate) fn ask(host: &mut (impl HostCalls + ?Sized)) -> Result<Self, SourceError> {
        let failed = |code, expected| SourceError::Kernel {
            call: "host_statistics64(HOST_VM_INFO64)",
            code,
            expected,
        };
        let mut ints = [0; BUFFER_INTS];
        let mut count = FIRST_COUNT;
        let mut answer = host.vm_info(&mut ints, &mut count);
        if answer == MIG_ARRAY_TOO_LARGE {
            if count <= FIRST_COUNT || count as usize > BUFFER_INTS {
                return Err(failed(
                    answer,
                    "with this code a count from 39 to 512 to ask again with",
                ));
            }
            ints = [0; BUFFER_INTS];
            answer = host.vm_info(&mut ints, &mut count);
        }
        if answer != KERN_SUCCESS {
            return Err(failed(answer, "0 (KERN_SUCCESS)"));
        }
        if count as usize > BUFFER_INTS {
            return Err(failed(answer, "a count of at most 512 ints"));
        }
        Ok(Self {
            ints,
            count: count as usize,
        })
    }

    /// Whether this is the very answer that `earlier` was: the kernel repeats one to callers that ask too often. Fault
    /// counters alone make two fresh answers differ.
    #[must_use]
    pub(crate) fn repeats(&self, earlier: &Self) -> bool {
        self.ints[..self.count] == earlier.ints[..earlier.count]
    }

    /// Writes the fields that the kernel filled in into `sample`, page counts as bytes.
    pub(crate) fn describe(&self, page_size_bytes: u64, sample: &mut Sample) {
        let pages = |index| self.natural(index)?.checked_mul(page_size_bytes);
        let long_pages = |index| self.long(index)?.checked_mul(page_size_bytes);

        sample.page_size_bytes = Some(page_size_bytes);
        sample.memory = Memory {
            // The kernel's free count includes what was read ahead; vm_stat prints the difference.
            free_bytes: pages(FREE)
                .zip(pages(SPECULATIVE))
                .map(|(free, ahead)| free.saturating_sub(ahead)),
            speculative_bytes: pages(SPECULATIVE),
            active_bytes: pages(ACTIVE),
            inactive_bytes: pages(INACTIVE),
            wired_bytes: pages(WIRE),
            purgeable_bytes: pages(PURGEABLE),
            throttled_bytes: pages(THROTTLED),
            anonymous_bytes: pages(INTERNAL),
            file_backed_bytes: pages(EXTERNAL),
            ..sample.memory.clone()
        };
        sample.compressor = Compressor {
            occupied_bytes: pages(COMPRESSOR),
            stored_bytes: long_pages(UNCOMPRESSED_IN_COMPRESSOR),
            ..sample.compressor.clone()
        };
        sample.swap = Swap {
            swapped_bytes: long_pages(SWAPPED),
            ..sample.swap.clone()
        };
        sample.counters = Counters {
            zero_fills: self.long(ZERO_FILL),
            reactivations: self.long(REACTIVATIONS),
            pageins: self.long(PAGEINS),
            pageouts: self.long(PAGEOUTS),
            faults: self.long(FAULTS),
            cow_faults: self.long(COW_FAULTS),
            purges: self.long(PURGES),
            decompressions: self.long(DECOMPRESSIONS),
            compressions: self.long(COMPRESSIONS),
            swapins: self.long(SWAPINS),
            swapouts: self.long(SWAPOUTS),
            tagged_compressions: self.long(TAGGED_COMPRESSIONS),
            tagged_decompressions: self.long(TAGGED_DECOMPRESSIONS),
            speculative_pages_created: self.long(SPECULATIVE_CREATED),
            speculative_pages_activated: self.long(SPECULATIVE_ACTIVATED),
            ..sample.counters.clone()
        };
        sample.tag_storage = TagStorage {
            total_bytes: long_pages(TAG_STORAGE),
            nontag_pageable_bytes: long_pages(TAG_STORAGE_NONTAG_PAGEABLE),
            nontag_wired_bytes: long_pages(TAG_STORAGE_NONTAG_WIRED),
            free_bytes: long_pages(TAG_STORAGE_FREE),
            holding_tags_bytes: long_pages(TAG_STORAGE_HOLDING_TAGS),
            tagged_bytes: long_pages(TAGGED),
            tagged_resident_bytes: long_pages(TAGGED_RESIDENT),
            tagged_compressed_bytes: long_pages(TAGGED_COMPRESSED),
            compressed_tags_bytes: self.long(COMPRESSED_TAGS_BYTES),
        };
        sample.detail = VmDetail {
            executable_bytes: long_pages(EXECUTABLE),
            shared_region_bytes: long_pages(SHARED_REGION),
            boot_stolen_bytes: long_pages(BOOT_STOLEN),
            secluded_bytes: long_pages(SECLUDED),
            active_anonymous_bytes: long_pages(ACTIVE_INTERNAL),
            inactive_anonymous_bytes: long_pages(INACTIVE_INTERNAL),
            active_file_backed_bytes: long_pages(ACTIVE_EXTERNAL),
            inactive_file_backed_bytes: long_pages(INACTIVE_EXTERNAL),
            purgeable_pageable_bytes: long_pages(PURGEABLE_PAGEABLE),
            purgeable_wired_bytes: long_pages(PURGEABLE_WIRED),
            background_anonymous_bytes: long_pages(BACKGROUND_INTERNAL),
            background_file_backed_bytes: long_pages(BACKGROUND_EXTERNAL),
            donated_bytes: long_pages(DONATED),
            realtime_bytes: long_pages(REALTIME),
            managed_bytes: long_pages(MAX_MEM),
        };
    }

    /// A `natural_t` at an int's place.
    fn natural(&self, index: usize) -> Option<u64> {
        natural(&self.ints[..self.count], index)
    }

    /// A `uint64_t` at an int's place.
    fn long(&self, index: usize) -> Option<u64> {
        long(&self.ints[..self.count], index)
    }
}

/// The 32-bit number at `index`; `None` past the end.
pub(crate) fn natural(ints: &[i32], index: usize) -> Option<u64> {
    ints.get(index).map(|int| u64::from(int.cast_unsigned()))
}

/// The 64-bit number at `index`, low half first as on every Mac; `None` unless both halves are there.
pub(crate) fn long(ints: &[i32], index: usize) -> Option<u64> {
    Some(natural(ints, index)? | natural(ints, index + 1)? << 32)
}

// Places in ints. natural_t takes one, uint64_t two.
const FREE: usize = 0;
const ACTIVE: usize = 1;
const INACTIVE: usize = 2;
const WIRE: usize = 3;
const ZERO_FILL: usize = 4;
const REACTIVATIONS: usize = 6;
const PAGEINS: usize = 8;
const PAGEOUTS: usize = 10;
const FAULTS: usize = 12;
const COW_FAULTS: usize = 14;
// 16 lookups and 18 hits belong to the object cache, which is gone.
const PURGES: usize = 20;
const PURGEABLE: usize = 22;
const SPECULATIVE: usize = 23;
const DECOMPRESSIONS: usize = 24;
const COMPRESSIONS: usize = 26;
const SWAPINS: usize = 28;
const SWAPOUTS: usize = 30;
const COMPRESSOR: usize = 32;
const THROTTLED: usize = 33;
const EXTERNAL: usize = 34;
const INTERNAL: usize = 35;
const UNCOMPRESSED_IN_COMPRESSOR: usize = 36;
// From here 40 ints.
const SWAPPED: usize = 38;
// From here 62.
const TAG_STORAGE: usize = 40;
const TAG_STORAGE_NONTAG_PAGEABLE: usize = 42;
const TAG_STORAGE_NONTAG_WIRED: usize = 44;
const TAG_STORAGE_FREE: usize = 46;
const TAG_STORAGE_HOLDING_TAGS: usize = 48;
const TAGGED: usize = 50;
const TAGGED_RESIDENT: usize = 52;
const TAGGED_COMPRESSED: usize = 54;
const TAGGED_COMPRESSIONS: usize = 56;
const TAGGED_DECOMPRESSIONS: usize = 58;
const COMPRESSED_TAGS_BYTES: usize = 60;
// From here 104.
const SPECULATIVE_CREATED: usize = 62;
const SPECULATIVE_ACTIVATED: usize = 64;
// 66 swap_count and 68 empty_tag_storing_tag_storage_pages are left out.
const EXECUTABLE: usize = 70;
const SHARED_REGION: usize = 72;
const BOOT_STOLEN: usize = 74;
const SECLUDED: usize = 76;
const ACTIVE_INTERNAL: usize = 78;
const INACTIVE_INTERNAL: usize = 80;
const ACTIVE_EXTERNAL: usize = 82;
const INACTIVE_EXTERNAL: usize = 84;
const PURGEABLE_PAGEABLE: usize = 86;
const PURGEABLE_WIRED: usize = 88;
const BACKGROUND_INTERNAL: usize = 90;
const BACKGROUND_EXTERNAL: usize = 92;
const DONATED: usize = 94;
const REALTIME: usize = 96;
const MAX_MEM: usize = 98;
// 100 and 102 count the pageout ghosts.
