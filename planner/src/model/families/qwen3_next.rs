//! qwen3_next and qwen3_5, with experts or without: three gated delta layers to one of gated attention.
//! Follows mlx-lm 0.32.2 `models/{qwen3_next,qwen3_5,qwen3_5_moe}.py`.

use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{check_rope, tied_or};
use crate::model::blocks::delta::{GatedDelta, Projections};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Builder, Config, ConfigError, Model, Policy};

pub(super) fn qwen3_next(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "rope_theta",
        "partial_rotary_factor",
        "max_position_embeddings",
        "num_key_value_heads",
        "head_dim",
        "mlp_only_layers",
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
    ])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        tied: tied_or(c, false)?,
        own_cache: true,
        ..Frame::usual("qwen3_next", c)?
    };
    let (dense_ff, step) = (
        c.dim_if_used("intermediate_size")?,
        c.count("decoder_sparse_step")?,
    );
    let dense_only = c.wholes("mlp_only_layers")?.unwrap_or_default();
    let moe = if c.count_or("num_experts", 0)? > 0 {
        Some(experts(c)?)
    } else {
        None
    };
    build(
        c,
        &frame,
        Attention::from_config(c, frame.hidden)?,
        GatedDelta::from_config(c, Projections::Fused)?,
        Networks {
            moe,
            dense: Mlp::gated(dense_ff),
        },
        |i| !dense_only.contains(&i) && (i + 1).is_multiple_of(step),
    )
}

/// The text part stands in `text_config`, or at the top where there is none.
pub(super) fn qwen3_5(c: &Config<'_>) -> Result<Model, ConfigError> {
    wrapped(c, "qwen3_5")
}

pub(super) fn qwen3_5_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    wrapped(c, "qwen3_5_moe")
}

fn wrapped(c: &Config<'_>, family: &'static str) -> Result<Model, ConfigError> {
    let c = &c.object("text_config")?.unwrap_or(*c);
    // Its `rope_type` stands for `type`, where null is no type.
    if let Some(rope) = c.object("rope_parameters")? {
        let kind = rope.text("rope_type")?;
        if !rope.has("rope_type") || kind.is_some_and(|kind| !kind.is_empty()) {
            check_rope(c, "rope_parameters")?;
        }
        rope.number_or("partial_rotary_factor", 1.0)?;
    }
    let frame = Frame {
        root: "language_model.",
        tied: tied_or(c, false)?,
        own_cache: true,
        ..Frame::or(family, c, (4096, 32, 151_936))?
    };
    let (heads, kv_heads) = (
        c.count_or("num_attention_heads", 32)?,
        c.count_or("num_key_value_heads", 8)?,
    );
    let attention = match c.dim_opt("head_dim")? {
        Some(dim) => Attention::of(heads, kv_heads, dim).checked(c)?,
        None => Attention::of_width(c, frame.hidden, "num_attention_heads", heads, kv_heads)?,
    };
    let delta = GatedDelta {
        k_heads: c.count_or("linear_num_key_heads", 16)?,
        v_heads: c.count_or("linear_num_value_heads", 64)?,
        k_dim: c.dim_or("linear_key_head_dim", 192)?,
        v_dim: c.dim_or("linear_value_head_dim", 128)?,
        kernel: c.dim_or("linear_conv_kernel_dim", 4)?,
        projections: Projections::Split,
    }
    .checked(c)?;
    let moe = match c.count_or("num_experts", 0)? {
        0 => None,
        _ => Some(experts(c)?),
    };
    let networks = Networks {
        moe,
        dense: Mlp::gated(c.dim_or("intermediate_size", 14_336)?),
    };
    build(c, &frame, attention, delta, networks, |_| true)
}

fn experts(c: &Config<'_>) -> Result<Moe, ConfigError> {
    Ok(Moe::by(
        c,
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
    )?
    .routed(Router::Linear("mlp.gate", Policy::Precise))
    .sharing(
        "mlp.shared_expert",
        c.dim("shared_expert_intermediate_size")?,
    ))
}

/// Every `full_attention_interval`-th layer attends; `sparse` says which layers have the experts, where there are any.
fn build(
    c: &Config<'_>,
    frame: &Frame,
    attention: Attention,
    delta: GatedDelta,
    networks: Networks,
    sparse: impl Fn(u64) -> bool,
) -> Result<Model, ConfigError> {
    let hidden = frame.hidden;
    let interval = c.count_or("full_attention_interval", 4)?;
    if interval < 2 {
        return Err(ConfigError::Refused(format!(
            "full_attention_interval is {interval}, and it takes a mask from a layer without attention"
        )));
    }
    if interval > frame.layers {
        return Err(ConfigError::Refused(format!(
            "IndexError: list index out of range (full_attention_interval is {interval}, and there are {} layers)",
            frame.layers
        )));
    }
    let bias = c.flag_or("attention_bias", false)?;
    let attention = attention.normed(QkNorm::Head);
    frame.build(
        c,
        |i| ((i + 1).is_multiple_of(interval), sparse(i)),
        |b, (attends, sparse)| {
            if attends {
                gated(&attention, b, hidden, bias);
            } else {
                delta.list(b, hidden);
            }
            networks.list(b, hidden, sparse);
            if sparse && networks.moe.is_some() {
                b.linear("mlp.shared_expert_gate", 1, hidden, false)
                    .precise();
            }
        },
        |_| {},
    )
}

/// Attention whose query projection makes a gate for the output too.
fn gated(attention: &Attention, b: &mut Builder, hidden: u64, bias: bool) {
    let q = attention.heads * attention.k_dim;
    let kv = attention.kv_heads * attention.k_dim;
    b.linear("self_attn.q_proj", q * 2, hidden, bias);
    b.linear("self_attn.k_proj", kv, hidden, bias);
    b.linear("self_attn.v_proj", kv, hidden, bias);
    b.linear("self_attn.o_proj", hidden, q, bias);
    attention.norms(b);
    attention.mix(b);
    attention.keep(b);
}
