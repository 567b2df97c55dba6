//! DeepSeek and what is built on its latent attention and experts: deepseek (v1, plain attention), deepseek_v2,
//! deepseek_v3 (kimi_k2, and in kimi_k25 and kimi_vl), deepseek_v32 (glm_moe_dsa), glm4_moe_lite, mistral4.
//! Follows mlx-lm 0.32.2
//! `models/{deepseek,deepseek_v2,deepseek_v3,deepseek_v32,glm_moe_dsa,glm4_moe_lite,kimi_k25,kimi_vl,mistral4}.py`.

use crate::model::CacheKind;
use crate::model::blocks::attention::Attention;
use crate::model::blocks::decoder::{Windows, YARN_NUMBERS, check_rope, tied_or};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mla::{Latent, LatentDefaults, NO_QUANTIZED_LATENTS};
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{Builder, Config, ConfigError, KvQuantSupport, Model, Policy};

/// A field of the class that may be none: absent takes the default, null is none.
fn optional(c: &Config<'_>, field: &str, default: Option<u64>) -> Result<Option<u64>, ConfigError> {
    if c.has(field) {
        c.count_opt(field)
    } else {
        Ok(default)
    }
}

/// Defaults of a class.
#[derive(Clone, Copy)]
struct Defaults {
    sizes: (u64, u64, u64),
    ff: u64,
    moe_ff: u64,
    experts: Option<u64>,
    chosen: Option<u64>,
    shared: Option<u64>,
    first_dense: u64,
    /// Experts stand in each `moe_layer_freq`-th layer only.
    stepped: bool,
}

const DEEPSEEK: Defaults = Defaults {
    sizes: (4096, 30, 102_400),
    ff: 11_008,
    moe_ff: 1407,
    experts: None,
    chosen: None,
    shared: None,
    first_dense: 0,
    stepped: true,
};
const DEEPSEEK_V3: Defaults = Defaults {
    chosen: Some(1),
    ..DEEPSEEK
};

/// Experts from layer `first_k_dense_replace` on, in each `moe_layer_freq`-th; all layers are dense without
/// `n_routed_experts`.
struct Layout {
    networks: Networks,
    first_dense: u64,
    every: u64,
}

impl Layout {
    fn read(c: &Config<'_>, or: Defaults) -> Result<Self, ConfigError> {
        let moe = match optional(c, "n_routed_experts", or.experts)? {
            None => None,
            Some(experts) => {
                let Some(chosen) = optional(c, "num_experts_per_tok", or.chosen)? else {
                    return Err(ConfigError::Missing {
                        field: "num_experts_per_tok".to_owned(),
                        expected: "a number of experts is expected where n_routed_experts is set",
                    });
                };
                let moe_ff = c.dim_or("moe_intermediate_size", or.moe_ff)?;
                let shared = optional(c, "n_shared_experts", or.shared)?;
                let moe = Moe::new(experts, chosen, moe_ff)
                    .checked(c, "num_experts_per_tok")?
                    .routed(Router::Array("mlp.gate.weight"));
                Some(moe.sharing("mlp.shared_experts", moe_ff * some_shared(c, shared)?))
            }
        };
        Ok(Self {
            networks: Networks {
                moe,
                dense: Mlp::gated(c.dim_if_used_or("intermediate_size", or.ff)?),
            },
            // Neither is looked at where there are no experts.
            first_dense: match moe {
                None => 0,
                Some(_) => c.count_or("first_k_dense_replace", or.first_dense)?,
            },
            every: match (moe, or.stepped) {
                (Some(_), true) => c.dim_or("moe_layer_freq", 1)?,
                _ => 1,
            },
        })
    }

    /// The same with version 3's router.
    fn corrected(mut self, c: &Config<'_>, layers: u64) -> Result<Self, ConfigError> {
        self.networks.moe = self.networks.moe.map(Moe::corrected);
        if (0..layers).any(|i| self.sparse(i)) {
            noaux_tc(c)?;
        }
        Ok(self)
    }

    fn sparse(&self, layer: u64) -> bool {
        self.networks.moe.is_some() && layer >= self.first_dense && layer.is_multiple_of(self.every)
    }

    /// Lists a model with `attention` in every layer.
    fn build(
        &self,
        c: &Config<'_>,
        frame: &Frame,
        attention: impl Fn(&mut Builder, u64),
    ) -> Result<Model, ConfigError> {
        frame.build(
            c,
            |i| self.sparse(i),
            |b, sparse| {
                attention(b, frame.hidden);
                self.networks.list(b, frame.hidden, sparse);
            },
            |_| {},
        )
    }
}

/// Null is none; 0 makes a layer of no width, which MLX refuses.
pub(super) fn some_shared(c: &Config<'_>, shared: Option<u64>) -> Result<u64, ConfigError> {
    match shared {
        None => Ok(0),
        Some(0) => Err(c.invalid(
            "n_shared_experts",
            "at least 1, or null for none, is expected (mlx-lm fails with ZeroDivisionError)",
        )),
        Some(n) => Ok(n),
    }
}

