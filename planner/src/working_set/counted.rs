//! How weight matrices count towards the end of a command buffer.

use crate::quant::{Mode, Packing, Quant, Scheme};

/// Weights that an operation reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Weights {
    /// So many elements, whatever the model is quantized to: none, norms, biases, and what stays precise.
    Fixed(f64),
    /// A matrix of so many elements with a last dimension of so many: stored as the model is.
    Matrix {
        /// All of its elements.
        elements: f64,
        /// Its last dimension.
        last: u64,
    },
}

/// What an element of a weight matrix counts for.
///
/// MLX counts the elements of what is stored: packed words, scales and biases. More words end command buffers sooner, so
/// that of one sequence a model of 8 bits holds a few MB less at once than one of 2. Of several sequences the shift could
/// come to more than the weights grow by; nobody has measured that, so weights do not count there, which is never less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Counted {
    /// Elements that share a scale; 1 where nothing is packed.
    group: u32,
    /// Of a matrix that the group divides.
    packed: f64,
    /// Of any other.
    whole: f64,
}

impl Counted {
    /// Weights do not count.
    pub(super) const NOTHING: Self = Self {
        group: 1,
        packed: 0.0,
        whole: 0.0,
    };

    /// Weights as `scheme` stores them.
    pub(super) fn stored(scheme: &Scheme) -> Self {
        match scheme.quant {
            Quant::Plain(_) | Quant::Blocks(_) => Self {
                packed: 1.0,
                whole: 1.0,
                ..Self::NOTHING
            },
            Quant::Packed(packing) => Self::packed(packing),
            Quant::Mixed(recipe) => Self::packed(recipe.packing(false)),
        }
    }

    fn packed(packing: Packing) -> Self {
        Self {
            group: u32::from(packing.group_size.max(1)),
            packed: Self::share(packing),
            whole: 1.0,
        }
    }

    /// Words, scales and biases of an element in `packing`.
    pub(super) fn share(packing: Packing) -> f64 {
        let beside = if packing.mode == Mode::Affine {
            2.0
        } else {
            1.0
        };
        f64::from(packing.bits) / 32.0 + beside / f64::from(packing.group_size)
    }

    /// What a matrix of `elements` counts for.
    pub(super) fn elements(self, elements: f64, last: u32) -> f64 {
        let each = if last.is_multiple_of(self.group) {
            self.packed
        } else {
            self.whole
        };
        elements * each
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Dtype;

    #[test]
    fn words_scales_and_biases_count() {
        let elements = |quant: &str, last| {
            let quant: Quant = quant.parse().unwrap();
            let counted = Counted::stored(&Scheme::new(Dtype::Bf16, quant));
            counted.elements(6400.0, last) as u64
        };
        assert_eq!(elements("bf16", 64), 6400);
        assert_eq!(elements("int4:g64", 64), 800 + 200);
        assert_eq!(elements("int4:g64", 100), 6400);
        assert_eq!(elements("mxfp4", 64), 800 + 200);
        assert_eq!(Counted::NOTHING.elements(6400.0, 100) as u64, 0);
    }
}
