//! Latent attention that keeps every head's keys and values, with dense networks: minicpm3, youtu_llm.
//! Follows mlx-lm 0.32.2 `models/minicpm3.py`, `models/youtu_llm.py`.

use crate::model::blocks::decoder::{check_rope, tied_or};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mla::{Latent, LatentDefaults};
use crate::model::blocks::mlp::Mlp;
use crate::model::{Config, ConfigError, Model};

fn build(c: &Config<'_>, frame: &Frame, attention: Latent, mlp: Mlp) -> Result<Model, ConfigError> {
    frame.build(
        c,
        |_| (),
        |b, ()| {
            attention.list(b, "self_attn", frame.hidden);
            mlp.list(b, frame.hidden);
        },
        |_| {},
    )
}

/// A value head is as wide as hidden ÷ heads.
pub(super) fn minicpm3(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "dim_model_base",
        "scale_depth",
        "scale_emb",
        "max_position_embeddings",
        "rms_norm_eps",
        "q_lora_rank",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "num_attention_heads",
    ])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    c.need_object("rope_scaling")?;
    let frame = Frame {
        tied: tied_or(c, false)?,
        ..Frame::usual("minicpm3", c)?
    };
    let attention = Latent::from_config(c, LatentDefaults::DEEPSEEK)?.decompressed();
    if attention.heads > frame.hidden {
        return Err(c.invalid(
            "num_attention_heads",
            format!(
                "at most {} heads, the model's width, are expected",
                frame.hidden
            ),
        ));
    }
    if attention.q_rank.is_none() {
        return Err(c.invalid("q_lora_rank", "a whole number is expected"));
    }
    let attention = Latent {
        v_dim: frame.hidden / attention.heads,
        ..attention
    };
    build(
        c,
        &frame,
        attention,
        Mlp::gated(c.dim("intermediate_size")?),
    )
}

pub(super) fn youtu_llm(c: &Config<'_>) -> Result<Model, ConfigError> {
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        tied: tied_or(c, true)?,
        ..Frame::or("youtu_llm", c, (2048, 32, 128_256))?
    };
    let defaults = LatentDefaults {
        heads: 16,
        ..LatentDefaults::DEEPSEEK
    };
    let attention = Latent::from_config(c, defaults)?.decompressed();
    let mlp =
        Mlp::gated(c.dim_or("intermediate_size", 6144)?).biased(c.flag_or("mlp_bias", false)?);
    build(c, &frame, attention, mlp)
}
