//! glm and glm4, the dense ones. Follows mlx-lm 0.32.2 `models/{glm,glm4}.py`.

use super::llama_like::{explicit, with_head_dim};
use crate::model::blocks::decoder::{Decoder, tied_or};
use crate::model::blocks::mlp::Mlp;
use crate::model::{Config, ConfigError, Model};

pub(super) fn glm(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps", "head_dim"])?;
    let bias = c.flag_or("attention_bias", false)?;
    let decoder = Decoder::usual("glm", c, with_head_dim(c)?.biased(bias, false))?;
    Decoder {
        mlp: Mlp::fused(decoder.mlp.ff),
        tied: tied_or(c, true)?,
        ..decoder
    }
    .build(c)
}

pub(super) fn glm4(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps", "partial_rotary_factor", "rope_theta"])?;
    let attention = explicit(c)?.biased(c.flag("attention_bias")?, false);
    let decoder = Decoder::usual("glm4", c, attention)?;
    Decoder {
        mlp: Mlp::fused(decoder.mlp.ff),
        norms: &[
            "input_layernorm",
            "post_attention_layernorm",
            "post_self_attn_layernorm",
            "post_mlp_layernorm",
        ],
        tied: false,
        ..decoder
    }
    .build(c)
}
