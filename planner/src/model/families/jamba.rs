//! jamba: Mamba layers with norms inside, some attention, experts in some layers. Follows mlx-lm 0.32.2
//! `models/jamba.py`.

use super::mamba::time_step_rank;
use crate::model::blocks::attention::Attention;
use crate::model::blocks::decoder::tied_or;
use crate::model::blocks::frame::{Frame, Trunk};
use crate::model::blocks::mamba::Mamba1;
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Config, ConfigError, Model, Policy};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "num_key_value_heads",
        "attn_layer_offset",
        "attn_layer_period",
        "expert_layer_offset",
        "num_experts_per_tok",
        "rms_norm_eps",
        "max_position_embeddings",
    ])?;
    let usual = Frame::usual("jamba", c)?;
    let attends: Vec<bool> = if let Some(types) = c.texts("layers_block_type")? {
        types.iter().map(|&t| t == "attention").collect()
    } else {
        let period = c.count("attn_layer_period")?;
        let offset = c.count_or("attn_layer_offset", 0)?;
        (0..usual.layers).map(|i| i % period == offset).collect()
    };
    for (kind, attention) in [("attention", true), ("mamba", false)] {
        if !attends.contains(&attention) {
            return Err(ConfigError::Refused(format!(
                "ValueError: '{kind}' is not in list (no layer is of that kind)"
            )));
        }
    }
    let frame = Frame {
        layers: attends.len() as u64,
        norms: &["input_layernorm", "pre_ff_layernorm"],
        trunk: Trunk {
            norm: "model.final_layernorm",
            ..Trunk::MODEL
        },
        tied: tied_or(c, true)?,
        own_cache: true,
        ..usual
    };
    let hidden = frame.hidden;
    let attention = Attention::divided(c, hidden)?;
    let mamba = Mamba1 {
        inner: c.count("mamba_expand")?.saturating_mul(hidden),
        state: c.dim("mamba_d_state")?,
        rank: match c.get("mamba_dt_rank") {
            Some(_) => time_step_rank(c, "mamba_dt_rank", hidden)?,
            None => hidden.div_ceil(16),
        },
        kernel: c.dim("mamba_d_conv")?,
        bias: c.flag_or("mamba_proj_bias", false)?,
        conv_bias: c.flag_or("mamba_conv_bias", true)?,
        norms: true,
    };
    let (experts, offset, period) = (
        c.count("num_experts")?,
        c.count_or("expert_layer_offset", 0)?,
        c.count("expert_layer_period")?,
    );
    let networks = Networks {
        moe: if experts > 1 {
            Some(
                Moe {
                    switch: "feed_forward.switch_mlp",
                    ..Moe::by(c, "num_experts", "num_experts_per_tok", "intermediate_size")?
                }
                .routed(Router::Linear("feed_forward.router", Policy::Precise)),
            )
        } else {
            None
        },
        dense: Mlp::of(
            Network::Gated([
                "feed_forward.gate_proj",
                "feed_forward.up_proj",
                "feed_forward.down_proj",
            ]),
            c.dim("intermediate_size")?,
            false,
        ),
    };
    frame.build(
        c,
        |i| (attends[i as usize], (i + offset).is_multiple_of(period)),
        |b, (attends, sparse)| {
            if attends {
                attention.list(b, hidden);
            } else {
                b.within("mamba", |b| mamba.list(b, hidden));
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}
