//! falcon_h1: attention and Mamba 2 side by side in every layer. Follows mlx-lm 0.32.2 `models/falcon_h1.py`.

use crate::model::blocks::{attention::Attention, decoder::check_rope, mamba::Mamba2};
use crate::model::{Builder, Config, ConfigError, FeedForward, KvQuantSupport, Model};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    check_rope(c, "rope_scaling")?;
    let (hidden, layers, ff, vocab) = (
        c.dim_or("hidden_size", 1024)?,
        c.count_or("num_hidden_layers", 36)?,
        c.dim_or("intermediate_size", 2048)?,
        c.dim_or("vocab_size", 32784)?,
    );
    let head_dim = c.dim_or("head_dim", 64)?;
    let bias = c.flag_or("attention_bias", false)?;
    let (heads, kv_heads) = (
        c.count_or("num_attention_heads", 8)?,
        c.count_or("num_key_value_heads", 2)?,
    );
    let attention = Attention {
        qkv_bias: bias,
        o_bias: bias,
        ..Attention::of(heads, kv_heads, head_dim)
    };
    let mixer = Mamba2 {
        inner: c.dim_or("mamba_d_ssm", 1536)?,
        heads: c.count_or("mamba_n_heads", 24)?,
        head_dim: c.dim_or("mamba_d_head", 64)?,
        groups: c.count_or("mamba_n_groups", 1)?,
        state: c.dim_or("mamba_d_state", 128)?,
        kernel: c.dim_or("mamba_d_conv", 4)?,
        conv_bias: c.flag_or("mamba_conv_bias", true)?,
        in_bias: c.flag_or("mamba_proj_bias", false)?,
        out_bias: c.flag_or("projectors_bias", false)?,
        norm: c.flag_or("mamba_rms_norm", false)?,
        keeps_a_log: false,
    }
    .checked(c, "mamba_n_heads", "mamba_n_groups")?;
    let mlp_bias = c.flag_or("mlp_bias", false)?;
    let tied = c.flag_or("tie_word_embeddings", true)?;

    let mut b = Builder::new("falcon_h1", c, hidden, vocab)?;
    b.own_cache();
    // A CacheList has no `to_quantized`, so the loop that quantizes caches passes it by.
    b.kv_quant(KvQuantSupport::Ignored);
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        layers,
        |_| (),
        |b, ()| {
            b.within("mamba", |b| mixer.list(b, hidden));
            attention.list(b, hidden);
            b.linear("feed_forward.gate_proj", ff, hidden, mlp_bias);
            b.linear("feed_forward.up_proj", ff, hidden, mlp_bias);
            b.linear("feed_forward.down_proj", hidden, ff, mlp_bias);
            b.feed_forward(FeedForward::Dense { ff, gated: true });
            b.norm("input_layernorm", hidden);
            b.norm("pre_ff_layernorm", hidden);
        },
    );
    b.norm("model.final_layernorm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}
