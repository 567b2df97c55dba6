//! olmo, olmo2 and olmo3. Follows mlx-lm 0.32.2 `models/{olmo,olmo2,olmo3}.py`.

use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Decoder, POST_NORMS, Windows, check_rope, tied_or};
use crate::model::{Config, ConfigError, Model};

/// The class leaves the process unless a package is there that mlx-lm does not ask for, and then adds a mask's name to
/// the scores of any prompt longer than a token.
pub(super) fn olmo(_: &Config<'_>) -> Result<Model, ConfigError> {
    Err(ConfigError::Refused(
        "olmo (the first) needs the package hf_olmo, and fails on prompts of more than one token"
            .to_owned(),
    ))
}

pub(super) fn olmo2(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::from_config(c, c.dim("hidden_size")?)?
        .biased(bias, bias)
        .normed(QkNorm::Full);
    let decoder = Decoder::usual("olmo2", c, attention)?;
    Decoder {
        mlp: decoder.mlp.biased(c.flag_or("mlp_bias", false)?),
        norms: POST_NORMS,
        tied: tied_or(c, true)?,
        ..decoder
    }
    .build(c)
}

/// Every fourth layer sees all, unless `layer_types` say otherwise.
pub(super) fn olmo3(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps", "max_position_embeddings", "rope_theta"])?;
    check_rope(c, "rope_scaling")?;
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::from_config(c, c.dim("hidden_size")?)?
        .biased(bias, bias)
        .normed(QkNorm::Full);
    let decoder = Decoder::usual("olmo3", c, attention)?;
    let window = c.dim("sliding_window")?;
    let listed = Windows::listed(c, decoder.layers, "sliding_window", |kind| {
        kind != "full_attention"
    })?;
    let windows = match listed {
        Some(windows) => windows,
        None => Windows::all_but(4, window, decoder.layers)?,
    };
    if !(0..decoder.layers).any(|i| windows.at(i).is_some()) {
        return Err(ConfigError::Refused(
            "ValueError: 'sliding_attention' is not in list (layer_types)".to_owned(),
        ));
    }
    Decoder {
        windows,
        norms: POST_NORMS,
        tied: tied_or(c, false)?,
        own_cache: true,
        ..decoder
    }
    .build(c)
}
