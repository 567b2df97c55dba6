//! kimi_linear and kimi_k3: Kimi delta attention in most layers, latent attention in the others, experts.
//! Follows mlx-lm 0.32.2 `models/{kimi_linear,kimi_k3}.py`.

use crate::model::blocks::decoder::tied_or;
use crate::model::blocks::delta::Kda;
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mla::{Latent, NO_QUANTIZED_LATENTS};
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router, list_gated};
use crate::model::{Builder, Config, ConfigError, Model, Policy};
use crate::quant::Dtype;

pub(super) fn kimi_linear(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "rope_theta",
        "rms_norm_eps",
        "model_max_length",
        "num_experts",
        "moe_intermediate_size",
    ])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    let frame = Frame {
        tied: tied_or(c, false)?,
        own_cache: true,
        kv_quant: NO_QUANTIZED_LATENTS,
        ..Frame::usual("kimi_linear", c)?
    };
    let hidden = frame.hidden;
    let head_dim = c.dim_if_used("head_dim")?;
    // Zero counts as absent, as in Python's `or`.
    let some = |field: &str, or: u64| {
        Ok::<_, ConfigError>(c.count_opt(field)?.filter(|&n| n > 0).unwrap_or(or))
    };
    let latent = Latent {
        heads: c.count("num_attention_heads")?,
        q_rank: None,
        rank: c.dim("kv_lora_rank")?,
        rope: some("qk_rope_head_dim", 0)?,
        nope: some("qk_nope_head_dim", head_dim)?,
        v_dim: some("v_head_dim", head_dim)?,
        bias: false,
        absorbed: true,
        output: "o_proj",
    };
    let layers = Layers::read(c, &frame)?;
    let delta = c.need_object("linear_attn_config")?;
    let kda = Kda {
        heads: delta.count("num_heads")?,
        head_dim: delta.dim("head_dim")?,
        kernel: delta.dim_or("short_conv_kernel_size", 4)?,
    };
    c.count_or("num_experts", 0)?;
    let networks = Networks {
        moe: experts(c, 1)?,
        dense: Mlp::gated(c.dim("intermediate_size")?),
    };
    frame.build(
        c,
        |i| layers.kind(i),
        |b, (linear, sparse)| {
            if linear {
                b.within("self_attn", |b| separate(&kda, b, hidden));
            } else {
                latent.list(b, "self_attn", hidden);
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

/// Kimi delta attention with each projection and convolution by itself.
fn separate(kda: &Kda, b: &mut Builder, hidden: u64) {
    for (projection, convolution) in [
        ("q_proj", "q_conv.conv"),
        ("k_proj", "k_conv.conv"),
        ("v_proj", "v_conv.conv"),
    ] {
        b.linear(projection, kda.width(), hidden, false);
        b.conv1d(convolution, kda.width(), kda.kernel, false);
    }
    gates(kda, b, hidden, false);
    b.param_fixed("A_log", &[1, 1, kda.heads, 1], Dtype::F32);
    kda.note(b);
}

/// What stands beside the projections of queries, keys and values; the output's gate is one matrix where `full`.
fn gates(kda: &Kda, b: &mut Builder, hidden: u64, full: bool) {
    b.linear("f_a_proj", kda.head_dim, hidden, false);
    b.linear("f_b_proj", kda.width(), kda.head_dim, false);
    b.linear("b_proj", kda.heads, hidden, false);
    if full {
        b.linear("g_proj", kda.width(), hidden, false);
    } else {
        b.linear("g_a_proj", kda.head_dim, hidden, false);
        b.linear("g_b_proj", kda.width(), kda.head_dim, false);
    }
    b.param_fixed("dt_bias", &[kda.width()], Dtype::F32);
    b.norm("o_norm", kda.head_dim);
    b.linear("o_proj", hidden, kda.width(), false);
}

/// The text part stands in `text_config`, or at the top where there is none.
pub(super) fn kimi_k3(c: &Config<'_>) -> Result<Model, ConfigError> {
    let c = &c.object("text_config")?.unwrap_or(*c);
    for (field, only) in [
        ("hidden_act", "situ"),
        ("moe_router_activation_func", "sigmoid"),
    ] {
        if c.text(field)?.is_some_and(|said| said != only) {
            return Err(ConfigError::Refused(format!(
                "ValueError: only '{only}' is supported for {field}"
            )));
        }
    }
    if !c.flag_or("mla_use_nope", true)? {
        return Err(ConfigError::Refused(
            "ValueError: Only NoPE MLA is supported (mla_use_nope=True)".to_owned(),
        ));
    }
    let frame = Frame {
        root: "language_model.",
        tied: tied_or(c, false)?,
        own_cache: true,
        kv_quant: NO_QUANTIZED_LATENTS,
        ..Frame::or("kimi_k3", c, (7168, 93, 163_840))?
    };
    let hidden = frame.hidden;
    let latent = Latent {
        heads: c.count_or("num_attention_heads", 96)?,
        q_rank: c.dim_opt("q_lora_rank")?,
        rank: c.dim("kv_lora_rank")?,
        rope: c.count_opt("qk_rope_head_dim")?.unwrap_or(0),
        nope: c.dim("qk_nope_head_dim")?,
        v_dim: c.dim("v_head_dim")?,
        bias: false,
        absorbed: true,
        output: "o_proj",
    };
    c.needs(&["qk_rope_head_dim"])?;
    let layers = Layers::read(c, &frame)?;
    let delta = c.need_object("linear_attn_config")?;
    let kda = Kda {
        heads: delta.count("num_heads")?,
        head_dim: delta.dim("head_dim")?,
        kernel: delta.dim("short_conv_kernel_size")?,
    };
    let full_gate = delta.flag_or("use_full_rank_gate", false)?;
    let output_gate = c.flag_or("mla_use_output_gate", false)?;
    let residual = c.count_opt("attn_res_block_size")?;
    let dense = Mlp::gated(c.dim_or("intermediate_size", 33_792)?);
    let moe = experts(c, 16)?;
    let narrow = c.dim_opt("routed_expert_hidden_size")?;
    let narrow_norm = c.flag_or("latent_moe_use_norm", false)?;
    frame.build(
        c,
        |i| layers.kind(i),
        |b, (linear, sparse)| {
            if linear {
                b.within("self_attn", |b| {
                    b.linear("qkv_proj", 3 * kda.width(), hidden, false);
                    b.conv1d("qkv_conv.conv", 3 * kda.width(), kda.kernel, false);
                    gates(&kda, b, hidden, full_gate);
                    b.param_fixed("A_log", &[kda.heads], Dtype::F32);
                });
                kda.note(b);
            } else {
                latent.list(b, "self_attn", hidden);
                if output_gate {
                    let width = latent.heads * latent.v_dim;
                    b.linear("self_attn.g_proj", width, hidden, false);
                }
            }
            match moe {
                Some(moe) if sparse => on_narrow_stream(moe, b, (hidden, narrow), narrow_norm),
                _ => dense.list(b, hidden),
            }
            if residual.is_some() {
                for part in ["self_attention", "mlp"] {
                    b.linear(&format!("{part}_res_proj"), 1, hidden, false)
                        .keep();
                    b.norm(&format!("{part}_res_norm"), hidden);
                }
            }
        },
        |b| {
            if residual.is_some() {
                b.linear("model.output_attn_res_proj", 1, hidden, false)
                    .keep();
                b.norm("model.output_attn_res_norm", hidden);
            }
        },
    )
}

/// Experts that work on a narrower stream than the layer's, where there is one.
fn on_narrow_stream(moe: Moe, b: &mut Builder, (hidden, narrow): (u64, Option<u64>), norm: bool) {
    let Some(narrow) = narrow else {
        moe.list(b, hidden);
        return;
    };
    b.linear("mlp.gate", moe.experts, hidden, false).precise();
    b.param_fixed("mlp.e_score_correction_bias", &[moe.experts], Dtype::F32);
    moe.list_experts(b, narrow);
    b.linear("mlp.routed_expert_down_proj", narrow, hidden, false);
    b.linear("mlp.routed_expert_up_proj", hidden, narrow, false);
    if norm {
        b.norm("mlp.routed_expert_norm", narrow);
    }
    if moe.shared.1 > 0 {
        list_gated(b, moe.shared.0, hidden, moe.shared.1, false);
    }
    moe.note(b);
}

/// The experts, if the description has any; `chosen` is the class's default of how many a token is sent to.
fn experts(c: &Config<'_>, chosen: u64) -> Result<Option<Moe>, ConfigError> {
    let experts = c.count_opt("num_experts")?.unwrap_or(0);
    if experts == 0 {
        return Ok(None);
    }
    let ff = c.dim("moe_intermediate_size")?;
    let chosen = c.count_or("num_experts_per_token", chosen)?;
    let moe = Moe {
        router: Router::Linear("mlp.gate", Policy::Precise),
        correction: Some(("mlp.e_score_correction_bias", Some(Dtype::F32))),
        ..Moe::new(experts, chosen, ff)
    };
    let shared = ff * c.count_opt("num_shared_experts")?.unwrap_or(0);
    Ok(Some(
        moe.checked(c, "num_experts_per_token")?
            .sharing("mlp.shared_experts", shared),
    ))
}

/// Which layers are linear, by number from 1, and which have the experts.
struct Layers {
    linear: Vec<u64>,
    first_sparse: u64,
    sparse_step: u64,
}

impl Layers {
    fn read(c: &Config<'_>, frame: &Frame) -> Result<Self, ConfigError> {
        let config = c.need_object("linear_attn_config")?;
        let Some(linear) = config.wholes("kda_layers")? else {
            return Err(config.invalid("kda_layers", "a list of layers is expected"));
        };
        let attends = (1..=frame.layers).any(|n| !linear.contains(&n));
        if linear.is_empty() || !attends {
            return Err(ConfigError::Refused(
                "it takes masks from the first layer of each kind, and linear_attn_config.kda_layers has none, or all"
                    .to_owned(),
            ));
        }
        let sparse_step = c.count_or("moe_layer_freq", 1)?;
        if sparse_step == 0 {
            return Err(c.invalid("moe_layer_freq", "at least 1 is expected"));
        }
        Ok(Self {
            linear,
            first_sparse: c.count_or("first_k_dense_replace", 0)?,
            sparse_step,
        })
    }

    fn kind(&self, i: u64) -> (bool, bool) {
        (
            self.linear.contains(&(i + 1)),
            i >= self.first_sparse && i.is_multiple_of(self.sparse_step),
        )
    }
}
