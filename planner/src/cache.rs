//! KV and state caches as MLX allocates them.
//!
//! Source: mlx-lm 0.32.2 `models/cache.py` and `generate.py` (`generate_step`): a prompt of T tokens goes in chunks of
//! `prefill_step` until one token is left, then that token alone; decoding goes on token by token.

mod ledger;

use thiserror::Error;

use crate::model::{KvQuantSupport, Model};

use crate::model::CacheKind;
use crate::quant::{Dtype, Packing};

pub use ledger::{Line, ledger};

/// Tokens by which `KVCache` grows.
const STEP: u64 = 256;

/// Bits and group size of a quantized cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvQuant {
    /// Bits an element.
    pub bits: u8,
    /// Elements that share a scale and a bias.
    pub group_size: u16,
    /// Tokens from which on the cache is quantized (mlx-lm's `quantized_kv_start`).
    pub start_tokens: u64,
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Tokens in each sequence's cache, prompt and answer together; at least 1.
    pub context_tokens: u64,
    /// Sequences at once; at least 1.
    pub concurrency: u64,
    /// Tokens a prefill chunk; at least 1.
    pub prefill_step_tokens: u64,
    /// Quantized caches.
    pub kv_quant: Option<KvQuant>,
    /// mlx-lm's `--max-kv-size`.
    pub max_kv_tokens: Option<u64>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            context_tokens: 4096,
            concurrency: 1,
            prefill_step_tokens: 2048,
            kv_quant: None,
            max_kv_tokens: None,
        }
    }
}

/// What mlx-lm itself refuses, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CacheError {
    /// A rotating cache cannot be quantized.
    #[error(
        "mlx-lm refuses to quantize this model's cache: it has rotating (sliding window) caches, and 'RotatingKVCache Quantization NYI'"
    )]
    Rotating,
    /// A head dimension does not divide by the group.
    #[error(
        "mlx-lm refuses to quantize this model's cache: the head dimension {dim} does not divide by the quantization group size {group_size}"
    )]
    Divide {
        /// Width of a key or value head.
        dim: u64,
        /// Elements that share a scale.
        group_size: u16,
    },
    /// The model's own attention cannot use a quantized cache.
    #[error("mlx-lm fails with a quantized cache for this model: {0}")]
    Model(&'static str),
}

/// A moment of a run at which caches are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A prefill chunk of `tokens` was just added after `before` tokens.
    Chunk {
        /// Tokens in the cache before it.
        before: u64,
        /// Tokens of the chunk.
        tokens: u64,
    },
    /// The whole context is in, the last token alone.
    Rest,
}

impl Workload {
    /// Full prefill chunks, and the tokens of the shorter one that follows them (0 without one). The prompt's last
    /// token is in neither.
    #[must_use]
    pub const fn chunks(&self) -> (u64, u64) {
        let prefill = self.context_tokens - 1;
        (
            prefill / self.prefill_step_tokens,
            prefill % self.prefill_step_tokens,
        )
    }

    /// The moments at which all caches together can be largest.
    pub fn moments(&self) -> impl Iterator<Item = Moment> + use<> {
        let (full, rest) = self.chunks();
        let step = self.prefill_step_tokens;
        let last_full = (full > 0).then(|| Moment::Chunk {
            before: (full - 1) * step,
            tokens: step,
        });
        let last = (rest > 0).then(|| Moment::Chunk {
            before: full * step,
            tokens: rest,
        });
        last_full.into_iter().chain(last).chain([Moment::Rest])
    }

    /// Whether caches that can be quantized are, once `tokens` are in.
    #[must_use]
    pub fn quantized_at(&self, tokens: u64) -> Option<KvQuant> {
        self.kv_quant.filter(|kv| tokens >= kv.start_tokens)
    }
}

/// Tokens a `KVCache` has room for when `tokens` have been added in chunks of `step`, and then singly if `single`.
fn full_room(tokens: u64, step: u64, single: bool) -> u64 {
    if step.is_multiple_of(STEP) || tokens <= step {
        return tokens.div_ceil(STEP) * STEP;
    }
    let prefill = if single { tokens - 1 } else { tokens };
    let (mut room, mut offset) = (0, 0);
    while offset < prefill {
        let chunk = step.min(prefill - offset);
        if offset + chunk > room {
            // Only an offset that is no multiple of the step cuts away the room beyond it.
            let kept = if offset % STEP == 0 { room } else { offset };
            room = kept + chunk.div_ceil(STEP) * STEP;
            offset += chunk;
        } else {
            // As many whole chunks as fit into the room there is.
            offset += (room - offset) / chunk * chunk;
        }
    }
    if offset < tokens && tokens > room {
        offset + STEP
    } else {
        room
    }
}

