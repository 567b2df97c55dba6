//! bailing_moe_linear, bailing_hybrid (Ling and Ring 2.5) and its third form: linear attention in most layers, and
//! grouped or latent attention in the last of each group. Follows mlx-lm 0.32.2
//! `models/{bailing_moe_linear,bailing_hybrid,bailing_moe_v3}.py`.

use crate::model::blocks::attention::{Attention, Projections, QkNorm};
use crate::model::blocks::decoder::{check_rope, tied_or};
use crate::model::blocks::delta::Kda;
use crate::model::blocks::frame::{Frame, Trunk};
use crate::model::blocks::mla::{Latent, NO_QUANTIZED_LATENTS};
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::blocks::recurrent::{self, Kept};
use crate::model::{Builder, Config, ConfigError, Model, Policy, Recurrence};
use crate::quant::Dtype;

const TRUNK: Trunk = Trunk {
    embed: "model.word_embeddings",
    ..Trunk::MODEL
};

pub(super) fn bailing_moe_linear(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.number_or("partial_rotary_factor", 1.0)?;
    c.needs(REQUIRED)?;
    c.needs(&["num_key_value_heads"])?;
    c.needs(&["norm_topk_prob"])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        trunk: TRUNK,
        tied: tied_or(c, false)?,
        own_cache: true,
        ..Frame::usual("bailing_moe_linear", c)?
    };
    let hidden = frame.hidden;
    let biases = (
        c.flag_or("use_qkv_bias", false)?,
        c.flag_or("use_bias", false)?,
    );
    let qk_norm = c.flag_or("use_qk_norm", false)?;
    let divided = Attention::divided(c, hidden)?;
    let attention = Attention {
        norm_names: [
            "attention.query_layernorm.weight",
            "attention.key_layernorm.weight",
        ],
        ..match c.dim_opt("head_dim")? {
            Some(dim) => Attention::of(divided.heads, divided.kv_heads, dim),
            None => divided,
        }
    }
    .named(Projections::Fused([
        "attention.query_key_value",
        "attention.dense",
    ]))
    .biased(biases.0, biases.1)
    .normed(if qk_norm { QkNorm::Head } else { QkNorm::None });
    let linear = Linear {
        heads: divided.heads,
        head_dim: hidden / divided.heads,
        biases,
        qk_norm,
        single_precision: false,
    };
    let moe_ff = c.dim("moe_intermediate_size")?;
    let shared_ff = c
        .dim_opt("moe_shared_expert_intermediate_size")?
        .unwrap_or(moe_ff);
    let shared = if c.flag_or("moe_router_enable_shared_expert", true)? {
        shared_ff * c.count_or("num_shared_experts", 0)?
    } else {
        0
    };
    let expert_bias = c.flag_or("moe_router_enable_expert_bias", false)?;
    let networks = networks(c, biases.1, expert_bias, shared)?;
    let layers = Layers::read(c, &frame)?;
    frame.build(
        c,
        |i| layers.kind(i),
        |b, (global, sparse)| {
            if global {
                attention.list(b, hidden);
            } else {
                linear.list(b, hidden);
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

/// The class depends on `architectures` too.
pub(super) fn bailing_hybrid(c: &Config<'_>) -> Result<Model, ConfigError> {
    const THIRD: &str = "BailingMoeV3ForCausalLM";
    let third = match c.get("architectures") {
        Some(serde_json::Value::String(name)) => name == THIRD,
        Some(_) => c
            .texts("architectures")?
            .unwrap_or_default()
            .contains(&THIRD),
        None => false,
    };
    if third {
        return bailing_moe_v3(c);
    }
    c.needs(REQUIRED)?;
    c.needs_or_null(&["num_key_value_heads"])?;
    c.needs(&["n_group", "topk_group", "routed_scaling_factor", "head_dim"])?;
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        trunk: TRUNK,
        tied: tied_or(c, false)?,
        own_cache: true,
        kv_quant: NO_QUANTIZED_LATENTS,
        ..Frame::usual("bailing_hybrid", c)?
    };
    let hidden = frame.hidden;
    let heads = c.count("num_attention_heads")?;
    let head_dim = match c.count_opt("head_dim")?.filter(|&n| n > 0) {
        Some(dim) => dim,
        None => Attention::divided(c, hidden)?.k_dim,
    };
    let rotated = (head_dim as f64 * c.number_or("partial_rotary_factor", 0.5)?) as u64;
    if rotated == 0 || rotated > head_dim || !rotated.is_multiple_of(2) {
        return Err(ConfigError::Refused(format!(
            "ValueError: Invalid rotary dimension {rotated} with head_dim={head_dim}"
        )));
    }
    let biases = (
        c.flag_or("use_qkv_bias", false)?,
        c.flag_or("use_bias", false)?,
    );
    let latent = Latent {
        heads,
        q_rank: c.dim_opt("q_lora_rank")?,
        rank: c.dim("kv_lora_rank")?,
        rope: c.dim("qk_rope_head_dim")?,
        nope: c.dim("qk_nope_head_dim")?,
        v_dim: c.dim("v_head_dim")?,
        bias: biases.0,
        absorbed: true,
        output: "dense",
    };
    let linear = Linear {
        heads,
        head_dim,
        biases,
        qk_norm: c.flag_or("use_qk_norm", true)?,
        single_precision: true,
    };
    let moe_ff = c.dim("moe_intermediate_size")?;
    let shared = match (
        c.count_or("num_shared_experts", 0)?,
        c.dim_opt("moe_shared_expert_intermediate_size")?,
    ) {
        (0, _) => 0,
        (_, Some(width)) => width,
        (shared, None) => moe_ff * shared,
    };
    let expert_bias = c.flag_or("moe_router_enable_expert_bias", true)?;
    let networks = networks(c, biases.1, expert_bias, shared)?;
    let layers = Layers::read(c, &frame)?;
    frame.build(
        c,
        |i| layers.kind(i),
        |b, (global, sparse)| {
            if global {
                latent.list(b, "attention", hidden);
                b.predicate(
                    &["attention.embed_q", "attention.unembed_out"],
                    Policy::Keep,
                );
            } else {
                linear.list(b, hidden);
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

pub(super) fn bailing_moe_v3(c: &Config<'_>) -> Result<Model, ConfigError> {
    check_rope(c, "rope_scaling")?;
    for field in ["rope_interleave", "no_kda_lora", "kda_safe_gate"] {
        if !c.flag_or(field, true)? {
            return Err(ConfigError::Refused(format!(
                "ValueError: Bailing V3 MLX currently requires {field}=true"
            )));
        }
    }
    let frame = Frame {
        trunk: TRUNK,
        tied: tied_or(c, false)?,
        own_cache: true,
        kv_quant: NO_QUANTIZED_LATENTS,
        ..Frame::or("bailing_moe_v3", c, (1536, 24, 157_184))?
    };
    let hidden = frame.hidden;
    let heads = c.count_or("num_attention_heads", 16)?;
    let latent = Latent {
        heads,
        q_rank: if c.has("q_lora_rank") {
            c.dim_opt("q_lora_rank")?
        } else {
            Some(256)
        },
        rank: c.dim_or("kv_lora_rank", 512)?,
        rope: c.dim_or("qk_rope_head_dim", 64)?,
        nope: c.dim_or("qk_nope_head_dim", 128)?,
        v_dim: c.dim_or("v_head_dim", 128)?,
        bias: false,
        absorbed: true,
        output: "dense",
    };
    let kda = Kda {
        heads,
        head_dim: c.dim_or("head_dim", 128)?,
        kernel: c.dim_or("short_conv_kernel_size", 4)?,
    };
    let moe = Moe {
        router: Router::Array("mlp.gate.weight"),
        correction: Some(("mlp.gate.expert_bias", None)),
        ..Moe::new(
            c.count_or("num_experts", 128)?,
            c.count_or("num_experts_per_tok", 8)?,
            c.dim_or("moe_intermediate_size", 512)?,
        )
        .checked(c, "num_experts_per_tok")?
    }
    .sharing(
        "mlp.shared_experts",
        c.dim_or("moe_shared_expert_intermediate_size", 512)?
            * c.count_or("num_shared_experts", 1)?,
    );
    let networks = Networks {
        moe: Some(moe),
        dense: Mlp::gated(c.dim_or("intermediate_size", 4608)?),
    };
    let layers = Layers {
        group: c.count_or("layer_group_size", 4)?,
        count: frame.layers,
        first_sparse: c.count_or("first_k_dense_replace", 1)?,
        experts: true,
    }
    .checked(c)?;
    frame.build(
        c,
        |i| layers.kind(i),
        |b, (global, sparse)| {
            if global {
                latent.list(b, "attention", hidden);
                b.linear("attention.g_proj", heads, hidden, false);
                b.predicate(
                    &[
                        "_a_proj",
                        "q_b_proj",
                        "with_mqa",
                        "q_proj",
                        "g_proj",
                        "embed_q",
                        "unembed_out",
                    ],
                    Policy::Keep,
                );
            } else {
                b.within("attention", |b| third_delta(&kda, b, hidden));
            }
            networks.list(b, hidden, sparse);
        },
        |b| b.predicate(&["word_embeddings", "lm_head"], Policy::Keep),
    )
}

fn third_delta(kda: &Kda, b: &mut Builder, hidden: u64) {
    for (projection, convolution) in [
        ("q_proj", "q_conv1d"),
        ("k_proj", "k_conv1d"),
        ("v_proj", "v_conv1d"),
    ] {
        b.linear(projection, kda.width(), hidden, false);
        b.conv1d(convolution, kda.width(), kda.kernel, false);
    }
    b.param("A_log", &[kda.heads]);
    b.linear("f_proj", kda.width(), hidden, false);
    b.param("dt_bias", &[kda.width()]);
    b.linear("b_proj", kda.heads, hidden, false).keep();
    b.linear("g_proj", kda.width(), hidden, false);
    b.norm("o_norm", kda.head_dim);
    b.linear("o_proj", hidden, kda.width(), false);
    kda.note(b);
}

/// What the first two classes take without a default, beside sizes.
const REQUIRED: &[&str] = &[
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "num_shared_experts",
    "num_experts",
    "num_experts_per_tok",
    "group_norm_size",
    "first_k_dense_replace",
    "layer_group_size",
];

/// Linear attention with decay, one matrix of state a head.
struct Linear {
    heads: u64,
    head_dim: u64,
    /// On queries, keys and values; on the output.
    biases: (bool, bool),
    qk_norm: bool,
    single_precision: bool,
}

impl Linear {
    fn list(&self, b: &mut Builder, hidden: u64) {
        let width = self.heads * self.head_dim;
        b.within("attention", |b| {
            b.linear("query_key_value", 3 * width, hidden, self.biases.0);
            b.linear("dense", hidden, width, self.biases.1);
            b.linear("g_proj", width, hidden, false);
            b.norm("g_norm", width);
            if self.qk_norm {
                b.norm("key_layernorm", self.head_dim);
                b.norm("query_layernorm", self.head_dim);
            }
        });
        recurrent::note(
            b,
            Recurrence::Linear,
            Kept {
                conv_dim: 0,
                kernel: 1,
                heads: self.heads,
                state: (self.head_dim, self.head_dim),
                single_precision: self.single_precision,
            },
        );
    }
}

/// The networks of the first two classes.
fn networks(
    c: &Config<'_>,
    bias: bool,
    expert_bias: bool,
    shared: u64,
) -> Result<Networks, ConfigError> {
    let moe = if c.get("num_experts").is_some() {
        let moe = Moe {
            bias,
            router: Router::Linear("mlp.gate.gate_proj", Policy::Precise),
            correction: expert_bias.then_some(("mlp.gate.expert_bias", Some(Dtype::F32))),
            shared_bias: bias,
            ..Moe::by(
                c,
                "num_experts",
                "num_experts_per_tok",
                "moe_intermediate_size",
            )?
        };
        Some(moe.sharing("mlp.shared_experts", shared))
    } else {
        None
    };
    Ok(Networks {
        moe,
        dense: Mlp::gated(c.dim("intermediate_size")?).biased(bias),
    })
}

/// The last layer of each group attends to all tokens, and so do those after the last whole group.
struct Layers {
    group: u64,
    count: u64,
    first_sparse: u64,
    experts: bool,
}

impl Layers {
    fn read(c: &Config<'_>, frame: &Frame) -> Result<Self, ConfigError> {
        Self {
            group: c.count("layer_group_size")?,
            count: frame.layers,
            first_sparse: c.count_or("first_k_dense_replace", 0)?,
            experts: c.get("num_experts").is_some(),
        }
        .checked(c)
    }

    fn checked(self, c: &Config<'_>) -> Result<Self, ConfigError> {
        if self.group == 0 {
            return Err(c.invalid("layer_group_size", "at least 1 is expected"));
        }
        Ok(self)
    }

    fn kind(&self, i: u64) -> (bool, bool) {
        let global =
            (i + 1).is_multiple_of(self.group) || i >= self.count / self.group * self.group;
        (global, self.experts && i >= self.first_sparse)
    }
}
