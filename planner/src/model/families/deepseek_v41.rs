//! deepseek_v41: one key-value head with a window, compressed groups of tokens behind it in some layers, experts, and
//! several residual streams. Follows mlx-lm 0.32.2 `models/deepseek_v41.py`.

use crate::model::blocks::frame::Frame;
use crate::model::blocks::moe::{Moe, Router};
use crate::model::{
    Builder, CacheKind, Config, ConfigError, Flavour, KvQuantSupport, Mixer, Model,
};
use crate::quant::Dtype;

/// Widths that all layers share.
struct Widths {
    hidden: u64,
    heads: u64,
    head_dim: u64,
    q_rank: u64,
    o_groups: u64,
    o_rank: u64,
    index_heads: u64,
    index_dim: u64,
    window: u64,
    streams: u64,
}

/// What differs between layers.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    /// Tokens of a compressed group; 0 without groups.
    ratio: u64,
    /// Makes the groups that this layer and later ones look at.
    makes_groups: bool,
    /// Chooses among the groups.
    indexes: bool,
}

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let c = &c.object("text_config")?.unwrap_or(*c);
    if c.list("engram_layer_ids")?.is_some_and(|l| !l.is_empty()) {
        return Err(ConfigError::Refused(
            "ValueError: layers use engram memory, which this implementation does not have"
                .to_owned(),
        ));
    }
    let frame = Frame {
        own_cache: true,
        kv_quant: KvQuantSupport::Ignored,
        ..Frame::or("deepseek_v41", c, (5120, 40, 129_280))?
    };
    let widths = Widths::read(c, frame.hidden)?;
    let ratios = c.wholes("compress_ratios")?.unwrap_or_default();
    let makers = c.wholes("kv_source_layer_ids")?.unwrap_or_default();
    let indexers = c.wholes("index_source_layer_ids")?.unwrap_or_default();
    for (field, layers) in [
        ("kv_source_layer_ids", &makers),
        ("index_source_layer_ids", &indexers),
    ] {
        let beyond = |i: &&u64| **i < frame.layers && **i >= ratios.len() as u64;
        if let Some(layer) = layers.iter().find(beyond) {
            return Err(c.invalid(
                field,
                format!("layers with an entry in compress_ratios are expected, {layer} has none"),
            ));
        }
    }
    let moe_ff = c.dim_or("moe_intermediate_size", 2304)?;
    let moe = Moe {
        switch: "mlp.experts.switch_mlp",
        router: Router::Array("mlp.gate.weight"),
        ..Moe::new(
            c.count_or("n_routed_experts", 384)?,
            c.count_or("num_experts_per_tok", 6)?,
            moe_ff,
        )
        .checked(c, "num_experts_per_tok")?
        .corrected()
        .sharing("mlp.shared_experts", moe_ff)
    };
    frame.build(
        c,
        |i| Kind {
            ratio: ratios.get(i as usize).copied().unwrap_or(0),
            makes_groups: makers.contains(&i),
            indexes: indexers.contains(&i),
        },
        |b, kind| {
            widths.attention(b, kind);
            moe.list(b, frame.hidden);
            widths.streams(b);
        },
        |_| {},
    )
}

impl Widths {
    fn read(c: &Config<'_>, hidden: u64) -> Result<Self, ConfigError> {
        let widths = Self {
            hidden,
            heads: c.count_or("num_attention_heads", 64)?,
            head_dim: c.dim_or("head_dim", 512)?,
            q_rank: c.dim_or("q_lora_rank", 1280)?,
            o_groups: c.count_or("o_groups", 8)?,
            o_rank: c.dim_or("o_lora_rank", 1024)?,
            index_heads: c.count_or("index_n_heads", 32)?,
            index_dim: c.dim_or("index_head_dim", 128)?,
            window: c.dim_or("sliding_window", 128)?,
            streams: c.count_or("hc_mult", 4)?,
        };
        if widths.heads == 0
            || widths.o_groups == 0
            || !(widths.heads.saturating_mul(widths.head_dim)).is_multiple_of(widths.o_groups)
        {
            return Err(c.invalid(
                "o_groups",
                "a divisor of num_attention_heads × head_dim is expected",
            ));
        }
        Ok(widths)
    }

    fn attention(&self, b: &mut Builder, kind: Kind) {
        let (hidden, dim) = (self.hidden, self.head_dim);
        let queries = self.heads * dim;
        b.linear("self_attn.q_a_proj", self.q_rank, hidden, false);
        b.norm("self_attn.q_a_norm", self.q_rank);
        b.linear("self_attn.q_b_proj", queries, self.q_rank, false);
        b.linear("self_attn.kv_proj", dim, hidden, false);
        b.norm("self_attn.kv_norm", dim);
        b.switch_linear(
            "self_attn.o_a_proj",
            (self.o_groups, self.o_groups),
            self.o_rank,
            queries / self.o_groups,
            false,
        );
        b.linear(
            "self_attn.o_b_proj",
            hidden,
            self.o_groups * self.o_rank,
            false,
        );
        b.param_fixed("self_attn.sinks", &[self.heads], Dtype::F32);
        if kind.makes_groups {
            // All of the compressor stays in single precision.
            b.linear("self_attn.compressor.kv_proj", dim, hidden, false)
                .fixed(Dtype::F32);
            if kind.ratio > 1 {
                b.linear("self_attn.compressor.gate_proj", dim, hidden, false)
                    .fixed(Dtype::F32);
            }
            b.param_fixed("self_attn.compressor.kv_norm.weight", &[dim], Dtype::F32);
        }
        if kind.indexes {
            b.linear(
                "self_attn.indexer.q_b_proj",
                self.index_heads * self.index_dim,
                self.q_rank,
                false,
            );
            b.linear(
                "self_attn.indexer.weights_proj",
                self.index_heads,
                hidden,
                false,
            );
            if kind.makes_groups {
                b.linear("self_attn.indexer.k_proj", self.index_dim, dim, false);
                b.norm("self_attn.indexer.k_norm", self.index_dim);
            }
        }
        b.mixer(Mixer::Attention {
            heads: self.heads,
            kv_heads: 1,
            k_dim: dim,
            v_dim: dim,
            window: Some(self.window),
            flavour: Flavour::Manual,
        });
        b.cache(CacheKind::Tail {
            tokens: self.window,
            elements: dim,
            f32_elements: 0,
        });
        if kind.makes_groups && kind.ratio > 0 {
            let index = if kind.indexes { self.index_dim } else { 0 };
            b.cache(CacheKind::Groups {
                ratio: kind.ratio,
                // The compressor's norm, kept in single precision, makes them so.
                f32_elements: dim + index,
                open_f32_elements: 2 * dim,
            });
        }
    }

    /// What mixes the residual streams before attention and before the network.
    fn streams(&self, b: &mut Builder) {
        let n = self.streams;
        let mix = (2 + n) * n;
        let wide = n.saturating_mul(self.hidden);
        for [fun, base, scale] in [
            ["attn_hc.fn", "attn_hc.base", "attn_hc.scale"],
            ["ffn_hc.fn", "ffn_hc.base", "ffn_hc.scale"],
        ] {
            b.param_fixed(fun, &[mix, wide], Dtype::F32);
            b.param_fixed(base, &[mix], Dtype::F32);
            b.param_fixed(scale, &[3], Dtype::F32);
        }
    }
}
