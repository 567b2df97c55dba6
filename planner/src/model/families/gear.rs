//! gear: gated short convolutions over keys and values, with full or sliding attention in some layers.
//! Follows mlx-lm 0.32.2 `models/gear.py`.

use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{SANDWICH_NORMS, check_rope, tied_or};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::recurrent;
use crate::model::{Builder, Config, ConfigError, Flavour, KvQuantSupport, Model};

/// How a layer mixes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full,
    Sliding,
    Convolution,
}

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    check_rope(c, "rope_scaling")?;
    if c.flag_or("use_bidirectional_attention", false)? {
        return Err(ConfigError::Refused(
            "ValueError: Gear bidirectional attention is not supported.".to_owned(),
        ));
    }
    if let Some(name) = c.text("hidden_activation")?
        && !matches!(
            name,
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" | "gelu" | "silu" | "swish"
        )
    {
        return Err(ConfigError::Refused(format!(
            "ValueError: Unsupported Gear activation: {name}"
        )));
    }
    let frame = Frame {
        norms: SANDWICH_NORMS,
        tied: tied_or(c, true)?,
        own_cache: true,
        ..Frame::usual("gear", c)?
    };
    let kinds = kinds(c, frame.layers)?;
    let hidden = frame.hidden;
    let capped = c.get("attn_logit_softcapping").is_some()
        && c.number_or("attn_logit_softcapping", 0.0)? != 0.0;
    let heads = c.count("num_attention_heads")?;
    let kv_heads = c.count_opt("num_key_value_heads")?.unwrap_or(heads);
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention {
        flavour: if capped {
            Flavour::Manual
        } else {
            Flavour::Fast
        },
        ..Attention::of(heads, kv_heads, c.dim("head_dim")?).checked(c)?
    }
    .biased(bias, bias)
    .normed(QkNorm::Head);
    let window = if kinds.contains(&Kind::Sliding) {
        Some(c.dim_or("sliding_window", 512)?)
    } else {
        None
    };
    let kernel = c.dim_or("conv_L_cache", 3)?;
    let mlp = Mlp::gated(c.dim("intermediate_size")?);
    Frame {
        kv_quant: if capped && kinds.contains(&Kind::Full) {
            KvQuantSupport::Refused("AttributeError: 'list' object has no attribute 'shape'")
        } else {
            KvQuantSupport::Yes
        },
        ..frame
    }
    .build(
        c,
        |i| kinds[i as usize],
        |b, kind| {
            match kind {
                Kind::Full => attention.list(b, hidden),
                Kind::Sliding => attention.windowed(window).list(b, hidden),
                Kind::Convolution => convolution(&attention, b, hidden, kernel),
            }
            mlp.list(b, hidden);
        },
        |_| {},
    )
}

/// What each layer is, all of them full where nothing is said.
fn kinds(c: &Config<'_>, layers: u64) -> Result<Vec<Kind>, ConfigError> {
    c.needs(&["layer_types"])?;
    let Some(types) = c.texts("layer_types")? else {
        return Ok((0..layers).map(|_| Kind::Full).collect());
    };
    if types.len() as u64 != layers {
        return Err(ConfigError::Refused(format!(
            "ValueError: Expected {layers} layer types, got {}.",
            types.len()
        )));
    }
    types
        .iter()
        .map(|&kind| match kind {
            "full_attention" => Ok(Kind::Full),
            "sliding_attention" => Ok(Kind::Sliding),
            "conv_mixer" => Ok(Kind::Convolution),
            other => Err(ConfigError::Refused(format!(
                "AttributeError: 'ArraysCache' object has no attribute 'offset' (layer_types has '{other}')"
            ))),
        })
        .collect()
}

/// Projections as attention has them; keys and values go through a convolution each, which keeps all but one of its
/// inputs.
fn convolution(attention: &Attention, b: &mut Builder, hidden: u64, kernel: u64) {
    let (q, kv) = (
        attention.heads * attention.k_dim,
        attention.kv_heads * attention.k_dim,
    );
    let bias = attention.qkv_bias;
    b.within("local_mixer", |b| {
        b.conv1d("key_conv", kv, kernel, bias);
        b.conv1d("value_conv", kv, kernel, bias);
        b.linear("q_proj", q, hidden, bias);
        b.linear("k_proj", kv, hidden, bias);
        b.linear("v_proj", kv, hidden, bias);
        b.linear("o_proj", hidden, q, bias);
        b.norm("q_norm", attention.k_dim);
        b.norm("k_norm", attention.k_dim);
    });
    recurrent::convolution(b, 2 * kv, kernel);
}
