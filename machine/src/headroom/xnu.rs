//! XNU's rule (xnu-11417.101.15: `osfmk/vm/vm_page.h`, `vm_compressor_xnu.h`, `vm_pageout.c`,
//! `doc/vm/memorystatus_notify.md`).
//!
//! # What the kernel compares
//! - `ANC` = active + inactive + free + speculative: all memory that is neither wired nor held by the compressor. (The
//!   kernel's name is `AVAILABLE_NON_COMPRESSED_MEMORY`; it counts resident programs, so it is not what is free.)
//! - `C`: physical memory the compressor holds. `AM` = `ANC` + `C`.
//!
//! A level rises when `ANC < k × AM`: `k` = 10/20 for warning and 1.2 × 10/35 for critical, which the documentation
//! rounds to 0.5 and 1.2 × 0.29. Critical also rises when the compressor holds over 98 % of the pages it may. Levels fall
//! at `ANC > 1.2 × 10/20 × AM` and `ANC > 1.4 × 10/35 × AM`. The divisors 20 and 35 are those of machines with more than
//! 3 GiB whose swap is on flash, which every Apple Silicon Mac is.
//!
//! # What allocating `n` bytes changes
//! Pages that a program touches move from free to active, both inside `ANC`: nothing the kernel compares changes. Two
//! things do change it. *Wiring* `n` bytes takes `n` from `ANC` and from `AM`; a model's weights and caches are wired
//! while the GPU works on them, so this is the case that matters here, and it is the worse of the two. *Compressing*
//! takes the compressor's growth from `ANC` and leaves `AM`.
//!
//! Let `R` be what is reclaimable: free + file-backed + purgeable.
//! - For `n ≤ R` free pages and files make room. The level is reached when `ANC − n < k (AM − n)`, so at
//!   `D = (ANC − k AM) / (1 − k)`. For warning that is `ANC − C`.
//! - Beyond `R`, other programs' memory must be compressed. To free `e = n − R` bytes at `r` bytes into one, `e r / (r − 1)`
//!   bytes go in and the compressor grows by `f = e / (r − 1)`. The level is reached when `ANC − n − f < k (AM − n)`, so at
//!   `n = (w D + R) / (w + 1)` with `w = (1 − k)(r − 1)`: a mean of `D` and `R` weighted by how well memory compresses.
//!
//! Hence the interval when `D > R`: low `R` (r = 1), high `D` (r without bound), expected by the ratio the compressor
//! reaches now. When `D ≤ R` all three are `D`. The kernel starts to compress a little before free pages and files are
//! used up, so a machine at work sees the level somewhat before the high end.

use super::{Crossed, Distance, Edges, Headroom};
use crate::derived::Derived;
use crate::sample::Sample;

/// A fraction of `AM`.
#[derive(Clone, Copy)]
struct Fraction {
    numerator: i128,
    denominator: i128,
}

const WARNING_RISES: Fraction = Fraction {
    numerator: 10,
    denominator: 20,
};
const CRITICAL_RISES: Fraction = Fraction {
    numerator: 12,
    denominator: 35,
};
const WARNING_FALLS: Fraction = Fraction {
    numerator: 12,
    denominator: 20,
};
const CRITICAL_FALLS: Fraction = Fraction {
    numerator: 14,
    denominator: 35,
};

/// The part of the compressor's limit beyond which it is low on space, in percent.
const COMPRESSOR_LOW_PERCENT: i128 = 98;

/// The most that other programs' memory is expected to compress. Where swapped pages flatter the ratio, this bounds it.
const RATIO_MAX: f64 = 4.0;
/// Ratios are taken in thousandths, so that the rest is whole numbers.
const RATIO_UNIT: i128 = 1000;

/// What the kernel's rule looks at, in bytes.
struct State {
    non_compressed: i128,
    available: i128,
    /// How many more bytes (before compression) the compressor takes until it is low on space; `None` if not told.
    compressor_room: Option<i128>,
}

impl State {
    fn of(sample: &Sample) -> Option<Self> {
        let non_compressed = i128::from(non_compressed_bytes(sample)?);
        let available = non_compressed + i128::from(sample.compressor.occupied_bytes?);
        Some(Self {
            non_compressed,
            available,
            compressor_room: compressor_room(sample),
        })
    }

    fn is_below(&self, k: Fraction) -> bool {
        self.non_compressed * k.denominator < self.available * k.numerator
    }

    fn is_above(&self, k: Fraction) -> bool {
        self.non_compressed * k.denominator > self.available * k.numerator
    }

