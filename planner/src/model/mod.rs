//! The architecture of a model: the exact list of its arrays, and one description a kind of layer, as
//! mlx-lm 0.32.2 builds them from config.json.
//!
//! Layers of one kind are a [`LayerGroup`]: counted, not looped over. Every figure of the program is a sum over
//! [`Tensor`]s or over groups.

pub mod blocks;
pub mod builder;
pub mod config;
pub mod families;
pub mod order;
pub mod traits;

use std::borrow::Cow;

use crate::quant::Dtype;

pub use builder::Builder;
pub use config::{Config, ConfigError};
pub use order::Order;
pub use traits::Traits;

/// At most four dimensions: experts, out, in, kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    dims: [u64; 4],
    rank: u8,
}

impl Shape {
    /// The shape with these dimensions; what lies beyond four is multiplied into the first.
    #[must_use]
    pub fn new(dims: &[u64]) -> Self {
        let mut shape = Self {
            dims: [1; 4],
            rank: dims.len().min(4) as u8,
        };
        let extra = dims.len().saturating_sub(4);
        for (i, &d) in dims.iter().enumerate() {
            let slot = &mut shape.dims[i.saturating_sub(extra)];
            *slot = slot.saturating_mul(d);
        }
        shape
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[u64] {
        &self.dims[..usize::from(self.rank)]
    }

    /// The last dimension: the one that is quantized along.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The product of all; the builder has checked that it fits.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dims().iter().product()
    }
}

/// How the runtime treats an array when it quantizes a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Weight of a Linear, SwitchLinear or MultiLinear: quantizable.
    Linear,
    /// Weight of an Embedding: quantizable, looked up by row.
    Embedding,
    /// Norms, biases, convolutions, states: never quantized.
    Plain,
}

/// What a family's own `quant_predicate` says of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// As asked for.
    Asked,
    /// `{"group_size": 64, "bits": 8}`: precise whatever was asked for.
    Precise,
    /// `False`: left as it is.
    Keep,
}

/// How much of an array one token reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// All of it.
    All,
    /// The chosen experts' share of the first dimension.
    Experts {
        /// Experts a token is sent to.
        chosen: u64,
        /// Experts there are.
        of: u64,
    },
    /// One row: an embedding that is not also the output head.
    Row,
    /// All of it once a token for the output head, though it is an embedding too (tied).
    Tied,
}

/// One array, or one array in each layer of a group.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Module path and parameter name, within the layer where `group` is set (`self_attn.q_proj.weight`).
    pub path: Cow<'static, str>,
    /// The group of layers that have it, as an index into [`Model::groups`].
    pub group: Option<usize>,
    /// Its shape.
    pub shape: Shape,
    /// How it is treated.
    pub role: Role,
    /// What the family's predicate says.
    pub policy: Policy,
    /// A type that casting leaves alone (`cast_predicate`), where it has one.
    pub fixed_dtype: Option<Dtype>,
    /// What a token reads of it.
    pub reads: Reads,
}

/// How a layer mixes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// Softmax attention over keys and values of every head.
    Attention {
        /// Query heads.
        heads: u64,
        /// Key and value heads.
        kv_heads: u64,
        /// Width of a key head.
        k_dim: u64,
        /// Width of a value head.
        v_dim: u64,
        /// Tokens seen, where the layer has a window that its mask or cache honours.
        window: Option<u64>,
        /// Scores are computed outside the fused kernel (soft-capping) or need sinks.
        flavour: Flavour,
    },
    /// Multi-head latent attention: one latent of `rank + rope` a token, shared by all heads.
    Latent {
        /// Query heads.
        heads: u64,
        /// Width of the latent (kv_lora_rank).
        rank: u64,
        /// Width of the shared rotary key.
        rope: u64,
        /// Width of a head's part without position (qk_nope_head_dim).
        nope: u64,
        /// Width of a value head.
        v_dim: u64,
    },
    /// A recurrence with a constant state: gated delta, Mamba, linear attention.
    Recurrent {
        /// Channels of the convolution before it.
        conv_dim: u64,
        /// Its kernel.
        kernel: u64,
        /// Heads of the state.
        heads: u64,
        /// Elements of one head's state.
        state: u64,
        /// Which recurrence.
        kind: Recurrence,
    },
    /// A short convolution alone (lfm2).
    Convolution {
        /// Channels.
        dim: u64,
        /// Kernel.
        kernel: u64,
    },
}

/// What is special in a layer's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `mx.fast.scaled_dot_product_attention`.
    Fast,
    /// The same with attention sinks.
    Sinks,
    /// Scores are computed outside it: soft-capping (gemma2), or in steps (stablelm, old GPTs).
    Manual,
}

/// Which recurrence a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurrence {
    /// Gated delta rule, with a kernel of its own.
    GatedDelta,
    /// Mamba 2 (state space dual), computed in chunks.
    Mamba2,
    /// Mamba 1, a scan.
    Mamba1,
    /// Other linear attention.
    Linear,
}

