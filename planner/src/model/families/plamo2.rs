//! plamo2: Mamba and attention layers with norms before and after. Follows mlx-lm 0.32.2 `models/plamo2.py`.

use crate::model::CacheKind;
use crate::model::blocks::recurrent::{self, Kept};
use crate::model::{
    Builder, Config, ConfigError, FeedForward, Flavour, KvQuantSupport, Mixer, Model, Recurrence,
};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, ff, vocab) = (
        c.dim_or("hidden_size", 4096)?,
        c.count_or("num_hidden_layers", 32)?,
        c.dim_or("intermediate_size", 13312)?,
        c.dim_or("vocab_size", 32000)?,
    );
    let (heads, kv_heads, head_dim) = (
        c.count_or("num_attention_heads", 32)?,
        c.count_or("num_key_value_heads", 4)?,
        c.dim_or("hidden_size_per_head", 128)?,
    );
    if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
        return Err(c.invalid(
            "num_key_value_heads",
            format!("a divisor of num_attention_heads ({heads}) is expected"),
        ));
    }
    let (state, kernel, mamba_heads) = (
        c.dim_or("mamba_d_state", 64)?,
        c.dim_or("mamba_d_conv", 4)?,
        c.count_or("mamba_num_heads", 64)?,
    );
    let enabled = c.flag_or("mamba_enabled", true)?;
    let step = c.count_or("mamba_step", 2)?;
    if enabled && step < 2 {
        return Err(c.invalid("mamba_step", "a whole number above 1 is expected"));
    }
    if step / 2 >= layers {
        return Err(ConfigError::Refused(format!(
            "its mask is taken from layer {}, but there are {layers} ('IndexError: list index out of range')",
            step / 2
        )));
    }
    let tied = c.flag_or("tie_word_embeddings", true)?;
    let inner = mamba_heads * head_dim;
    let rank = (hidden / 16).max(64);

    let mut b = Builder::new("plamo2", c, hidden, vocab)?;
    b.own_cache();
    b.kv_quant(KvQuantSupport::Refused(
        "its attention hands the cache to the kernel for plain arrays ('TypeError: scaled_dot_product_attention(): incompatible function arguments')",
    ));
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers.layers",
        layers,
        |i| enabled && i % step != step / 2,
        |b, mamba| {
            b.within("mixer", |b| {
                if mamba {
                    b.linear("in_proj", 2 * inner, hidden, false);
                    b.conv1d("conv1d", inner, kernel, false);
                    b.linear("bcdt_proj", rank + 2 * state, inner, false);
                    b.linear("dt_proj", mamba_heads, rank, false);
                    b.param("dt_bias", &[mamba_heads]);
                    b.param("A_log", &[mamba_heads]);
                    b.param("D", &[mamba_heads]);
                    b.param("dt_norm_weight", &[rank]);
                    b.param("B_norm_weight", &[state]);
                    b.param("C_norm_weight", &[state]);
                    b.linear("out_proj", hidden, inner, false);
                    recurrent::note(
                        b,
                        Recurrence::Mamba2,
                        Kept {
                            conv_dim: inner,
                            kernel,
                            heads: mamba_heads,
                            state: (head_dim, state),
                            single_precision: true,
                        },
                    );
                } else {
                    b.linear("qkv_proj", (heads + 2 * kv_heads) * head_dim, hidden, false);
                    b.linear("o_proj", hidden, heads * head_dim, false);
                    b.param("q_weight", &[heads, head_dim]);
                    b.param("k_weight", &[kv_heads, head_dim]);
                    b.mixer(Mixer::Attention {
                        heads,
                        kv_heads,
                        k_dim: head_dim,
                        v_dim: head_dim,
                        window: None,
                        flavour: Flavour::Fast,
                    });
                    b.cache(CacheKind::Full {
                        heads: kv_heads,
                        k_dim: head_dim,
                        v_dim: head_dim,
                    });
                }
            });
            b.linear("mlp.gate_up_proj", ff * 2, hidden, false);
            b.linear("mlp.down_proj", hidden, ff, false);
            b.feed_forward(FeedForward::Dense { ff, gated: true });
            b.norm("pre_mixer_norm", hidden);
            b.norm("post_mixer_norm", hidden);
            b.norm("pre_mlp_norm", hidden);
            b.norm("post_mlp_norm", hidden);
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}
