//! Classes that are llama's shape with small differences: which biases, which defaults, which norms.
//! Follows mlx-lm 0.32.2 `models/NAME.py`, NAME being each function's name unless it says otherwise.

use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{Decoder, Norm, Trunk, check_rope, tied, tied_or};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::{Config, ConfigError, KvQuantSupport, Model, Policy};

/// Attention as wide as the residual stream, `num_key_value_heads` required.
fn divided(c: &Config<'_>) -> Result<Attention, ConfigError> {
    c.count("num_key_value_heads")?;
    Attention::divided(c, c.dim("hidden_size")?)
}

/// Attention with a `head_dim` that may be absent, `num_key_value_heads` required.
pub(super) fn with_head_dim(c: &Config<'_>) -> Result<Attention, ConfigError> {
    c.count("num_key_value_heads")?;
    Attention::from_config(c, c.dim("hidden_size")?)
}

/// Attention with both `head_dim` and `num_key_value_heads` required.
pub(super) fn explicit(c: &Config<'_>) -> Result<Attention, ConfigError> {
    Attention::of(
        c.count("num_attention_heads")?,
        c.count("num_key_value_heads")?,
        c.dim("head_dim")?,
    )
    .checked(c)
}

pub(super) fn mimo(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    Decoder {
        tied: tied_or(c, false)?,
        ..Decoder::usual("mimo", c, divided(c)?.biased(true, false))?
    }
    .build(c)
}

pub(super) fn minicpm(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps", "dim_model_base", "scale_depth", "scale_emb"])?;
    check_rope(c, "rope_scaling")?;
    Decoder {
        tied: tied_or(c, false)?,
        ..Decoder::usual("minicpm", c, divided(c)?)?
    }
    .build(c)
}

pub(super) fn seed_oss(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    let attention = explicit(c)?.biased(
        c.flag_or("attention_bias", false)?,
        c.flag_or("attention_out_bias", false)?,
    );
    let decoder = Decoder::usual("seed_oss", c, attention)?;
    Decoder {
        mlp: decoder.mlp.biased(c.flag_or("mlp_bias", false)?),
        tied: tied_or(c, true)?,
        ..decoder
    }
    .build(c)
}

pub(super) fn ernie4_5(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "max_position_embeddings",
        "rope_theta",
        "head_dim",
    ])?;
    let bias = c.flag("use_bias")?;
    let decoder = Decoder::usual("ernie4_5", c, with_head_dim(c)?.biased(bias, bias))?;
    Decoder {
        mlp: decoder.mlp.biased(bias),
        tied: tied(c)?,
        ..decoder
    }
    .build(c)
}

/// Its `lm_head` is there whether tied or not.
pub(super) fn helium(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "head_dim",
        "max_position_embeddings",
        "rope_theta",
        "tie_word_embeddings",
    ])?;
    let attention = divided(c)?.biased(c.flag("attention_bias")?, false);
    let decoder = Decoder::usual("helium", c, attention)?;
    Decoder {
        mlp: decoder.mlp.biased(c.flag("mlp_bias")?),
        tied: false,
        ..decoder
    }
    .build(c)
}

pub(super) fn telechat3(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps", "max_position_embeddings", "rope_theta"])?;
    check_rope(c, "rope_scaling")?;
    let bias = c.flag_or("attention_bias", false)?;
    let decoder = Decoder::usual("telechat3", c, with_head_dim(c)?.biased(bias, bias))?;
    Decoder {
        mlp: decoder.mlp.biased(c.flag_or("mlp_bias", false)?),
        tied: tied_or(c, false)?,
        ..decoder
    }
    .build(c)
}

/// Output and down projections stay at 8 bits, and so does a separate head.
pub(super) fn granite(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "logits_scaling",
        "attention_multiplier",
        "embedding_multiplier",
        "residual_multiplier",
        "max_position_embeddings",
        "rope_theta",
    ])?;
    check_rope(c, "rope_scaling")?;
    let bias = c.flag("attention_bias")?;
    let decoder = Decoder::usual("granite", c, divided(c)?.biased(bias, bias))?;
    Decoder {
        mlp: decoder.mlp.biased(c.flag("mlp_bias")?),
        tied: tied_or(c, true)?,
        ..decoder
    }
    .build_with(
        c,
        |_, _| {},
        |b| {
            b.predicate(
                &["self_attn.o_proj", "mlp.down_proj", "lm_head"],
                Policy::Precise,
            );
        },
    )
}

pub(super) fn internlm2(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    internlm_rope(c, "type")?;
    let bias = c.flag_or("bias", true)?;
    let attention = Attention::divided(c, c.dim("hidden_size")?)?
        .named(Projections::Fused(["attention.wqkv", "attention.wo"]))
        .biased(bias, bias);
    let decoder = Decoder::usual("internlm2", c, attention)?;
    Decoder {
        mlp: Mlp::of(
            Network::Gated(["feed_forward.w1", "feed_forward.w3", "feed_forward.w2"]),
            decoder.mlp.ff,
            false,
        ),
        norms: &["attention_norm", "ffn_norm"],
        trunk: Trunk {
            embed: "model.tok_embeddings",
            head: "output",
            ..Trunk::MODEL
        },
        tied: tied_or(c, false)?,
        ..decoder
    }
    .build(c)
}

