//! Seeded data that does not compress, written and checked at memory speed.
//!
//! Memory is cut into cells. Each cell is a few interleaved xorshift64 sequences (Marsaglia, "Xorshift RNGs", 2003,
//! triple 13-7-17) whose starting states are derived from the seed and the cell's index, so any cell can be written or
//! checked alone, by any thread. One step of all lanes gives one chunk; the lanes are independent, which lets the compiler
//! use whatever vector width the target has.

#![allow(
    unsafe_code,
    reason = "a function for wider registers may be called only where the processor has them"
)]
#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wider registers"
)]

/// Bytes in a cell: several make one thread's share even, one fits a first-level cache with room to spare.
pub(super) const CELL_BYTES: usize = 64 * 1024;
/// Interleaved sequences. Sixteen 64-bit lanes are eight vector registers at the narrowest width, enough to hide the
/// six dependent operations of a step.
const LANES: usize = 16;
/// What is added to the lanes for each of the words that a step gives: a second word costs one addition where a step costs
/// six operations, and comparing keeps up with memory. The constant is that of SplitMix64.
const OFFSETS: [u64; 2] = [0, 0x9E37_79B9_7F4A_7C15];
/// One word of each lane.
const ROW_BYTES: usize = LANES * 8;
const CHUNK_BYTES: usize = ROW_BYTES * OFFSETS.len();

/// The SplitMix64 finalizer: spreads every bit of `value` over the whole word.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn start(seed: u64, cell: u64) -> [u64; LANES] {
    let mut state = [0; LANES];
    let base = mix(seed ^ mix(cell));
    for (lane, word) in (0_u64..).zip(&mut state) {
        // Zero is the one state that xorshift never leaves.
        *word = mix(base ^ lane).max(1);
    }
    state
}

#[inline(always)]
fn step(state: &mut [u64; LANES]) {
    for word in state {
        *word ^= *word << 13;
        *word ^= *word >> 7;
        *word ^= *word << 17;
    }
}

#[inline(always)]
fn bytes_of(state: &[u64; LANES]) -> [u8; CHUNK_BYTES] {
    let mut bytes = [0; CHUNK_BYTES];
    for (offset, row) in OFFSETS.iter().zip(bytes.as_chunks_mut::<ROW_BYTES>().0) {
        for (word, out) in state.iter().zip(row.as_chunks_mut::<8>().0) {
            *out = word.wrapping_add(*offset).to_le_bytes();
        }
    }
    bytes
}

