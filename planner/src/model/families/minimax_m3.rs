//! minimax_m3_vl, the text part: experts, and in some layers an index that picks blocks of keys.
//! Follows mlx-lm 0.32.2 `models/minimax_m3_vl.py`.

use crate::model::blocks::attention::{Attention, QkNorm};
use crate::model::blocks::decoder::{check_rope, tied_or};
use crate::model::blocks::frame::Frame;
use crate::model::blocks::mlp::Mlp;
use crate::model::blocks::moe::{Moe, Networks, Router};
use crate::model::{CacheKind, Config, ConfigError, KvQuantSupport, Model, Policy};
use crate::quant::Dtype;

pub(super) fn build(c: &Config<'_>) -> Result<Model, ConfigError> {
    let c = &c.need_object("text_config")?;
    check_rope(c, "rope_parameters")?;
    let frame = Frame {
        root: "language_model.",
        tied: tied_or(c, false)?,
        own_cache: true,
        kv_quant: KvQuantSupport::Ignored,
        ..Frame::or("minimax_m3_vl", c, (6144, 60, 200_064))?
    };
    let (hidden, layers) = (frame.hidden, frame.layers);
    let norm = if c.flag_or("use_qk_norm", true)? {
        QkNorm::Head
    } else {
        QkNorm::None
    };
    let attention = Attention::of(
        c.count_or("num_attention_heads", 64)?,
        c.count_or("num_key_value_heads", 4)?,
        c.dim_or("head_dim", 128)?,
    )
    .normed(norm)
    .checked(c)?;
    let networks = Networks {
        moe: Some(Moe {
            switch: "block_sparse_moe.switch_mlp",
            router: Router::Linear("block_sparse_moe.gate", Policy::Precise),
            correction: Some(("block_sparse_moe.e_score_correction_bias", Some(Dtype::F32))),
            ..Moe::new(
                c.count_or("num_local_experts", 128)?,
                c.count_or("num_experts_per_tok", 4)?,
                c.dim_or("intermediate_size", 3072)?,
            )
            .checked(c, "num_experts_per_tok")?
            .sharing(
                "block_sparse_moe.shared_experts",
                c.dim_or("shared_intermediate_size", 3072)?,
            )
        }),
        dense: Mlp::gated(c.dim_if_used_or("dense_intermediate_size", 12_288)?),
    };
    let index = Index::read(c)?;
    let experts = by_layer(c, c, "mlp_layer_types", "sparse", "moe_layer_freq", layers)?;
    frame.build(
        c,
        |i| {
            let at = i as usize;
            let indexed = index.as_ref().is_some_and(|(_, layers)| layers.at(at));
            (indexed, experts.at(at))
        },
        |b, (indexed, sparse)| {
            attention.list(b, hidden);
            if let Some((index, _)) = index.as_ref().filter(|_| indexed) {
                let (heads, dim) = (index.heads, index.dim);
                b.linear("self_attn.index_q_proj", heads * dim, hidden, false);
                b.linear("self_attn.index_k_proj", dim, hidden, false);
                b.norm("self_attn.index_q_norm", dim);
                b.norm("self_attn.index_k_norm", dim);
                // Values of no width stand beside the keys.
                b.cache(CacheKind::Full {
                    heads: 1,
                    k_dim: dim,
                    v_dim: 0,
                });
            }
            networks.list(b, hidden, sparse);
        },
        |_| {},
    )
}

/// Widths of the index.
struct Index {
    heads: u64,
    dim: u64,
}

/// A truth value for each layer; all true where nothing says otherwise.
struct ByLayer(Option<Vec<bool>>);

impl ByLayer {
    fn at(&self, layer: usize) -> bool {
        self.0
            .as_ref()
            .is_none_or(|list| list.get(layer).copied().unwrap_or(false))
    }
}

impl Index {
    /// Its widths and the layers that have it, from `sparse_attention_config` or beside it; none without a block size.
    fn read(c: &Config<'_>) -> Result<Option<(Self, ByLayer)>, ConfigError> {
        let inner = c.object("sparse_attention_config")?;
        let either = |nested: &'static str, flat: &'static str| {
            inner
                .filter(|inner| inner.has(nested))
                .map_or((*c, flat), |inner| (inner, nested))
        };
        let (scope, field) = either("sparse_block_size", "index_block_size");
        if scope.get(field).is_none() {
            return Ok(None);
        }
        let (scope, field) = either("sparse_num_index_heads", "index_n_heads");
        let heads = scope.count(field)?;
        let (scope, field) = either("sparse_index_dim", "index_head_dim");
        let dim = scope.dim(field)?;
        let (scope, field) = either("sparse_attention_freq", "sparse_attention_freq");
        let layers = c.count_or("num_hidden_layers", 60)?;
        let full = by_layer(c, &scope, "layer_types", "full_attention", field, layers)?;
        let sparse = if c.get("layer_types").is_some() {
            ByLayer(full.0.map(|list| list.iter().map(|full| !full).collect()))
        } else {
            full
        };
        Ok(Some((Self { heads, dim }, sparse)))
    }
}

/// Layers that `types` names `kind`; without that list, those where the list `numbers` in `scope` is not 0.
fn by_layer(
    c: &Config<'_>,
    scope: &Config<'_>,
    types: &str,
    kind: &str,
    numbers: &str,
    layers: u64,
) -> Result<ByLayer, ConfigError> {
    let list: Vec<bool> = if let Some(types) = c.texts(types)? {
        types.iter().map(|t| *t == kind).collect()
    } else if let Some(numbers) = scope.wholes(numbers)? {
        numbers.iter().map(|n| *n != 0).collect()
    } else {
        return Ok(ByLayer(None));
    };
    if (list.len() as u64) < layers {
        let (scope, field) = if c.get(types).is_some() {
            (c, types)
        } else {
            (scope, numbers)
        };
        return Err(scope.invalid(
            field,
            format!("one entry for each of the {layers} layers is expected"),
        ));
    }
    Ok(ByLayer(Some(list)))
}
