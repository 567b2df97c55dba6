//! ggml's tensor types as data: their numbers in GGUF files, and the elements and bytes of a block.

use crate::quant::Blocks;

/// A ggml tensor type that GGUF files may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GgmlType(u8);

/// Number, name, elements a block, bytes a block.
///
/// ggml/include/ggml.h (`enum ggml_type`) and the block structs of ggml/src/ggml-common.h, llama.cpp master as of
/// `GGML_TYPE_COUNT` = 43. `GGML_QUANT_SIZES` of the Python package gguf 0.19.0 agrees but for `Q2_0`, which it lacks,
/// and `Q8_1`, where it has the 40 bytes of 2023; ggml-common.h asserts 4 + 32.
const TABLE: [(u32, &str, u32, u32); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

/// Numbers that ggml has taken back, with the name they had: no current program reads such files.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl GgmlType {
    /// The type with that number in a GGUF file.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let at = TABLE.binary_search_by_key(&number, |row| row.0).ok()?;
        u8::try_from(at).ok().map(Self)
    }

    /// What a number meant before ggml removed it.
    #[must_use]
    pub fn removed_name(number: u32) -> Option<&'static str> {
        REMOVED.iter().find(|row| row.0 == number).map(|row| row.1)
    }

    fn row(self) -> &'static (u32, &'static str, u32, u32) {
        &TABLE[usize::from(self.0)]
    }

    /// Its name as llama.cpp prints it, in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Elements that are stored together, scales included; 1 where each stands alone.
    #[must_use]
    pub fn block_elements(self) -> u32 {
        self.row().2
    }

    /// Bytes of such a block.
    #[must_use]
    pub fn block_bytes(self) -> u32 {
        self.row().3
    }

    /// Elements and bytes of a block, for sums.
    #[must_use]
    pub fn blocks(self) -> Blocks {
        Blocks {
            name: self.name(),
            elements: self.block_elements(),
            bytes: self.block_bytes(),
        }
    }

    /// Bytes that `elements` elements take once MLX has loaded them; none where it refuses the type or drops the tensor.
    ///
    /// Measured with `mx.load` of mlx 0.32.2: 4 and 8 bit blocks become affine groups of 32 with scales and biases in
    /// float16, what its GGUF library can widen becomes float16.
    #[must_use]
    pub fn mlx_bytes(self, elements: u64) -> Option<u64> {
        match self.name() {
            "F32" | "I32" => elements.checked_mul(4),
            "F16" | "BF16" | "I16" | "Q2_K" | "Q4_K" | "Q6_K" => elements.checked_mul(2),
            "I8" => Some(elements),
            "Q4_0" | "Q4_1" => (elements / 32).checked_mul(16 + 4),
            "Q8_0" => (elements / 32).checked_mul(32 + 4),
            _ => None,
        }
    }

    /// The highest number known, for errors.
    pub(super) fn number_max() -> u32 {
        TABLE[TABLE.len() - 1].0
    }
}

#[cfg(test)]
mod tests {
    use super::{GgmlType, REMOVED, TABLE};

    #[test]
    fn numbers_ascend_and_none_is_also_removed() {
        assert!(TABLE.is_sorted_by(|left, right| left.0 < right.0));
        for (number, name) in REMOVED {
            assert_eq!(GgmlType::from_number(number), None, "{name}");
        }
        // Every number up to the highest is either known or known as removed.
        for number in 0..=GgmlType::number_max() {
            let known = GgmlType::from_number(number).is_some();
            assert!(
                known != GgmlType::removed_name(number).is_some(),
                "{number}"
            );
        }
    }

    #[test]
    fn mlx_holds_what_was_measured() {
        // 3 × 512 elements of every type that mx.load took, and the bytes it held.
        for (number, bytes) in [
            (0, 6144),
            (1, 3072),
            (2, 960),
            (3, 960),
            (8, 1728),
            (10, 3072),
            (12, 3072),
            (14, 3072),
            (24, 1536),
            (25, 3072),
            (26, 6144),
            (30, 3072),
        ] {
            let held = GgmlType::from_number(number).and_then(|ggml| ggml.mlx_bytes(3 * 512));
            assert_eq!(held, Some(bytes), "{number}");
        }
        for number in [6, 7, 11, 13, 15, 16, 20, 23, 27, 28, 34, 39, 40] {
            let held = GgmlType::from_number(number).and_then(|ggml| ggml.mlx_bytes(3 * 512));
            assert_eq!(held, None, "{number}");
        }
    }

    #[test]
    fn bits_an_element_are_those_the_formats_are_known_by() {
        let bits = |number| {
            let ggml = GgmlType::from_number(number)
                .map(|ggml| (ggml.block_bytes(), ggml.block_elements()));
            ggml.map(|(bytes, elements)| f64::from(bytes * 8) / f64::from(elements))
        };
        assert_eq!(bits(2), Some(4.5));
        assert_eq!(bits(12), Some(4.5));
        assert_eq!(bits(14), Some(6.5625));
        assert_eq!(bits(23), Some(4.25));
        assert_eq!(bits(34), Some(1.6875));
        assert_eq!(bits(39), Some(4.25));
        assert_eq!(bits(40), Some(4.5));
    }
}
