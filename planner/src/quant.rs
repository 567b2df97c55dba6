//! Quantization schemes as data: how many bytes MLX keeps for an array under each.
//!
//! Source: mlx 0.32.2 `mx.quantize` (affine, mxfp4, nvfp4, mxfp8) and mlx-lm 0.32.2 `convert.py` (recipes).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

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

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Affine => write!(f, "int{}:g{}", self.bits, self.group_size),
            mode => f.write_str(mode.name()),
        }
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

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(dtype) => f.write_str(dtype.name()),
            Self::Packed(packing) => packing.fmt(f),
            Self::Blocks(blocks) => f.write_str(blocks.name),
            Self::Mixed(Recipe {
                low,
                high,
                group_size,
            }) => {
                write!(f, "mixed_{low}_{high}")?;
                if *group_size == 64 {
                    Ok(())
                } else {
                    write!(f, ":g{group_size}")
                }
            }
        }
    }
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

/// A quantization that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuantError {
    /// The name is not known.
    #[error(
        "unknown quantization '{given}': accepted are fp32, fp16, bf16, int8, int6, int5, int4, int3, int2 (each with :g32, :g64 or :g128), mxfp4, nvfp4, mxfp8, mixed_2_6, mixed_3_4, mixed_3_6, mixed_4_6"
    )]
    Unknown {
        /// What was typed.
        given: String,
    },
    /// The group size does not go with the scheme.
    #[error("quantization '{given}': {why}")]
    Group {
        /// What was typed.
        given: String,
        /// What would go with it.
        why: &'static str,
    },
}

impl FromStr for Quant {
    type Err = QuantError;

    fn from_str(given: &str) -> Result<Self, QuantError> {
        let unknown = || QuantError::Unknown {
            given: given.to_owned(),
        };
        let group_error = |why| QuantError::Group {
            given: given.to_owned(),
            why,
        };
        let lower = given.to_ascii_lowercase();
        let (name, group) = match lower.split_once(':') {
            None => (lower.as_str(), None),
            Some((name, group)) => match group.strip_prefix('g').unwrap_or(group) {
                "16" => (name, Some(16)),
                "32" => (name, Some(32)),
                "64" => (name, Some(64)),
                "128" => (name, Some(128)),
                _ => return Err(group_error("the group size is one of g32, g64, g128")),
            },
        };
        let fixed = |mode, bits, size: u16| match group {
            None => Ok(Self::Packed(Packing {
                mode,
                bits,
                group_size: size,
            })),
            Some(g) if g == size => Ok(Self::Packed(Packing {
                mode,
                bits,
                group_size: size,
            })),
            Some(_) => Err(group_error(
                "its group size is fixed: leave the :g part away",
            )),
        };
        let affine_group = || match group {
            Some(16) => Err(group_error("the group size is one of g32, g64, g128")),
            Some(g) => Ok(g),
            None => Ok(64),
        };
        let plain = |dtype| match group {
            None => Ok(Self::Plain(dtype)),
            Some(_) => Err(group_error(
                "a type that is not quantized has no group size",
            )),
        };
        match name {
            "fp32" | "float32" | "f32" => plain(Dtype::F32),
            "fp16" | "float16" | "f16" => plain(Dtype::F16),
            "bf16" | "bfloat16" => plain(Dtype::Bf16),
            "mxfp4" => fixed(Mode::Mxfp4, 4, 32),
            "nvfp4" => fixed(Mode::Nvfp4, 4, 16),
            "mxfp8" => fixed(Mode::Mxfp8, 8, 32),
            "mixed_2_6" => Ok(Self::Mixed(Recipe {
                low: 2,
                high: 6,
                group_size: affine_group()?,
            })),
            "mixed_3_4" => Ok(Self::Mixed(Recipe {
                low: 3,
                high: 4,
                group_size: affine_group()?,
            })),
            "mixed_3_6" => Ok(Self::Mixed(Recipe {
                low: 3,
                high: 6,
                group_size: affine_group()?,
            })),
            "mixed_4_6" => Ok(Self::Mixed(Recipe {
                low: 4,
                high: 6,
                group_size: affine_group()?,
            })),
            _ => {
                let bits = match name.strip_prefix("int").or_else(|| name.strip_prefix('q')) {
                    Some("2") => 2,
                    Some("3") => 3,
                    Some("4") => 4,
                    Some("5") => 5,
                    Some("6") => 6,
                    Some("8") => 8,
                    _ => return Err(unknown()),
                };
                Ok(Self::Packed(Packing::affine(bits, affine_group()?)))
            }
        }
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
    fn names_are_read_and_printed() {
        for (name, printed) in [
            ("int4", "int4:g64"),
            ("INT4:g32", "int4:g32"),
            ("int3:128", "int3:g128"),
            ("bf16", "bf16"),
            ("mxfp4", "mxfp4"),
            ("mixed_3_6", "mixed_3_6"),
        ] {
            assert_eq!(
                name.parse::<Quant>().map(|q| q.to_string()),
                Ok(printed.to_owned())
            );
        }
    }

    #[test]
    fn unknown_names_say_what_is_accepted() {
        for bad in ["int7", "int1", "q4_k_m", "", "fp8", "int44"] {
            let error = bad.parse::<Quant>().expect_err(bad).to_string();
            assert!(
                error.contains(&format!("'{bad}'")) && error.contains("mixed_4_6"),
                "{error}"
            );
        }
        for bad in ["int4:g16", "int4:g48", "mxfp4:g64", "bf16:g64", "int4:"] {
            assert!(
                matches!(bad.parse::<Quant>(), Err(QuantError::Group { .. })),
                "{bad}"
            );
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