    /// `D`, rounded down.
    fn distance_without_compression(&self, k: Fraction) -> i128 {
        let beyond = self.non_compressed * k.denominator - self.available * k.numerator;
        beyond.div_euclid(k.denominator - k.numerator)
    }
}

/// `ANC`; where the queues are not told, free + file-backed + anonymous, which covers the same pages.
#[must_use]
pub fn non_compressed_bytes(sample: &Sample) -> Option<u64> {
    let memory = &sample.memory;
    let free = memory.free_bytes?;
    let by_queue = || {
        let queues = memory
            .active_bytes?
            .checked_add(memory.inactive_bytes?)?
            .checked_add(memory.speculative_bytes?)?;
        free.checked_add(queues)
    };
    let by_kind = || {
        free.checked_add(
            memory
                .file_backed_bytes?
                .checked_add(memory.anonymous_bytes?)?,
        )
    };
    by_queue().or_else(by_kind)
}

/// `R` = free + file-backed + purgeable: what XNU's own jetsam takes for fully reclaimable. Speculative pages are among
/// the file-backed ones, and free does not count them.
fn reclaimable_bytes(sample: &Sample) -> Option<u64> {
    let memory = &sample.memory;
    memory
        .free_bytes?
        .checked_add(memory.file_backed_bytes?)?
        .checked_add(memory.purgeable_bytes?)
}

fn compressor_room(sample: &Sample) -> Option<i128> {
    let low_pages =
        i128::from(sample.compressor.segment_pages_limit?) * COMPRESSOR_LOW_PERCENT / 100;
    let room_pages = low_pages - i128::from(sample.compressor.segment_pages?);
    room_pages.checked_mul(i128::from(sample.page_size_bytes?))
}

pub(super) fn headroom(sample: &Sample) -> Headroom {
    let reclaimable_bytes = reclaimable_bytes(sample);
    let state = State::of(sample);
    let reclaimable = reclaimable_bytes.map(i128::from);
    let ratio = ratio(sample);
    let distance = |k| {
        state
            .as_ref()
            .zip(reclaimable)
            .map(|(state, reclaimable)| distance(state, reclaimable, ratio, k))
    };
    Headroom {
        reclaimable_bytes,
        to_warning: distance(WARNING_RISES)
            .map(|(low, expected, high)| Distance::between(low, expected, high)),
        to_critical: distance(CRITICAL_RISES).map(|(low, expected, high)| {
            let room = state
                .as_ref()
                .and_then(|state| state.compressor_room)
                .zip(reclaimable);
            let Some((room, reclaimable)) = room else {
                return Distance::between(low, expected, high);
            };
            if room < 0 {
                return Distance::between(low.min(room), expected.min(room), high.min(room));
            }
            // Beyond R each byte had costs the compressor 1 / (1 − 1/r) bytes of its room.
            let expected_end = reclaimable.saturating_add(room / ratio * (ratio - RATIO_UNIT));
            Distance::between(
                low,
                expected.min(expected_end.max(low)),
                high.min(reclaimable.saturating_add(room)),
            )
        }),
    }
}

/// `(low, expected, high)` as the module's text derives them.
fn distance(state: &State, reclaimable: i128, ratio: i128, k: Fraction) -> (i128, i128, i128) {
    let high = state.distance_without_compression(k);
    if high <= reclaimable {
        return (high, high, high);
    }
    // w as a fraction: (1 − k)(r − 1).
    let weight = (k.denominator - k.numerator) * (ratio - RATIO_UNIT);
    let weight_unit = k.denominator * RATIO_UNIT;
    let expected = (weight * high + weight_unit * reclaimable).div_euclid(weight + weight_unit);
    (reclaimable, expected, high)
}

/// `r` in thousandths, from 1000 (nothing compresses, or nothing is known) to 4000.
fn ratio(sample: &Sample) -> i128 {
    let ratio = Derived::of(sample)
        .compression_ratio
        .unwrap_or(1.0)
        .clamp(1.0, RATIO_MAX);
    (ratio * RATIO_UNIT as f64).floor() as i128
}

/// The kernel's comparisons, `vm_pageout.c`: `VM_PRESSURE_NORMAL_TO_WARNING` and its three siblings.
pub(super) fn edges(sample: &Sample) -> Option<Edges> {
    let state = State::of(sample)?;
    let full = state.compressor_room.is_some_and(|room| room < 0);
    let rises = Crossed {
        warning: state.is_below(WARNING_RISES),
        critical: full || state.is_below(CRITICAL_RISES),
    };
    let falls = Crossed {
        warning: state.is_above(WARNING_FALLS),
        critical: state.is_above(CRITICAL_FALLS),
    };
    Some(Edges::new(rises, falls))
}
