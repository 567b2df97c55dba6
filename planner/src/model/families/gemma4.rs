//! gemma4 (and its unified form) and gemma4_text. Follows mlx-lm 0.32.2 `models/{gemma4,gemma4_text}.py`.

use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{SANDWICH_NORMS, tied_or};
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Router};
use crate::model::{Builder, Config, ConfigError, Model, Policy};

/// What tells layers apart.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    full: bool,
    sliding: bool,
    keeps: bool,
}

/// Sizes that every layer has in common.
struct Common {
    hidden: u64,
    heads: u64,
    kv_heads: u64,
    full_kv_heads: u64,
    head_dim: u64,
    full_head_dim: u64,
    /// Values are the keys in layers that are not sliding.
    k_eq_v: bool,
    window: u64,
    ff: u64,
    shared_ff: u64,
    experts: Option<Moe>,
    per_layer: u64,
}

pub(super) fn gemma4_text(c: &Config<'_>) -> Result<Model, ConfigError> {
    let vocab = c.dim_or("vocab_size", 262_144)?;
    sized("gemma4_text", "", c, vocab)
}

/// The vocabulary stands beside the text part.
pub(super) fn gemma4(c: &Config<'_>) -> Result<Model, ConfigError> {
    let vocab = c.dim_or("vocab_size", 262_144)?;
    let inner = c.need_object("text_config")?;
    sized("gemma4", "language_model.", &inner, vocab)
}

fn sized(
    family: &'static str,
    root: &'static str,
    c: &Config<'_>,
    vocab: u64,
) -> Result<Model, ConfigError> {
    let layers = c.count_or("num_hidden_layers", 35)?;
    let shared = c.count_or("num_kv_shared_layers", 20)?;
    let kinds = kinds(c, layers, shared)?;
    let common = common(c, layers > shared)?;
    let tied = tied_or(c, true)?;
    let (hidden, per_layer) = (common.hidden, common.per_layer);

    let mut b = Builder::new(family, c, hidden, vocab)?;
    b.root(root);
    b.own_cache();
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        layers,
        |i| kinds.get(i as usize).copied(),
        |b, kind| {
            if let Some(kind) = kind {
                layer(b, &common, kind);
            }
        },
    );
    b.norm("model.norm", hidden);
    if per_layer > 0 {
        let all = layers * per_layer;
        let rows = c.dim_or("vocab_size_per_layer_input", 262_144)?;
        b.embedding("model.embed_tokens_per_layer", rows, all);
        b.linear("model.per_layer_model_projection", all, hidden, false);
        b.norm("model.per_layer_projection_norm", per_layer);
    }
    b.lm_head("lm_head", tied, false);
    b.finish()
}

fn common(c: &Config<'_>, some_keep: bool) -> Result<Common, ConfigError> {
    let kv_heads = c.count_or("num_key_value_heads", 1)?;
    let head_dim = c.dim_or("head_dim", 256)?;
    let k_eq_v = c.flag_or("attention_k_eq_v", false)?;
    let full_kv_heads = match c.count_opt("num_global_key_value_heads")? {
        Some(heads) if k_eq_v => heads,
        _ => kv_heads,
    };
    // Null and 0 mean the width of the other layers; a missing field its own default.
    let full_head_dim = if c.has("global_head_dim") {
        c.count_opt("global_head_dim")?
            .filter(|&dim| dim > 0)
            .unwrap_or(head_dim)
    } else {
        512
    };
    let ff = c.dim_or("intermediate_size", 6144)?;
    let double = c.flag_or("use_double_wide_mlp", true)? && some_keep;
    let experts = if c.flag_or("enable_moe_block", false)? {
        let moe = Moe::by(c, "num_experts", "top_k_experts", "moe_intermediate_size")?
            .routed(Router::Linear("router.proj", Policy::Precise));
        Some(Moe {
            switch: "experts.switch_glu",
            ..moe
        })
    } else {
        None
    };
    let per_layer = if c.has("hidden_size_per_layer_input") {
        c.count_opt("hidden_size_per_layer_input")?.unwrap_or(0)
    } else {
        256
    };
    let heads = c.count_or("num_attention_heads", 8)?;
    for kv_heads in [kv_heads, full_kv_heads] {
        Attention::of(heads, kv_heads, head_dim).checked(c)?;
    }
    Ok(Common {
        hidden: c.dim_or("hidden_size", 1536)?,
        heads,
        kv_heads,
        full_kv_heads,
        head_dim,
        full_head_dim,
        k_eq_v,
        window: c.dim_or("sliding_window", 512)?,
        ff,
        shared_ff: if double { 2 * ff } else { ff },
        experts,
        per_layer,
    })
}