/// The one way of choosing experts that version 3's router knows.
pub(super) fn noaux_tc(c: &Config<'_>) -> Result<(), ConfigError> {
    match c.text("topk_method")? {
        None if !c.has("topk_method") => Ok(()),
        Some("noaux_tc") => Ok(()),
        _ => Err(c.invalid("topk_method", "noaux_tc is expected")),
    }
}

pub(super) fn deepseek(c: &Config<'_>) -> Result<Model, ConfigError> {
    let frame = Frame::or("deepseek", c, DEEPSEEK.sizes)?;
    if let Some(rope) = c.object("rope_scaling")?.filter(Config::is_filled) {
        rope.needs(&["type"])?;
    }
    let heads = c.count_or("num_attention_heads", 32)?;
    if heads > 0 && !frame.hidden.is_multiple_of(heads) {
        // Its output projection is the wrong way round, which does no harm where the heads fill the width.
        return Err(c.invalid(
            "num_attention_heads",
            format!("a divisor of hidden_size ({}) is expected", frame.hidden),
        ));
    }
    let bias = c.flag_or("attention_bias", false)?;
    let attention = Attention::of_width(
        c,
        frame.hidden,
        "num_attention_heads",
        heads,
        c.count_or("num_key_value_heads", 32)?,
    )?
    .biased(bias, bias);
    if c.has("n_shared_experts") && c.count_opt("n_shared_experts")? == Some(0) {
        return Err(c.invalid(
            "n_shared_experts",
            "at least 1, or null for none, is expected",
        ));
    }
    Layout::read(c, DEEPSEEK)?.build(c, &frame, |b, hidden| attention.list(b, hidden))
}

pub(super) fn deepseek_v2(c: &Config<'_>) -> Result<Model, ConfigError> {
    let frame = Frame::or("deepseek_v2", c, DEEPSEEK.sizes)?;
    let attention = Latent::from_config(c, LatentDefaults::DEEPSEEK)?.decompressed();
    let rope = c.need_object("rope_scaling")?;
    rope.needs(&["factor"])?;
    for field in YARN_NUMBERS {
        rope.number_or(field, 1.0)?;
    }
    c.number_or("rope_theta", 1.0)?;
    Layout::read(c, DEEPSEEK)?.build(c, &frame, |b, hidden| {
        attention.list(b, "self_attn", hidden);
    })
}

pub(super) fn deepseek_v3(c: &Config<'_>) -> Result<Model, ConfigError> {
    deepseek_v3_under(c, "", "deepseek_v3")
}

pub(super) fn kimi_k25(c: &Config<'_>) -> Result<Model, ConfigError> {
    deepseek_v3_under(
        &c.need_object("text_config")?,
        "language_model.",
        "kimi_k25",
    )
}

pub(super) fn kimi_vl(c: &Config<'_>) -> Result<Model, ConfigError> {
    deepseek_v3_under(&c.need_object("text_config")?, "language_model.", "kimi_vl")
}

fn deepseek_v3_under(
    c: &Config<'_>,
    root: &'static str,
    family: &'static str,
) -> Result<Model, ConfigError> {
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        root,
        kv_quant: NO_QUANTIZED_LATENTS,
        ..Frame::or(family, c, DEEPSEEK.sizes)?
    };
    let attention = Latent::from_config(c, LatentDefaults::DEEPSEEK)?;
    Layout::read(c, DEEPSEEK_V3)?
        .corrected(c, frame.layers)?
        .build(c, &frame, |b, hidden| {
            attention.list(b, "self_attn", hidden);
        })
}

pub(super) fn glm4_moe_lite(c: &Config<'_>) -> Result<Model, ConfigError> {
    check_rope(c, "rope_scaling")?;
    let frame = Frame {
        kv_quant: NO_QUANTIZED_LATENTS,
        // The class reads tie_word_embeddings but always makes a head.
        ..Frame::or("glm4_moe_lite", c, (2048, 47, 154_880))?
    };
    let attention = Latent::from_config(
        c,
        LatentDefaults {
            heads: 20,
            q_rank: 768,
            rank: 512,
            rope: 64,
            nope: 192,
            v_dim: 256,
        },
    )?;
    let defaults = Defaults {
        sizes: (2048, 47, 154_880),
        ff: 10_240,
        moe_ff: 1536,
        experts: Some(64),
        chosen: Some(4),
        shared: Some(1),
        first_dense: 1,
        stepped: true,
    };
    Layout::read(c, defaults)?
        .corrected(c, frame.layers)?
        .build(c, &frame, |b, hidden| {
            attention.list(b, "self_attn", hidden);
        })
}

pub(super) fn deepseek_v32(c: &Config<'_>) -> Result<Model, ConfigError> {
    sparse_attention(c, "deepseek_v32")
}

