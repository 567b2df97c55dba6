//! llama4 (the text part) and llama4_text. Follows mlx-lm 0.32.2 `models/llama4.py`, `models/llama4_text.py`.

use super::llama_like::explicit;
use crate::model::CacheKind;
use crate::model::blocks::attention::Attention;
use crate::model::blocks::decoder::{Decoder, check_rope, tied};
use crate::model::blocks::frame::{Frame, Trunk};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Config, ConfigError, Model, Policy};

const DENSE: Network = Network::Gated([
    "feed_forward.gate_proj",
    "feed_forward.up_proj",
    "feed_forward.down_proj",
]);

/// Three layers of four see their chunk only.
pub(super) fn llama4(c: &Config<'_>) -> Result<Model, ConfigError> {
    let c = &c.need_object("text_config")?;
    c.needs(&[
        "attention_bias",
        "max_position_embeddings",
        "model_type",
        "rms_norm_eps",
        "rope_scaling",
        "rope_theta",
        "use_qk_norm",
        "head_dim",
    ])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        root: "language_model.",
        own_cache: true,
        ..Frame::usual("llama4", c)?
    };
    let hidden = frame.hidden;
    if frame.layers < 4 {
        return Err(ConfigError::Refused(format!(
            "IndexError: list index out of range (it looks at the cache of layer 3, and there are {} layers)",
            frame.layers
        )));
    }
    let bias = c.flag_or("attention_bias", false)?;
    c.needs(&["num_key_value_heads"])?;
    let attention = Attention::from_config(c, hidden)?.biased(bias, bias);
    let chunk = c.dim("attention_chunk_size")?;
    let ff = c.dim("intermediate_size")?;
    let moe = Moe {
        switch: "feed_forward.experts",
        router: Router::Linear("feed_forward.router", Policy::Asked),
        shared: ("feed_forward.shared_expert", ff),
        ..Moe::by(
            c,
            "num_local_experts",
            "num_experts_per_tok",
            "intermediate_size",
        )?
    };
    let step = c.dim("interleave_moe_layer_step")?;
    if moe.chosen != 1 && step <= frame.layers {
        return Err(c.invalid(
            "num_experts_per_tok",
            "1 is expected (\"Only 1 expert per token supported\")",
        ));
    }
    let networks = Networks {
        moe: Some(moe),
        dense: Mlp::of(
            DENSE,
            c.dim_opt("intermediate_size_mlp")?.unwrap_or(ff),
            false,
        ),
    };
    c.needs_or_null(&["intermediate_size_mlp"])?;
    frame.build(
        c,
        |i| ((i + 1) % 4 != 0, (i + 1).is_multiple_of(step)),
        |b, (chunked, sparse)| {
            attention.project(b, hidden);
            if chunked {
                attention.windowed(Some(chunk)).mix(b);
                b.cache(CacheKind::Chunked {
                    heads: attention.kv_heads,
                    k_dim: attention.k_dim,
                    v_dim: attention.v_dim,
                    chunk,
                });
            } else {
                attention.mix(b);
                attention.keep(b);
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

/// A dense text model under that name, with full caches.
pub(super) fn llama4_text(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "intermediate_size",
        "rms_norm_eps",
        "rope_theta",
        "use_qk_norm",
    ])?;
    let attention = explicit(c)?;
    let sizes = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("vocab_size")?,
    );
    match c.list("no_rope_layers")? {
        Some(list) if list.len() as u64 >= sizes.1 => {}
        Some(_) => {
            return Err(c.invalid(
                "no_rope_layers",
                format!("one entry for each of the {} layers is expected", sizes.1),
            ));
        }
        None => c.needs(&["no_rope_layers"])?,
    }
    Decoder {
        trunk: Trunk {
            head: "output",
            ..Trunk::MODEL
        },
        tied: tied(c)?,
        ..Decoder::new(
            "llama4_text",
            sizes,
            attention,
            Mlp::of(DENSE, c.dim("intermediate_size_mlp")?, false),
        )
    }
    .build(c)
}
