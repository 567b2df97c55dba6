//! gemma3n, its text part. Follows mlx-lm 0.32.2 `models/gemma3n.py`.

use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::SANDWICH_NORMS;
use crate::model::blocks::mlp::Mlp;
use crate::model::{Builder, Config, ConfigError, Model};

/// What tells layers apart.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    window: Option<u64>,
    keeps: bool,
    ff: u64,
}

/// Sizes that every layer has in common.
struct Common {
    hidden: u64,
    attention: Attention,
    altup: u64,
    laurel: u64,
    per_layer: u64,
}

/// The last `num_kv_shared_layers` keep nothing: they read the last full or sliding cache before them.
pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let t = c.need_object("text_config")?;
    t.needs(&[
        "rms_norm_eps",
        "max_position_embeddings",
        "rope_local_base_freq",
        "rope_theta",
        "final_logit_softcapping",
        "activation_sparsity_pattern",
        "altup_coef_clip",
        "altup_correct_scale",
        "altup_active_idx",
    ])?;
    let layers = t.count("num_hidden_layers")?;
    let common = Common {
        hidden: t.dim("hidden_size")?,
        attention: explicit(&t)?.normed(QkNorm::Head),
        altup: t.count("altup_num_inputs")?,
        laurel: t.dim("laurel_rank")?,
        per_layer: t.dim("hidden_size_per_layer_input")?,
    };
    t.needs(&["num_kv_shared_layers"])?;
    let shared = t.count_or("num_kv_shared_layers", 0)?;
    let kinds = kinds(&t, layers, shared)?;
    let (hidden, altup, per_layer) = (common.hidden, common.altup, common.per_layer);

    let mut b = Builder::new("gemma3n", &t, hidden, t.dim("vocab_size")?)?;
    b.root("model.language_model.");
    b.own_cache();
    b.embed_tokens("embed_tokens", true);
    b.layers(
        "layers",
        layers,
        |i| kinds.get(i as usize).copied(),
        |b, kind| {
            if let Some(kind) = kind {
                layer(b, &common, kind);
            }
        },
    );
    let all = layers * per_layer;
    b.embedding(
        "embed_tokens_per_layer",
        t.dim("vocab_size_per_layer_input")?,
        all,
    );
    b.linear("per_layer_model_projection", all, hidden, false);
    b.norm("per_layer_projection_norm", per_layer);
    if altup > 1 {
        // A linear layer each for every further input.
        for list in ["altup_projections.*", "altup_unembed_projections.*"] {
            b.multi_linear(list, altup - 1, hidden, hidden);
        }
    }
    b.norm("norm", hidden);
    b.finish()
}

fn layer(b: &mut Builder, common: &Common, kind: Kind) {
    let (hidden, altup) = (common.hidden, common.altup);
    let attention = common.attention.windowed(kind.window);
    // A layer without a cache of its own has these projections all the same.
    attention.project(b, hidden);
    attention.norms(b);
    attention.mix(b);
    if kind.keeps {
        attention.keep(b);
    }
    Mlp::gated(kind.ff).list(b, hidden);
    for name in SANDWICH_NORMS {
        b.norm(name, hidden);
    }
    b.param("altup.correct_output_scale", &[hidden]);
    b.linear("altup.correction_coefs", altup, altup, false);
    b.linear("altup.prediction_coefs", altup * altup, altup, false);
    b.linear("altup.modality_router", altup, hidden, false);
    b.norm("altup.router_norm", hidden);
    b.linear("laurel.linear_left", common.laurel, hidden, false);
    b.linear("laurel.linear_right", hidden, common.laurel, false);
    b.norm("laurel.post_laurel_norm", hidden);
    b.linear("per_layer_input_gate", common.per_layer, hidden, false);
    b.linear("per_layer_projection", hidden, common.per_layer, false);
    b.norm("post_per_layer_input_norm", hidden);
}

fn kinds(t: &Config<'_>, layers: u64, shared: u64) -> Result<Vec<Kind>, ConfigError> {
    let types = t
        .texts("layer_types")?
        .ok_or_else(|| ConfigError::Missing {
            field: "text_config.layer_types".to_owned(),
            expected: "a list of full_attention and sliding_attention, one a layer, is expected",
        })?;
    let own = layers.checked_sub(shared).filter(|&own| own > 0);
    let (Some(own), true) = (own, types.len() as u64 == layers) else {
        return Err(t.invalid(
            "layer_types",
            format!("{layers} entries, and fewer num_kv_shared_layers, are expected"),
        ));
    };
    let window = t.dim("sliding_window")?;
    let widths = t.dim_per_layer("intermediate_size", layers)?;
    for needed in ["full_attention", "sliding_attention"] {
        if !types.iter().take(own as usize).any(|&kind| kind == needed) {
            return Err(ConfigError::Refused(format!(
                "ValueError: '{needed}' is not in list (layer_types of the layers that keep a cache)"
            )));
        }
    }
    types
        .iter()
        .zip(widths)
        .zip(0..)
        .map(|((&kind, ff), i)| match kind {
            "full_attention" | "sliding_attention" => Ok(Kind {
                window: (kind == "sliding_attention").then_some(window),
                keeps: i < own,
                ff,
            }),
            _ => Err(ConfigError::Refused(format!("Unknown layer type: {kind}"))),
        })
        .collect()
}
