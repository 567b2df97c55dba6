//! gpt2, gpt_bigcode, gpt_neox, gptj and starcoder2: layer norms, biases, no gate.
//! Follows mlx-lm 0.32.2 `models/{gpt2,gpt_bigcode,gpt_neox,gptj,starcoder2}.py`.

use super::phi::whole_heads;
use crate::model::blocks::attention::{Attention, Projections};
use crate::model::blocks::decoder::{Decoder, Norm, Trunk, tied_or};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::{Config, ConfigError, Model};

/// GPT-2's names under `model`.
const MODEL_H: Trunk = Trunk {
    embed: "model.wte",
    layers: "model.h",
    norm: "model.ln_f",
    head: "lm_head",
};

/// Positions are an embedding too; the head is the token embedding.
pub(super) fn gpt2(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["n_ctx", "layer_norm_epsilon"])?;
    let hidden = c.dim("n_embd")?;
    let heads = c.count("n_head")?;
    let attention = Attention::of_width(c, hidden, "n_head", heads, heads)?
        .named(Projections::Fused(["attn.c_attn", "attn.c_proj"]))
        .biased(true, true);
    whole_heads(&attention, hidden)?;
    let mlp = Mlp::of(Network::Plain(["mlp.c_fc", "mlp.c_proj"]), 4 * hidden, true);
    let positions = c.dim("n_positions")?;
    let sizes = (hidden, c.count("n_layer")?, c.dim("vocab_size")?);
    Decoder {
        norm: Norm::Layer,
        norms: &["ln_1", "ln_2"],
        trunk: MODEL_H,
        ..Decoder::new("gpt2", sizes, attention, mlp)
    }
    .build_with(
        c,
        |_, _| {},
        |b| b.embedding("model.wpe", positions, hidden),
    )
}

/// One key and value head for all, unless `multi_query` is off.
pub(super) fn gpt_bigcode(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["layer_norm_epsilon"])?;
    let hidden = c.dim("n_embd")?;
    let heads = c.count("n_head")?;
    let kv_heads = if c.flag_or("multi_query", true)? {
        1
    } else {
        heads
    };
    let bias = c.flag_or("attention_bias", true)?;
    let attention = Attention::of_width(c, hidden, "n_head", heads, kv_heads)?
        .named(Projections::Fused(["attn.c_attn", "attn.c_proj"]))
        .biased(bias, bias);
    whole_heads(&attention, hidden)?;
    let mlp = Mlp::of(
        Network::Plain(["mlp.c_fc", "mlp.c_proj"]),
        c.dim("n_inner")?,
        c.flag_or("mlp_bias", true)?,
    );
    let positions = c.dim("n_positions")?;
    let sizes = (hidden, c.count("n_layer")?, c.dim("vocab_size")?);
    Decoder {
        norm: Norm::Layer,
        norms: &["ln_1", "ln_2"],
        trunk: Trunk::TRANSFORMER,
        tied: tied_or(c, true)?,
        ..Decoder::new("gpt_bigcode", sizes, attention, mlp)
    }
    .build_with(
        c,
        |_, _| {},
        |b| b.embedding("transformer.wpe", positions, hidden),
    )
}

pub(super) fn gpt_neox(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "max_position_embeddings",
        "layer_norm_eps",
        "rotary_emb_base",
        "rotary_pct",
    ])?;
    let hidden = c.dim("hidden_size")?;
    let heads = c.count("num_attention_heads")?;
    let attention = Attention::of_width(c, hidden, "num_attention_heads", heads, heads)?
        .named(Projections::Fused([
            "attention.query_key_value",
            "attention.dense",
        ]))
        .biased(true, true);
    whole_heads(&attention, hidden)?;
    let mlp = Mlp::of(
        Network::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
        4 * hidden,
        true,
    );
    let sizes = (hidden, c.count("num_hidden_layers")?, c.dim("vocab_size")?);
    Decoder {
        norm: Norm::Layer,
        trunk: Trunk {
            embed: "model.embed_in",
            layers: "model.h",
            norm: "model.final_layer_norm",
            head: "model.embed_out",
        },
        tied: false,
        ..Decoder::new("gpt_neox", sizes, attention, mlp)
    }
    .build(c)
}

pub(super) fn gptj(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim_or("n_embd", 4096)?;
    let heads = c.count_or("n_head", 16)?;
    let attention =
        Attention::of_width(c, hidden, "n_head", heads, heads)?.named(Projections::Split([
            "attn.q_proj",
            "attn.k_proj",
            "attn.v_proj",
            "attn.out_proj",
        ]));
    whole_heads(&attention, hidden)?;
    let mlp = Mlp::of(
        Network::Plain(["mlp.fc_in", "mlp.fc_out"]),
        4 * hidden,
        true,
    );
    let sizes = (
        hidden,
        c.count_or("n_layer", 28)?,
        c.dim_or("vocab_size", 50_400)?,
    );
    Decoder {
        norm: Norm::Layer,
        norms: &["ln_1"],
        trunk: MODEL_H,
        tied: false,
        head_bias: true,
        ..Decoder::new("gptj", sizes, attention, mlp)
    }
    .build(c)
}

pub(super) fn starcoder2(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim("hidden_size")?;
    c.count("num_key_value_heads")?;
    let attention = Attention::divided(c, hidden)?.biased(true, true);
    let mlp = Mlp::of(
        Network::Plain(["mlp.c_fc", "mlp.c_proj"]),
        c.dim("intermediate_size")?,
        true,
    );
    let sizes = (
        hidden,
        c.count("num_hidden_layers")?,
        c.dim_or("vocab_size", 49_152)?,
    );
    Decoder {
        norm: Norm::Layer,
        tied: tied_or(c, true)?,
        ..Decoder::new("starcoder2", sizes, attention, mlp)
    }
    .build(c)
}
