//! Grouped-query attention in its variants, with its cache.

use crate::model::{Builder, CacheKind, Config, ConfigError, Flavour, Mixer};

/// Norms on queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// One weight of the head's width each, shared by all heads (qwen3, gemma3).
    Head,
    /// Over all heads together: `heads × head_dim` (olmo2).
    Full,
}

/// Attention with separate query, key, value and output projections under `self_attn`.
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
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on the output.
    pub o_bias: bool,
    /// Norms on queries and keys.
    pub qk_norm: QkNorm,
    /// Tokens a rotating cache keeps, where the layer has one.
    pub window: Option<u64>,
    /// How scores are computed.
    pub flavour: Flavour,
}

impl Attention {
    /// Heads and widths by the usual fields: `num_attention_heads`, `num_key_value_heads` (absent: as many),
    /// `head_dim` (absent: hidden ÷ heads).
    ///
    /// # Errors
    /// When a field is missing or out of range, or widths do not divide.
    pub fn from_config(config: &Config<'_>, hidden: u64) -> Result<Self, ConfigError> {
        let heads = config.count("num_attention_heads")?;
        let kv_heads = config
            .count_opt("num_key_value_heads")?
            .filter(|&n| n > 0)
            .unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(config.invalid(
                "num_key_value_heads",
                format!("a divisor of num_attention_heads ({heads}) is expected"),
            ));
        }
        let head_dim =
            match config.dim_opt("head_dim")? {
                Some(dim) => dim,
                None if hidden >= heads => hidden / heads,
                None => return Err(config.invalid(
                    "num_attention_heads",
                    format!(
                        "at most hidden_size ({hidden}) heads are expected where head_dim is absent"
                    ),
                )),
            };
        Ok(Self {
            heads,
            kv_heads,
            k_dim: head_dim,
            v_dim: head_dim,
            qkv_bias: false,
            o_bias: false,
            qk_norm: QkNorm::None,
            window: None,
            flavour: Flavour::Fast,
        })
    }

    /// The same in a layer with a rotating cache of `window` tokens, or without.
    #[must_use]
    pub const fn windowed(mut self, window: Option<u64>) -> Self {
        self.window = window;
        self
    }

    /// Lists the projections and norms under `self_attn`, and the cache.
    pub fn list(&self, b: &mut Builder, hidden: u64) {
        b.linear(
            "self_attn.q_proj",
            self.heads * self.k_dim,
            hidden,
            self.qkv_bias,
        );
        b.linear(
            "self_attn.k_proj",
            self.kv_heads * self.k_dim,
            hidden,
            self.qkv_bias,
        );
        b.linear(
            "self_attn.v_proj",
            self.kv_heads * self.v_dim,
            hidden,
            self.qkv_bias,
        );
        b.linear(
            "self_attn.o_proj",
            hidden,
            self.heads * self.v_dim,
            self.o_bias,
        );
        match self.qk_norm {
            QkNorm::None => {}
            QkNorm::Head => {
                b.norm("self_attn.q_norm", self.k_dim);
                b.norm("self_attn.k_norm", self.k_dim);
            }
            QkNorm::Full => {
                b.norm("self_attn.q_norm", self.heads * self.k_dim);
                b.norm("self_attn.k_norm", self.kv_heads * self.k_dim);
            }
        }
        self.mix(b);
        self.keep(b);
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
