//! longcat_flash: two latent attentions and two dense networks a layer, with experts beside them; and
//! longcat_flash_ngram, which looks up the last few tokens together too.
//! Follows mlx-lm 0.32.2 `models/longcat_flash.py`, `models/longcat_flash_ngram.py`.

use crate::model::blocks::decoder::check_rope;
use crate::model::blocks::frame::{Frame, Trunk};
use crate::model::blocks::mla::Latent;
use crate::model::blocks::moe::{Moe, list_gated};
use crate::model::{Builder, CacheKind, Config, ConfigError, KvQuantSupport, Model, Policy};
use crate::quant::Dtype;

/// What a layer holds, and the frame around the layers.
struct Longcat {
    frame: Frame,
    attention: Latent,
    moe: Moe,
    /// Real experts and those that do nothing.
    choices: u64,
    router_bias: bool,
    ff: u64,
}

impl Longcat {
    fn read(c: &Config<'_>, family: &'static str) -> Result<Self, ConfigError> {
        c.needs(&[
            "zero_expert_num",
            "max_position_embeddings",
            "routed_scaling_factor",
            "rms_norm_eps",
            "rope_theta",
            "mla_scale_q_lora",
            "mla_scale_kv_lora",
        ])?;
        check_rope(c, "rope_scaling")?;
        let attention = Latent::explicit(c)?;
        // The class builds without them and then fails with the first token.
        for field in ["mla_scale_q_lora", "mla_scale_kv_lora"] {
            if !c.flag_or(field, false)? {
                return Err(c.invalid(field, "true is expected"));
            }
        }
        if attention.q_rank.is_none() {
            return Err(c.invalid("q_lora_rank", "a whole number is expected"));
        }
        let moe = Moe::new(
            c.count("n_routed_experts")?,
            c.count("moe_topk")?,
            c.dim("expert_ffn_hidden_size")?,
        );
        let choices = moe.experts + c.count_or("zero_expert_num", 0)?;
        Moe {
            experts: choices,
            ..moe
        }
        .checked(c, "moe_topk")?;
        let ff = c.dim("ffn_hidden_size")?;
        Ok(Self {
            frame: Frame {
                norms: &[
                    "input_layernorm.0",
                    "input_layernorm.1",
                    "post_attention_layernorm.0",
                    "post_attention_layernorm.1",
                ],
                own_cache: true,
                kv_quant: KvQuantSupport::Ignored,
                ..Frame::new(
                    family,
                    (
                        c.dim("hidden_size")?,
                        c.count("num_layers")?,
                        c.dim("vocab_size")?,
                    ),
                )
            },
            attention,
            // Both dense networks see every token.
            moe: moe.sharing("mlps", 2 * ff),
            choices,
            router_bias: c.flag_or("router_bias", false)?,
            ff,
        })
    }

    /// Lists a layer.
    fn layer(&self, b: &mut Builder) {
        let hidden = self.frame.hidden;
        self.attention.list(b, "self_attn.0", hidden);
        self.attention.list(b, "self_attn.1", hidden);
        b.linear(
            "mlp.router.classifier",
            self.choices,
            hidden,
            self.router_bias,
        )
        .policy(Policy::Precise);
        b.param_fixed(
            "mlp.router.e_score_correction_bias",
            &[self.choices],
            Dtype::F32,
        );
        self.moe.list_experts(b, hidden);
        list_gated(b, "mlps.0", hidden, self.ff, false);
        list_gated(b, "mlps.1", hidden, self.ff, false);
        self.moe.note(b);
    }
}

pub(super) fn longcat_flash(c: &Config<'_>) -> Result<Model, ConfigError> {
    c.needs(&["attention_method", "zero_expert_type", "attention_bias"])?;
    let longcat = Longcat::read(c, "longcat_flash")?;
    longcat
        .frame
        .build(c, |_| (), |b, ()| longcat.layer(b), |_| {})
}

/// Tables of 2 to `emb_neighbor_num` tokens in a row, `emb_split_num` of each length. The last tokens are kept, as
/// 64-bit numbers.
pub(super) fn longcat_flash_ngram(c: &Config<'_>) -> Result<Model, ConfigError> {
    let longcat = Longcat::read(c, "longcat_flash_ngram")?;
    let hidden = longcat.frame.hidden;
    let (splits, neighbors) = (
        c.count_or("emb_split_num", 4)?,
        c.count_or("emb_neighbor_num", 4)?,
    );
    let tables = splits * neighbors.saturating_sub(1);
    if tables == 0 || tables > hidden {
        return Err(c.invalid(
            "emb_neighbor_num",
            format!(
                "emb_split_num × (emb_neighbor_num − 1) is expected from 1 to {hidden}, the model's width"
            ),
        ));
    }
    let rows = c
        .dim_or("ngram_vocab_size_ratio", 78)?
        .saturating_mul(longcat.frame.vocab);
    let width = hidden / tables;
    Frame {
        trunk: Trunk {
            embed: "model.ngram_embeddings.word_embeddings",
            ..Trunk::MODEL
        },
        ..longcat.frame
    }
    .build(
        c,
        |i| i == 0,
        |b, first| {
            longcat.layer(b);
            if first {
                // It stands before the layers' caches; the first layer carries it here.
                b.cache(CacheKind::Tail {
                    tokens: neighbors - 1,
                    elements: 0,
                    f32_elements: 2,
                });
            }
        },
        |b| {
            for i in 0..tables {
                let path = format!("model.ngram_embeddings.embedders.{i}");
                b.embedding(&path, rows.saturating_add(2 * i + 1), width);
                let path = format!("model.ngram_embeddings.post_projs.{i}");
                b.linear(&path, hidden, width, false);
            }
        },
    )
}
