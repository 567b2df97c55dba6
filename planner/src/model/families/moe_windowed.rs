//! Experts, and windows in some layers: gpt_oss, mimo_v2_flash, exaone_moe, afmoe, laguna, step3p5.
//! Follows mlx-lm 0.32.2 `models/{gpt_oss,mimo_v2_flash,exaone_moe,afmoe,laguna,step3p5}.py`.

use super::deepseek::{noaux_tc, some_shared};
use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Windows, check_rope, tied_or};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Config, ConfigError, Flavour, Model, Policy};
use crate::quant::Dtype;

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// Windows by a list with an entry for each layer (or more).
fn by_list<T>(list: &[T], window: u64, sliding: impl Fn(&T) -> bool) -> Windows {
    Windows::Listed(
        list.iter()
            .map(|kind| sliding(kind).then_some(window))
            .collect(),
    )
}

/// Checks that a list has an entry for each layer; more are not looked at.
fn long_enough<T>(c: &Config<'_>, field: &str, list: &[T], layers: u64) -> Result<(), ConfigError> {
    if list.len() as u64 >= layers {
        Ok(())
    } else {
        Err(c.invalid(
            field,
            format!("one entry for each of the {layers} layers is expected"),
        ))
    }
}

fn listed<'a>(c: &Config<'a>, field: &str) -> Result<Vec<&'a str>, ConfigError> {
    c.texts(field)?.ok_or_else(|| ConfigError::Missing {
        field: field.to_owned(),
        expected: "a list with an entry for each layer is expected",
    })
}

fn absent(kind: &str, field: &str) -> ConfigError {
    ConfigError::Refused(format!("ValueError: '{kind}' is not in list ({field})"))
}

pub(super) fn gpt_oss(c: &Config<'_>) -> Result<Model, ConfigError> {
    let frame = Frame {
        own_cache: true,
        ..Frame::or("gpt_oss", c, (2880, 36, 201_088))?
    };
    check_rope(c, "rope_scaling")?;
    let attention = Attention {
        flavour: Flavour::Sinks,
        ..Attention::of(
            c.count_or("num_attention_heads", 64)?,
            c.count_or("num_key_value_heads", 8)?,
            c.dim_or("head_dim", 64)?,
        )
    }
    .biased(true, true)
    .checked(c)?;
    let window = c.dim_or("sliding_window", 128)?;
    let types = match c.texts("layer_types")? {
        Some(types) if !types.is_empty() => types,
        _ => [SLIDING, FULL].repeat((frame.layers / 2) as usize),
    };
    for kind in [SLIDING, FULL] {
        if !types.contains(&kind) {
            return Err(absent(kind, "layer_types"));
        }
    }
    if types.len() as u64 != frame.layers {
        return Err(c.invalid(
            "layer_types",
            format!(
                "one entry for each of the {} layers is expected (an even number of layers where it is absent)",
                frame.layers
            ),
        ));
    }
    let windows = by_list(&types, window, |kind| *kind != FULL);
    let moe = Moe {
        bias: true,
        switch: "mlp.experts",
        router: Router::Biased("mlp.router", Policy::Precise),
        ..Moe::new(
            c.count_or("num_local_experts", 128)?,
            c.count_or("num_experts_per_tok", 4)?,
            c.dim_or("intermediate_size", 2880)?,
        )
    }
    .checked(c, "num_experts_per_tok")?;
    frame.build(
        c,
        |i| windows.at(i),
        |b, window| {
            attention.windowed(window).list(b, frame.hidden);
            b.param("self_attn.sinks", &[attention.heads]);
            moe.list(b, frame.hidden);
        },
        |_| {},
    )
}

