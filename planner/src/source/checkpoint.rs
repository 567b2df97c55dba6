//! What lies in a model's weight files: names, types, shapes and bytes, never the weights.

use std::fmt;

use super::gguf::GgmlType;
use super::safetensors::Dtype;

/// How a tensor's elements are stored in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoredType {
    /// One of the safetensors format's dtypes.
    Safetensors(Dtype),
    /// One of ggml's types, as GGUF files have them.
    Ggml(GgmlType),
}

impl StoredType {
    /// The name that the file format gives it: `BF16`, `Q4_K`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors(dtype) => dtype.name(),
            Self::Ggml(ggml) => ggml.name(),
        }
    }

    /// Bits that an element takes on average, block scales included.
    #[must_use]
    pub fn bits_per_element(self) -> f64 {
        match self {
            Self::Safetensors(dtype) => f64::from(dtype.bits()),
            Self::Ggml(ggml) => {
                f64::from(ggml.block_bytes() * 8) / f64::from(ggml.block_elements())
            }
        }
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its name in the file.
    pub name: String,
    /// How its elements are stored.
    pub dtype: StoredType,
    /// Row-major, the last dimension contiguous, for GGUF too (whose headers list dimensions the other way round).
    pub shape: Vec<u64>,
    /// Length of its data in bytes, without padding; consistent with `dtype` and `shape`.
    pub bytes: u64,
}

impl StoredTensor {
    /// Number of elements, 1 for a scalar.
    ///
    /// It cannot overflow: readers refuse a tensor whose shape does not give `bytes`, unless a dimension is 0.
    #[must_use]
    pub fn elements(&self) -> u64 {
        if self.shape.contains(&0) {
            0
        } else {
            self.shape.iter().product()
        }
    }
}

/// All tensors of a model, over all its weight files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Sorted by name, each name once.
    pub tensors: Vec<StoredTensor>,
    /// Sum of the tensors' bytes.
    pub total_bytes: u64,
    /// What wrote the safetensors files, where their `__metadata__` says so: `mlx`, `pt`.
    pub format: Option<String>,
}

/// Why tensors of several files do not make one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Two files have a tensor of one name.
    #[error(
        "tensor {} is in more than one file: expected each tensor once",
        super::quote::quote(name)
    )]
    DuplicateTensor {
        /// Its name.
        name: String,
    },
    /// The sum of all tensors overflows.
    #[error("the tensors add up to more than {} bytes", u64::MAX)]
    TooLarge,
}

impl Checkpoint {
    /// Puts the tensors of one or more files together.
    ///
    /// # Errors
    /// A name that appears twice, or a sum of bytes beyond u64.
    pub fn new(
        mut tensors: Vec<StoredTensor>,
        format: Option<String>,
    ) -> Result<Self, CheckpointError> {
        if !tensors.is_sorted_by(|left, right| left.name < right.name) {
            tensors.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        }
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(CheckpointError::DuplicateTensor {
                name: pair[0].name.clone(),
            });
        }
        let total_bytes = tensors
            .iter()
            .try_fold(0_u64, |total, tensor| total.checked_add(tensor.bytes))
            .ok_or(CheckpointError::TooLarge)?;
        Ok(Self {
            tensors,
            total_bytes,
            format,
        })
    }

    /// The tensor of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        let at = self
            .tensors
            .binary_search_by(|tensor| tensor.name.as_str().cmp(name))
            .ok()?;
        self.tensors.get(at)
    }

    /// Elements of all tensors. Packed quantized weights count as the words they are packed into.
    #[must_use]
    pub fn elements(&self) -> u128 {
        self.tensors
            .iter()
            .map(|tensor| u128::from(tensor.elements()))
            .sum()
    }
}
