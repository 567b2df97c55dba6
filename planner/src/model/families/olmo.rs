//! olmo, olmo2 and olmo3. Follows mlx-lm 0.32.2 `models/{olmo,olmo2,olmo3}.py`.

use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{Decoder, POST_NORMS, Trunk, Windows, check_rope, tied_or};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::{Config, ConfigError, Flavour, KvQuantSupport, Model};

/// Norms without weights, fused projections, and a width inside that counts gate and up together.
pub(super) fn olmo(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["mlp_hidden_size", "vocab_size"])?;
    let hidden = c.dim("d_model")?;
    let ff = match c.dim_opt("mlp_hidden_size")? {
        Some(ff) => ff,
        None => c.dim_or("mlp_ratio", 4)? * hidden,
    } / 2;
    let heads = c.count("n_heads")?;
    let attention = Attention {
        flavour: Flavour::Manual,
        ..Attention::of_width(c, hidden, "n_heads", heads, heads)?
    }
    .named(Projections::Fused(["att_proj", "attn_out"]));
    let mlp = Mlp::of(Network::Fused(["ff_proj", "ff_out"]), ff, false);
    let sizes = (hidden, c.count("n_layers")?, c.dim("embedding_size")?);
    Decoder {
        norms: &[],
        trunk: Trunk {
            embed: "model.transformer.wte",
            layers: "model.transformer.blocks",
            norm: "",
            head: "model.transformer.ff_out",
        },
        tied: c.flag_or("weight_tying", false)?,
        kv_quant: KvQuantSupport::Refused("its attention takes no quantized keys"),
        ..Decoder::new("olmo", sizes, attention, mlp)
    }
    .build(c)
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
