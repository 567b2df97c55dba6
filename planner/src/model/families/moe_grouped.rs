//! Experts with grouped attention, each class with a router of its own kind: glm4_moe, solar_open, dots1, bailing_moe,
//! ernie4_5_moe, hunyuan, dbrx.
//! Follows mlx-lm 0.32.2 `models/{glm4_moe,solar_open,dots1,bailing_moe,ernie4_5_moe,hunyuan,dbrx}.py`.

use serde_json::Value;

use super::deepseek::{grouped, some_shared};
use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{Windows, check_rope, tied, tied_or};
use crate::model::blocks::frame::{Frame, Norm, Trunk};
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Config, ConfigError, Model, Policy};
use crate::quant::Dtype;

pub(super) fn glm4_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "n_group",
        "topk_group",
        "rope_scaling",
        "use_qk_norm",
        "tie_word_embeddings",
        "attention_bias",
    ])?;
    glm_like(c, "glm4_moe")
}

pub(super) fn solar_open(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["tie_word_embeddings"])?;
    glm_like(c, "solar_open")
}

/// The class reads tie_word_embeddings but always makes a head.
fn glm_like(c: &Config<'_>, family: &'static str) -> Result<Model, ConfigError> {
    c.needs(&[
        "intermediate_size",
        "max_position_embeddings",
        "moe_intermediate_size",
        "norm_topk_prob",
        "n_shared_experts",
        "n_routed_experts",
        "routed_scaling_factor",
        "num_experts_per_tok",
        "first_k_dense_replace",
        "rms_norm_eps",
        "rope_theta",
        "partial_rotary_factor",
    ])?;
    let norm = if c.flag_or("use_qk_norm", false)? {
        QkNorm::Head
    } else {
        QkNorm::None
    };
    let attention = explicit(c)?
        .biased(c.flag_or("attention_bias", false)?, false)
        .normed(norm);
    grouped(c, &Frame::usual(family, c)?, &attention)
}

/// Casting takes the router's correction along, unlike in the other classes.
pub(super) fn dots1(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "max_position_embeddings",
        "num_key_value_heads",
        "norm_topk_prob",
        "rope_theta",
        "routed_scaling_factor",
    ])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        tied: tied_or(c, false)?,
        ..Frame::usual("dots1", c)?
    };
    let attention = Attention::from_config(c, frame.hidden)?.normed(QkNorm::Head);
    let bias = c.flag_or("mlp_bias", false)?;
    let moe = Moe::by(
        c,
        "n_routed_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
    )?;
    let shared = some_shared(c, Some(c.count_or("n_shared_experts", 0)?))?;
    let moe = Moe {
        switch: "mlp.experts",
        router: Router::Array("mlp.gate.weight"),
        correction: Some(("mlp.gate.e_score_correction_bias", None)),
        shared_bias: bias,
        ..moe.sharing("mlp.shared_experts", moe.ff * shared)
    };
    c.needs(&["first_k_dense_replace"])?;
    let first = c.count_or("first_k_dense_replace", 0)?;
    Networks {
        moe: Some(moe),
        dense: Mlp::gated(c.dim_if_used("intermediate_size")?).biased(bias),
    }
    .build(c, &frame, &attention, &Windows::None, |i| i >= first)
}

pub(super) fn bailing_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.number_or("partial_rotary_factor", 1.0)?;
    c.needs(&[
        "max_position_embeddings",
        "norm_topk_prob",
        "rms_norm_eps",
        "rope_theta",
        "num_key_value_heads",
        "num_shared_experts",
        "first_k_dense_replace",
        "num_experts",
    ])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        trunk: Trunk {
            embed: "model.word_embeddings",
            ..Trunk::MODEL
        },
        tied: tied_or(c, false)?,
        ..Frame::usual("bailing_moe", c)?
    };
    let bias = c.flag_or("use_bias", false)?;
    let norm = if c.flag_or("use_qk_norm", false)? {
        QkNorm::Head
    } else {
        QkNorm::None
    };
    let attention = Attention {
        norm_names: [
            "attention.query_layernorm.weight",
            "attention.key_layernorm.weight",
        ],
        ..Attention::divided(c, frame.hidden)?
    }
    .named(Projections::Fused([
        "attention.query_key_value",
        "attention.dense",
    ]))
    .biased(c.flag_or("use_qkv_bias", false)?, bias)
    .normed(norm);
    let moe_ff = c.dim("moe_intermediate_size")?;
    let shared_ff = match c.dim_opt("moe_shared_expert_intermediate_size")? {
        Some(width) => width,
        None => moe_ff,
    };
    let shared = if c.flag_or("moe_router_enable_shared_expert", true)? {
        c.count_or("num_shared_experts", 0)?
    } else {
        0
    };
    let correction = c
        .flag_or("moe_router_enable_expert_bias", false)?
        .then_some(("mlp.gate.expert_bias", Some(Dtype::F32)));
    let moe = match c.count_opt("num_experts")? {
        None => None,
        Some(experts) => Some(Moe {
            bias,
            router: Router::Linear("mlp.gate.gate_proj", Policy::Precise),
            correction,
            shared_bias: bias,
            ..Moe::new(experts, c.count("num_experts_per_tok")?, moe_ff)
                .checked(c, "num_experts_per_tok")?
                .sharing("mlp.shared_experts", shared_ff * shared)
        }),
    };
    let first = c.count_or("first_k_dense_replace", 0)?;
    Networks {
        moe,
        dense: Mlp::gated(c.dim_if_used("intermediate_size")?).biased(bias),
    }
    .build(c, &frame, &attention, &Windows::None, |i| {
        moe.is_some() && i >= first
    })
}

