//! Grouped-query attention in its variants, with its cache.

use crate::model::CacheKind;
use crate::model::{Builder, Config, ConfigError, Flavour, Mixer};

/// Norms on queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// One weight of the head's width each, shared by all heads (qwen3, gemma3).
    Head,
    /// One weight of the head's width for every head (cohere, stablelm).
    EachHead,
    /// Over all heads together: `heads × head_dim` (olmo2).
    Full,
}

/// Linear layers that make queries, keys and values, and the one that mixes the heads' results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projections {
    /// Queries, keys, values, output.
    Split([&'static str; 4]),
    /// Queries, keys and values in one, output.
    Fused([&'static str; 2]),
}

impl Projections {
    /// The usual names of separate projections.
    pub const SPLIT: Self = Self::Split([
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
    ]);
}

/// Softmax attention over grouped heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a query and key head.
    pub k_dim: u64,
    /// Width of a value head.
    pub v_dim: u64,
    /// Names of the linear layers.
    pub projections: Projections,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on the output.
    pub o_bias: bool,
    /// Norms on queries and keys.
    pub qk_norm: QkNorm,
    /// Names of these norms' weights.
    pub norm_names: [&'static str; 2],
    /// Tokens a rotating cache keeps, where the layer has one.
    pub window: Option<u64>,
    /// How scores are computed.
    pub flavour: Flavour,
}

impl Attention {
    /// Heads that share a width, without biases and norms, under the usual names.
    #[must_use]
    pub const fn of(heads: u64, kv_heads: u64, head_dim: u64) -> Self {
        Self {
            heads,
            kv_heads,
            k_dim: head_dim,
            v_dim: head_dim,
            projections: Projections::SPLIT,
            qkv_bias: false,
            o_bias: false,
            qk_norm: QkNorm::None,
            norm_names: ["self_attn.q_norm.weight", "self_attn.k_norm.weight"],
            window: None,
            flavour: Flavour::Fast,
        }
    }

    /// Heads and widths by the usual fields: `num_attention_heads`, `num_key_value_heads` (absent: as many),
    /// `head_dim` (absent: hidden ÷ heads).
    ///
    /// # Errors
    /// When a field is missing or out of range, or widths do not divide.
    pub fn from_config(config: &Config<'_>, hidden: u64) -> Result<Self, ConfigError> {
        Self::by_width(config, hidden, config.count("num_attention_heads")?)
    }

    /// The same with the number of query heads already known.
    ///
    /// # Errors
    /// As [`Self::from_config`].
    pub fn by_width(config: &Config<'_>, hidden: u64, heads: u64) -> Result<Self, ConfigError> {
        let kv_heads = config.count_opt("num_key_value_heads")?.filter(|&n| n > 0);
        let kv_heads = kv_heads.unwrap_or(heads);
        match config.dim_opt("head_dim")? {
            Some(dim) => Self::of(heads, kv_heads, dim).checked(config),
            None => Self::of_width(config, hidden, "num_attention_heads", heads, kv_heads),
        }
    }

    /// The same for classes that know no `head_dim`: it is hidden ÷ heads.
    ///
    /// # Errors
    /// As [`Self::from_config`].
    pub fn divided(config: &Config<'_>, hidden: u64) -> Result<Self, ConfigError> {
        let heads = config.count("num_attention_heads")?;
        let kv_heads = config.count_opt("num_key_value_heads")?.filter(|&n| n > 0);
        Self::of_width(
            config,
            hidden,
            "num_attention_heads",
            heads,
            kv_heads.unwrap_or(heads),
        )
    }

    /// Heads that share the width of the residual stream; `field` is where their number stands.
    ///
    /// # Errors
    /// When there are more heads than channels, or key and value heads do not divide.
    pub fn of_width(
        config: &Config<'_>,
        hidden: u64,
        field: &str,
        heads: u64,
        kv_heads: u64,
    ) -> Result<Self, ConfigError> {
        if heads == 0 || heads > hidden {
            return Err(config.invalid(
                field,
                format!("from 1 to {hidden} heads, the model's width, are expected"),
            ));
        }
        Self::of(heads, kv_heads, hidden / heads).checked(config)
    }

    /// Checks that key and value heads divide the query heads, which the attention itself needs.
    ///
    /// # Errors
    /// When they do not.
    pub fn checked(self, config: &Config<'_>) -> Result<Self, ConfigError> {
        if self.heads > 0 && self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads) {
            Ok(self)
        } else {
            Err(config.invalid(
                "num_key_value_heads",
                format!(
                    "a divisor of num_attention_heads ({}) is expected",
                    self.heads
                ),
            ))
        }
    }

    /// The same in a layer with a rotating cache of `window` tokens, or without.
    #[must_use]
    pub const fn windowed(mut self, window: Option<u64>) -> Self {
        self.window = window;
        self
    }

    /// The same with biases on queries, keys and values, and on the output.
    #[must_use]
    pub const fn biased(mut self, qkv: bool, output: bool) -> Self {
        self.qkv_bias = qkv;
        self.o_bias = output;
        self
    }

    /// The same with norms on queries and keys.
    #[must_use]
    pub const fn normed(mut self, norm: QkNorm) -> Self {
        self.qk_norm = norm;
        self
    }

    /// The same under other names.
    #[must_use]
    pub const fn named(mut self, projections: Projections) -> Self {
        self.projections = projections;
        self
    }

    /// Lists the projections and norms, and the cache.
    pub fn list(&self, b: &mut Builder, hidden: u64) {
        self.project(b, hidden);
        self.norms(b);
        self.mix(b);
        self.keep(b);
    }

    /// Lists the projections alone.
    pub fn project(&self, b: &mut Builder, hidden: u64) {
        let (q, k, v) = (
            self.heads * self.k_dim,
            self.kv_heads * self.k_dim,
            self.kv_heads * self.v_dim,
        );
        let output = match self.projections {
            Projections::Split([queries, keys, values, output]) => {
                b.linear(queries, q, hidden, self.qkv_bias);
                b.linear(keys, k, hidden, self.qkv_bias);
                b.linear(values, v, hidden, self.qkv_bias);
                output
            }
            Projections::Fused([fused, output]) => {
                b.linear(fused, q + k + v, hidden, self.qkv_bias);
                output
            }
        };
        b.linear(output, hidden, self.heads * self.v_dim, self.o_bias);
    }

    /// Lists the norms alone.
    pub fn norms(&self, b: &mut Builder) {
        let [q, k] = self.norm_names;
        match self.qk_norm {
            QkNorm::None => {}
            QkNorm::Head => {
                b.param(q, &[self.k_dim]);
                b.param(k, &[self.k_dim]);
            }
            QkNorm::EachHead => {
                b.param(q, &[self.heads, self.k_dim]);
                b.param(k, &[self.kv_heads, self.k_dim]);
            }
            QkNorm::Full => {
                b.param(q, &[self.heads * self.k_dim]);
                b.param(k, &[self.kv_heads * self.k_dim]);
            }
        }
    }

    /// Notes the mixer alone, for families that list projections of their own.
    pub fn mix(&self, b: &mut Builder) {
        b.mixer(Mixer::Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            k_dim: self.k_dim,
            v_dim: self.v_dim,
            window: self.window,
            flavour: self.flavour,
        });
    }

    /// Notes the cache alone.
    pub fn keep(&self, b: &mut Builder) {
        let (heads, k_dim, v_dim) = (self.kv_heads, self.k_dim, self.v_dim);
        b.cache(match self.window {
            Some(window) => CacheKind::Rotating {
                heads,
                k_dim,
                v_dim,
                window,
            },
            None => CacheKind::Full {
                heads,
                k_dim,
                v_dim,
            },
        });
    }
}
