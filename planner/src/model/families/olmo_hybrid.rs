//! olmo_hybrid: gated delta layers and attention with norms over all heads. Follows mlx-lm 0.32.2
//! `models/olmo_hybrid.py`.

use crate::model::blocks::{
    attention::{Attention, QkNorm},
    delta::{GatedDelta, Projections},
    mlp,
};
use crate::model::{Builder, Config, ConfigError, Model};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, ff, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("intermediate_size")?,
        c.dim("vocab_size")?,
    );
    c.needs(&[
        "rms_norm_eps",
        "max_position_embeddings",
        "linear_allow_neg_eigval",
    ])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    let bias = c.flag("attention_bias")?;
    let attention = Attention {
        qkv_bias: bias,
        o_bias: bias,
        qk_norm: QkNorm::Full,
        ..Attention::from_config(c, hidden)?
    };
    let delta = GatedDelta::from_config(c, Projections::Separate)?;
    let tied = c.flag("tie_word_embeddings")?;
    let linear: Vec<bool> = match c.texts("layer_types")? {
        Some(types) => types.iter().map(|&t| t == "linear_attention").collect(),
        None => (0..layers).map(|i| i % 4 != 3).collect(),
    };

    let mut b = Builder::new("olmo_hybrid", c, hidden, vocab)?;
    b.own_cache();
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        linear.len() as u64,
        |i| linear[i as usize],
        |b, linear| {
            if linear {
                delta.list(b, hidden);
                b.norm("input_layernorm", hidden);
                b.norm("post_attention_layernorm", hidden);
            } else {
                attention.list(b, hidden);
                b.norm("post_attention_layernorm", hidden);
                b.norm("post_feedforward_layernorm", hidden);
            }
            mlp::gated(b, hidden, ff, false);
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}
