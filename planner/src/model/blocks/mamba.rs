//! Mamba 1 and Mamba 2 mixers, with the state they keep.
//!
//! Source: mlx-lm 0.32.2 `models/mamba.py`, `models/mamba2.py`, `models/ssm.py`. The scan of Mamba 1 keeps its state in
//! the activations' type, `ssm_update` of Mamba 2 in single precision.

use super::recurrent::{self, Kept};
use crate::model::{Builder, Recurrence};
use crate::quant::Dtype;

/// A selective scan with a state for each channel. Lists everything in the current scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mamba1 {
    /// Channels inside (`intermediate_size`).
    pub inner: u64,
    /// State elements a channel.
    pub state: u64,
    /// Width of the time step before its projection.
    pub rank: u64,
    /// Width of the convolution.
    pub kernel: u64,
    /// Bias on the projections in and out.
    pub bias: bool,
    /// Bias on the convolution.
    pub conv_bias: bool,
    /// Norms on the time step and the two state projections (jamba).
    pub norms: bool,
}

impl Mamba1 {
    /// Lists the arrays, the mixer and the state.
    pub fn list(&self, b: &mut Builder, hidden: u64) {
        b.linear("in_proj", self.inner * 2, hidden, self.bias);
        b.conv1d("conv1d", self.inner, self.kernel, self.conv_bias);
        b.linear("x_proj", self.rank + 2 * self.state, self.inner, false);
        b.linear("dt_proj", self.inner, self.rank, true);
        b.param("A_log", &[self.inner, self.state]);
        b.param("D", &[self.inner]);
        b.linear("out_proj", hidden, self.inner, self.bias);
        if self.norms {
            b.norm("dt_layernorm", self.rank);
            b.norm("b_layernorm", self.state);
            b.norm("c_layernorm", self.state);
        }
        recurrent::note(
            b,
            Recurrence::Mamba1,
            Kept {
                conv_dim: self.inner,
                kernel: self.kernel,
                heads: self.inner,
                state: (1, self.state),
                single_precision: false,
            },
        );
    }
}

/// A state space dual with a matrix of state for each head. Lists everything in the current scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mamba2 {
    /// Channels inside, as the projections have them.
    pub inner: u64,
    /// Heads.
    pub heads: u64,
    /// Width of a head's state.
    pub head_dim: u64,
    /// Groups that share the state projections.
    pub groups: u64,
    /// Depth of a head's state.
    pub state: u64,
    /// Width of the convolution.
    pub kernel: u64,
    /// Bias on the convolution.
    pub conv_bias: bool,
    /// Bias on the projection in.
    pub in_bias: bool,
    /// Bias on the projection out.
    pub out_bias: bool,
    /// A gated norm before the projection out.
    pub norm: bool,
    /// Casting leaves `A_log` in single precision.
    pub keeps_a_log: bool,
}

impl Mamba2 {
    /// Lists the arrays, the mixer and the state.
    pub fn list(&self, b: &mut Builder, hidden: u64) {
        let conv_dim = self.inner + 2 * self.groups * self.state;
        b.conv1d("conv1d", conv_dim, self.kernel, self.conv_bias);
        b.linear(
            "in_proj",
            self.inner + conv_dim + self.heads,
            hidden,
            self.in_bias,
        );
        b.param("dt_bias", &[self.heads]);
        if self.keeps_a_log {
            b.param_fixed("A_log", &[self.heads], Dtype::F32);
        } else {
            b.param("A_log", &[self.heads]);
        }
        b.param("D", &[self.heads]);
        if self.norm {
            b.norm("norm", self.inner);
        }
        b.linear("out_proj", hidden, self.inner, self.out_bias);
        recurrent::note(
            b,
            Recurrence::Mamba2,
            Kept {
                conv_dim,
                kernel: self.kernel,
                heads: self.heads,
                state: (self.head_dim, self.state),
                single_precision: true,
            },
        );
    }
}
