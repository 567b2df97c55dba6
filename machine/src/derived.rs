//! Figures that a sample implies: what programs use, what is cached, how well memory compresses.

use serde::{Deserialize, Serialize};

use crate::sample::Sample;

/// What a sample implies. Each figure is absent where one that it is made of is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Derived {
    /// App memory (macOS): anonymous − purgeable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_bytes: Option<u64>,
    /// Memory in use. macOS: app + wired + compressor, as Activity Monitor shows within its rounding; on macOS 26 and
    /// later tag storage explains most of a further gap. Linux: total − available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Files in memory. macOS: file-backed + purgeable; Apple publishes no formula. Linux: cached + buffers +
    /// reclaimable slab − shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_files_bytes: Option<u64>,
    /// How many bytes the compressor holds in one byte of memory or swap (macOS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_ratio: Option<f64>,
}

impl Derived {
    /// Derives from one sample.
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        let mac = app_bytes(sample).is_some();
        Self {
            app_bytes: app_bytes(sample),
            used_bytes: if mac {
                used_on_mac(sample)
            } else {
                used_on_linux(sample)
            },
            cached_files_bytes: if mac {
                cached_on_mac(sample)
            } else {
                cached_on_linux(sample)
            },
            compression_ratio: compression_ratio(sample),
        }
    }
}

/// Purgeable memory is what tells a Mac's sample: Linux has anonymous pages too, but none of these.
fn app_bytes(sample: &Sample) -> Option<u64> {
    Some(
        sample
            .memory
            .anonymous_bytes?
            .saturating_sub(sample.memory.purgeable_bytes?),
    )
}

fn used_on_mac(sample: &Sample) -> Option<u64> {
    app_bytes(sample)?
        .checked_add(sample.memory.wired_bytes?)?
        .checked_add(sample.compressor.occupied_bytes?)
}

fn used_on_linux(sample: &Sample) -> Option<u64> {
    Some(
        sample
            .memory
            .total_bytes?
            .saturating_sub(sample.memory.available_bytes?),
    )
}

fn cached_on_mac(sample: &Sample) -> Option<u64> {
    sample
        .memory
        .file_backed_bytes?
        .checked_add(sample.memory.purgeable_bytes?)
}

fn cached_on_linux(sample: &Sample) -> Option<u64> {
    let memory = &sample.memory;
    let files = memory
        .cached_bytes?
        .checked_add(memory.buffers_bytes?)?
        .checked_add(memory.slab_reclaimable_bytes?)?;
    Some(files.saturating_sub(memory.shared_bytes?))
}

/// By `vm.compressor_input_bytes` ÷ `vm.compressor_compressed_bytes` where told: both count what was swapped out. Else
/// stored ÷ occupied, of which only the first counts what was swapped out, so that it flatters a machine that swaps.
fn compression_ratio(sample: &Sample) -> Option<f64> {
    let compressor = &sample.compressor;
    let ratio = |held: Option<u64>, takes: Option<u64>| {
        let (held, takes) = (held?, takes?);
        (held > 0 && takes > 0).then(|| held as f64 / takes as f64)
    };
    ratio(compressor.input_bytes, compressor.compressed_bytes)
        .or_else(|| ratio(compressor.stored_bytes, compressor.occupied_bytes))
}
