//! Experts chosen by a linear router's softmax, with grouped attention: mixtral, phimoe, olmoe, qwen2_moe, qwen3_moe
//! (and in qwen3_vl_moe), granitemoe, minimax, Klear.
//! Follows mlx-lm 0.32.2 `models/{mixtral,phimoe,olmoe,qwen2_moe,qwen3_moe,qwen3_vl_moe,granitemoe,minimax,Klear}.py`.

use super::llama_like::explicit;
use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Windows, check_rope, tied, tied_or};
use crate::model::blocks::frame::{Frame, Norm};
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Config, ConfigError, Model, Policy};
use crate::quant::Dtype;

pub(super) fn mixtral(c: &Config<'_>) -> Result<Model, ConfigError> {
    let frame = Frame::or("mixtral", c, (4096, 32, 32_000))?;
    let heads = c.count_or("num_attention_heads", 32)?;
    let kv_heads = if c.has("num_key_value_heads") {
        c.count_opt("num_key_value_heads")?.unwrap_or(heads)
    } else {
        8
    };
    let attention = Attention::of_width(c, frame.hidden, "num_attention_heads", heads, kv_heads)?;
    Moe {
        switch: "block_sparse_moe.switch_mlp",
        router: Router::Linear("block_sparse_moe.gate", Policy::Asked),
        ..Moe::new(
            c.count_or("num_local_experts", 8)?,
            c.count_or("num_experts_per_tok", 2)?,
            c.dim_or("intermediate_size", 14_336)?,
        )
    }
    .checked(c, "num_experts_per_tok")?
    .build(
        c,
        &Frame {
            tied: tied_or(c, false)?,
            ..frame
        },
        &attention,
    )
}

pub(super) fn phimoe(c: &Config<'_>) -> Result<Model, ConfigError> {
    let frame = Frame::or("phimoe", c, (4096, 32, 32_064))?;
    let attention = Attention::of_width(
        c,
        frame.hidden,
        "num_attention_heads",
        c.count_or("num_attention_heads", 32)?,
        c.count_or("num_key_value_heads", 8)?,
    )?
    .biased(true, true);
    if let Some(rope) = c.object("rope_scaling")? {
        rope.needs(&["short_factor", "long_factor", "short_mscale", "long_mscale"])?;
    }
    Moe {
        switch: "block_sparse_moe.switch_mlp",
        router: Router::Linear("block_sparse_moe.gate", Policy::Asked),
        ..Moe::new(
            c.count_or("num_local_experts", 16)?,
            c.count_or("num_experts_per_tok", 2)?,
            c.dim_or("intermediate_size", 6400)?,
        )
    }
    .checked(c, "num_experts_per_tok")?
    .build(
        c,
        &Frame {
            norm: Norm::Layer,
            head_bias: true,
            ..frame
        },
        &attention,
    )
}

pub(super) fn olmoe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        tied: tied_or(c, true)?,
        ..Frame::usual("olmoe", c)?
    };
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::from_config(c, frame.hidden)?
        .biased(bias, bias)
        .normed(QkNorm::Full);
    Moe {
        bias: c.flag_or("mlp_bias", false)?,
        ..Moe::by(c, "num_experts", "num_experts_per_tok", "intermediate_size")?
    }
    .build(c, &frame, &attention)
}

pub(super) fn qwen2_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps", "intermediate_size"])?;
    linear_rope(c)?;
    // The class reads tie_word_embeddings but always makes a head.
    let frame = Frame::usual("qwen2_moe", c)?;
    let hidden = frame.hidden;
    let attention = Attention::divided(c, hidden)?.biased(true, false);
    let moe = Moe::by(
        c,
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
    )?
    .sharing(
        "mlp.shared_expert",
        c.dim("shared_expert_intermediate_size")?,
    );
    frame.build(
        c,
        |_| (),
        |b, ()| {
            attention.list(b, hidden);
            moe.list(b, hidden);
            b.linear("mlp.shared_expert_gate", 1, hidden, false);
        },
        |_| {},
    )
}

/// The class knows linear scaling of positions only.
fn linear_rope(c: &Config<'_>) -> Result<(), ConfigError> {
    let Some(rope) = c.object("rope_scaling")? else {
        return Ok(());
    };
    if !rope.has("factor") || !rope.has("type") {
        return Err(ConfigError::Refused(
            "ValueError: rope_scaling must contain keys {'factor', 'type'}".to_owned(),
        ));
    }
    if rope.text("type")? != Some("linear") {
        return Err(ConfigError::Refused(
            "ValueError: rope_scaling 'type' currently only supports 'linear'".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn qwen3_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    qwen3_moe_under(c, "")
}

/// The wrapper passes on its text part.
pub(super) fn qwen3_vl_moe(c: &Config<'_>) -> Result<Model, ConfigError> {
    qwen3_moe_under(&c.need_object("text_config")?, "language_model.")
}

fn qwen3_moe_under(c: &Config<'_>, root: &'static str) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "rope_theta",
        "max_position_embeddings",
        "norm_topk_prob",
    ])?;
    let frame = Frame {
        root,
        tied: tied(c)?,
        ..Frame::usual("qwen3_moe", c)?
    };
    let attention = explicit(c)?.normed(QkNorm::Head);
    let router = Router::Linear("mlp.gate", Policy::Precise);
    let (moe, sparse) = stepped(c)?;
    Networks {
        moe: moe.map(|moe| moe.routed(router)),
        dense: Mlp::gated(c.dim_if_used("intermediate_size")?),
    }
    .build(c, &frame, &attention, &Windows::None, sparse)
}

