//! Multi-head latent attention: keys and values of all heads come from one small latent a token.

use crate::model::CacheKind;
use crate::model::{Builder, Config, ConfigError, Flavour, KvQuantSupport, Mixer};

/// What a quantized cache of latents fails with in mlx-lm 0.32.2.
pub const NO_QUANTIZED_LATENTS: KvQuantSupport =
    KvQuantSupport::Refused("AttributeError: 'list' object has no attribute 'swapaxes'");

/// Defaults of a class for the fields that [`Latent::from_config`] reads; `None` where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentDefaults {
    /// `num_attention_heads`.
    pub heads: u64,
    /// `q_lora_rank`; null in the description means none.
    pub q_rank: u64,
    /// `kv_lora_rank`.
    pub rank: u64,
    /// `qk_rope_head_dim`.
    pub rope: u64,
    /// `qk_nope_head_dim`.
    pub nope: u64,
    /// `v_head_dim`.
    pub v_dim: u64,
}

impl LatentDefaults {
    /// Of deepseek_v2, v3 and v3.2.
    pub const DEEPSEEK: Self = Self {
        heads: 32,
        q_rank: 1536,
        rank: 512,
        rope: 64,
        nope: 128,
        v_dim: 128,
    };
}

/// Latent attention under `self_attn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Query heads.
    pub heads: u64,
    /// Width of the queries' own latent, where they have one (`q_lora_rank`).
    pub q_rank: Option<u64>,
    /// Width of the latent of keys and values (`kv_lora_rank`).
    pub rank: u64,
    /// Width of the rotary key that all heads share.
    pub rope: u64,
    /// Width of a head's part without position.
    pub nope: u64,
    /// Width of a value head.
    pub v_dim: u64,
    /// Biases on the projections to the latents and on the output.
    pub bias: bool,
    /// Whether the latent is what is kept, with `embed_q` and `unembed_out` in place of `kv_b_proj`.
    pub absorbed: bool,
    /// Name of the projection of the heads' results.
    pub output: &'static str,
}

impl Latent {
    /// Widths by the usual fields, with the defaults of the class.
    ///
    /// # Errors
    /// When a field is out of range.
    pub fn from_config(c: &Config<'_>, or: LatentDefaults) -> Result<Self, ConfigError> {
        Ok(Self {
            heads: positive(
                c,
                "num_attention_heads",
                c.count_or("num_attention_heads", or.heads)?,
            )?,
            q_rank: if c.has("q_lora_rank") {
                c.dim_opt("q_lora_rank")?
            } else {
                Some(or.q_rank)
            },
            rank: c.dim_or("kv_lora_rank", or.rank)?,
            rope: c.dim_or("qk_rope_head_dim", or.rope)?,
            nope: c.dim_or("qk_nope_head_dim", or.nope)?,
            v_dim: c.dim_or("v_head_dim", or.v_dim)?,
            bias: c.flag_or("attention_bias", false)?,
            absorbed: true,
            output: "o_proj",
        })
    }

    /// The same for a class without defaults.
    ///
    /// # Errors
    /// When a field is missing or out of range.
    pub fn explicit(c: &Config<'_>) -> Result<Self, ConfigError> {
        c.needs(&[
            "num_attention_heads",
            "q_lora_rank",
            "kv_lora_rank",
            "qk_rope_head_dim",
            "qk_nope_head_dim",
            "v_head_dim",
        ])?;
        Self::from_config(c, LatentDefaults::DEEPSEEK)
    }

    /// The same where keys and values of every head are kept.
    #[must_use]
    pub const fn decompressed(mut self) -> Self {
        self.absorbed = false;
        self
    }

    /// Lists the projections and norms under `path`, the mixer and the cache.
    pub fn list(&self, b: &mut Builder, path: &str, hidden: u64) {
        let head = self.nope + self.rope;
        let at = |name: &str| format!("{path}.{name}");
        match self.q_rank {
            None => {
                b.linear(&at("q_proj"), self.heads * head, hidden, false);
            }
            Some(q_rank) => {
                b.linear(&at("q_a_proj"), q_rank, hidden, self.bias);
                b.norm(&at("q_a_layernorm"), q_rank);
                b.linear(&at("q_b_proj"), self.heads * head, q_rank, false);
            }
        }
        let latent = self.rank + self.rope;
        b.linear(&at("kv_a_proj_with_mqa"), latent, hidden, self.bias);
        b.norm(&at("kv_a_layernorm"), self.rank);
        if self.absorbed {
            b.multi_linear(&at("embed_q"), self.heads, self.rank, self.nope);
            b.multi_linear(&at("unembed_out"), self.heads, self.v_dim, self.rank);
        } else {
            let output = self.heads * (self.nope + self.v_dim);
            b.linear(&at("kv_b_proj"), output, self.rank, false);
        }
        b.linear(&at(self.output), hidden, self.heads * self.v_dim, self.bias);
        self.mix(b);
    }

    fn mix(&self, b: &mut Builder) {
        let k_dim = self.nope + self.rope;
        if self.absorbed {
            b.mixer(Mixer::Latent {
                heads: self.heads,
                rank: self.rank,
                rope: self.rope,
                nope: self.nope,
                v_dim: self.v_dim,
            });
            b.cache(CacheKind::Full {
                heads: 1,
                k_dim: self.rank,
                v_dim: self.rope,
            });
        } else {
            b.mixer(Mixer::Attention {
                heads: self.heads,
                kv_heads: self.heads,
                k_dim,
                v_dim: self.v_dim,
                window: None,
                flavour: Flavour::Fast,
            });
            b.cache(CacheKind::Full {
                heads: self.heads,
                k_dim,
                v_dim: self.v_dim,
            });
        }
    }
}

fn positive(c: &Config<'_>, field: &str, value: u64) -> Result<u64, ConfigError> {
    if value > 0 {
        Ok(value)
    } else {
        Err(c.invalid(field, "at least 1 is expected"))
    }
}