pub(super) fn internlm3(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    internlm_rope(c, "rope_type")?;
    let bias = c.flag_or("qkv_bias", false)?;
    let attention = Attention::divided(c, c.dim("hidden_size")?)?.biased(bias, bias);
    let decoder = Decoder::usual("internlm3", c, attention)?;
    Decoder {
        mlp: decoder.mlp.biased(c.flag_or("bias", false)?),
        tied: tied_or(c, false)?,
        ..decoder
    }
    .build(c)
}

/// Both classes accept these kinds of positions only.
fn internlm_rope(c: &Config<'_>, key: &str) -> Result<(), ConfigError> {
    let Some(rope) = c.object("rope_scaling")? else {
        return Ok(());
    };
    if !rope.has("factor") || !rope.has(key) {
        return Err(ConfigError::Refused(format!(
            "rope_scaling must contain keys {{'factor', '{key}'}}"
        )));
    }
    match rope.text(key)? {
        Some("linear" | "dynamic") => Ok(()),
        _ => Err(ConfigError::Refused(format!(
            "rope_scaling '{key}' currently only supports 'linear' or 'dynamic'"
        ))),
    }
}

pub(super) fn hunyuan_v1_dense(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    if let Some(rope) = c.object("rope_scaling")?
        && !["alpha", "factor", "type"].iter().all(|key| rope.has(key))
    {
        return Err(ConfigError::Refused(
            "rope_scaling must contain keys {'alpha', 'factor', 'type'}".to_owned(),
        ));
    }
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention {
        qk_norm: if c.flag_or("use_qk_norm", true)? {
            QkNorm::Head
        } else {
            QkNorm::None
        },
        norm_names: [
            "self_attn.query_layernorm.weight",
            "self_attn.key_layernorm.weight",
        ],
        ..with_head_dim(c)?.biased(bias, bias)
    };
    Decoder {
        tied: tied_or(c, false)?,
        ..Decoder::usual("hunyuan_v1_dense", c, attention)?
    }
    .build(c)
}

/// No gate; its activation has four parameters of its own. The flags for biases and norms are not used.
pub(super) fn apertus(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "attention_bias",
        "max_position_embeddings",
        "rope_theta",
        "post_norm",
        "qk_norm",
    ])?;
    check_rope(c, "rope_scaling")?;
    let decoder = Decoder::usual("apertus", c, divided(c)?.normed(QkNorm::Head))?;
    Decoder {
        mlp: Mlp::plain(decoder.mlp.ff).biased(c.flag("mlp_bias")?),
        norms: &["attention_layernorm", "feedforward_layernorm"],
        tied: tied(c)?,
        ..decoder
    }
    .build_with(
        c,
        |b, _| {
            for name in [
                "mlp.act_fn.alpha_p",
                "mlp.act_fn.alpha_n",
                "mlp.act_fn.beta",
                "mlp.act_fn.eps",
            ] {
                b.param(name, &[]);
            }
        },
        |_| {},
    )
}

pub(super) fn nemotron(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.number_or("partial_rotary_factor", 1.0)?;
    c.needs(&["hidden_act", "norm_eps"])?;
    if let Some(rope) = c.object("rope_scaling")? {
        let linear = rope.text("type")? == Some("linear");
        if !rope.has("factor") || !linear {
            return Err(ConfigError::Refused(
                "rope_scaling must contain 'factor', and its 'type' currently only supports 'linear'"
                    .to_owned(),
            ));
        }
    }
    let bias = c.flag_or("attention_bias", false)?;
    let decoder = Decoder::usual("nemotron", c, with_head_dim(c)?.biased(bias, bias))?;
    Decoder {
        mlp: Mlp::plain(decoder.mlp.ff).biased(c.flag_or("mlp_bias", false)?),
        norm: Norm::Layer,
        tied: tied_or(c, false)?,
        ..decoder
    }
    .build(c)
}

/// One norm a layer; `n_shared_head` query heads share a key and value head.
pub(super) fn plamo(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    let heads = c.count("num_attention_heads")?;
    let shared = c.dim_or("n_shared_head", 8)?;
    let kv_heads = heads.div_ceil(shared);
    if !heads.is_multiple_of(shared) {
        return Err(c.invalid(
            "n_shared_head",
            format!("a divisor of num_attention_heads ({heads}) is expected"),
        ));
    }
    let attention = Attention::of_width(
        c,
        c.dim("hidden_size")?,
        "num_attention_heads",
        heads,
        kv_heads,
    )?;
    Decoder {
        norms: &["norm"],
        trunk: Trunk {
            layers: "model.layers.layers",
            ..Trunk::MODEL
        },
        tied: false,
        kv_quant: KvQuantSupport::Refused("TypeError: tile() (its attention repeats keys itself)"),
        ..Decoder::usual("plamo", c, attention)?
    }
    .build(c)
}
