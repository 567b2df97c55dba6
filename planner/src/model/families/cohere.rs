//! cohere and cohere2: one norm a layer, attention and network side by side, tied.
//! Follows mlx-lm 0.32.2 `models/{cohere,cohere2}.py`.

use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Decoder, Norm, Windows};
use crate::model::blocks::mlp::Mlp;
use crate::model::{Config, ConfigError, Model};

fn described(
    family: &'static str,
    c: &Config<'_>,
    sizes: (u64, u64, u64),
    attention: Attention,
    ff: u64,
) -> Result<Decoder, ConfigError> {
    let bias = c.flag_or("attention_bias", false)?;
    Ok(Decoder {
        norms: &["input_layernorm"],
        norm: if c.flag_or("layer_norm_bias", false)? {
            Norm::Layer
        } else {
            Norm::LayerWithoutBias
        },
        ..Decoder::new(
            family,
            sizes,
            attention.biased(bias, bias),
            Mlp::gated(c.dim_or("intermediate_size", ff)?),
        )
    })
}

pub(super) fn cohere(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim_or("hidden_size", 8192)?;
    let sizes = (
        hidden,
        c.count_or("num_hidden_layers", 40)?,
        c.dim_or("vocab_size", 256_000)?,
    );
    let heads = c.count_or("num_attention_heads", 64)?;
    let kv_heads = c.count_or("num_key_value_heads", 64)?;
    let attention = Attention::of_width(c, hidden, "num_attention_heads", heads, kv_heads)?;
    let norm = if c.flag_or("use_qk_norm", false)? {
        QkNorm::EachHead
    } else {
        QkNorm::None
    };
    described("cohere", c, sizes, attention.normed(norm), 22_528)?.build(c)
}

pub(super) fn cohere2(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim_or("hidden_size", 4096)?;
    let layers = c.count_or("num_hidden_layers", 32)?;
    let sizes = (hidden, layers, c.dim_or("vocab_size", 256_000)?);
    let (heads, head_dim) = (
        c.count_or("num_attention_heads", 32)?,
        c.dim_or("head_dim", 128)?,
    );
    if heads.checked_mul(head_dim) != Some(hidden) {
        return Err(ConfigError::Refused(format!(
            "hidden_size must be divisible by num_heads (got `hidden_size`: {hidden} and `num_heads`: {heads}, with head_dim {head_dim})"
        )));
    }
    let kv_heads = c.count_or("num_key_value_heads", 8)?;
    let attention = Attention::of(heads, kv_heads, head_dim).checked(c)?;
    Decoder {
        windows: Windows::all_but(
            c.dim_or("sliding_window_pattern", 4)?,
            c.dim_or("sliding_window", 4096)?,
            layers,
        )?,
        own_cache: true,
        ..described("cohere2", c, sizes, attention, 14_336)?
    }
    .build(c)
}
