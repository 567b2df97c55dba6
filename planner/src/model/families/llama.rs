//! llama, mistral and what mlx-lm loads as llama; ministral3, smollm3; mistral3, llava and pixtral, whose text part they
//! are. Follows mlx-lm 0.32.2 `models/{llama,ministral3,smollm3,mistral3,pixtral}.py`.

use crate::model::blocks::attention::Attention;
use crate::model::blocks::decoder::{Decoder, Windows, check_rope, tied_or};
use crate::model::{Config, ConfigError, Model};

pub(super) fn llama(c: &Config<'_>) -> Result<Model, ConfigError> {
    Decoder {
        own_cache: true,
        ..described("llama", c, tied_or(c, true)?)?
    }
    .build(c)
}

fn described(family: &'static str, c: &Config<'_>, tied: bool) -> Result<Decoder, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    let hidden = c.dim("hidden_size")?;
    let bias = c.flag_or("attention_bias", false)?;
    let heads = match (c.has("num_attention_heads"), family) {
        (false, "pixtral") => 32,
        _ => c.count("num_attention_heads")?,
    };
    let attention = Attention::by_width(c, hidden, heads)?.biased(bias, bias);
    let decoder = Decoder::usual(family, c, attention)?;
    Ok(Decoder {
        mlp: decoder.mlp.biased(c.flag_or("mlp_bias", false)?),
        windows: match family {
            // Its layers are made by the list, but the caches are full.
            "smollm3" => Windows::listed(c, decoder.layers, "sliding_window", |_| false)?
                .unwrap_or(Windows::None),
            _ => sliding(c, decoder.layers)?,
        },
        tied,
        ..decoder
    })
}

/// Windows by `layer_types`; a `sliding_window` without them is not honoured.
fn sliding(c: &Config<'_>, layers: u64) -> Result<Windows, ConfigError> {
    let listed = Windows::listed(c, layers, "sliding_window", |kind| {
        kind == "sliding_attention"
    })?;
    Ok(listed.unwrap_or(Windows::None))
}

pub(super) fn ministral3(c: &Config<'_>) -> Result<Model, ConfigError> {
    ministral3_text("ministral3", "", c, tied_or(c, true)?)
}

fn ministral3_text(
    family: &'static str,
    root: &'static str,
    c: &Config<'_>,
    tied: bool,
) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_parameters")?;
    c.need_object("rope_parameters")?.needs(&[
        "llama_4_scaling_beta",
        "original_max_position_embeddings",
        "rope_theta",
    ])?;
    let attention = Attention::from_config(c, c.dim("hidden_size")?)?;
    let decoder = Decoder::usual(family, c, attention)?;
    Decoder {
        root,
        windows: sliding(c, decoder.layers)?,
        tied,
        own_cache: true,
        ..decoder
    }
    .build(c)
}

/// Llama's layers without its `make_cache`: windows are in the mask alone.
pub(super) fn smollm3(c: &Config<'_>) -> Result<Model, ConfigError> {
    let decoder = described("smollm3", c, tied_or(c, true)?)?;
    if c.list("no_rope_layers")?
        .is_some_and(|list| list.len() as u64 != decoder.layers)
    {
        return Err(ConfigError::Refused(
            "`no_rope_layers` length mismatch".to_owned(),
        ));
    }
    decoder.build(c)
}

/// mistral3 and llava: the text part is ministral3 or llama.
pub(super) fn mistral3(c: &Config<'_>) -> Result<Model, ConfigError> {
    let inner = c.need_object("text_config")?;
    let tied = tied_or(&inner, false)?;
    let root = "language_model.";
    match inner.text("model_type")? {
        Some("ministral3") => ministral3_text("mistral3", root, &inner, tied),
        _ => Decoder {
            root,
            own_cache: true,
            ..described("mistral3", &inner, tied)?
        }
        .build(&inner),
    }
}

/// The text part is an untied llama; a missing number of heads is 32.
pub(super) fn pixtral(c: &Config<'_>) -> Result<Model, ConfigError> {
    let t = c.need_object("text_config")?;
    let mut decoder = described("pixtral", &t, false)?;
    decoder.root = "language_model.";
    decoder.own_cache = true;
    decoder.build(&t)
}