/// What one layer keeps between tokens, for each sequence of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// `KVCache`: all keys and values. Latent caches are this with one head.
    Full {
        /// Key and value heads.
        heads: u64,
        /// Width of a key.
        k_dim: u64,
        /// Width of a value.
        v_dim: u64,
    },
    /// `RotatingKVCache`: the last `window` tokens at rest.
    Rotating {
        /// Key and value heads.
        heads: u64,
        /// Width of a key.
        k_dim: u64,
        /// Width of a value.
        v_dim: u64,
        /// Tokens kept.
        window: u64,
    },
    /// `ChunkedKVCache`: trimmed to `chunk` tokens before each step.
    Chunked {
        /// Key and value heads.
        heads: u64,
        /// Width of a key.
        k_dim: u64,
        /// Width of a value.
        v_dim: u64,
        /// Tokens kept.
        chunk: u64,
    },
    /// The last `tokens` tokens, as many as there are, without any room to grow.
    Tail {
        /// Tokens kept.
        tokens: u64,
        /// Elements of one in the activations' type.
        elements: u64,
        /// Elements of one in single precision whatever the model's type.
        f32_elements: u64,
    },
    /// One row for each full group of `ratio` tokens, and the tokens of the group that is still open; without any room
    /// to grow.
    Groups {
        /// Tokens of a group.
        ratio: u64,
        /// Elements of a group's row, in single precision whatever the model's type.
        f32_elements: u64,
        /// Elements of an open token, likewise.
        open_f32_elements: u64,
    },
    /// `ArraysCache`: a convolution's tail or a recurrence's state; constant.
    State {
        /// Elements in the activations' type.
        elements: u64,
        /// Elements in single precision whatever the model's type.
        f32_elements: u64,
    },
}

/// How a layer transforms each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// None in this layer.
    None,
    /// One network for all tokens.
    Dense {
        /// Width inside.
        ff: u64,
        /// Gate and up projection (three matrices rather than two).
        gated: bool,
    },
    /// Chosen experts, with one network for all beside them where `shared_ff` is set.
    Experts {
        /// Experts there are.
        experts: u64,
        /// Experts a token is sent to.
        chosen: u64,
        /// Width inside an expert.
        ff: u64,
        /// Width inside the shared network, 0 without one.
        shared_ff: u64,
    },
}

/// Layers of one kind.
#[derive(Debug, Clone)]
pub struct LayerGroup {
    /// Module path of the list they stand in (`model.layers`).
    pub prefix: Cow<'static, str>,
    /// Their indices in it, rising.
    pub layers: Vec<u32>,
    /// How many of them a mixed recipe favours.
    pub favoured: u64,
    /// How they mix tokens; more than one where both run side by side (falcon_h1).
    pub mixers: Vec<Mixer>,
    /// How they transform each token.
    pub feed_forward: FeedForward,
    /// What each keeps between tokens.
    pub caches: Vec<CacheKind>,
}

impl LayerGroup {
    /// Layers in the group.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.layers.len() as u64
    }
}

/// Whether mlx-lm can quantize the model's caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvQuantSupport {
    /// Where the head dimensions divide by the group.
    Yes,
    /// It fails, for this reason.
    Refused(&'static str),
    /// It is silently ignored.
    Ignored,
}

/// A model as the runtime holds it.
#[derive(Debug, Clone)]
pub struct Model {
    /// `model_type` as the description has it.
    pub architecture: String,
    /// The mlx-lm module that builds it.
    pub family: &'static str,
    /// The type its weights are published in.
    pub dtype: Dtype,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Rows of the vocabulary.
    pub vocab: u64,
    /// The context it was trained for, where the description says.
    pub max_context_tokens: Option<u64>,
    /// Layers in all.
    pub layer_count: u64,
    /// Kinds of layers.
    pub groups: Vec<LayerGroup>,
    /// Every array.
    pub tensors: Vec<Tensor>,
    /// KV quantization.
    pub kv_quant: KvQuantSupport,
    /// Why mlx-lm cannot quantize the weights, where it cannot.
    pub quant_refused: Option<&'static str>,
    /// Whether `--max-kv-size` has an effect (the class has no `make_cache` of its own).
    pub honours_max_kv_size: bool,
    /// What is particular in each of `groups`.
    pub traits: Vec<Traits>,
    /// Layers in the order in which they run, shortened.
    pub order: Order,
}

impl Model {
    /// How many layers have the tensor.
    #[must_use]
    pub fn repeats(&self, tensor: &Tensor) -> u64 {
        tensor.group.map_or(1, |g| self.groups[g].count())
    }

    /// Logical parameters: elements of all arrays before quantization.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.tensors
            .iter()
            .map(|t| t.shape.elements() * self.repeats(t))
            .sum()
    }

    /// Parameters that take part in computing one token: chosen experts only, the output head, no embedding rows.
    #[must_use]
    pub fn active_parameters(&self) -> u64 {
        self.tensors
            .iter()
            .map(|t| {
                let all = t.shape.elements() * self.repeats(t);
                match t.reads {
                    Reads::All | Reads::Tied => all,
                    Reads::Experts { chosen, of } => all / of.max(1) * chosen,
                    Reads::Row => t.shape.last(),
                }
            })
            .sum()
    }
}