/// Tokens a `RotatingKVCache` of `window` has room for at rest.
fn rotating_room(tokens: u64, step: u64, window: u64) -> u64 {
    // Tokens that came in chunks of more than one; from there on it grows in place.
    let in_chunks = match (step, (tokens - 1) % step) {
        (1, _) => 0,
        (_, 1) => tokens - 2,
        _ => tokens - 1,
    };
    if in_chunks >= window {
        return window;
    }
    (in_chunks + (tokens - in_chunks).div_ceil(STEP) * STEP).min(window)
}

/// Tokens a `ChunkedKVCache` of `keep` has room for.
fn chunked_room(tokens: u64, step: u64, keep: u64, single: bool) -> u64 {
    let prefill = if single { tokens - 1 } else { tokens };
    let (mut room, mut valid) = (0_u64, 0_u64);
    let mut add = |chunk: u64| {
        if valid > keep {
            valid = keep;
            room = keep;
        }
        if valid + chunk > room {
            let kept = if valid % STEP == 0 { room } else { valid };
            room = kept + chunk.div_ceil(STEP) * STEP;
        }
        valid += chunk;
    };
    // Once it is trimmed every whole chunk leaves the same room, so a few beyond that stand for all.
    for _ in 0..(prefill / step).min(keep / step + 3) {
        add(step);
    }
    if prefill % step > 0 {
        add(prefill % step);
    }
    if single {
        add(1);
    }
    room
}

impl CacheKind {
    /// Elements a token takes: all heads' keys and values; 0 for a constant state and for what is kept without room.
    #[must_use]
    pub const fn token_elements(self) -> u64 {
        match self {
            Self::Full {
                heads,
                k_dim,
                v_dim,
            }
            | Self::Rotating {
                heads,
                k_dim,
                v_dim,
                ..
            }
            | Self::Chunked {
                heads,
                k_dim,
                v_dim,
                ..
            } => heads.saturating_mul(k_dim.saturating_add(v_dim)),
            Self::State { .. } | Self::Tail { .. } | Self::Groups { .. } => 0,
        }
    }

    /// Tokens there is room for at `moment`; 0 for a constant state and for what is kept without room.
    #[must_use]
    pub fn room_tokens(self, workload: &Workload, moment: Moment) -> u64 {
        let step = workload.prefill_step_tokens;
        match (self, moment) {
            (Self::State { .. } | Self::Tail { .. } | Self::Groups { .. }, _) => 0,
            (Self::Full { .. }, Moment::Rest) => full_room(workload.context_tokens, step, true),
            (Self::Full { .. }, Moment::Chunk { before, tokens }) => {
                full_room(before + tokens, step, false)
            }
            (Self::Rotating { window, .. }, Moment::Rest) => {
                rotating_room(workload.context_tokens, step, window)
            }
            (Self::Rotating { window, .. }, Moment::Chunk { before, tokens: 1 }) => {
                rotating_room(before + 1, step, window)
            }
            (Self::Rotating { window, .. }, Moment::Chunk { before, tokens }) => {
                before.min(window - 1) + tokens
            }
            (Self::Chunked { chunk, .. }, Moment::Rest) => {
                chunked_room(workload.context_tokens, step, chunk, true)
            }
            (Self::Chunked { chunk, .. }, Moment::Chunk { before, tokens }) => {
                chunked_room(before + tokens, step, chunk, false)
            }
        }
    }

    /// Bytes one sequence's cache takes in one layer.
    #[must_use]
    pub fn bytes(
        self,
        workload: &Workload,
        moment: Moment,
        dtype: Dtype,
        kv_quant: Option<KvQuant>,
    ) -> u64 {
        let room = self.room_tokens(workload, moment);
        let tokens_in = match moment {
            Moment::Rest => workload.context_tokens,
            Moment::Chunk { before, tokens } => before.saturating_add(tokens),
        };
        let plain = |rows: u64, elements: u64, f32_rows: u64, f32_elements: u64| {
            rows.saturating_mul(elements.saturating_mul(dtype.bytes()))
                .saturating_add(f32_rows.saturating_mul(f32_elements.saturating_mul(4)))
        };
        match (self, kv_quant) {
            (
                Self::State {
                    elements,
                    f32_elements,
                },
                _,
            ) => plain(1, elements, 1, f32_elements),
            (
                Self::Tail {
                    tokens,
                    elements,
                    f32_elements,
                },
                _,
            ) => {
                let rows = tokens_in.min(tokens);
                plain(rows, elements, rows, f32_elements)
            }
            (
                Self::Groups {
                    ratio,
                    f32_elements,
                    open_f32_elements,
                },
                _,
            ) => plain(0, 0, tokens_in / ratio, f32_elements).saturating_add(plain(
                0,
                0,
                tokens_in % ratio,
                open_f32_elements,
            )),
            (Self::Full { .. }, Some(kv)) => {
                let groups = self.token_elements() / u64::from(kv.group_size);
                let group_bytes = Packing::affine(kv.bits, kv.group_size).group_bytes(dtype);
                room.saturating_mul(groups).saturating_mul(group_bytes)
            }
            _ => room
                .saturating_mul(self.token_elements())
                .saturating_mul(dtype.bytes()),
        }
    }
}

