//! The gated delta rule: one gate a head (qwen3_next and its kin), or one a channel (Kimi delta attention).
//!
//! Source: mlx-lm 0.32.2 `models/gated_delta.py`. The state is in single precision.

use super::recurrent::{self, Kept};
use crate::model::{Builder, Config, ConfigError, Recurrence};
use crate::quant::Dtype;

/// How the inputs are projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projections {
    /// `in_proj_qkvz`, `in_proj_ba` (qwen3_next).
    Fused,
    /// `in_proj_qkv`, `in_proj_z`, `in_proj_b`, `in_proj_a`; `A_log` stays in single precision (qwen3_5).
    Split,
    /// Each by itself, with a convolution each (olmo_hybrid).
    Separate,
}

/// A layer with one gate a head, under `linear_attn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatedDelta {
    /// Query and key heads.
    pub k_heads: u64,
    /// Value heads.
    pub v_heads: u64,
    /// Width of a key head.
    pub k_dim: u64,
    /// Width of a value head.
    pub v_dim: u64,
    /// Width of the convolution.
    pub kernel: u64,
    /// How the inputs are projected.
    pub projections: Projections,
}

impl GatedDelta {
    /// Sizes by the fields `linear_num_key_heads` and so on, all of which must be there.
    ///
    /// # Errors
    /// When a field is missing or out of range, or heads do not divide.
    pub fn from_config(c: &Config<'_>, projections: Projections) -> Result<Self, ConfigError> {
        Self {
            k_heads: c.count("linear_num_key_heads")?,
            v_heads: c.count("linear_num_value_heads")?,
            k_dim: c.dim("linear_key_head_dim")?,
            v_dim: c.dim("linear_value_head_dim")?,
            kernel: c.dim("linear_conv_kernel_dim")?,
            projections,
        }
        .checked(c)
    }

    /// The same, once the value heads are known to divide by the key heads.
    ///
    /// # Errors
    /// When they do not.
    pub fn checked(self, c: &Config<'_>) -> Result<Self, ConfigError> {
        if self.k_heads == 0 || !self.v_heads.is_multiple_of(self.k_heads) {
            return Err(c.invalid(
                "linear_num_value_heads",
                format!(
                    "a multiple of linear_num_key_heads ({}) is expected",
                    self.k_heads
                ),
            ));
        }
        Ok(self)
    }

    /// Lists the arrays, the mixer and the state.
    pub fn list(&self, b: &mut Builder, hidden: u64) {
        let (keys, values) = (self.k_heads * self.k_dim, self.v_heads * self.v_dim);
        b.within("linear_attn", |b| match self.projections {
            Projections::Fused | Projections::Split => {
                b.conv1d("conv1d", keys * 2 + values, self.kernel, false);
                if self.projections == Projections::Fused {
                    b.linear("in_proj_qkvz", keys * 2 + values * 2, hidden, false);
                    b.linear("in_proj_ba", self.v_heads * 2, hidden, false);
                    b.param("A_log", &[self.v_heads]);
                } else {
                    b.linear("in_proj_qkv", keys * 2 + values, hidden, false);
                    b.linear("in_proj_z", values, hidden, false);
                    b.linear("in_proj_b", self.v_heads, hidden, false);
                    b.linear("in_proj_a", self.v_heads, hidden, false);
                    b.param_fixed("A_log", &[self.v_heads], Dtype::F32);
                }
                b.param("dt_bias", &[self.v_heads]);
                b.norm("norm", self.v_dim);
                b.linear("out_proj", hidden, values, false);
            }
            Projections::Separate => {
                b.linear("q_proj", keys, hidden, false);
                b.linear("k_proj", keys, hidden, false);
                b.linear("v_proj", values, hidden, false);
                b.linear("a_proj", self.v_heads, hidden, false);
                b.linear("b_proj", self.v_heads, hidden, false);
                b.linear("g_proj", values, hidden, false);
                b.linear("o_proj", hidden, values, false);
                b.conv1d("q_conv1d", keys, self.kernel, false);
                b.conv1d("k_conv1d", keys, self.kernel, false);
                b.conv1d("v_conv1d", values, self.kernel, false);
                b.param("A_log", &[self.v_heads]);
                b.param("dt_bias", &[self.v_heads]);
                b.norm("o_norm", self.v_dim);
            }
        });
        recurrent::note(
            b,
            Recurrence::GatedDelta,
            Kept {
                conv_dim: keys * 2 + values,
                kernel: self.kernel,
                heads: self.v_heads,
                state: (self.v_dim, self.k_dim),
                single_precision: true,
            },
        );
    }
}

/// Heads of Kimi delta attention, which has as many key as value channels. Families list its projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kda {
    /// Heads.
    pub heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the convolutions over queries, keys and values.
    pub kernel: u64,
}

impl Kda {
    /// Channels of the queries, of the keys and of the values.
    #[must_use]
    pub const fn width(&self) -> u64 {
        self.heads * self.head_dim
    }

    /// Notes the mixer and the state.
    pub fn note(&self, b: &mut Builder) {
        recurrent::note(
            b,
            Recurrence::GatedDelta,
            Kept {
                conv_dim: 3 * self.width(),
                kernel: self.kernel,
                heads: self.heads,
                state: (self.head_dim, self.head_dim),
                single_precision: true,
            },
        );
    }
}
