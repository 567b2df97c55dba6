//! Classes with parts of their own: afm7, bitnet, lille-130m, nanochat, phixtral, talkie.
//! Follows mlx-lm 0.32.2 `models/{afm7,bitnet,lille-130m,nanochat,phixtral,talkie}.py`.

use super::phi::{CASTS, whole_heads};
use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{Decoder, PRE_NORMS, Trunk, check_rope, tied_or};
use crate::model::blocks::mlp::{Mlp, Network};
use crate::model::blocks::moe::Moe;
use crate::model::{Builder, Config, ConfigError, FeedForward, KvQuantSupport, Model};
use crate::quant::Dtype;

/// The last layers have no keys of their own: they read those of the last layer that has.
pub(super) fn afm7(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim("hidden_dim")?;
    let layers = c.count("num_layers")?;
    let (heads, kv_heads) = (c.count("num_heads")?, c.count("num_kv_heads")?);
    c.needs(&["num_kv_reuse_layers"])?;
    let reusing = c.count_or("num_kv_reuse_layers", 0)?;
    let Some(own) = layers.checked_sub(reusing).filter(|&own| own > 0) else {
        return Err(c.invalid(
            "num_kv_reuse_layers",
            format!("fewer than num_layers ({layers}) are expected"),
        ));
    };
    let attention = Attention::of_width(c, hidden, "num_heads", heads, kv_heads)?
        .named(Projections::Fused([
            "self_attn.qkv_proj",
            "self_attn.out_proj",
        ]))
        .normed(QkNorm::Head);
    whole_heads(&attention, hidden)?;
    let factor = c.number_or("hidden_dim_scale_factor", 3.25)?;
    let ff = hidden as f64 * factor;
    if !(1.0..1e12).contains(&ff) {
        return Err(c.invalid("hidden_dim_scale_factor", "a positive number is expected"));
    }
    let mlp = Mlp::gated(ff as u64);

    let mut b = Builder::new("afm7", c, hidden, c.dim("vocab_size")?)?;
    b.own_cache();
    b.kv_quant(KvQuantSupport::Refused(
        "AttributeError: 'list' object has no attribute 'shape' (its last layers read the keys of an earlier one)",
    ));
    b.refuse_quant("TypeError: to_quantized() got an unexpected keyword argument 'mode' (its own fused linear layer)");
    b.embed_tokens("model.embedding", true);
    b.layers_among(
        "model.layers",
        own,
        layers,
        |_| (),
        |b, ()| {
            attention.list(b, hidden);
            b.param("self_attn.quant_key_scale", &[]);
            b.param("self_attn.quant_value_scale", &[]);
            mlp.list(b, hidden);
            for norm in PRE_NORMS {
                b.norm(norm, hidden);
            }
        },
    );
    b.layers_among(
        "model.kv_reuse_layers",
        reusing,
        layers,
        |_| (),
        |b, ()| {
            b.linear("self_attn.q_proj", hidden, hidden, false);
            b.linear("self_attn.out_proj", hidden, hidden, false);
            b.norm("self_attn.q_norm", attention.k_dim);
            attention.mix(b);
            mlp.list(b, hidden);
            for norm in PRE_NORMS {
                b.norm(norm, hidden);
            }
        },
    );
    b.norm("model.output_norm", hidden);
    b.finish()
}

/// `BitLinear`: four ternary weights a byte, and one scale.
fn bit_linear(b: &mut Builder, path: [&'static str; 3], output: u64, input: u64, bias: bool) {
    let [weight, scale, offset] = path;
    b.param_fixed(weight, &[output.div_ceil(4), input], Dtype::U8);
    b.param(scale, &[1]);
    if bias {
        b.param(offset, &[output]);
    }
}

macro_rules! bit_names {
    ($module:literal) => {
        [
            concat!($module, ".weight"),
            concat!($module, ".weight_scale"),
            concat!($module, ".bias"),
        ]
    };
}

/// Llama with ternary linear layers that are never quantized further, and a norm before each output.
pub(super) fn bitnet(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["rms_norm_eps"])?;
    check_rope(c, "rope_scaling")?;
    let (hidden, ff) = (c.dim("hidden_size")?, c.dim("intermediate_size")?);
    c.count("num_key_value_heads")?;
    let attention = Attention::from_config(c, hidden)?;
    let (q, kv) = (
        attention.heads * attention.k_dim,
        attention.kv_heads * attention.k_dim,
    );
    let bias = c.flag_or("attention_bias", false)?;
    let mlp_bias = c.flag_or("mlp_bias", false)?;
    let tied = tied_or(c, true)?;

    let mut b = Builder::new("bitnet", c, hidden, c.dim("vocab_size")?)?;
    b.embed_tokens("model.embed_tokens", tied);
    b.layers(
        "model.layers",
        c.count("num_hidden_layers")?,
        |_| (),
        |b, ()| {
            bit_linear(b, bit_names!("self_attn.q_proj"), q, hidden, bias);
            bit_linear(b, bit_names!("self_attn.k_proj"), kv, hidden, bias);
            bit_linear(b, bit_names!("self_attn.v_proj"), kv, hidden, bias);
            bit_linear(b, bit_names!("self_attn.o_proj"), hidden, q, bias);
            b.norm("self_attn.attn_sub_norm", hidden);
            attention.mix(b);
            attention.keep(b);
            bit_linear(b, bit_names!("mlp.gate_proj"), ff, hidden, mlp_bias);
            bit_linear(b, bit_names!("mlp.up_proj"), ff, hidden, mlp_bias);
            bit_linear(b, bit_names!("mlp.down_proj"), hidden, ff, mlp_bias);
            b.norm("mlp.ffn_sub_norm", ff);
            b.feed_forward(FeedForward::Dense { ff, gated: true });
            for norm in PRE_NORMS {
                b.norm(norm, hidden);
            }
        },
    );
    b.norm("model.norm", hidden);
    b.lm_head("lm_head", tied, false);
    b.finish()
}

