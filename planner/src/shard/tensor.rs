//! A rank's part of a model whose matrices are cut.
//!
//! Source: mlx 0.32.2 `nn/layers/distributed.py` and the `shard` of each class in mlx-lm 0.32.2 `models/`. What no rule
//! names stays whole on every rank: embeddings, norms, routers, and mostly the output head.

use super::rules::{self, Class, Cut};
use super::{SplitError, held};
use crate::model::{CacheKind, FeedForward, LayerGroup, Mixer, Model, Role, Shape, Tensor};
use crate::quant::Scheme;
use crate::weights::{self, Stored};

/// The model that each of `ranks` holds, and the bytes it goes on holding of what it took a slice of.
pub(super) fn part(model: &Model, scheme: &Scheme, ranks: u64) -> Result<(Model, u64), SplitError> {
    let class = rules::class_of(model).ok_or(SplitError::NoTensor {
        family: model.family,
    })?;
    check_heads(model, class, ranks)?;
    check_groups(model, class, scheme, ranks)?;
    let mut part = model.clone();
    let mut extra_bytes = 0;
    for (index, tensor) in part.tensors.iter_mut().enumerate() {
        let Some(cut) = class.cut(&tensor.path) else {
            continue;
        };
        let kv = class.repeats_kv && is_kv(&tensor.path);
        let (shape, whole) = cut_shape(model, tensor, cut, ranks, kv)?;
        if matches!(cut, Cut::Slice | Cut::SecondSlice) {
            let bytes = held::tensor_bytes(model, index, scheme)?;
            extra_bytes += bytes - bytes / ranks;
        }
        if !whole {
            tensor.shape = shape;
        }
    }
    for (group, traits) in part.groups.iter_mut().zip(&mut part.traits) {
        cut_group(group, class, ranks);
        traits.inner /= ranks;
    }
    Ok((part, extra_bytes))
}

fn is_kv(path: &str) -> bool {
    path.contains("self_attn.k_proj") || path.contains("self_attn.v_proj")
}

/// The shape a rank keeps, and whether it keeps all.
fn cut_shape(
    model: &Model,
    tensor: &Tensor,
    cut: Cut,
    ranks: u64,
    repeated: bool,
) -> Result<(Shape, bool), SplitError> {
    let mut dims = tensor.shape.dims().to_vec();
    let bias = tensor.role == Role::Plain && tensor.path.ends_with(".bias");
    let place = match cut {
        Cut::Input if bias => return Ok((tensor.shape, true)),
        Cut::Input => dims.len() - 1,
        Cut::Output if bias => dims.len() - 1,
        Cut::Output => dims.len().saturating_sub(2),
        // A_log of kimi_k3 is flattened first.
        Cut::Slice | Cut::First => dims.iter().position(|&d| d != 1).unwrap_or(0),
        Cut::SecondSlice => 1.min(dims.len() - 1),
    };
    let mut width = dims[place];
    if repeated {
        let kv = kv_heads(model);
        // Each head is there as often as ranks need it.
        width = (width / kv).saturating_mul(kv.max(ranks));
    }
    if !width.is_multiple_of(ranks) {
        return Err(SplitError::Divide {
            path: tensor.path.to_string(),
            width,
            ranks,
        });
    }
    dims[place] = width / ranks;
    Ok((Shape::new(&dims), false))
}

fn kv_heads(model: &Model) -> u64 {
    let all = model.groups.iter().flat_map(|g| &g.mixers);
    all.filter_map(|m| match m {
        Mixer::Attention { kv_heads, .. } => Some(*kv_heads),
        _ => None,
    })
    .max()
    .unwrap_or(1)
    .max(1)
}

/// Key heads of a gated delta mixer (qwen3_5), whose convolution runs over queries and keys of one width and values of
/// another: `conv_dim` = 2 · key heads · key width + heads · value width, `state` = value width · key width.
fn key_heads(model: &Model, heads: u64, state: u64, conv_dim: u64) -> Option<u64> {
    let norm = model
        .tensors
        .iter()
        .find(|t| t.path.ends_with("linear_attn.norm.weight"))?;
    let value_width = *norm.shape.dims().first()?;
    let key_width = state.checked_div(value_width)?;
    let keys = conv_dim.checked_sub(heads * value_width)? / 2;
    keys.checked_div(key_width)
}