/// Experts in each `decoder_sparse_step`-th layer that `mlp_only_layers` does not name; none where there are 0.
fn stepped(c: &Config<'_>) -> Result<(Option<Moe>, impl Fn(u64) -> bool + use<>), ConfigError> {
    c.needs(&[
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
    ])?;
    let moe = match c.count_or("num_experts", 0)? {
        0 => None,
        _ => Some(Moe::by(
            c,
            "num_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
        )?),
    };
    let step = c.dim("decoder_sparse_step")?;
    let Some(dense) = c.wholes("mlp_only_layers")? else {
        return Err(ConfigError::Missing {
            field: "mlp_only_layers".to_owned(),
            expected: "a list of layers, or an empty one, is expected",
        });
    };
    let some = moe.is_some();
    Ok((moe, move |i: u64| {
        some && !dense.contains(&i) && (i + 1).is_multiple_of(step)
    }))
}

#[expect(non_snake_case, reason = "the class's own name")]
pub(super) fn Klear(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "rope_theta",
        "max_position_embeddings",
        "norm_topk_prob",
        "attention_bias",
        "num_key_value_heads",
    ])?;
    let frame = Frame::usual("Klear", c)?;
    let hidden = frame.hidden;
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::divided(c, hidden)?
        .biased(bias, bias)
        .normed(QkNorm::Head);
    let shared = c.count("n_shared_experts")?;
    let (moe, sparse) = stepped(c)?;
    let networks = Networks {
        moe: moe.map(|moe| Moe {
            switch: "mlp.experts",
            router: Router::Linear("mlp.gate", Policy::Precise),
            correction: Some(("mlp.expert_bias", Some(Dtype::F32))),
            ..moe.sharing("mlp.shared_experts", moe.ff * shared)
        }),
        dense: Mlp::gated(c.dim_if_used("intermediate_size")?),
    };
    frame.build(
        c,
        sparse,
        |b, sparse| {
            attention.list(b, hidden);
            networks.list(b, hidden, sparse);
            if sparse {
                b.linear("mlp.coefficient", 2, hidden, true);
            }
        },
        |_| {},
    )
}

pub(super) fn granitemoe(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rms_norm_eps",
        "logits_scaling",
        "attention_multiplier",
        "embedding_multiplier",
        "residual_multiplier",
        "max_position_embeddings",
        "num_key_value_heads",
        "attention_bias",
        "rope_theta",
    ])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        tied: tied_or(c, true)?,
        ..Frame::usual("granitemoe", c)?
    };
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::divided(c, frame.hidden)?.biased(bias, bias);
    let moe = Moe {
        switch: "block_sparse_moe.switch_mlp",
        router: Router::Linear("block_sparse_moe.router.layer", Policy::Asked),
        ..Moe::by(
            c,
            "num_local_experts",
            "num_experts_per_tok",
            "intermediate_size",
        )?
    };
    frame.build(
        c,
        |_| (),
        |b, ()| {
            attention.list(b, frame.hidden);
            moe.list(b, frame.hidden);
        },
        |b| {
            let precise = [
                "block_sparse_moe.router.layer",
                "self_attn.o_proj",
                // The class means a dense network, but the experts' path ends so as well.
                "mlp.down_proj",
                "lm_head",
            ];
            b.predicate(&precise, Policy::Precise);
        },
    )
}

pub(super) fn minimax(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "num_key_value_heads",
        "max_position_embeddings",
        "shared_intermediate_size",
        "rms_norm_eps",
        "rope_theta",
        "rotary_dim",
    ])?;
    let frame = Frame {
        tied: tied_or(c, false)?,
        ..Frame::usual("minimax", c)?
    };
    let norm = if c.flag_or("use_qk_norm", true)? {
        QkNorm::Full
    } else {
        QkNorm::None
    };
    let attention = Attention::from_config(c, frame.hidden)?.normed(norm);
    Moe {
        switch: "block_sparse_moe.switch_mlp",
        router: Router::Linear("block_sparse_moe.gate", Policy::Precise),
        correction: Some(("block_sparse_moe.e_score_correction_bias", Some(Dtype::F32))),
        ..Moe::by(
            c,
            "num_local_experts",
            "num_experts_per_tok",
            "intermediate_size",
        )?
    }
    .build(c, &frame, &attention)
}