/// Always tied; the width inside is 8/3 of the model's, to the nearest multiple of 256.
pub(super) fn lille(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["block_size", "layer_norm_eps", "rope_theta"])?;
    let hidden = c.dim("n_embd")?;
    let (heads, kv_heads) = (c.count("n_head")?, c.count("n_kv_heads")?);
    let attention =
        Attention::of_width(c, hidden, "n_head", heads, kv_heads)?.named(Projections::Fused([
            "attention.qkv_proj",
            "attention.out_proj",
        ]));
    // Python rounds a half to even.
    let ff = 256 * ((8 * hidden / 3) as f64 / 256.0).round_ties_even() as u64;
    let network = Network::Gated([
        "feed_forward.gate_proj",
        "feed_forward.up_proj",
        "feed_forward.down_proj",
    ]);
    let sizes = (hidden, c.count("n_layer")?, c.dim("vocab_size")?);
    Decoder {
        norms: &["attention.norm", "feed_forward.norm"],
        trunk: Trunk {
            embed: "transformer.tok_embeddings",
            layers: "transformer.layers",
            norm: "transformer.norm",
            ..Trunk::MODEL
        },
        ..Decoder::new("lille-130m", sizes, attention, Mlp::of(network, ff, false))
    }
    .build(c)
}

/// Norms without weights.
pub(super) fn nanochat(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim_or("hidden_size", 1280)?;
    let heads = c.count_or("num_attention_heads", 10)?;
    let kv_heads = c.count_or("num_key_value_heads", 10)?;
    let attention = Attention::of_width(c, hidden, "num_attention_heads", heads, kv_heads)?.named(
        Projections::Split(["attn.c_q", "attn.c_k", "attn.c_v", "attn.c_proj"]),
    );
    whole_heads(&attention, hidden)?;
    let mlp = Mlp::of(
        Network::Plain(["mlp.c_fc", "mlp.c_proj"]),
        c.dim_or("intermediate_size", 5120)?,
        false,
    );
    let sizes = (
        hidden,
        c.count_or("num_hidden_layers", 20)?,
        c.dim_or("vocab_size", 65_536)?,
    );
    Decoder {
        norms: &[],
        trunk: Trunk {
            norm: "",
            ..Trunk::TRANSFORMER
        },
        tied: false,
        ..Decoder::new("nanochat", sizes, attention, mlp)
    }
    .build(c)
}

/// phi-msft with experts: attention and experts side by side behind one norm. Queries are widened to 32 bits.
pub(super) fn phixtral(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim_or("model_dim", 2560)?;
    let heads = c.count_or("num_heads", 32)?;
    let vocab = c.dim_or("num_vocab", 51_200)?;
    let attention = Attention::of_width(c, hidden, "num_heads", heads, heads)?
        .named(Projections::Fused(["mixer.Wqkv", "mixer.out_proj"]))
        .biased(true, true);
    whole_heads(&attention, hidden)?;
    let moe = Moe::new(
        c.count_or("num_local_experts", 4)?,
        c.count_or("num_experts_per_tok", 2)?,
        4 * hidden,
    )
    .checked(c, "num_experts_per_tok")?;

    let mut b = Builder::new("phixtral", c, hidden, vocab)?;
    b.kv_quant(KvQuantSupport::Refused(CASTS));
    b.embed_tokens("transformer.embd.wte", false);
    b.layers(
        "transformer.h",
        c.count_or("num_layers", 32)?,
        |_| (),
        |b, ()| {
            attention.list(b, hidden);
            b.layer_norm("ln", hidden);
            let count = (moe.experts, moe.chosen);
            b.switch_linear("moe.switch_mlp.fc1", count, moe.ff, hidden, true);
            b.switch_linear("moe.switch_mlp.fc2", count, hidden, moe.ff, true);
            b.linear("moe.gate", moe.experts, hidden, false);
            moe.note(b);
        },
    );
    b.layer_norm("lm_head.ln", hidden);
    b.linear("lm_head.linear", vocab, hidden, true);
    b.finish()
}

/// Gains in place of norms, and an output head that is a bare array, never quantized.
pub(super) fn talkie(c: &Config<'_>) -> Result<Model, ConfigError> {
    let hidden = c.dim_or("hidden_size", 5120)?;
    let heads = c.count_or("num_attention_heads", 40)?;
    let attention =
        Attention::of(heads, heads, c.dim_or("head_dim", 128)?).named(Projections::Split([
            "attn.attn_query",
            "attn.attn_key",
            "attn.attn_value",
            "attn.attn_resid",
        ]));
    let mlp = Mlp::of(
        Network::Gated(["mlp.mlp_gate", "mlp.mlp_linear", "mlp.mlp_resid"]),
        c.dim_or("intermediate_size", 13_696)?,
        false,
    );
    let vocab = c.dim_or("vocab_size", 65_540)?;
    let mut b = Builder::new("talkie", c, hidden, vocab)?;
    b.embed_tokens("model.embed", false);
    b.layers(
        "model.blocks",
        c.count_or("num_hidden_layers", 40)?,
        |_| (),
        |b, ()| {
            attention.list(b, hidden);
            mlp.list(b, hidden);
            b.param("attn.head_gain.head_g", &[heads]);
            for gain in ["attn_gain.a_g", "mlp_gain.a_g", "embed_skip.a_g"] {
                b.param(gain, &[1]);
            }
        },
    );
    b.param("lm_head", &[vocab, hidden]);
    b.param("lm_head_gain.w_g", &[1]);
    b.finish()
}