/// Declares a function twice: as it is, and for processors with AVX2, whose registers hold twice as many lanes. What is
/// built for every x86-64 processor computes the pattern no faster than memory can be read.
macro_rules! widened {
    ($(#[$doc:meta])* $name:ident = $plain:ident, $wide:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?) => {
        $(#[$doc])*
        pub(super) fn $name($($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor was just found to have AVX2, which is all that the function asks for.
                return unsafe { $wide($($argument),*) };
            }
            $plain($($argument),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $wide($($argument: $kind),*) $(-> $result)? {
            $plain($($argument),*)
        }
    };
}

widened! {
    /// Writes cell number `cell` of the pattern of `seed` to `memory`, at most [`CELL_BYTES`] long.
    fill = fill_plain, fill_wide(memory: &mut [u8], seed: u64, cell: u64)
}

widened! {
    /// Compares `memory` with cell number `cell` of the pattern of `seed`.
    compare = compare_plain, compare_wide(memory: &[u8], seed: u64, cell: u64) -> Differences
}

#[inline(always)]
fn fill_plain(memory: &mut [u8], seed: u64, cell: u64) {
    let mut state = start(seed, cell);
    let (chunks, tail) = memory.as_chunks_mut::<CHUNK_BYTES>();
    for chunk in chunks {
        step(&mut state);
        *chunk = bytes_of(&state);
    }
    step(&mut state);
    let rest = bytes_of(&state);
    tail.copy_from_slice(&rest[..tail.len()]);
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Bytes that are not what was written.
    pub(super) count: u64,
    /// Offset of the first of them.
    pub(super) first: Option<u64>,
}

#[inline(always)]
fn compare_plain(memory: &[u8], seed: u64, cell: u64) -> Differences {
    let mut state = start(seed, cell);
    let (chunks, tail) = memory.as_chunks::<CHUNK_BYTES>();
    let mut difference = [0_u64; LANES];
    for chunk in chunks {
        step(&mut state);
        for (offset, row) in OFFSETS.iter().zip(chunk.as_chunks::<ROW_BYTES>().0) {
            let words = row.as_chunks::<8>().0.iter().zip(&state);
            for ((found, word), difference) in words.zip(&mut difference) {
                *difference |= u64::from_le_bytes(*found) ^ word.wrapping_add(*offset);
            }
        }
    }
    step(&mut state);
    let rest = bytes_of(&state);
    if difference.iter().all(|word| *word == 0) && tail == &rest[..tail.len()] {
        return Differences::default();
    }
    locate(memory, seed, cell)
}

/// The slow path of [`compare`], taken only when something differs: counts bytes and finds the first.
#[cold]
fn locate(memory: &[u8], seed: u64, cell: u64) -> Differences {
    let mut expected = vec![0; memory.len()];
    fill(&mut expected, seed, cell);
    let mut found = Differences::default();
    for (offset, _) in (0_u64..)
        .zip(memory.iter().zip(&expected))
        .filter(|(_, (a, b))| a != b)
    {
        found.count += 1;
        found.first.get_or_insert(offset);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(seed: u64, index: u64, length: usize) -> Vec<u8> {
        let mut memory = vec![0; length];
        fill(&mut memory, seed, index);
        memory
    }

    #[test]
    fn every_single_flipped_bit_of_a_short_cell_is_found() {
        let mut memory = cell(7, 3, 300);
        for bit in 0..300 * 8 {
            memory[bit / 8] ^= 1 << (bit % 8);
            let expected = Differences {
                count: 1,
                first: Some((bit / 8) as u64),
            };
            assert_eq!(compare(&memory, 7, 3), expected);
            memory[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(compare(&memory, 7, 3), Differences::default());
    }

    /// Data written by one processor may be checked on another, as when a worker moves between kinds of cores.
    #[test]
    fn both_widths_write_and_find_the_same() {
        for length in [1, 7, 128, 300, CELL_BYTES] {
            let mut plain = vec![0; length];
            fill_plain(&mut plain, 9, 4);
            assert_eq!(plain, cell(9, 4, length), "{length}");
            plain[length / 2] ^= 8;
            let found = compare(&plain, 9, 4);
            assert_eq!(found, compare_plain(&plain, 9, 4), "{length}");
            assert_eq!((found.count, found.first), (1, Some((length / 2) as u64)));
        }
    }

    #[test]
    fn all_differences_are_counted() {
        let mut memory = cell(1, 0, CELL_BYTES);
        for offset in [5, 6, 40_000, CELL_BYTES - 1] {
            memory[offset] = !memory[offset];
        }
        assert_eq!(
            compare(&memory, 1, 0),
            Differences {
                count: 4,
                first: Some(5)
            }
        );
    }

    #[test]
    fn seeds_and_cells_differ() {
        assert_ne!(cell(1, 0, 64), cell(2, 0, 64));
        assert_ne!(cell(1, 0, 64), cell(1, 1, 64));
        assert_eq!(compare(&cell(1, 1, CELL_BYTES), 1, 0).first, Some(0));
    }

    /// Memory compressors look for repeated words and skewed bytes: there are none.
    #[test]
    fn the_data_does_not_compress() {
        let memory: Vec<u8> = (0..16)
            .flat_map(|index| cell(42, index, CELL_BYTES))
            .collect();
        let mut histogram = [0_u32; 256];
        for byte in &memory {
            histogram[usize::from(*byte)] += 1;
        }
        let expected = memory.len() as f64 / 256.0;
        let chi_square: f64 = histogram
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        // 255 degrees of freedom: 99.99 % of random data lie below 348.
        assert!(chi_square < 348.0, "chi square {chi_square}");
        let mut words: Vec<u64> = memory
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all, "a 64-bit word repeats");
    }
}
