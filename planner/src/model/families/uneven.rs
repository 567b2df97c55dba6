//! Classes whose layers differ in size: openelm and nemotron-nas.
//! Follows mlx-lm 0.32.2 `models/{openelm,nemotron-nas}.py`.

use serde_json::Value;

use super::phi::whole_heads;
use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{check_rope, tied_or};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::{Builder, Config, ConfigError, Model};

/// Heads and the feed-forward network's width are listed a layer.
pub(super) fn openelm(c: &Config<'_>) -> Result<Model, ConfigError> {
    let layers = c.count("num_transformer_layers")?;
    let (hidden, head_dim) = (c.dim("model_dim")?, c.dim("head_dim")?);
    let divisor = c.dim("ffn_dim_divisor")?;
    let norm = if c.flag_or("normalize_qk_projections", true)? {
        QkNorm::Head
    } else {
        QkNorm::None
    };
    let listed = |field: &'static str| {
        let list = c.wholes(field)?.unwrap_or_default();
        if list.len() as u64 >= layers {
            Ok(list)
        } else {
            Err(c.invalid(
                field,
                format!("a list of {layers} entries, one a layer, is expected"),
            ))
        }
    };
    let (queries, keys) = (listed("num_query_heads")?, listed("num_kv_heads")?);
    let multipliers = c.list("ffn_multipliers")?.unwrap_or_default();
    let widths = multipliers
        .iter()
        .map(|v| {
            v.as_f64()
                .and_then(|m| make_divisible(m * hidden as f64, divisor))
                .ok_or_else(|| {
                    c.invalid(
                        "ffn_multipliers",
                        format!("a list of {layers} positive numbers is expected"),
                    )
                })
        })
        .collect::<Result<Vec<u64>, _>>()?;
    if (widths.len() as u64) < layers {
        return Err(c.invalid(
            "ffn_multipliers",
            format!("a list of {layers} numbers, one a layer, is expected"),
        ));
    }
    let kinds = queries
        .iter()
        .zip(&keys)
        .zip(&widths)
        .map(|((&heads, &kv_heads), &ff)| {
            let attention = Attention {
                norm_names: ["attn.q_norm.weight", "attn.k_norm.weight"],
                ..Attention::of(heads, kv_heads, head_dim)
            }
            .normed(norm)
            .named(Projections::Fused(["attn.qkv_proj", "attn.out_proj"]))
            .checked(c)?;
            let mlp = Mlp::of(Network::Fused(["ffn.proj_1", "ffn.proj_2"]), ff, false);
            Ok((attention, mlp))
        })
        .collect::<Result<Vec<_>, ConfigError>>()?;
    let tied = c.flag_or("share_input_output_layers", true)?;

    let mut b = Builder::new("openelm", c, hidden, c.dim("vocab_size")?)?;
    b.embed_tokens("transformer.token_embeddings", tied);
    b.layers(
        "transformer.layers",
        layers,
        |i| kinds.get(i as usize).copied(),
        |b, kind| {
            if let Some((attention, mlp)) = kind {
                attention.list(b, hidden);
                mlp.list(b, hidden);
                b.norm("ffn_norm", hidden);
                b.norm("attn_norm", hidden);
            }
        },
    );
    b.norm("transformer.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}

/// The nearest multiple of `divisor`, a further one up where that is below 90 %.
fn make_divisible(value: f64, divisor: u64) -> Option<u64> {
    if !(0.0..1e12).contains(&value) {
        return None;
    }
    let near = ((value + divisor as f64 / 2.0) as u64 / divisor * divisor).max(divisor);
    Some(if (near as f64) < 0.9 * value {
        near + divisor
    } else {
        near
    })
}

/// A part of a nemotron-nas layer.
#[derive(Clone, Copy, PartialEq)]
enum Part<T> {
    None,
    /// One linear layer in its place.
    Linear,
    Whole(T),
}

impl<T> Part<T> {
    fn read(
        block: &Config<'_>,
        field: &'static str,
        whole: impl FnOnce(&Config<'_>) -> Result<T, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let part = block.need_object(field)?;
        if part.flag_or("no_op", false)? {
            Ok(Self::None)
        } else if part.flag_or("replace_with_linear", false)? {
            Ok(Self::Linear)
        } else {
            whole(&part).map(Self::Whole)
        }
    }
}

/// Each layer's attention and network are whole, replaced by one linear layer, or not there, as `block_configs` say.
pub(super) fn nemotron_nas(c: &Config<'_>) -> Result<Model, ConfigError> {
    let layers = c.count_or("num_hidden_layers", 80)?;
    let hidden = c.dim_or("hidden_size", 8192)?;
    let heads = c.count_or("num_attention_heads", 64)?;
    let (bias, mlp_bias) = (
        c.flag_or("attention_bias", false)?,
        c.flag_or("mlp_bias", false)?,
    );
    match c.text("hidden_act")? {
        None | Some("silu" | "relu" | "gelu" | "gelu_new" | "gelu_fast") => {}
        Some(other) => {
            return Err(ConfigError::Refused(format!(
                "Unknown activation function: {other}"
            )));
        }
    }
    if let Some(rope) = c.object("rope_scaling")? {
        rope.needs(&["factor", "rope_type"])?;
        check_rope(c, "rope_scaling")?;
    }
    let blocks = c.list("block_configs")?.unwrap_or_default();
    if blocks.len() as u64 != layers {
        return Err(ConfigError::Refused(format!(
            "Number of block_configs ({}) must match num_hidden_layers ({layers})",
            blocks.len()
        )));
    }
    let kinds = blocks
        .iter()
        .map(|block| {
            let block = Config::new(block).map_err(|_| {
                c.invalid(
                    "block_configs",
                    "a list of objects with attention and ffn is expected",
                )
            })?;
            let attention = Part::read(&block, "attention", |part| {
                let group = part.count("n_heads_in_group")?;
                if !heads.is_multiple_of(group) {
                    return Err(part.invalid(
                        "n_heads_in_group",
                        format!("a divisor of num_attention_heads ({heads}) is expected"),
                    ));
                }
                let attention =
                    Attention::of_width(c, hidden, "num_attention_heads", heads, heads / group)?
                        .biased(bias, bias);
                whole_heads(&attention, hidden)?;
                Ok(attention)
            })?;
            let network = Part::read(&block, "ffn", |part| {
                let width = part
                    .get("ffn_mult")
                    .and_then(Value::as_f64)
                    .and_then(|mult| network_width(mult, hidden))
                    .ok_or_else(|| part.invalid("ffn_mult", "a positive number is expected"))?;
                Ok(Mlp::gated(width).biased(mlp_bias))
            })?;
            Ok((attention, network))
        })
        .collect::<Result<Vec<_>, ConfigError>>()?;
    let tied = tied_or(c, false)?;

    let mut b = Builder::new("nemotron-nas", c, hidden, c.dim_or("vocab_size", 128_256)?)?;
    b.own_cache();
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        layers,
        |i| kinds.get(i as usize).copied(),
        |b, kind| {
            let Some((attention, network)) = kind else {
                return;
            };
            if attention != Part::None {
                b.norm("input_layernorm", hidden);
            }
            match attention {
                Part::None => {}
                Part::Linear => {
                    b.linear("self_attn.linear", hidden, hidden, bias);
                }
                Part::Whole(attention) => attention.list(b, hidden),
            }
            if network != Part::None {
                b.norm("post_attention_layernorm", hidden);
            }
            match network {
                Part::None => {}
                Part::Linear => {
                    b.linear("mlp.linear", hidden, hidden, mlp_bias);
                }
                Part::Whole(mlp) => mlp.list(b, hidden),
            }
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}

/// Two thirds of `mult` times the width, up to a multiple of 256.
fn network_width(mult: f64, hidden: u64) -> Option<u64> {
    let mult = (mult * 1e6).round_ties_even() / 1e6;
    let width = 2.0 * mult * hidden as f64 / 3.0;
    (1.0..1e12)
        .contains(&width)
        .then(|| (width as u64).next_multiple_of(256))
}