/// Heads are divided with `//`: what does not divide fails when the model runs, or before.
fn check_heads(model: &Model, class: &Class, ranks: u64) -> Result<(), SplitError> {
    let check = |what, heads: u64| {
        if heads.is_multiple_of(ranks) {
            Ok(())
        } else {
            Err(SplitError::Heads { what, heads, ranks })
        }
    };
    for group in &model.groups {
        for mixer in &group.mixers {
            match *mixer {
                Mixer::Attention {
                    heads, kv_heads, ..
                } => {
                    check("attention", heads)?;
                    match (class.repeats_kv && kv_heads < ranks, kv_heads) {
                        (true, kv) if ranks.is_multiple_of(kv.max(1)) => {}
                        // Keys that all heads share are not cut.
                        (false, 1) if class.family == "deepseek_v41" => {}
                        (_, kv) => check("key and value", kv)?,
                    }
                }
                Mixer::Latent { heads, .. } => check("attention", heads)?,
                Mixer::Recurrent {
                    heads,
                    state,
                    conv_dim,
                    ..
                } => {
                    check("recurrent", heads)?;
                    if let Some(keys) = key_heads(model, heads, state, conv_dim) {
                        check("recurrent key", keys)?;
                    }
                }
                Mixer::Convolution { .. } => {}
            }
        }
        if let FeedForward::Experts { shared_ff: 0, .. } = group.feed_forward
            && class.needs_shared
        {
            return Err(SplitError::NoShared {
                family: class.family,
            });
        }
    }
    Ok(())
}

/// A packed matrix is cut along its input only between groups that share a scale.
fn check_groups(
    model: &Model,
    class: &Class,
    scheme: &Scheme,
    ranks: u64,
) -> Result<(), SplitError> {
    let lines = weights::ledger(model, scheme)?;
    for line in lines {
        if class.cut(&line.path) != Some(Cut::Input) {
            continue;
        }
        let last = line.shape.last().copied().unwrap_or(1);
        if let Stored::Packed(packing) = line.stored
            && !last.is_multiple_of(u64::from(packing.group_size).saturating_mul(ranks))
        {
            return Err(SplitError::Groups {
                path: line.path,
                last,
                group_size: packing.group_size,
                ranks,
            });
        }
    }
    Ok(())
}

fn cut_group(group: &mut LayerGroup, class: &Class, ranks: u64) {
    let cut_kv = |kv: u64| (kv / ranks).max(1);
    for cache in &mut group.caches {
        for mixer in &group.mixers {
            if fit(cache, mixer) {
                cut_cache(cache, ranks);
                break;
            }
        }
    }
    for mixer in &mut group.mixers {
        match mixer {
            Mixer::Attention {
                heads, kv_heads, ..
            } => {
                *heads /= ranks;
                *kv_heads = cut_kv(*kv_heads);
            }
            Mixer::Latent { heads, .. } => *heads /= ranks,
            Mixer::Recurrent {
                heads, conv_dim, ..
            } => {
                *heads /= ranks;
                *conv_dim /= ranks;
            }
            Mixer::Convolution { .. } => {}
        }
    }
    let whole_shared = class.family == "muse_spark";
    match &mut group.feed_forward {
        FeedForward::None => {}
        FeedForward::Dense { ff, .. } => *ff /= ranks,
        FeedForward::Experts { ff, shared_ff, .. } => {
            *ff /= ranks;
            if !whole_shared {
                *shared_ff /= ranks;
            }
        }
    }
}

/// Whether the cache is the one that the mixer fills, head by head.
fn fit(cache: &CacheKind, mixer: &Mixer) -> bool {
    match (*cache, *mixer) {
        (
            CacheKind::Full {
                heads,
                k_dim,
                v_dim,
            }
            | CacheKind::Rotating {
                heads,
                k_dim,
                v_dim,
                ..
            }
            | CacheKind::Chunked {
                heads,
                k_dim,
                v_dim,
                ..
            },
            Mixer::Attention {
                kv_heads,
                k_dim: k,
                v_dim: v,
                ..
            },
        ) => (heads, k_dim, v_dim) == (kv_heads, k, v),
        (CacheKind::State { .. }, Mixer::Recurrent { .. }) => true,
        _ => false,
    }
}

fn cut_cache(cache: &mut CacheKind, ranks: u64) {
    match cache {
        CacheKind::Full { heads, .. }
        | CacheKind::Rotating { heads, .. }
        | CacheKind::Chunked { heads, .. } => *heads = (*heads / ranks).max(1),
        CacheKind::State {
            elements,
            f32_elements,
        } => {
            *elements /= ranks;
            *f32_elements /= ranks;
        }
        CacheKind::Tail { .. } | CacheKind::Groups { .. } => {}
    }
}
