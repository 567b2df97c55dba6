//! recurrent_gemma (Griffin): gated linear recurrences and local attention. Follows mlx-lm 0.32.2
//! `models/recurrent_gemma.py`.

use crate::model::CacheKind;
use crate::model::blocks::recurrent::{self, Kept};
use crate::model::{Builder, Config, ConfigError, FeedForward, Flavour, Mixer, Model, Recurrence};

/// Width of the convolutions: the class takes `conv1d_width` but does not hand it on.
const KERNEL: u64 = 4;

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, expanded, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("intermediate_size")?,
        c.dim("vocab_size")?,
    );
    c.needs(&[
        "attention_bias",
        "conv1d_width",
        "logits_soft_cap",
        "rms_norm_eps",
        "rope_theta",
    ])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    let heads = c.count("num_attention_heads")?;
    if !hidden.is_multiple_of(heads) {
        return Err(c.invalid(
            "num_attention_heads",
            format!("a divisor of hidden_size ({hidden}) is expected"),
        ));
    }
    let head_dim = hidden / heads;
    let window = c.dim("attention_window_size")?;
    let types = match c.texts("block_types")? {
        Some(types) => types,
        None => c.texts("_block_types")?.unwrap_or_default(),
    };
    if !types.contains(&"attention") {
        return Err(c.invalid(
            "block_types",
            "a list of \"recurrent\" and \"attention\" with at least one \"attention\" is expected",
        ));
    }
    let ff = expanded / 2;

    let mut b = Builder::new("recurrent_gemma", c, hidden, vocab)?;
    b.own_cache();
    b.embedding("model.embed_tokens", vocab, hidden);
    b.layers(
        "model.layers",
        layers,
        |i| types[i as usize % types.len()] == "recurrent",
        |b, is_recurrent| {
            b.within("temporal_block", |b| {
                if is_recurrent {
                    b.linear("linear_y", hidden, hidden, true);
                    b.linear("linear_x", hidden, hidden, true);
                    b.linear("linear_out", hidden, hidden, true);
                    b.conv1d("conv_1d", hidden, KERNEL, true);
                    b.param("rg_lru.recurrent_param", &[hidden]);
                    b.param("rg_lru.input_gate_weight", &[heads, head_dim, head_dim]);
                    b.param("rg_lru.input_gate_bias", &[heads, head_dim]);
                    b.param("rg_lru.recurrent_gate_weight", &[heads, head_dim, head_dim]);
                    b.param("rg_lru.recurrent_gate_bias", &[heads, head_dim]);
                    recurrent::note(
                        b,
                        Recurrence::Linear,
                        Kept {
                            conv_dim: hidden,
                            kernel: KERNEL,
                            heads: hidden,
                            state: (1, 1),
                            single_precision: false,
                        },
                    );
                } else {
                    b.linear("q_proj", hidden, hidden, false);
                    b.linear("k_proj", head_dim, hidden, false);
                    b.linear("v_proj", head_dim, hidden, false);
                    b.linear("o_proj", hidden, hidden, true);
                    b.mixer(Mixer::Attention {
                        heads,
                        kv_heads: 1,
                        k_dim: head_dim,
                        v_dim: head_dim,
                        window: Some(window),
                        flavour: Flavour::Fast,
                    });
                    b.cache(CacheKind::Rotating {
                        heads: 1,
                        k_dim: head_dim,
                        v_dim: head_dim,
                        window,
                    });
                }
            });
            b.linear("mlp_block.up_proj", ff, hidden, true);
            b.linear("mlp_block.gate_proj", ff, hidden, true);
            b.linear("mlp_block.down_proj", hidden, ff, true);
            b.feed_forward(FeedForward::Dense { ff, gated: true });
            b.norm("temporal_pre_norm", hidden);
            b.norm("channel_pre_norm", hidden);
        },
    );
    b.norm("model.final_norm", hidden);
    b.lm_head("lm_head", false, false);
    b.finish()
}