fn layer(b: &mut Builder, common: &Common, kind: Kind) {
    let hidden = common.hidden;
    attention(b, common, kind);
    let ff = if kind.keeps {
        common.ff
    } else {
        common.shared_ff
    };
    match common.experts {
        // The dense network stays beside the experts.
        Some(moe) => {
            moe.sharing("mlp", ff).list(b, hidden);
            b.param("router.scale", &[hidden]);
            b.param("router.per_expert_scale", &[moe.experts]);
            for name in [
                "post_feedforward_layernorm_1",
                "post_feedforward_layernorm_2",
                "pre_feedforward_layernorm_2",
            ] {
                b.norm(name, hidden);
            }
        }
        None => Mlp::gated(ff).list(b, hidden),
    }
    for name in SANDWICH_NORMS {
        b.norm(name, hidden);
    }
    if common.per_layer > 0 {
        b.linear("per_layer_input_gate", common.per_layer, hidden, false);
        b.linear("per_layer_projection", hidden, common.per_layer, false);
        b.norm("post_per_layer_input_norm", hidden);
    }
    b.param("layer_scalar", &[1]);
}

fn attention(b: &mut Builder, common: &Common, kind: Kind) {
    let (hidden, heads) = (common.hidden, common.heads);
    let head_dim = if kind.full {
        common.full_head_dim
    } else {
        common.head_dim
    };
    let kv_heads = if kind.sliding {
        common.kv_heads
    } else {
        common.full_kv_heads
    };
    let attention = Attention::of(heads, kv_heads, head_dim)
        .normed(QkNorm::Head)
        .windowed((!kind.full).then_some(common.window));
    let queries = heads * head_dim;
    b.linear("self_attn.q_proj", queries, hidden, false);
    if kind.keeps {
        b.linear("self_attn.k_proj", kv_heads * head_dim, hidden, false);
        if kind.sliding || !common.k_eq_v {
            b.linear("self_attn.v_proj", kv_heads * head_dim, hidden, false);
        }
        attention.norms(b);
        attention.keep(b);
    } else {
        b.norm("self_attn.q_norm", head_dim);
    }
    b.linear("self_attn.o_proj", hidden, queries, false);
    attention.mix(b);
}

/// By `layer_types`, else every `sliding_window_pattern`-th layer is full; the last `num_kv_shared_layers` keep nothing
/// and read the last cache of their type before them.
fn kinds(c: &Config<'_>, layers: u64, shared: u64) -> Result<Vec<Kind>, ConfigError> {
    let Some(own) = layers.checked_sub(shared).filter(|_| layers > 0) else {
        return Err(c.invalid(
            "num_kv_shared_layers",
            format!("at most num_hidden_layers ({layers}, at least 1) are expected"),
        ));
    };
    let types: Vec<&str> = match c.texts("layer_types")? {
        Some(types) if types.len() as u64 == layers => types,
        Some(_) => {
            return Err(c.invalid(
                "layer_types",
                format!("one entry for each of the {layers} layers is expected"),
            ));
        }
        None => {
            let pattern = c.dim_or("sliding_window_pattern", 5)?;
            (1..=layers)
                .map(|i| {
                    if i % pattern == 0 {
                        "full_attention"
                    } else {
                        "sliding_attention"
                    }
                })
                .collect()
        }
    };
    let (owned, sharing) = types.split_at((own as usize).min(types.len()));
    if let Some(lone) = sharing.iter().find(|kind| !owned.contains(kind)) {
        return Err(ConfigError::Refused(format!(
            "KeyError: '{lone}' (num_kv_shared_layers leaves no layer of that type with a cache)"
        )));
    }
    Ok(types
        .iter()
        .zip(0..)
        .map(|(&kind, i)| Kind {
            full: kind == "full_attention",
            sliding: kind == "sliding_attention",
            keeps: i < own,
        })
        .collect())
}
