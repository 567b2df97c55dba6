//! qwen (the first), qwen2 and qwen3, and the text part of qwen2_vl, qwen2_5_vl and qwen3_vl.
//! Follows mlx-lm 0.32.2 `models/{qwen,qwen2,qwen3,qwen2_vl,qwen3_vl}.py`.

use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{Decoder, Trunk, check_rope, tied, tied_or};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::{Config, ConfigError, Model};

pub(super) fn qwen2(c: &Config<'_>) -> Result<Model, ConfigError> {
    qwen2_text("qwen2", "", c)
}

fn qwen2_text(
    family: &'static str,
    root: &'static str,
    c: &Config<'_>,
) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    c.count("num_key_value_heads")?;
    let attention = Attention::divided(c, c.dim("hidden_size")?)?.biased(true, false);
    Decoder {
        root,
        tied: tied_or(c, true)?,
        ..Decoder::usual(family, c, attention)?
    }
    .build(c)
}

pub(super) fn qwen3(c: &Config<'_>) -> Result<Model, ConfigError> {
    qwen3_text("qwen3", "", c)
}

fn qwen3_text(
    family: &'static str,
    root: &'static str,
    c: &Config<'_>,
) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps", "max_position_embeddings"])?;
    let parameters = c.object("rope_parameters")?;
    if c.get("rope_theta").is_none() && parameters.is_none_or(|p| p.get("rope_theta").is_none()) {
        return Err(ConfigError::Refused(
            "rope_theta is missing from the model config.".to_owned(),
        ));
    }
    check_rope(
        c,
        if c.get("rope_scaling").is_some() {
            "rope_scaling"
        } else {
            "rope_parameters"
        },
    )?;
    Decoder {
        root,
        tied: tied(c)?,
        ..Decoder::usual(family, c, explicit(c)?.normed(QkNorm::Head))?
    }
    .build(c)
}

/// The sizes stand at the top of older configurations.
pub(super) fn qwen2_vl(c: &Config<'_>) -> Result<Model, ConfigError> {
    qwen2_text(
        "qwen2_vl",
        "language_model.",
        &c.object("text_config")?.unwrap_or(*c),
    )
}

pub(super) fn qwen3_vl(c: &Config<'_>) -> Result<Model, ConfigError> {
    qwen3_text(
        "qwen3_vl",
        "language_model.",
        &c.object("text_config")?.unwrap_or(*c),
    )
}

/// `intermediate_size` counts gate and up projection together; heads are `kv_channels` wide.
pub(super) fn qwen(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim_or("hidden_size", 2048)?;
    let sizes = (
        hidden,
        c.count_or("num_hidden_layers", 24)?,
        c.dim_or("vocab_size", 151_936)?,
    );
    let heads = c.count_or("num_attention_heads", 16)?;
    let no_bias = c.flag_or("no_bias", true)?;
    let width = c.dim_or("kv_channels", 128)?;
    if heads.checked_mul(width) != Some(hidden) {
        return Err(ConfigError::Refused(format!(
            "num_attention_heads × kv_channels must be hidden_size ({heads} × {width}, {hidden})"
        )));
    }
    let attention = Attention::of(heads, heads, width)
        .named(Projections::Fused(["attn.c_attn", "attn.c_proj"]))
        .biased(true, !no_bias);
    let ff = c.dim_or("intermediate_size", 11_008)? / 2;
    let mlp = Mlp::of(
        Network::Gated(["mlp.w2", "mlp.w1", "mlp.c_proj"]),
        ff,
        !no_bias,
    );
    Decoder {
        norms: &["ln_1", "ln_2"],
        trunk: Trunk::TRANSFORMER,
        tied: false,
        head_bias: !no_bias,
        ..Decoder::new("qwen", sizes, attention, mlp)
    }
    .build(c)
}