pub(super) fn ernie4_5_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "max_position_embeddings",
        "num_key_value_heads",
        "rms_norm_eps",
        "rope_theta",
        "use_bias",
    ])?;
    let frame = Frame {
        tied: tied(c)?,
        ..Frame::usual("ernie4_5_moe", c)?
    };
    let bias = c.flag_or("use_bias", false)?;
    let attention = Attention::from_config(c, frame.hidden)?.biased(bias, bias);
    let ff = c.dim("intermediate_size")?;
    let moe_ff = match c.get("moe_intermediate_size") {
        Some(width) if width.as_u64() != Some(0) => c.dim("moe_intermediate_size")?,
        _ => ff,
    };
    if !matches!(c.text("moe_gate_act")?, None | Some("softmax" | "sigmoid")) {
        return Err(c.invalid("moe_gate_act", "softmax or sigmoid is expected"));
    }
    let moe = Moe {
        bias,
        shared_bias: bias,
        ..Moe::new(c.count("moe_num_experts")?, c.count_or("moe_k", 1)?, moe_ff)
            .checked(c, "moe_k")?
            .sharing(
                "mlp.shared_experts",
                moe_ff * c.count_or("moe_num_shared_experts", 0)?,
            )
    };
    let first = ends(c, "moe_layer_start_index")?.map_or(0, |(least, _)| least);
    let last = ends(c, "moe_layer_end_index")?.map_or(frame.layers - 1, |(_, most)| most);
    let every = c.dim_or("moe_layer_interval", 1)?;
    Networks {
        moe: Some(moe),
        dense: Mlp::gated(ff).biased(bias),
    }
    .build(c, &frame, &attention, &Windows::None, |i| {
        (i + 1).is_multiple_of(every) && (first..=last).contains(&i)
    })
}

/// The least and the largest of a list of layers, or of a single one.
fn ends(c: &Config<'_>, field: &str) -> Result<Option<(u64, u64)>, ConfigError> {
    match c.get(field) {
        None => Ok(None),
        Some(Value::Array(_)) => {
            let list = c.wholes(field)?.unwrap_or_default();
            match (list.iter().min(), list.iter().max()) {
                (Some(&least), Some(&most)) => Ok(Some((least, most))),
                _ => Err(c.invalid(field, "at least one layer is expected")),
            }
        }
        Some(_) => c.count_opt(field).map(|n| n.map(|n| (n, n))),
    }
}

/// One number for all layers, or a list of one for each.
fn each_layer(c: &Config<'_>, field: &str, layers: u64) -> Result<Vec<u64>, ConfigError> {
    match c.get(field) {
        Some(Value::Array(_)) => {
            let list = c.wholes(field)?.unwrap_or_default();
            if (list.len() as u64) < layers {
                return Err(c.invalid(
                    field,
                    format!("one entry for each of the {layers} layers is expected"),
                ));
            }
            Ok(list)
        }
        _ => Ok(vec![c.dim(field)?; layers as usize]),
    }
}

/// What differs between hunyuan's layers.
#[derive(Clone, Copy, PartialEq)]
struct HunyuanLayer {
    own_kv: bool,
    chosen: u64,
    ff: u64,
    shared_ff: u64,
}

