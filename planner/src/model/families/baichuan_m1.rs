//! baichuan_m1: convolutions over keys and values, and windows in some layers. Follows mlx-lm 0.32.2
//! `models/baichuan_m1.py`.

use crate::model::CacheKind;
use crate::model::blocks::mlp;
use crate::model::{Builder, Config, ConfigError, Flavour, KvQuantSupport, Mixer, Model};

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let (hidden, layers, ff, vocab) = (
        c.dim("hidden_size")?,
        c.count("num_hidden_layers")?,
        c.dim("intermediate_size")?,
        c.dim("vocab_size")?,
    );
    c.needs(&[
        "rope_theta",
        "rms_norm_eps",
        "sliding_window_layers",
        "sliding_window",
    ])?;
    if c.dim("conv_window")? != 2 {
        return Err(ConfigError::Refused(
            "a conv_window of 2 is asserted".to_owned(),
        ));
    }
    if c.flag_or("tie_word_embeddings", false)? {
        return Err(ConfigError::Refused(
            "with tied embeddings ('AttributeError: 'Model' object has no attribute 'lm_head'')"
                .to_owned(),
        ));
    }
    let (heads, kv_heads) = (
        c.count("num_attention_heads")?,
        c.count("num_key_value_heads")?,
    );
    let Some(sliding) = c.wholes("sliding_window_layers")? else {
        return Err(c.invalid("sliding_window_layers", "a list of layers is expected"));
    };
    let window = if (0..layers).any(|i| sliding.contains(&i)) {
        c.dim("sliding_window")?
    } else {
        0
    };
    let nonzero = |n: Option<u64>, default| n.filter(|&n| n > 0).unwrap_or(default);
    let swa_heads = nonzero(c.count_opt("num_swa_attention_heads")?, heads);
    let swa_kv_heads = nonzero(c.count_opt("num_swa_key_value_heads")?, kv_heads);
    for (field, heads, kv_field, kv_heads) in [
        (
            "num_attention_heads",
            heads,
            "num_key_value_heads",
            kv_heads,
        ),
        (
            "num_swa_attention_heads",
            swa_heads,
            "num_swa_key_value_heads",
            swa_kv_heads,
        ),
    ] {
        if field == "num_swa_attention_heads" && sliding.is_empty() {
            continue;
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(c.invalid(
                kv_field,
                format!("a divisor of the {heads} query heads is expected"),
            ));
        }
        if hidden % heads != 0 {
            return Err(c.invalid(
                field,
                format!("a divisor of hidden_size ({hidden}) is expected"),
            ));
        }
    }

    let mut b = Builder::new("baichuan_m1", c, hidden, vocab)?;
    b.own_cache();
    // A CacheList has no `to_quantized`, so the loop that quantizes caches passes it by.
    b.kv_quant(KvQuantSupport::Ignored);
    b.embed_tokens("model.embed_tokens", false);
    b.layers(
        "model.layers",
        layers,
        |i| sliding.contains(&i),
        |b, slides| {
            let (heads, kv_heads) = if slides {
                (swa_heads, swa_kv_heads)
            } else {
                (heads, kv_heads)
            };
            let dim = hidden / heads;
            b.within("self_attn", |b| {
                b.linear("W_pack", hidden + 2 * kv_heads * dim, hidden, false);
                b.linear("o_proj", hidden, heads * dim, false);
                b.param("conv_k", &[1, 1, kv_heads, 1, 2]);
                b.param("conv_v", &[1, 1, kv_heads, 1, 2]);
            });
            b.mixer(Mixer::Attention {
                heads,
                kv_heads,
                k_dim: dim,
                v_dim: dim,
                window: slides.then_some(window),
                flavour: Flavour::Fast,
            });
            // The last key and value before the convolutions.
            b.cache(CacheKind::State {
                elements: 2 * kv_heads * dim,
                f32_elements: 0,
            });
            b.cache(if slides {
                CacheKind::Rotating {
                    heads: kv_heads,
                    k_dim: dim,
                    v_dim: dim,
                    window,
                }
            } else {
                CacheKind::Full {
                    heads: kv_heads,
                    k_dim: dim,
                    v_dim: dim,
                }
            });
            mlp::gated(b, hidden, ff, false);
            b.norm("input_layernorm", hidden);
            b.norm("post_attention_layernorm", hidden);
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", false, false);
    b.finish()
}