/// The caches a model really gets: `--max-kv-size` turns full ones into rotating ones where it is honoured.
pub(crate) fn effective(model: &Model, kind: CacheKind, workload: &Workload) -> CacheKind {
    match (kind, workload.max_kv_tokens) {
        (
            CacheKind::Full {
                heads,
                k_dim,
                v_dim,
            },
            Some(window),
        ) if model.honours_max_kv_size => CacheKind::Rotating {
            heads,
            k_dim,
            v_dim,
            window,
        },
        _ => kind,
    }
}

/// Checks that mlx-lm would run the workload with the caches as asked for.
///
/// # Errors
/// Its own reasons for refusing.
pub fn check(model: &Model, workload: &Workload) -> Result<(), CacheError> {
    let Some(kv) = workload.quantized_at(workload.context_tokens) else {
        return Ok(());
    };
    let kinds = || {
        model
            .groups
            .iter()
            .flat_map(|g| g.caches.iter().map(|&c| effective(model, c, workload)))
    };
    match model.kv_quant {
        KvQuantSupport::Ignored => return Ok(()),
        KvQuantSupport::Yes | KvQuantSupport::Refused(_)
            if kinds().any(|k| matches!(k, CacheKind::Rotating { .. })) =>
        {
            return Err(CacheError::Rotating);
        }
        _ => {}
    }
    for kind in kinds() {
        if let CacheKind::Full { k_dim, v_dim, .. } = kind {
            for dim in [k_dim, v_dim] {
                if dim % u64::from(kv.group_size) != 0 {
                    return Err(CacheError::Divide {
                        dim,
                        group_size: kv.group_size,
                    });
                }
            }
        }
    }
    if let KvQuantSupport::Refused(why) = model.kv_quant {
        Err(CacheError::Model(why))
    } else {
        Ok(())
    }
}

/// Bytes one sequence's caches take in one layer of a group. [`check`] has passed.
#[must_use]
pub(crate) fn layer_bytes(
    model: &Model,
    group: usize,
    workload: &Workload,
    dtype: Dtype,
    moment: Moment,
    kv_quant: Option<KvQuant>,
) -> u64 {
    // Layers that are gone through several times have the same cache many times over.
    let (mut known, mut total) = (None, 0_u64);
    for &kind in &model.groups[group].caches {
        let bytes = match known {
            Some((same, bytes)) if same == kind => bytes,
            _ => effective(model, kind, workload).bytes(workload, moment, dtype, kv_quant),
        };
        known = Some((kind, bytes));
        total = total.saturating_add(bytes);
    }
    total
}

/// Bytes all caches hold at `moment`, all sequences together. [`check`] has passed.
#[must_use]
pub fn bytes_at(model: &Model, workload: &Workload, dtype: Dtype, moment: Moment) -> u64 {
    let tokens = match moment {
        Moment::Chunk { before, tokens } => before.saturating_add(tokens),
        Moment::Rest => workload.context_tokens,
    };
    let kv_quant = workload
        .quantized_at(tokens)
        .filter(|_| model.kv_quant == KvQuantSupport::Yes);
    let per_sequence: u64 = model
        .groups
        .iter()
        .enumerate()
        .map(|(index, group)| {
            let layer = layer_bytes(model, index, workload, dtype, moment, kv_quant);
            layer.saturating_mul(group.count())
        })
        .fold(0, u64::saturating_add);
    per_sequence.saturating_mul(workload.concurrency)
}

/// Bytes all caches hold once the whole context is in.
#[must_use]
pub fn bytes_at_rest(model: &Model, workload: &Workload, dtype: Dtype) -> u64 {
    bytes_at(model, workload, dtype, Moment::Rest)
}

/// The most all caches hold together at any time of the run.
#[must_use]
pub fn peak_bytes(model: &Model, workload: &Workload, dtype: Dtype) -> u64 {
    workload
        .moments()
        .map(|moment| bytes_at(model, workload, dtype, moment))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
