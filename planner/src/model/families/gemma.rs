//! gemma, gemma2, gemma3_text and gemma3, whose text part that is: tied, with norms that add one to their weight.
//! Follows mlx-lm 0.32.2 `models/{gemma,gemma2,gemma3_text,gemma3}.py`.

use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Decoder, SANDWICH_NORMS, Windows, check_rope};
use crate::model::blocks::mlp::Mlp;
use crate::model::{Config, ConfigError, Flavour, KvQuantSupport, Model};

pub(super) fn gemma(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    Decoder::usual("gemma", c, explicit(c)?)?.build(c)
}

/// Scores are capped outside the fused kernel, and windows are not honoured.
pub(super) fn gemma2(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.number_or("query_pre_attn_scalar", 1.0)?;
    c.needs(&["rms_norm_eps"])?;
    let attention = Attention {
        flavour: Flavour::Manual,
        ..explicit(c)?
    };
    Decoder {
        norms: SANDWICH_NORMS,
        kv_quant: KvQuantSupport::Refused(
            "TypeError: expand_dims() (its attention caps scores itself and takes no quantized keys)",
        ),
        ..Decoder::usual("gemma2", c, attention)?
    }
    .build(c)
}

pub(super) fn gemma3_text(c: &Config<'_>) -> Result<Model, ConfigError> {
    gemma3_sized("gemma3_text", "", c, Defaults::TEXT)
}

/// The vocabulary stands beside the text part, and two defaults differ.
pub(super) fn gemma3(c: &Config<'_>) -> Result<Model, ConfigError> {
    let inner = c.need_object("text_config")?;
    inner.needs(&["model_type"])?;
    let defaults = Defaults {
        heads: 8,
        kv_heads: 4,
        vocab: Some(c.dim_or("vocab_size", 262_208)?),
    };
    gemma3_sized("gemma3", "language_model.", &inner, defaults)
}

/// What differs between the class alone and inside its wrapper.
#[derive(Clone, Copy)]
struct Defaults {
    heads: u64,
    kv_heads: u64,
    vocab: Option<u64>,
}

impl Defaults {
    const TEXT: Self = Self {
        heads: 4,
        kv_heads: 1,
        vocab: None,
    };
}

fn gemma3_sized(
    family: &'static str,
    root: &'static str,
    c: &Config<'_>,
    defaults: Defaults,
) -> Result<Model, ConfigError> {
    c.number_or("query_pre_attn_scalar", 1.0)?;
    check_rope(c, "rope_scaling")?;
    let layers = c.count_or("num_hidden_layers", 26)?;
    let vocab = match defaults.vocab {
        Some(vocab) => vocab,
        None => c.dim_or("vocab_size", 262_144)?,
    };
    let attention = Attention::of(
        c.count_or("num_attention_heads", defaults.heads)?,
        c.count_or("num_key_value_heads", defaults.kv_heads)?,
        c.dim_or("head_dim", 256)?,
    )
    .normed(QkNorm::Head)
    .checked(c)?;
    let mlp = Mlp::gated(c.dim_or("intermediate_size", 6912)?);
    let windows = Windows::all_but(
        c.dim_or("sliding_window_pattern", 6)?,
        c.dim_or("sliding_window", 512)?,
        layers,
    )?;
    let sizes = (c.dim_or("hidden_size", 1152)?, layers, vocab);
    Decoder {
        root,
        norms: SANDWICH_NORMS,
        windows,
        // A separate head stays only where the checkpoint has one.
        tied: c.flag_or("tie_word_embeddings", true)?,
        own_cache: true,
        ..Decoder::new(family, sizes, attention, mlp)
    }
    .build(c)
}
