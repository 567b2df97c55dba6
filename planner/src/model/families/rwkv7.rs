//! rwkv7: time mixing with a matrix of state a head, channel mixing for the rest. Follows mlx-lm 0.32.2
//! `models/rwkv7.py`.

use crate::model::blocks::recurrent::{self, Kept};
use crate::model::{Builder, Config, ConfigError, FeedForward, Model, Policy, Recurrence};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, ff, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("intermediate_size")?,
        c.dim("vocab_size")?,
    );
    c.needs(&["norm_eps"])?;
    let head_dim = c.dim("head_dim")?;
    let heads = hidden / head_dim;
    if heads * head_dim != hidden {
        return Err(c.invalid(
            "head_dim",
            format!("a divisor of hidden_size ({hidden}) is expected"),
        ));
    }
    let (decay, v, a, gate) = (
        c.dim("decay_low_rank_dim")?,
        c.dim("v_low_rank_dim")?,
        c.dim("a_low_rank_dim")?,
        c.dim("gate_low_rank_dim")?,
    );
    let tied = c.flag_or("tie_word_embeddings", false)?;
    // A low-rank pair: an array down, an activation, an array up that the class's predicate keeps at 8 bits.
    let lora = |b: &mut Builder, scope, rank, bias| {
        b.within(scope, |b| {
            b.linear("lora.0", rank, hidden, false);
            b.linear("lora.2", hidden, rank, bias).precise();
        });
    };

    let mut b = Builder::new("rwkv7", c, hidden, vocab)?;
    b.own_cache();
    b.embed_tokens("model.embeddings", tied);
    b.predicate(&["embeddings"], Policy::Precise);
    b.layers(
        "model.layers",
        layers,
        |i| i == 0,
        |b, first| {
            if first {
                b.layer_norm("pre_norm", hidden);
            }
            b.within("attn", |b| {
                for mix in ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g"] {
                    b.param(mix, &[1, 1, hidden]);
                }
                for scale in ["k_k", "k_a", "r_k", "g_norm.weight", "g_norm.bias"] {
                    b.param(scale, &[heads, head_dim]);
                }
                for projection in ["r_proj", "k_proj", "v_proj", "o_proj"] {
                    b.linear(projection, hidden, hidden, false);
                }
            });
            lora(b, "attn.w_lora", decay, true);
            if !first {
                lora(b, "attn.v_lora", v, true);
            }
            lora(b, "attn.a_lora", a, true);
            lora(b, "attn.g_lora", gate, false);
            b.linear("ffn.key", ff, hidden, false);
            b.linear("ffn.value", hidden, ff, false);
            b.param("ffn.x_k", &[hidden]);
            b.feed_forward(FeedForward::Dense { ff, gated: false });
            b.layer_norm("attn_norm", hidden);
            b.layer_norm("ffn_norm", hidden);
            // Both mixings keep the last token, which is what a convolution over three would keep.
            recurrent::note(
                b,
                Recurrence::Linear,
                Kept {
                    conv_dim: hidden,
                    kernel: 3,
                    heads,
                    state: (head_dim, head_dim),
                    single_precision: false,
                },
            );
        },
    );
    b.layer_norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}
