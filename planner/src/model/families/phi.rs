//! phi, phi3 (Phi-4 too) and phi3small.
//! Follows mlx-lm 0.32.2 `models/{phi,phi3,phi3small}.py`.

use crate::model::blocks::attention::{Attention, Projections};
use crate::model::blocks::decoder::{Decoder, Norm, Trunk, tied_or};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::{Config, ConfigError, KvQuantSupport, Model};

/// Why a class that casts its scores back to the values' type takes no quantized cache.
pub(super) const CASTS: &str = "AttributeError: 'list' object has no attribute 'dtype' (its attention reads the type of the values)";

/// One norm a layer, attention and network side by side, biases everywhere.
pub(super) fn phi(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.number_or("partial_rotary_factor", 1.0)?;
    let hidden = c.dim_or("hidden_size", 2560)?;
    let sizes = (
        hidden,
        c.count_or("num_hidden_layers", 32)?,
        c.dim_or("vocab_size", 51_200)?,
    );
    let heads = c.count_or("num_attention_heads", 32)?;
    // A null means as many as heads; a missing field 32.
    let kv_heads = if c.has("num_key_value_heads") {
        c.count_opt("num_key_value_heads")?.unwrap_or(heads)
    } else {
        32
    };
    let attention = Attention::of_width(c, hidden, "num_attention_heads", heads, kv_heads)?
        .named(Projections::Split([
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.dense",
        ]))
        .biased(true, true);
    whole_heads(&attention, hidden)?;
    let ff = c.dim_or("intermediate_size", 10_240)?;
    let mlp = Mlp::of(Network::Plain(["mlp.fc1", "mlp.fc2"]), ff, true);
    Decoder {
        norm: Norm::Layer,
        norms: &["input_layernorm"],
        trunk: Trunk {
            norm: "model.final_layernorm",
            ..Trunk::MODEL
        },
        tied: false,
        head_bias: true,
        kv_quant: KvQuantSupport::Refused(CASTS),
        ..Decoder::new("phi", sizes, attention, mlp)
    }
    .build(c)
}

/// Checks what some classes assert: heads fill the width.
///
/// # Errors
/// When they do not.
pub(super) fn whole_heads(attention: &Attention, hidden: u64) -> Result<(), ConfigError> {
    if attention.heads * attention.k_dim == hidden {
        return Ok(());
    }
    Err(ConfigError::Refused(format!(
        "hidden_size must be divisible by num_heads (got `hidden_size`: {hidden} and `num_heads`: {})",
        attention.heads
    )))
}

/// Fused projections; Phi-4 too.
pub(super) fn phi3(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.number_or("partial_rotary_factor", 1.0)?;
    c.needs(&["rms_norm_eps"])?;
    if let Some(rope) = c.object("rope_scaling")?
        && !(rope.has("long_factor") && rope.has("type"))
    {
        return Err(ConfigError::Refused(
            "rope_scaling must contain keys {'long_factor', 'type'}".to_owned(),
        ));
    }
    let attention = Attention::divided(c, c.dim("hidden_size")?)?.named(Projections::Fused([
        "self_attn.qkv_proj",
        "self_attn.o_proj",
    ]));
    let decoder = Decoder::usual("phi3", c, attention)?;
    Decoder {
        mlp: Mlp::fused(decoder.mlp.ff),
        tied: tied_or(c, false)?,
        ..decoder
    }
    .build(c)
}

/// Fused projections with biases, layer norms, tied. Its block-sparse layers differ in the mask alone.
pub(super) fn phi3small(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "dense_attention_every_n_layers",
        "gegelu_limit",
        "layer_norm_epsilon",
    ])?;
    let hidden = c.dim("hidden_size")?;
    c.count("num_key_value_heads")?;
    if !matches!(c.dim_or("blocksparse_block_size", 64)?, 32 | 64) {
        return Err(c.invalid(
            "blocksparse_block_size",
            "32 or 64 is expected, as mlx-lm asks for",
        ));
    }
    let attention = Attention::divided(c, hidden)?
        .named(Projections::Fused([
            "self_attn.query_key_value",
            "self_attn.dense",
        ]))
        .biased(true, true);
    whole_heads(&attention, hidden)?;
    let mlp = Mlp::of(
        Network::Fused(["mlp.up_proj", "mlp.down_proj"]),
        c.dim("ff_intermediate_size")?,
        true,
    );
    let sizes = (hidden, c.count("num_hidden_layers")?, c.dim("vocab_size")?);
    Decoder {
        norm: Norm::Layer,
        trunk: Trunk {
            norm: "model.final_layernorm",
            ..Trunk::MODEL
        },
        kv_quant: KvQuantSupport::Refused(
            "TypeError: expand_dims() (its attention repeats keys itself)",
        ),
        ..Decoder::new("phi3small", sizes, attention, mlp)
    }
    .build(c)
}
