//! Newer classes with windows in most layers: plamo3, muse_glimmer, spark2_5, and mellum with experts.
//! Follows mlx-lm 0.32.2 `models/{plamo3,muse_glimmer,spark2_5,mellum}.py`.

use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{
    Decoder, PRE_NORMS, SANDWICH_NORMS, Trunk, Windows, tied, tied_or,
};
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Router};
use crate::model::{Builder, Config, ConfigError, Model, Policy};

pub(super) fn plamo3(c: &Config<'_>) -> Result<Model, ConfigError> {
    let layers = c.count_or("num_hidden_layers", 32)?;
    let sizes = (
        c.dim_or("hidden_size", 4096)?,
        layers,
        c.dim_or("vocab_size", 32_000)?,
    );
    let attention = Attention {
        norm_names: ["mixer.q_norm.weight", "mixer.k_norm.weight"],
        ..Attention::of(
            c.count_or("num_attention_heads", 32)?,
            c.count_or("num_key_value_heads", 4)?,
            c.dim_or("head_dim", 128)?,
        )
    }
    .named(Projections::Fused(["mixer.qkv_proj", "mixer.o_proj"]))
    .normed(QkNorm::Head)
    .checked(c)?;
    let window = match c.dim_opt("sliding_window")? {
        Some(window) => window,
        None => c.dim_or("window_size", 2048)?,
    };
    Decoder {
        // With fewer layers than the pattern is long there is no full layer, which this class accepts.
        windows: Windows::AllBut {
            pattern: c.dim_or("sliding_window_pattern", 8)?,
            window,
        },
        norms: &[
            "pre_mixer_norm",
            "post_mixer_norm",
            "pre_mlp_norm",
            "post_mlp_norm",
        ],
        trunk: Trunk {
            layers: "model.layers.layers",
            ..Trunk::MODEL
        },
        tied: tied_or(c, true)?,
        own_cache: true,
        ..Decoder::new(
            "plamo3",
            sizes,
            attention,
            Mlp::fused(c.dim_or("intermediate_size", 13_312)?),
        )
    }
    .build(c)
}

/// The fields of `text_config` go before those beside it.
pub(super) fn muse_glimmer(c: &Config<'_>) -> Result<Model, ConfigError> {
    let t = c.object("text_config")?.unwrap_or(*c);
    let scope = |field: &str| if t.has(field) { t } else { *c };
    let dim = |field: &str, default| scope(field).dim_or(field, default);
    let count = |field: &str, default| scope(field).count_or(field, default);
    let hidden = dim("hidden_size", 6656)?;
    let layers = count("num_hidden_layers", 52)?;
    let attention = Attention::of(
        count("num_attention_heads", 32)?,
        count("num_key_value_heads", 2)?,
        dim("head_dim", 128)?,
    )
    .checked(&t)?;
    let queries = attention.heads * attention.k_dim;
    let window = dim("sliding_window", 2048)?;
    let windows = match scope("layer_types").texts("layer_types")? {
        None => Windows::AllBut { pattern: 4, window },
        Some(types) if types.len() as u64 == layers => Windows::Listed(
            types
                .iter()
                .map(|&kind| (kind == "sliding_attention").then_some(window))
                .collect(),
        ),
        Some(_) => {
            return Err(t.invalid(
                "layer_types",
                format!("one entry for each of the {layers} layers is expected"),
            ));
        }
    };
    let sizes = (hidden, layers, dim("vocab_size", 202_048)?);
    Decoder {
        windows,
        norms: SANDWICH_NORMS,
        tied: tied_or(&scope("tie_word_embeddings"), false)?,
        own_cache: true,
        ..Decoder::new(
            "muse_glimmer",
            sizes,
            attention,
            Mlp::gated(dim("intermediate_size", 19_968)?),
        )
    }
    .build_with(
        &t,
        |b, _| {
            b.linear("self_attn.gate_proj", queries, hidden, false);
        },
        |_| {},
    )
}

