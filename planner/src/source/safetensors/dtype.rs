//! The dtypes of the safetensors format.

/// Element type of a safetensors tensor (safetensors 0.8.0, safetensors/src/tensor.rs, `Dtype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "each is named as the format names it; bits stand in the table below"
)]
pub enum Dtype {
    Bool,
    F4,
    F6E2M3,
    F6E3M2,
    U8,
    I8,
    F8E5M2,
    F8E4M3,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    I16,
    U16,
    F16,
    Bf16,
    I32,
    U32,
    F32,
    C64,
    F64,
    I64,
    U64,
}

/// Each dtype with its name in headers and its bits an element.
const TABLE: [(Dtype, &str, u32); 22] = [
    (Dtype::Bool, "BOOL", 8),
    (Dtype::F4, "F4", 4),
    (Dtype::F6E2M3, "F6_E2M3", 6),
    (Dtype::F6E3M2, "F6_E3M2", 6),
    (Dtype::U8, "U8", 8),
    (Dtype::I8, "I8", 8),
    (Dtype::F8E5M2, "F8_E5M2", 8),
    (Dtype::F8E4M3, "F8_E4M3", 8),
    (Dtype::F8E8M0, "F8_E8M0", 8),
    (Dtype::F8E4M3Fnuz, "F8_E4M3FNUZ", 8),
    (Dtype::F8E5M2Fnuz, "F8_E5M2FNUZ", 8),
    (Dtype::I16, "I16", 16),
    (Dtype::U16, "U16", 16),
    (Dtype::F16, "F16", 16),
    (Dtype::Bf16, "BF16", 16),
    (Dtype::I32, "I32", 32),
    (Dtype::U32, "U32", 32),
    (Dtype::F32, "F32", 32),
    (Dtype::C64, "C64", 64),
    (Dtype::F64, "F64", 64),
    (Dtype::I64, "I64", 64),
    (Dtype::U64, "U64", 64),
];

impl Dtype {
    /// The dtype that a header names so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Its name in headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// Bits an element; 4 and 6 bit elements are packed.
    #[must_use]
    pub fn bits(self) -> u32 {
        TABLE[self as usize].2
    }

    /// Bytes of a tensor of that shape; none if they overflow or the last one is not filled.
    #[must_use]
    pub fn tensor_bytes(self, shape: &[u64]) -> Option<u64> {
        if shape.contains(&0) {
            return Some(0);
        }
        let elements = shape
            .iter()
            .try_fold(1_u64, |product, &dimension| product.checked_mul(dimension))?;
        let bits = elements.checked_mul(u64::from(self.bits()))?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// All names, for errors.
    pub(super) fn names() -> String {
        TABLE.map(|row| row.1).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::{Dtype, TABLE};

    #[test]
    fn rows_stand_where_their_dtype_points() {
        for (index, (dtype, name, _)) in TABLE.iter().enumerate() {
            assert_eq!(*dtype as usize, index);
            assert_eq!(Dtype::from_name(name), Some(*dtype));
        }
    }

    #[test]
    fn packed_elements_fill_whole_bytes() {
        assert_eq!(Dtype::F4.tensor_bytes(&[3, 2]), Some(3));
        assert_eq!(Dtype::F4.tensor_bytes(&[3]), None);
        assert_eq!(Dtype::F6E2M3.tensor_bytes(&[4]), Some(3));
        assert_eq!(Dtype::Bf16.tensor_bytes(&[]), Some(2));
        assert_eq!(Dtype::U64.tensor_bytes(&[1 << 61, 1]), None);
        assert_eq!(Dtype::U64.tensor_bytes(&[1 << 63, 1 << 63, 0]), Some(0));
    }
}
