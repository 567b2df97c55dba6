//! What prefill and decode hold on top of weights and caches.

use crate::budget::Backend;
use crate::cache::Workload;
use crate::model::{FeedForward, Flavour, Mixer, Model};
use crate::quant::Scheme;

/// Transient bytes of a prefill chunk of `tokens` after `before` tokens, all sequences together.
#[must_use]
pub fn prefill_bytes(
    model: &Model,
    scheme: &Scheme,
    workload: &Workload,
    backend: Backend,
    before: u64,
    tokens: u64,
) -> u64 {
    let dtype = scheme.dtype.bytes();
    let quantized = workload.quantized_at(before).is_some();
    let keys = before + tokens;
    let per_sequence = model
        .groups
        .iter()
        .map(|group| {
            let inner = match group.feed_forward {
                FeedForward::None => 0,
                FeedForward::Dense { ff, .. } => ff,
                FeedForward::Experts {
                    chosen,
                    ff,
                    shared_ff,
                    ..
                } => chosen * ff + shared_ff,
            };
            let mixing: u64 = group
                .mixers
                .iter()
                .map(|m| mixer_bytes(*m, backend, quantized, dtype, tokens, keys))
                .sum();
            tokens * dtype * (8 * inner + 4 * model.hidden) + mixing
        })
        .max()
        .unwrap_or(0);
    per_sequence.saturating_mul(workload.concurrency)
}

fn mixer_bytes(
    mixer: Mixer,
    backend: Backend,
    quantized: bool,
    dtype: u64,
    tokens: u64,
    keys: u64,
) -> u64 {
    match mixer {
        Mixer::Attention {
            heads,
            kv_heads,
            k_dim,
            v_dim,
            window,
            flavour,
        } => {
            let seen = window.map_or(keys, |w| keys.min(w + tokens));
            let layer = kv_heads * (k_dim + v_dim) * seen * dtype;
            let fused = backend == Backend::Metal
                && !quantized
                && flavour != Flavour::Manual
                && k_dim == v_dim
                && matches!(k_dim, 64 | 72 | 80 | 96 | 128);
            let scores = if fused || tokens <= 8 {
                0
            } else {
                2 * heads * tokens * seen * dtype
            };
            2 * layer + scores
        }
        Mixer::Latent {
            heads, rank, rope, ..
        } => {
            2 * keys * (rank + rope) * dtype
                + if tokens <= 8 {
                    0
                } else {
                    2 * heads * tokens * keys * dtype
                }
        }
        Mixer::Recurrent {
            conv_dim,
            kernel,
            heads,
            state,
            ..
        } => 2 * (tokens + kernel) * conv_dim * dtype + 4 * heads * state,
        Mixer::Convolution { dim, kernel } => 2 * (tokens + kernel) * dim * dtype,
    }
}

/// Transient bytes of one decoding step with the whole context in the caches.
#[must_use]
pub fn decode_bytes(model: &Model, scheme: &Scheme, workload: &Workload, backend: Backend) -> u64 {
    let logits = 5 * model.vocab * scheme.dtype.bytes() * workload.concurrency;
    prefill_bytes(
        model,
        scheme,
        workload,
        backend,
        workload.context_tokens - 1,
        1,
    )
    .saturating_add(logits)
}
