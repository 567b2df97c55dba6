//! Experts, and windows in some layers: gpt_oss, mimo_v2_flash, exaone_moe.
//! Follows mlx-lm 0.32.2 `models/{gpt_oss,mimo_v2_flash,exaone_moe}.py`.

use super::deepseek::{noaux_tc, some_shared};
use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Windows, check_rope, tied_or};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Config, ConfigError, Flavour, Model, Policy};

pub(super) const SLIDING: &str = "sliding_attention";
pub(super) const FULL: &str = "full_attention";

/// Windows by a list with an entry for each layer (or more).
pub(super) fn by_list<T>(list: &[T], window: u64, sliding: impl Fn(&T) -> bool) -> Windows {
    Windows::Listed(
        list.iter()
            .map(|kind| sliding(kind).then_some(window))
            .collect(),
    )
}

/// Checks that a list has an entry for each layer; more are not looked at.
pub(super) fn long_enough<T>(
    c: &Config<'_>,
    field: &str,
    list: &[T],
    layers: u64,
) -> Result<(), ConfigError> {
    if list.len() as u64 >= layers {
        Ok(())
    } else {
        Err(c.invalid(
            field,
            format!("one entry for each of the {layers} layers is expected"),
        ))
    }
}

/// A list of names that must be there.
pub(super) fn listed<'a>(c: &Config<'a>, field: &str) -> Result<Vec<&'a str>, ConfigError> {
    c.texts(field)?.ok_or_else(|| ConfigError::Missing {
        field: field.to_owned(),
        expected: "a list with an entry for each layer is expected",
    })
}

/// What mlx-lm says of a list without this kind of layer.
pub(super) fn absent(kind: &str, field: &str) -> ConfigError {
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
        let shared = c.count_opt("num_shared_experts")?.unwrap_or(0);
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
