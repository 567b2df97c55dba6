//! Experts, windows in some layers, and gates on what attention gives: afmoe, laguna, step3p5.
//! Follows mlx-lm 0.32.2 `models/{afmoe,laguna,step3p5}.py`.

use super::moe_windowed::{FULL, SLIDING, absent, by_list, listed, long_enough};
use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Windows, check_rope, tied_or};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Config, ConfigError, Model, Policy};
use crate::quant::Dtype;

/// The largest number of heads accepted in a list, as elsewhere.
const HEADS_MAX: u64 = 8192;

/// As many layers as `layer_types` has entries.
pub(super) fn afmoe(c: &Config<'_>) -> Result<Model, ConfigError> {
    let types = listed(c, "layer_types")?;
    if !types.contains(&FULL) {
        return Err(absent(FULL, "layer_types"));
    }
    let frame = Frame {
        norms: &[
            "input_layernorm",
            "post_attention_layernorm",
            "pre_mlp_layernorm",
            "post_mlp_layernorm",
        ],
        tied: tied_or(c, false)?,
        own_cache: true,
        ..Frame::new(
            "afmoe",
            (
                c.dim_or("hidden_size", 2048)?,
                types.len() as u64,
                c.dim_or("vocab_size", 200_192)?,
            ),
        )
    };
    let windows = by_list(&types, c.dim_or("sliding_window", 2048)?, |kind| {
        *kind == SLIDING
    });
    if types.contains(&SLIDING) {
        check_rope(c, "rope_scaling")?;
    }
    let attention = Attention::of(
        c.count_or("num_attention_heads", 32)?,
        c.count_or("num_key_value_heads", 4)?,
        c.dim_or("head_dim", 64)?,
    )
    .normed(QkNorm::Head)
    .checked(c)?;
    let dense = c.count_or("num_dense_layers", 2)?;
    let moe_ff = c.dim_or("moe_intermediate_size", 1024)?;
    let moe = Moe {
        switch: "mlp.experts",
        router: Router::Linear("mlp.router.gate", Policy::Precise),
        correction: Some(("mlp.expert_bias", Some(Dtype::F32))),
        ..Moe::new(
            c.count_or("num_experts", 128)?,
            c.count_or("num_experts_per_tok", 8)?,
            moe_ff,
        )
        .checked(c, "num_experts_per_tok")?
        .sharing(
            "mlp.shared_experts",
            moe_ff * c.count_or("num_shared_experts", 1)?,
        )
    };
    let networks = Networks {
        moe: Some(moe),
        dense: Mlp::gated(c.dim_if_used_or("intermediate_size", 6144)?),
    };
    let hidden = frame.hidden;
    frame.build(
        c,
        |i| (windows.at(i), i >= dense),
        |b, (window, sparse)| {
            attention.windowed(window).list(b, hidden);
            let queries = attention.heads * attention.k_dim;
            b.linear("self_attn.gate_proj", queries, hidden, false);
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

/// The number of query heads may differ by layer.
pub(super) fn laguna(c: &Config<'_>) -> Result<Model, ConfigError> {
    let frame = Frame {
        tied: tied_or(c, false)?,
        own_cache: true,
        ..Frame::or("laguna", c, (2048, 40, 100_352))?
    };
    let (hidden, layers) = (frame.hidden, frame.layers);
    let types = match c.texts("layer_types")? {
        Some(types) => types,
        None => vec![FULL; layers as usize],
    };
    long_enough(c, "layer_types", &types, layers)?;
    if !types.contains(&FULL) {
        return Err(absent(FULL, "layer_types"));
    }
    let window = if types.contains(&SLIDING) {
        c.dim_or("sliding_window", 512)?
    } else {
        1
    };
    let windows = by_list(&types, window, |kind| *kind == SLIDING);
    let heads = match c.wholes("num_attention_heads_per_layer")? {
        Some(heads) => heads,
        None => vec![c.count_or("num_attention_heads", 48)?; layers as usize],
    };
    long_enough(c, "num_attention_heads_per_layer", &heads, layers)?;
    let attention = Attention::of(
        0,
        c.count_or("num_key_value_heads", 8)?,
        c.dim_or("head_dim", 128)?,
    )
    .biased(
        c.flag_or("qkv_bias", false)?,
        c.flag_or("attention_bias", false)?,
    )
    .normed(QkNorm::Head);
    if heads.iter().any(|&heads| heads > HEADS_MAX) {
        return Err(c.invalid(
            "num_attention_heads_per_layer",
            format!("at most {HEADS_MAX} heads are expected"),
        ));
    }
    for &heads in &heads {
        Attention { heads, ..attention }.checked(c)?;
    }
    let sparse: Vec<bool> = match c.texts("mlp_layer_types")? {
        Some(types) => types.iter().map(|kind| *kind == "sparse").collect(),
        None => (0..layers).map(|i| i > 0).collect(),
    };
    long_enough(c, "mlp_layer_types", &sparse, layers)?;
    let gating = match c.get("gating") {
        // A name stands for a kind of gating; the class only asks whether there is one.
        Some(value) if value.is_string() => value.as_str() != Some(""),
        _ => c.flag_or("gating", !c.has("gating"))?,
    };
    let moe = Moe {
        router: Router::Linear("mlp.gate.proj", Policy::Precise),
        ..Moe::new(
            c.count_or("num_experts", 256)?,
            c.count_or("num_experts_per_tok", 8)?,
            c.dim_or("moe_intermediate_size", 512)?,
        )
        .checked(c, "num_experts_per_tok")?
        .corrected()
        .sharing(
            "mlp.shared_expert",
            c.dim_or("shared_expert_intermediate_size", 512)?,
        )
    };
    let networks = Networks {
        moe: Some(moe),
        dense: Mlp::gated(c.dim_or("intermediate_size", 8192)?),
    };
    frame.build(
        c,
        |i| (windows.at(i), heads[i as usize], sparse[i as usize]),
        |b, (window, heads, sparse)| {
            Attention { heads, ..attention }
                .windowed(window)
                .list(b, hidden);
            if gating {
                b.linear("self_attn.g_proj", heads, hidden, false);
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

/// Sliding layers may have other numbers of heads; each head may have a gate.
pub(super) fn step3p5(c: &Config<'_>) -> Result<Model, ConfigError> {
    // The class reads tie_word_embeddings but always makes a head.
    let frame = Frame {
        own_cache: true,
        ..Frame::usual("step3p5", c)?
    };
    let (hidden, layers) = (frame.hidden, frame.layers);
    check_rope(c, "rope_scaling")?;
    let window = c.dim_or("sliding_window", 512)?;
    let windows = match c.texts("layer_types")? {
        Some(types) if !types.is_empty() => {
            long_enough(c, "layer_types", &types, layers)?;
            by_list(&types, window, |kind| *kind == SLIDING)
        }
        _ => Windows::Listed(
            (0..layers)
                .map(|i| (i % 2 == 0).then_some(window))
                .collect(),
        ),
    };
    let head_dim = c.dim("head_dim")?;
    let heads = |c: &Config<'_>| {
        let (heads, kv_heads) = (
            c.count("num_attention_heads")?,
            c.count("num_attention_groups")?,
        );
        Attention::of(heads, kv_heads, head_dim)
            .normed(QkNorm::Head)
            .checked(c)
    };
    let full = heads(c)?;
    let sliding = match c.object("attention_other_setting")? {
        Some(other) if other.has("num_attention_heads") || other.has("num_attention_groups") => {
            heads(&other)?
        }
        _ => full,
    };
    let gated = c.flag_or("use_head_wise_attn_gate", true)?;
    let sparse: Vec<u64> = match c.text("moe_layers_enum")? {
        Some(list) if !list.is_empty() => list
            .trim()
            .split(',')
            .map(|layer| layer.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| {
                c.invalid(
                    "moe_layers_enum",
                    "numbers of layers with commas between are expected",
                )
            })?,
        _ => (1..layers).collect(),
    };
    let moe = Moe {
        router: Router::Linear("mlp.gate.gate", Policy::Precise),
        correction: Some(("mlp.gate.router_bias", Some(Dtype::F32))),
        ..Moe::new(
            c.count_or("moe_num_experts", 288)?,
            c.count_or("moe_top_k", 8)?,
            c.dim_or("moe_intermediate_size", 1280)?,
        )
        .checked(c, "moe_top_k")?
        .sharing("mlp.share_expert", c.dim_or("share_expert_dim", 1280)?)
    };
    let networks = Networks {
        moe: Some(moe),
        dense: Mlp::gated(c.dim("intermediate_size")?),
    };
    frame.build(
        c,
        |i| (windows.at(i), sparse.contains(&i)),
        |b, (window, sparse)| {
            let attention = if window.is_some() { sliding } else { full };
            attention.windowed(window).list(b, hidden);
            if gated {
                b.linear("self_attn.g_proj", attention.heads, hidden, false);
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}
