//! lfm2, lfm2_moe and the text part of lfm2-vl: short convolutions, with attention in some layers.
//! Follows mlx-lm 0.32.2 `models/{lfm2,lfm2_moe,lfm2-vl}.py`.

use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::frame::{Frame, Trunk};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::blocks::recurrent;
use crate::model::{Builder, Config, ConfigError, Model, Policy};
use crate::quant::Dtype;

pub(super) fn lfm2(c: &Config<'_>) -> Result<Model, ConfigError> {
    dense(c, "lfm2", "")
}

pub(super) fn lfm2_vl(c: &Config<'_>) -> Result<Model, ConfigError> {
    dense(&c.need_object("text_config")?, "lfm2-vl", "language_model.")
}

fn dense(c: &Config<'_>, family: &'static str, root: &'static str) -> Result<Model, ConfigError> {
    c.needs(&[
        "max_position_embeddings",
        "norm_eps",
        "block_ffn_dim_multiplier",
    ])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    let ff = feed_forward_width(c)?;
    let frame = frame(c, family, root)?;
    if c.dim("block_dim")? != frame.hidden {
        return Err(c.invalid(
            "block_dim",
            format!("hidden_size ({}) is expected", frame.hidden),
        ));
    }
    let network = Network::Gated(["feed_forward.w1", "feed_forward.w3", "feed_forward.w2"]);
    let networks = Networks {
        moe: None,
        dense: Mlp::of(network, ff, false),
    };
    build(c, &frame, networks, 0)
}

/// Two thirds of the width that is said, times a factor, rounded up to a multiple, where the description asks for it.
fn feed_forward_width(c: &Config<'_>) -> Result<u64, ConfigError> {
    let said = match c.dim_opt("block_ff_dim")? {
        Some(width) => width,
        None => c.dim_opt("intermediate_size")?.ok_or_else(|| {
            ConfigError::Refused(
                "ValueError: Config must specify either 'block_ff_dim' or 'intermediate_size'"
                    .to_owned(),
            )
        })?,
    };
    c.needs(&["block_multiple_of"])?;
    if !c.flag("block_auto_adjust_ff_dim")? {
        return Ok(said);
    }
    let multiple = c.dim("block_multiple_of")?;
    let mut width = (2 * said) / 3;
    if c.get("block_ffn_dim_multiplier").is_some() {
        let factor = c.number_or("block_ffn_dim_multiplier", 1.0)?;
        let scaled = factor * width as f64;
        if !(1.0..1e12).contains(&scaled) {
            return Err(c.invalid("block_ffn_dim_multiplier", "a factor near 1 is expected"));
        }
        width = scaled as u64;
    }
    Ok(width
        .div_ceil(multiple)
        .saturating_mul(multiple)
        .min(1 << 41))
}

pub(super) fn lfm2_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "num_key_value_heads",
        "max_position_embeddings",
        "norm_eps",
        "norm_topk_prob",
        "num_dense_layers",
    ])?;
    let moe = Moe {
        switch: "feed_forward.switch_mlp",
        router: Router::Linear("feed_forward.gate", Policy::Precise),
        correction: c
            .flag("use_expert_bias")?
            .then_some(("feed_forward.expert_bias", Some(Dtype::F32))),
        ..Moe::by(
            c,
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
        )?
    };
    let network = Network::Gated([
        "feed_forward.gate_proj",
        "feed_forward.up_proj",
        "feed_forward.down_proj",
    ]);
    let networks = Networks {
        moe: Some(moe),
        dense: Mlp::of(network, c.dim_if_used("intermediate_size")?, false),
    };
    build(
        c,
        &frame(c, "lfm2_moe", "")?,
        networks,
        c.count_or("num_dense_layers", 0)?,
    )
}

fn frame(c: &Config<'_>, family: &'static str, root: &'static str) -> Result<Frame, ConfigError> {
    Ok(Frame {
        root,
        norms: &["operator_norm", "ffn_norm"],
        trunk: Trunk {
            norm: "model.embedding_norm",
            ..Trunk::MODEL
        },
        tied: true,
        own_cache: true,
        ..Frame::usual(family, c)?
    })
}

fn build(
    c: &Config<'_>,
    frame: &Frame,
    networks: Networks,
    dense_layers: u64,
) -> Result<Model, ConfigError> {
    let hidden = frame.hidden;
    let attention = Attention {
        norm_names: [
            "self_attn.q_layernorm.weight",
            "self_attn.k_layernorm.weight",
        ],
        ..Attention::divided(c, hidden)?
    }
    .normed(QkNorm::Head)
    .named(Projections::Split([
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
    ]));
    let attends: Vec<u64> = if let Some(indices) = c.wholes("full_attn_idxs")? {
        indices
    } else {
        c.needs(&["layer_types"])?;
        let types = c.texts("layer_types")?.unwrap_or_default();
        (0..)
            .zip(types)
            .filter(|&(_, kind)| kind == "full_attention")
            .map(|(i, _)| i)
            .collect()
    };
    if attends.is_empty() {
        return Err(ConfigError::Refused(
            "IndexError: list index out of range (no layer has full attention)".to_owned(),
        ));
    }
    let (kernel, bias) = (c.dim("conv_L_cache")?, c.flag("conv_bias")?);
    frame.build(
        c,
        |i| (attends.contains(&i), i >= dense_layers),
        |b, (attends, sparse)| {
            if attends {
                attention.list(b, hidden);
            } else {
                convolution(b, hidden, kernel, bias);
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

/// A gated short convolution, which keeps all but one of its inputs.
fn convolution(b: &mut Builder, hidden: u64, kernel: u64, bias: bool) {
    b.within("conv", |b| {
        b.conv1d("conv", hidden, kernel, bias);
        b.linear("in_proj", 3 * hidden, hidden, bias);
        b.linear("out_proj", hidden, hidden, bias);
    });
    recurrent::convolution(b, hidden, kernel);
}
