//! Dense feed-forward networks.

use crate::model::{Builder, ConfigError, FeedForward};

/// Linear layers of a dense feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Gate, up, down: SwiGLU and its kin.
    Gated([&'static str; 3]),
    /// Gate and up in one, down.
    Fused([&'static str; 2]),
    /// Up, down: no gate.
    Plain([&'static str; 2]),
}

/// A dense feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mlp {
    /// Names of the linear layers.
    pub network: Network,
    /// Width inside.
    pub ff: u64,
    /// Biases on all of them.
    pub bias: bool,
}

impl Mlp {
    /// `gate_proj`, `up_proj`, `down_proj` under `mlp`.
    #[must_use]
    pub const fn gated(ff: u64) -> Self {
        Self::of(
            Network::Gated(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
            ff,
            false,
        )
    }

    /// `gate_up_proj`, `down_proj` under `mlp`.
    #[must_use]
    pub const fn fused(ff: u64) -> Self {
        Self::of(
            Network::Fused(["mlp.gate_up_proj", "mlp.down_proj"]),
            ff,
            false,
        )
    }

    /// `up_proj`, `down_proj` under `mlp`.
    #[must_use]
    pub const fn plain(ff: u64) -> Self {
        Self::of(Network::Plain(["mlp.up_proj", "mlp.down_proj"]), ff, false)
    }

    /// Any network.
    #[must_use]
    pub const fn of(network: Network, ff: u64, bias: bool) -> Self {
        Self { network, ff, bias }
    }

    /// The same with biases.
    #[must_use]
    pub const fn biased(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Lists the linear layers.
    pub fn list(&self, b: &mut Builder, hidden: u64) {
        let (ff, bias) = (self.ff, self.bias);
        if ff == 0 {
            b.fail(ConfigError::Shape(
                "a dense layer has no width: a number is expected for its intermediate size",
            ));
        }
        let (down, gated) = match self.network {
            Network::Gated([gate, up, down]) => {
                b.linear(gate, ff, hidden, bias);
                b.linear(up, ff, hidden, bias);
                (down, true)
            }
            Network::Fused([gate_up, down]) => {
                b.linear(gate_up, 2 * ff, hidden, bias);
                (down, true)
            }
            Network::Plain([up, down]) => {
                b.linear(up, ff, hidden, bias);
                (down, false)
            }
        };
        b.linear(down, hidden, ff, bias);
        b.feed_forward(FeedForward::Dense { ff, gated });
    }
}

/// `gate_proj`, `up_proj`, `down_proj` under `mlp`: SwiGLU and its kin.
pub fn gated(b: &mut Builder, hidden: u64, ff: u64, bias: bool) {
    Mlp::gated(ff).biased(bias).list(b, hidden);
}