/// Windows and full layers each with heads and widths of their own; values may be narrower than keys.
pub(super) fn mimo_v2_flash(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "add_swa_attention_sink_bias",
        "add_full_attention_sink_bias",
        "n_shared_experts",
        "n_routed_experts",
        "routed_scaling_factor",
        "topk_method",
        "scoring_func",
        "norm_topk_prob",
        "n_group",
        "topk_group",
        "max_position_embeddings",
        "layernorm_epsilon",
        "rope_theta",
        "swa_rope_theta",
        "partial_rotary_factor",
    ])?;
    let frame = Frame {
        own_cache: true,
        ..Frame::usual("mimo_v2_flash", c)?
    };
    let sinks = |on| if on { Flavour::Sinks } else { Flavour::Fast };
    let full = Attention {
        v_dim: c.dim("v_head_dim")?,
        flavour: sinks(c.flag_or("add_full_attention_sink_bias", false)?),
        ..explicit(c)?
    };
    let sliding = Attention {
        v_dim: c.dim("swa_v_head_dim")?,
        flavour: sinks(c.flag_or("add_swa_attention_sink_bias", false)?),
        ..Attention::of(
            c.count("swa_num_attention_heads")?,
            c.count("swa_num_key_value_heads")?,
            c.dim("swa_head_dim")?,
        )
        .checked(c)?
    };
    let list = |field: &'static str| {
        let list = c.wholes(field)?.ok_or_else(|| ConfigError::Missing {
            field: field.to_owned(),
            expected: "a list of 0 and 1, one a layer, is expected",
        })?;
        long_enough(c, field, &list, frame.layers)?;
        Ok::<_, ConfigError>(list)
    };
    let (pattern, sparse) = (list("hybrid_layer_pattern")?, list("moe_layer_freq")?);
    for kind in [1, 0] {
        if !pattern.contains(&kind) {
            return Err(absent(&kind.to_string(), "hybrid_layer_pattern"));
        }
    }
    let windows = by_list(&pattern, c.dim("sliding_window_size")?, |kind| *kind == 1);
    let moe_ff = c.dim("moe_intermediate_size")?;
    let moe = if sparse.iter().take(frame.layers as usize).any(|&s| s == 1) {
        noaux_tc(c)?;
        let shared = some_shared(c, c.count_opt("n_shared_experts")?)?;
        let moe = Moe::by(
            c,
            "n_routed_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
        )?;
        Some(
            moe.corrected()
                .sharing("mlp.shared_experts", moe_ff * shared),
        )
    } else {
        None
    };
    let networks = Networks {
        moe,
        dense: Mlp::gated(c.dim("intermediate_size")?),
    };
    frame.build(
        c,
        |i| (windows.at(i), sparse[i as usize] == 1),
        |b, (window, sparse)| {
            let attention = if window.is_some() { sliding } else { full }.windowed(window);
            attention.list(b, frame.hidden);
            if attention.flavour == Flavour::Sinks {
                b.param("self_attn.attention_sink_bias", &[attention.heads]);
            }
            networks.list(b, frame.hidden, sparse);
        },
        |_| {},
    )
}

pub(super) fn exaone_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "max_position_embeddings",
        "num_shared_experts",
        "num_experts",
        "num_experts_per_tok",
    ])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        tied: tied_or(c, false)?,
        own_cache: true,
        ..Frame::usual("exaone_moe", c)?
    };
    let types = listed(c, "layer_types")?;
    long_enough(c, "layer_types", &types, frame.layers)?;
    let windows = by_list(&types, c.dim("sliding_window")?, |kind| *kind == SLIDING);
    let Some(sparse) = c.list("is_moe_layer")? else {
        return Err(ConfigError::Missing {
            field: "is_moe_layer".to_owned(),
            expected: "a list of true and false, one a layer, is expected",
        });
    };
    long_enough(c, "is_moe_layer", sparse, frame.layers)?;
    let sparse: Vec<bool> = sparse
        .iter()
        .map(|v| v.as_bool().or_else(|| v.as_u64().map(|n| n != 0)))
        .collect::<Option<_>>()
        .ok_or_else(|| c.invalid("is_moe_layer", "a list of true and false is expected"))?;
    let moe_ff = c.dim("moe_intermediate_size")?;
    let moe = if sparse.iter().take(frame.layers as usize).any(|&s| s) {
        noaux_tc(c)?;
        let shared = c.count_or("num_shared_experts", 0)?;
        let moe = Moe::by(
            c,
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
        )?;
        Some(
            moe.corrected()
                .sharing("mlp.shared_experts", moe_ff * shared),
        )
    } else {
        None
    };
    Networks {
        moe,
        dense: Mlp::gated(c.dim("intermediate_size")?),
    }
    .build(
        c,
        &frame,
        &explicit(c)?.normed(QkNorm::Head),
        &windows,
        |i| sparse[i as usize],
    )
}

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
        dense: Mlp::gated(c.dim_or("intermediate_size", 6144)?),
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