/// Layers between two with `cla_share_factor` use the keys and values of the one before, but each keeps a copy.
pub(super) fn hunyuan(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "rope_theta",
        "attention_bias",
        "num_key_value_heads",
        "num_shared_expert",
        "use_mixed_mlp_moe",
        "use_qk_norm",
        "use_cla",
        "cla_share_factor",
    ])?;
    c.need_object("rope_scaling")?
        .needs(&["factor", "type", "alpha"])?;
    let frame = Frame {
        tied: true,
        ..Frame::usual("hunyuan", c)?
    };
    let (hidden, layers) = (frame.hidden, frame.layers);
    let bias = c.flag_or("attention_bias", false)?;
    let norm = if c.flag_or("use_qk_norm", false)? {
        QkNorm::Head
    } else {
        QkNorm::None
    };
    let attention = Attention {
        norm_names: [
            "self_attn.query_layernorm.weight",
            "self_attn.key_layernorm.weight",
        ],
        ..Attention::divided(c, hidden)?
    }
    .biased(bias, bias)
    .normed(norm);
    let ff = c.dim("intermediate_size")?;
    let experts = c.count("num_experts")?;
    let chosen = each_layer(c, "moe_topk", layers)?;
    let shared = if c.flag_or("use_mixed_mlp_moe", false)? {
        each_layer(c, "num_shared_expert", layers)?
    } else {
        vec![0; layers as usize]
    };
    let widths = if c.get("moe_intermediate_size").is_some() {
        each_layer(c, "moe_intermediate_size", layers)?
    } else {
        vec![ff; layers as usize]
    };
    if let Some(&most) = chosen.iter().max() {
        Moe::new(experts, most, ff).checked(c, "moe_topk")?;
    }
    let share = if c.flag_or("use_cla", false)? {
        c.dim("cla_share_factor")?
    } else {
        1
    };
    frame.build(
        c,
        |i| HunyuanLayer {
            own_kv: i.is_multiple_of(share),
            chosen: chosen[i as usize],
            ff: widths[i as usize],
            shared_ff: ff.saturating_mul(shared[i as usize]),
        },
        |b, layer| {
            if layer.own_kv {
                attention.project(b, hidden);
            } else {
                let queries = attention.heads * attention.k_dim;
                b.linear("self_attn.q_proj", queries, hidden, bias);
                b.linear("self_attn.o_proj", hidden, queries, bias);
            }
            attention.norms(b);
            attention.mix(b);
            attention.keep(b);
            if experts == 1 {
                Mlp::gated(ff).list(b, hidden);
            } else {
                Moe::new(experts, layer.chosen, layer.ff)
                    .routed(Router::Linear("mlp.gate.wg", Policy::Asked))
                    .sharing("mlp.shared_mlp", layer.shared_ff)
                    .list(b, hidden);
            }
        },
        |_| {},
    )
}

/// The experts are modules of their own rather than stacked.
pub(super) fn dbrx(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (attn, ffn) = (c.need_object("attn_config")?, c.need_object("ffn_config")?);
    attn.needs(&["kv_n_heads", "clip_qkv", "rope_theta"])?;
    let hidden = c.dim("d_model")?;
    let heads = c.count("n_heads")?;
    let attention =
        Attention::of_width(c, hidden, "n_heads", heads, attn.count("kv_n_heads")?)?.named(
            Projections::Fused(["norm_attn_norm.attn.Wqkv", "norm_attn_norm.attn.out_proj"]),
        );
    let moe = Moe::by(&ffn, "moe_num_experts", "moe_top_k", "ffn_hidden_size")?;
    Frame {
        norm: Norm::LayerWithoutBias,
        norms: &["norm_attn_norm.norm_1", "norm_attn_norm.norm_2"],
        trunk: Trunk {
            embed: "transformer.wte",
            layers: "transformer.blocks",
            norm: "transformer.norm_f",
            head: "lm_head",
        },
        ..Frame::new("dbrx", (hidden, c.count("n_layers")?, c.dim("vocab_size")?))
    }
    .build(
        c,
        |_| (),
        |b, ()| {
            attention.list(b, hidden);
            b.linear("ffn.router.layer", moe.experts, hidden, false);
            for expert in 0..moe.experts {
                for (name, output, input) in [
                    ("v1", moe.ff, hidden),
                    ("w1", moe.ff, hidden),
                    ("w2", hidden, moe.ff),
                ] {
                    b.linear(
                        &format!("ffn.experts.{expert}.{name}"),
                        output,
                        input,
                        false,
                    )
                    .experts(moe.chosen, moe.experts);
                }
            }
            moe.note(b);
        },
        |_| {},
    )
}