/// A gate for every head, left alone when quantizing.
pub(super) fn spark2_5(c: &Config<'_>) -> Result<Model, ConfigError> {
    let rope = c.need_object("rope_parameters")?;
    let hidden = c.dim("hidden_size")?;
    let bias = c.flag_or("attention_bias", false)?;
    let attention = explicit(c)?
        .named(Projections::Fused([
            "self_attn.q_k_v_proj",
            "self_attn.out_proj",
        ]))
        .biased(bias, bias);
    let heads = attention.heads;
    let decoder = Decoder::usual("spark2_5", c, attention)?;
    let types = c.texts("layer_types")?;
    if let Some(other) = types
        .iter()
        .flatten()
        .find(|kind| !matches!(**kind, "full_attention" | "sliding_attention"))
    {
        return Err(ConfigError::Refused(format!(
            "Unsupported layer types: ['{other}']"
        )));
    }
    let window = c.dim("sliding_window")?;
    let windows = match types {
        None => Windows::AllBut { pattern: 4, window },
        Some(types) if types.len() as u64 == decoder.layers => Windows::Listed(
            types
                .iter()
                .map(|&kind| (kind == "sliding_attention").then_some(window))
                .collect(),
        ),
        Some(types) => {
            return Err(ConfigError::Refused(format!(
                "layer_types length must match num_hidden_layers: {} != {}",
                types.len(),
                decoder.layers
            )));
        }
    };
    for (used, kind) in [
        (
            (0..decoder.layers).any(|i| windows.at(i).is_none()),
            "full_attention",
        ),
        (
            (0..decoder.layers).any(|i| windows.at(i).is_some()),
            "sliding_attention",
        ),
    ] {
        if used && !rope.has(kind) {
            return Err(ConfigError::Refused(format!(
                "Missing RoPE parameters for layer types: ['{kind}']"
            )));
        }
    }
    if c.text("hidden_act")?.unwrap_or("gelu") != "gelu"
        || c.text("gate_attn_act_mode")?.unwrap_or("sigmoid") != "sigmoid"
        || !c.flag_or("headwise_attn_output_gate", true)?
    {
        return Err(ConfigError::Refused(
            "Spark2_5 requires GELU and head-wise sigmoid attention gates".to_owned(),
        ));
    }
    Decoder {
        mlp: decoder.mlp.biased(c.flag_or("mlp_bias", false)?),
        windows,
        trunk: Trunk {
            embed: "model.embedding",
            ..Trunk::MODEL
        },
        tied: tied_or(c, true)?,
        own_cache: true,
        ..decoder
    }
    .build_with(
        c,
        |b, _| {
            b.linear("self_attn.g_proj", heads, hidden, bias);
        },
        |b| b.predicate(&["self_attn.g_proj"], Policy::Keep),
    )
}

/// Experts in every layer; the router stays at 8 bits.
pub(super) fn mellum(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "intermediate_size",
        "max_position_embeddings",
        "norm_topk_prob",
    ])?;
    let (hidden, layers) = (c.dim("hidden_size")?, c.count("num_hidden_layers")?);
    let attention = explicit(c)?.normed(QkNorm::Head);
    let moe = Moe::by(
        c,
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
    )?
    .routed(Router::Linear("mlp.gate", Policy::Precise));
    c.needs(&["sliding_window"])?;
    let windows = Windows::listed(c, layers, "sliding_window", |kind| kind != "full_attention")?
        .ok_or_else(|| ConfigError::Missing {
            field: "layer_types".to_owned(),
            expected: "a list of full_attention and sliding_attention, one a layer, is expected",
        })?;
    let tied = tied(c)?;

    let mut b = Builder::new("mellum", c, hidden, c.dim("vocab_size")?)?;
    b.own_cache();
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        layers,
        |i| windows.at(i),
        |b, window| {
            attention.windowed(window).list(b, hidden);
            moe.list(b, hidden);
            for norm in PRE_NORMS {
                b.norm(norm, hidden);
            }
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}
