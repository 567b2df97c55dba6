//! Caches line by line: which kind, in how many layers, with room for how many tokens, in how many bytes.

use super::{Moment, Workload, effective};
use crate::model::{CacheKind, KvQuantSupport, Model};
use crate::quant::{Dtype, Packing};

/// Caches of one kind and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What mlx-lm calls such a cache.
    pub class: &'static str,
    /// What it keeps, in words.
    pub keeps: String,
    /// Layers that have one, or caches where a layer has several.
    pub count: u64,
    /// Tokens there is room for in each; 0 where it does not grow with the context.
    pub room_tokens: u64,
    /// How it is stored.
    pub stored_as: String,
    /// Bytes in all of them, all sequences together.
    pub bytes: u64,
}

/// What all caches hold once the whole context is in; the bytes sum to [`super::bytes_at_rest`].
#[must_use]
pub fn ledger(model: &Model, workload: &Workload, dtype: Dtype) -> Vec<Line> {
    let kv_quant = workload
        .quantized_at(workload.context_tokens)
        .filter(|_| model.kv_quant == KvQuantSupport::Yes);
    let mut lines: Vec<(CacheKind, Line)> = Vec::new();
    for group in &model.groups {
        for &kind in &group.caches {
            let kind = effective(model, kind, workload);
            let one = kind.bytes(workload, Moment::Rest, dtype, kv_quant);
            let count = group.count();
            let bytes = one
                .saturating_mul(count)
                .saturating_mul(workload.concurrency);
            if let Some((_, line)) = lines.iter_mut().find(|(known, _)| *known == kind) {
                line.count += count;
                line.bytes = line.bytes.saturating_add(bytes);
                continue;
            }
            let stored_as = match (kind, kv_quant) {
                (CacheKind::Full { .. }, Some(kv)) => {
                    Packing::affine(kv.bits, kv.group_size).to_string()
                }
                (CacheKind::Groups { .. }, _) => Dtype::F32.name().to_owned(),
                _ => dtype.name().to_owned(),
            };
            lines.push((
                kind,
                Line {
                    class: kind.class(kv_quant.is_some()),
                    keeps: kind.keeps(),
                    count,
                    room_tokens: kind.room_tokens(workload, Moment::Rest),
                    stored_as,
                    bytes,
                },
            ));
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

impl CacheKind {
    /// The class of mlx-lm (`models/cache.py`).
    const fn class(self, quantized: bool) -> &'static str {
        match self {
            Self::Full { .. } if quantized => "QuantizedKVCache",
            Self::Full { .. } => "KVCache",
            Self::Rotating { .. } => "RotatingKVCache",
            Self::Chunked { .. } => "ChunkedKVCache",
            Self::State { .. } | Self::Tail { .. } | Self::Groups { .. } => "ArraysCache",
        }
    }

    fn keeps(self) -> String {
        let wide = |heads: u64, k_dim: u64, v_dim: u64| {
            if k_dim == v_dim {
                format!("{heads} heads × {k_dim}")
            } else {
                format!("{heads} heads × {k_dim} and {v_dim}")
            }
        };
        match self {
            Self::Full {
                heads,
                k_dim,
                v_dim,
            } => wide(heads, k_dim, v_dim),
            Self::Rotating {
                heads,
                k_dim,
                v_dim,
                window,
            } => format!("{}, last {window} tokens", wide(heads, k_dim, v_dim)),
            Self::Chunked {
                heads,
                k_dim,
                v_dim,
                chunk,
            } => format!("{}, chunks of {chunk}", wide(heads, k_dim, v_dim)),
            Self::Tail { tokens, .. } => format!("last {tokens} tokens"),
            Self::Groups { ratio, .. } => format!("a row for {ratio} tokens"),
            Self::State {
                elements,
                f32_elements,
            } => format!("state of {} elements", elements + f32_elements),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KvQuant, bytes_at_rest};
    use super::*;
    use crate::model::families;
    use crate::source::catalog::MODELS;

    #[test]
    fn lines_sum_to_the_caches_of_every_model() {
        let mut seen = 0;
        for entry in MODELS {
            let Ok(model) = families::build(&entry.description().unwrap()) else {
                continue;
            };
            for (context_tokens, kv_quant, max_kv_tokens) in [
                (1, None, None),
                (5000, None, None),
                (70_001, None, Some(4096)),
                (70_001, Some(8), None),
            ] {
                let workload = Workload {
                    context_tokens,
                    concurrency: 3,
                    kv_quant: kv_quant.map(|bits| KvQuant {
                        bits,
                        group_size: 64,
                        start_tokens: 5000,
                    }),
                    max_kv_tokens,
                    ..Workload::default()
                };
                let lines = ledger(&model, &workload, model.dtype);
                let sum: u64 = lines.iter().map(|l| l.bytes).sum();
                assert_eq!(
                    sum,
                    bytes_at_rest(&model, &workload, model.dtype),
                    "{}: {lines:?}",
                    entry.name
                );
                seen += 1;
            }
        }
        assert!(seen > 200, "{seen}");
    }
}
