//! Quantization schemes as data: how many bytes MLX keeps for an array under each.
//!
//! Source: mlx 0.32.2 `mx.quantize` (affine, mxfp4, nvfp4, mxfp8) and mlx-lm 0.32.2 `convert.py` (recipes).

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use names::QuantError;

/// The type of a plain array element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE single.
    F32,
    /// Bytes that a class packs itself (bitnet); no model is cast to this.
    U8,
}

impl Dtype {
    /// Bytes an element takes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name on the command line: `fp16`, `bf16`, `fp32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "fp16",
            Self::Bf16 => "bf16",
            Self::F32 => "fp32",
            Self::U8 => "uint8",
        }
    }
}

/// How the elements of a group are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A scale and a bias a group, in the source's type.
    Affine,
    /// One 8-bit scale for 32 elements of 4 bits.
    Mxfp4,
    /// One 8-bit scale for 16 elements of 4 bits.
    Nvfp4,
    /// One 8-bit scale for 32 elements of 8 bits.
    Mxfp8,
}

impl Mode {
    /// MLX's name for the mode.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Affine => "affine",
            Self::Mxfp4 => "mxfp4",
            Self::Nvfp4 => "nvfp4",
            Self::Mxfp8 => "mxfp8",
        }
    }
}

/// One packed form: mode, bits an element, elements a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packing {
    /// The mode.
    pub mode: Mode,
    /// Bits an element.
    pub bits: u8,
    /// Elements that share a scale.
    pub group_size: u16,
}

impl Packing {
    /// Affine coding of `bits` in groups of `group_size`.
    #[must_use]
    pub const fn affine(bits: u8, group_size: u16) -> Self {
        Self {
            mode: Mode::Affine,
            bits,
            group_size,
        }
    }

    /// What MLX's own predicates give router gates and other layers that must stay precise.
    pub const PRECISE: Self = Self::affine(8, 64);

    /// Bytes that one group takes with scales in `source`.
    #[must_use]
    pub const fn group_bytes(self, source: Dtype) -> u64 {
        let packed = self.group_size as u64 * self.bits as u64 / 8;
        match self.mode {
            Mode::Affine => packed + 2 * source.bytes(),
            Mode::Mxfp4 | Mode::Nvfp4 | Mode::Mxfp8 => packed + 1,
        }
    }

    /// Whether an array whose last dimension is `last` can be packed so.
    #[must_use]
    pub const fn divides(self, last: u64) -> bool {
        last.is_multiple_of(self.group_size as u64)
    }
}

/// A mixed recipe of `mlx_lm.convert`: more bits for value and down projections in chosen layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// Bits of most layers.
    pub low: u8,
    /// Bits of the favoured ones.
    pub high: u8,
    /// Elements that share a scale.
    pub group_size: u16,
}

impl Recipe {
    /// The packing with the recipe's low or high bits.
    #[must_use]
    pub const fn packing(self, high: bool) -> Packing {
        Packing::affine(if high { self.high } else { self.low }, self.group_size)
    }

    /// Whether the recipe favours layer `index` of `layers`.
    ///
    /// Source: mlx-lm 0.32.2 `convert.py`, `mixed_quant_predicate`.
    #[must_use]
    pub const fn favours(index: u64, layers: u64) -> bool {
        let eighth = layers / 8;
        // Python's % is never negative, so below an eighth the remainder would have to be taken up; those
        // layers are favoured anyway.
        index < eighth || index >= 7 * layers / 8 || (index - eighth) % 3 == 2
    }

    /// The module paths that take the high bits in a favoured layer.
    #[must_use]
    pub fn favours_path(path: &str) -> bool {
        ["v_proj", "v_a_proj", "v_b_proj", "down_proj"]
            .iter()
            .any(|part| path.contains(part))
    }
}

/// A form of another runtime's files, by blocks: what is stored, not what MLX would make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// What its format calls it.
    pub name: &'static str,
    /// Elements a block, along the last dimension.
    pub elements: u32,
    /// Bytes a block.
    pub bytes: u32,
}

impl Blocks {
    /// Whether an array whose last dimension is `last` can be stored so.
    #[must_use]
    pub const fn divides(self, last: u64) -> bool {
        last.is_multiple_of(self.elements as u64)
    }

