//! Classes that go through their layers more than once, with a cache for each time: nanbeige and iquestloopcoder.
//! Follows mlx-lm 0.32.2 `models/{nanbeige,iquestloopcoder}.py`.

use super::llama_like::explicit;
use crate::model::blocks::attention::Attention;
use crate::model::blocks::decoder::{Decoder, check_rope, tied_or};
use crate::model::{Config, ConfigError, Model};

/// As many times as `num_loops`, or as losses are weighed and once more.
pub(super) fn nanbeige(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    for option in [
        "enable_double_loop_split",
        "loop_share_kv",
        "enable_depth_attention",
    ] {
        if c.flag_or(option, false)? {
            return Err(ConfigError::Refused(format!(
                "{option} is not yet supported"
            )));
        }
    }
    let loops = match c.list("loop_loss_weights")? {
        Some(weights) if !weights.is_empty() => weights.len() as u64 + 1,
        _ => c.count_or("num_loops", 1)?,
    };
    if loops == 0 {
        return Err(c.invalid("num_loops", "at least 1 is expected"));
    }
    c.count("num_key_value_heads")?;
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::from_config(c, c.dim("hidden_size")?)?.biased(bias, bias);
    let decoder = Decoder::usual("nanbeige", c, attention)?;
    Decoder {
        mlp: decoder.mlp.biased(c.flag_or("mlp_bias", false)?),
        tied: tied_or(c, false)?,
        own_cache: true,
        ..decoder
    }
    .build_with(
        c,
        |b, attention| {
            for _ in 1..loops {
                attention.mix(b);
                attention.keep(b);
            }
        },
        |_| {},
    )
}

/// Twice: the second time sees the first one's keys, and a window of its own.
pub(super) fn iquestloopcoder(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    let loops = c.count_or("loop_num", 2)?;
    if loops != 2 {
        return Err(ConfigError::Refused(format!(
            "Only loop_num=2 is supported, got {loops}"
        )));
    }
    let window = c.dim_or("loop_window_size", 64)?;
    let bias = c.flag_or("attention_bias", false)?;
    let decoder = Decoder::usual("iquestloopcoder", c, explicit(c)?.biased(bias, bias))?;
    let (heads, head_dim, layers) = (
        decoder.attention.heads,
        decoder.attention.k_dim,
        decoder.layers,
    );
    Decoder {
        mlp: decoder.mlp.biased(c.flag_or("mlp_bias", false)?),
        tied: tied_or(c, false)?,
        own_cache: true,
        ..decoder
    }
    .build_with(
        c,
        |b, attention| {
            let second = attention.windowed(Some(window));
            second.mix(b);
            second.keep(b);
        },
        |b| {
            b.param(
                "model.gate_projections.*.weight",
                &[layers, heads, head_dim],
            );
            b.param("model.gate_projections.*.bias", &[layers, heads]);
        },
    )
}
