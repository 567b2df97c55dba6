//! muse_spark: experts in a narrower space, and the vision tower, which this class loads.
//! Follows mlx-lm 0.32.2 `models/muse_spark.py`.

use crate::model::blocks::attention::Attention;
use crate::model::blocks::moe::Moe;
use crate::model::{Builder, Config, ConfigError, Model, Policy};
use crate::quant::Dtype;

/// What tells layers apart.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    window: Option<u64>,
    /// Its experts are quantized: in all layers but the first and the last.
    packed: bool,
}

/// Experts work on a narrower copy of the stream.
struct Experts {
    moe: Moe,
    /// Width of the copy.
    width: u64,
}

/// Only the experts are quantized, the other arrays stay as they are.
pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let t = c.need_object("text_config")?;
    t.needs(&[
        "rms_norm_eps",
        "post_norm_eps",
        "rope_parameters",
        "layer_rope_theta",
        "final_logit_softcapping",
        "output_multiplier",
    ])?;
    let dense = t
        .texts("mlp_layer_types")?
        .is_some_and(|types| types.iter().any(|&kind| kind != "sparse"));
    if dense || t.count_or("num_shared_experts", 0)? > 0 {
        return Err(ConfigError::Refused(
            "Dense feed-forward layers are not supported.".to_owned(),
        ));
    }
    let (hidden, vocab) = (t.dim("hidden_size")?, t.dim("vocab_size")?);
    let layers = t.count("num_hidden_layers")?;
    let kinds = kinds(&t, layers)?;
    let attention = Attention::of(
        t.count("num_attention_heads")?,
        t.count("num_key_value_heads")?,
        t.dim("head_dim")?,
    )
    .checked(&t)?;
    let experts = Experts {
        moe: Moe::by(
            &t,
            "num_local_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
        )?,
        width: t.dim("moe_hidden_size")?,
    };

    let mut b = Builder::new("muse_spark", &t, hidden, vocab)?;
    b.own_cache();
    b.embed_tokens("model.language_model.embed_tokens", false);
    b.layers(
        "model.language_model.layers",
        layers,
        |i| kinds.get(i as usize).copied(),
        |b, kind| {
            if let Some(kind) = kind {
                layer(
                    b,
                    hidden,
                    attention.windowed(kind.window),
                    &experts,
                    kind.packed,
                );
            }
        },
    );
    b.norm("model.language_model.norm", hidden);
    if let Some(vision) = c.object("vision_config")?.filter(Config::is_filled) {
        tower(&mut b, c, &vision, hidden, layers)?;
    }
    b.lm_head("lm_head", false, false);
    b.predicate(
        &["embed_tokens", "position_embedding_table", "lm_head"],
        Policy::Keep,
    );
    b.finish()
}

fn kinds(t: &Config<'_>, layers: u64) -> Result<Vec<Kind>, ConfigError> {
    let types = t.texts("layer_types")?.unwrap_or_default();
    let thetas = t.list("layer_rope_theta")?.unwrap_or_default();
    for (field, length) in [
        ("layer_types", types.len()),
        ("layer_rope_theta", thetas.len()),
    ] {
        if length as u64 != layers {
            return Err(t.invalid(
                field,
                format!("a list of {layers} entries, one a layer, is expected"),
            ));
        }
    }
    let window = t.dim("sliding_window")?;
    Ok((0..layers)
        .zip(types)
        .map(|(i, kind)| Kind {
            window: (kind == "sliding_attention").then_some(window),
            packed: i > 0 && i + 1 < layers,
        })
        .collect())
}

fn kept(b: &mut Builder, path: &'static str, output: u64, input: u64, bias: bool) {
    b.linear(path, output, input, bias).keep();
}

fn layer(b: &mut Builder, hidden: u64, attention: Attention, experts: &Experts, packed: bool) {
    let (heads, kv_heads, head_dim) = (attention.heads, attention.kv_heads, attention.k_dim);
    // A gate as wide as the queries, and one as the keys, beside queries, keys and values.
    let fused = 2 * (heads + kv_heads) * head_dim;
    kept(b, "self_attn.qkvg_proj", fused, hidden, false);
    kept(b, "self_attn.o_proj", hidden, heads * head_dim, false);
    attention.mix(b);
    attention.keep(b);
    for norm in [
        "input_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ] {
        b.norm(norm, hidden);
    }
    for gate in [
        "add_attn_alpha",
        "add_attn_beta",
        "add_ffn_alpha",
        "add_ffn_beta",
    ] {
        b.param_fixed(gate, &[hidden], Dtype::F32);
    }
    let (moe, width) = (experts.moe, experts.width);
    b.param("mlp.gate.weight", &[moe.experts, hidden]);
    b.param("mlp.gate.e_score_correction_bias", &[moe.experts]);
    kept(b, "mlp.pre_expert_proj", width, hidden, false);
    b.norm("mlp.pre_expert_norm", width);
    for (name, output, input) in [
        ("mlp.experts.gate_proj", moe.ff, width),
        ("mlp.experts.up_proj", moe.ff, width),
        ("mlp.experts.down_proj", width, moe.ff),
    ] {
        let weight = b.switch_linear(name, (moe.experts, moe.chosen), output, input, false);
        if !packed {
            weight.keep();
        }
    }
    b.norm("mlp.experts.post_expert_norm", width);
    kept(b, "mlp.post_expert_proj", hidden, width, false);
    moe.note(b);
}

fn tower(
    b: &mut Builder,
    c: &Config<'_>,
    v: &Config<'_>,
    hidden: u64,
    text_layers: u64,
) -> Result<(), ConfigError> {
    let dim = v.dim_or("hidden_size", 1536)?;
    let ff = v.dim_or("intermediate_size", 8960)?;
    let layers = v.count_or("num_hidden_layers", 50)?;
    let (height, width) = (
        v.count_or("pos_emb_height", 32)?,
        v.count_or("pos_emb_width", 32)?,
    );
    if height != width {
        return Err(ConfigError::Refused(
            "Only square position tables are supported.".to_owned(),
        ));
    }
    let patch = v.count_or("num_channels", 3)?
        * v.count_or("patch_size", 14)?.pow(2)
        * v.count_or("patch_temporal", 2)?;
    let merged = dim * v.count_or("merge_size", 2)?.pow(2);
    let adapted = c.dim_or("out_hidden_size", merged)?;
    let projected = c.dim_or("projector_hidden_size", adapted)?;

    kept(
        b,
        "model.vision_tower.patch_embedder.patch_embedding",
        dim,
        patch,
        false,
    );
    b.embedding(
        "model.vision_tower.patch_embedder.position_embedding_table",
        height * width,
        dim,
    );
    b.layer_norm("model.vision_tower.ln_pre", dim);
    b.layers_among(
        "model.vision_tower.layers",
        layers,
        text_layers,
        |_| (),
        |b, ()| {
            b.layer_norm("norm1", dim);
            kept(b, "attn.qkv_proj", 3 * dim, dim, true);
            kept(b, "attn.proj", dim, dim, true);
            b.layer_norm("norm2", dim);
            kept(b, "mlp.fc1", ff, dim, true);
            kept(b, "mlp.fc2", dim, ff, true);
        },
    );
    b.layer_norm("model.vision_tower.ln_post", dim);
    kept(b, "model.vision_adapter.fc1", projected, adapted, false);
    kept(b, "model.vision_adapter.fc2", projected, projected, false);
    kept(b, "model.vision_projection", hidden, projected, false);
    Ok(())
}
