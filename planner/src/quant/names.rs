//! Quantizations by name: `int4:g32`, `bf16`, `mxfp4`, `mixed_3_6`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Dtype, Mode, Packing, Quant, Recipe};

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Affine => write!(f, "int{}:g{}", self.bits, self.group_size),
            mode => f.write_str(mode.name()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
