//! stablelm. Follows mlx-lm 0.32.2 `models/stablelm.py`.

use super::phi::whole_heads;
use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{Decoder, Norm, PRE_NORMS};
use crate::model::{Config, ConfigError, Flavour, KvQuantSupport, Model};

/// Layer norms, never tied; a parallel residual has one norm less, and `qk_layernorm` a norm for every head.
pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rope_theta", "partial_rotary_factor", "layer_norm_eps"])?;
    let hidden = c.dim("hidden_size")?;
    c.count("num_key_value_heads")?;
    let attention = Attention {
        qk_norm: if c.flag_or("qk_layernorm", false)? {
            QkNorm::EachHead
        } else {
            QkNorm::None
        },
        norm_names: [
            "self_attn.q_layernorm.norms.*.weight",
            "self_attn.k_layernorm.norms.*.weight",
        ],
        flavour: Flavour::Manual,
        ..Attention::divided(c, hidden)?.biased(c.flag("use_qkv_bias")?, false)
    };
    whole_heads(&attention, hidden)?;
    Decoder {
        norm: Norm::Layer,
        norms: if c.flag_or("use_parallel_residual", false)? {
            &["input_layernorm"]
        } else {
            PRE_NORMS
        },
        tied: false,
        kv_quant: KvQuantSupport::Refused(
            "AttributeError: 'list' object has no attribute 'astype' (its attention casts the values itself)",
        ),
        ..Decoder::usual("stablelm", c, attention)?
    }
    .build(c)
}