    /// Bits an element, rounded down.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.bytes as u64 * 8 / self.elements as u64
    }
}

/// What a model is quantized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quant {
    /// Left in this type.
    Plain(Dtype),
    /// One packing, with the family's own exceptions.
    Packed(Packing),
    /// A mixed recipe; it replaces the family's exceptions.
    Mixed(Recipe),
    /// As a GGUF file stores it. No name on the command line: such models are converted, not quantized to this.
    Blocks(Blocks),
}

/// Bits that affine packings come in, the most first.
const AFFINE_BITS: [u8; 6] = [8, 6, 5, 4, 3, 2];

impl Quant {
    /// The same with fewer bits, the most first: of a packing those of its kind and group, of what is plain the usual
    /// packings.
    pub fn lighter(self) -> impl Iterator<Item = Self> {
        let (kind, below) = match self {
            Self::Plain(_) => (Some(Packing::affine(0, 64)), u8::MAX),
            Self::Packed(packing) => (Some(packing), packing.bits),
            Self::Mixed(_) | Self::Blocks(_) => (None, 0),
        };
        AFFINE_BITS.into_iter().filter_map(move |bits| {
            let kind = kind.filter(|_| bits < below)?;
            let mode = match (kind.mode, bits) {
                (Mode::Affine, _) => Mode::Affine,
                (Mode::Mxfp8, 4) => Mode::Mxfp4,
                _ => return None,
            };
            Some(Self::Packed(Packing { mode, bits, ..kind }))
        })
    }
}

/// What config.json's `quantization`, or a checkpoint's own tensors, say of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// `false`: left as it is.
    Keep,
    /// Plain, in this type.
    Plain(Dtype),
    /// Its own parameters.
    Packed(Packing),
    /// As a GGUF file stores it.
    Blocks(Blocks),
}

/// A quantization together with what it acts on: the source's type and the exceptions by path.
#[derive(Debug, Clone)]
pub struct Scheme {
    /// The type of what stays plain, of scales and biases, and of activations and caches.
    pub dtype: Dtype,
    /// The rule.
    pub quant: Quant,
    /// Exceptions, which go before the family's own; absent when there are none. A weight goes by its module's path
    /// (`model.layers.0.mlp.gate`), an array that is never packed by its own (`model.norm.weight`).
    pub overrides: Option<Arc<BTreeMap<String, Override>>>,
}

impl Scheme {
    /// A rule without exceptions by path. A plain type also sets the type of activations and caches.
    #[must_use]
    pub fn new(source: Dtype, quant: Quant) -> Self {
        let dtype = if let Quant::Plain(dtype) = quant {
            dtype
        } else {
            source
        };
        Self {
            dtype,
            quant,
            overrides: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lighter_packings_are_of_the_same_kind() {
        let lighter = |name: &str| {
            let quant: Quant = name.parse().unwrap();
            let names: Vec<_> = quant.lighter().map(|q| q.to_string()).collect();
            names.join(" ")
        };
        assert_eq!(lighter("int5:g32"), "int4:g32 int3:g32 int2:g32");
        assert_eq!(
            lighter("bf16"),
            "int8:g64 int6:g64 int5:g64 int4:g64 int3:g64 int2:g64"
        );
        assert_eq!(lighter("mxfp8"), "mxfp4");
        for none in ["int2", "mxfp4", "nvfp4", "mixed_3_6"] {
            assert_eq!(lighter(none), "");
        }
    }

    #[test]
    fn a_group_takes_what_mlx_keeps() {
        assert_eq!(Packing::affine(4, 64).group_bytes(Dtype::Bf16), 36);
        assert_eq!(Packing::affine(3, 32).group_bytes(Dtype::F32), 20);
        assert_eq!(
            Packing {
                mode: Mode::Mxfp4,
                bits: 4,
                group_size: 32
            }
            .group_bytes(Dtype::Bf16),
            17
        );
        assert_eq!(
            Packing {
                mode: Mode::Nvfp4,
                bits: 4,
                group_size: 16
            }
            .group_bytes(Dtype::Bf16),
            9
        );
    }
}
