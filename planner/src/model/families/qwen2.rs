//! qwen2. Follows mlx-lm 0.32.2 `models/qwen2.py`.

use crate::model::blocks::{attention::Attention, mlp};
use crate::model::{Builder, Config, ConfigError, Model};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, ff, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("intermediate_size")?,
        c.dim("vocab_size")?,
    );
    // The class knows no head_dim.
    let base = Attention::from_config(c, hidden)?;
    let head_dim = hidden / base.heads;
    let attention = Attention {
        qkv_bias: true,
        k_dim: head_dim,
        v_dim: head_dim,
        ..base
    };
    let tied = c.flag_or("tie_word_embeddings", true)?;

    let mut b = Builder::new("qwen2", c, hidden, vocab)?;
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        layers,
        |_| (),
        |b, ()| {
            attention.list(b, hidden);
            mlp::gated(b, hidden, ff, false);
            b.norm("input_layernorm", hidden);
            b.norm("post_attention_layernorm", hidden);
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}