pub(super) fn glm_moe_dsa(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "vocab_size",
        "hidden_size",
        "index_head_dim",
        "index_n_heads",
        "index_topk",
        "intermediate_size",
        "moe_intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "n_shared_experts",
        "n_routed_experts",
        "routed_scaling_factor",
        "kv_lora_rank",
        "q_lora_rank",
        "qk_rope_head_dim",
        "v_head_dim",
        "qk_nope_head_dim",
        "topk_method",
        "scoring_func",
        "norm_topk_prob",
        "n_group",
        "topk_group",
        "num_experts_per_tok",
        "moe_layer_freq",
        "first_k_dense_replace",
        "max_position_embeddings",
        "rms_norm_eps",
        "attention_bias",
    ])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    c.need_object("rope_parameters")?.needs(&["rope_theta"])?;
    sparse_attention(c, "glm_moe_dsa")
}

/// Version 3 with an indexer that picks the tokens to attend to. Its cache keeps the index key, and zeros as wide in
/// place of values.
fn sparse_attention(c: &Config<'_>, family: &'static str) -> Result<Model, ConfigError> {
    let frame = Frame {
        own_cache: true,
        kv_quant: KvQuantSupport::Ignored,
        ..Frame::or(family, c, DEEPSEEK.sizes)?
    };
    check_rope(
        c,
        if family == "glm_moe_dsa" {
            "rope_parameters"
        } else {
            "rope_scaling"
        },
    )?;
    let attention = Latent::from_config(c, LatentDefaults::DEEPSEEK)?;
    let Some(q_rank) = attention.q_rank else {
        return Err(c.invalid("q_lora_rank", "a whole number is expected"));
    };
    let (index_heads, index_dim) = (
        c.count_or("index_n_heads", 64)?,
        c.dim_or("index_head_dim", 128)?,
    );
    Layout::read(c, DEEPSEEK_V3)?
        .corrected(c, frame.layers)?
        .build(c, &frame, |b, hidden| {
            attention.list(b, "self_attn", hidden);
            b.linear(
                "self_attn.indexer.wq_b",
                index_heads * index_dim,
                q_rank,
                false,
            );
            b.linear("self_attn.indexer.wk", index_dim, hidden, false);
            b.layer_norm("self_attn.indexer.k_norm", index_dim);
            b.linear("self_attn.indexer.weights_proj", index_heads, hidden, false);
            b.cache(CacheKind::Full {
                heads: 1,
                k_dim: index_dim,
                v_dim: index_dim,
            });
        })
}

/// Version 3's attention; the router is a linear layer and is quantized as any other.
pub(super) fn mistral4(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&[
        "routed_scaling_factor",
        "norm_topk_prob",
        "max_position_embeddings",
        "rms_norm_eps",
        "topk_group",
        "n_group",
        "n_shared_experts",
        "n_routed_experts",
        "num_experts_per_tok",
        "first_k_dense_replace",
    ])?;
    c.needs_or_null(&["num_key_value_heads"])?;
    let rope = c.need_object("rope_parameters")?;
    check_rope(c, "rope_parameters")?;
    rope.needs(&["llama_4_scaling_beta", "original_max_position_embeddings"])?;
    let frame = Frame {
        tied: tied_or(c, false)?,
        kv_quant: NO_QUANTIZED_LATENTS,
        ..Frame::usual("mistral4", c)?
    };
    let attention = Latent::explicit(c)?;
    let moe_ff = c.dim("moe_intermediate_size")?;
    let moe = match c.count_opt("n_routed_experts")? {
        None => None,
        Some(experts) => {
            let shared = some_shared(c, c.count_opt("n_shared_experts")?)?;
            Some(
                Moe::new(experts, c.count("num_experts_per_tok")?, moe_ff)
                    .checked(c, "num_experts_per_tok")?
                    .routed(Router::Linear("mlp.gate", Policy::Asked))
                    .sharing("mlp.shared_experts", moe_ff * shared),
            )
        }
    };
    let layout = Layout {
        networks: Networks {
            moe,
            dense: Mlp::gated(c.dim_if_used("intermediate_size")?),
        },
        first_dense: c.count_or("first_k_dense_replace", 0)?,
        every: 1,
    };
    layout.build(c, &frame, |b, hidden| {
        attention.list(b, "self_attn", hidden);
    })
}

/// GLM-4.5's and Solar's experts with plain grouped attention.
pub(super) fn grouped(
    c: &Config<'_>,
    frame: &Frame,
    attention: &Attention,
) -> Result<Model, ConfigError> {
    let defaults = Defaults {
        stepped: false,
        ..DEEPSEEK
    };
    let layout = Layout::read(c, defaults)?.corrected(c, frame.layers)?;
    layout
        .networks
        .build(c, frame, attention, &Windows::None, |i| layout.sparse(i))
}
