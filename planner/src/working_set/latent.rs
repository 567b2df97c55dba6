//! Operations of multi-head latent attention over the latent that all heads share.
//!
//! Follows mlx-lm 0.32.2 `models/deepseek_v3.py`: scores of the positions first, as the mask of a second attention over
//! keys and values expanded from the latent (prompt), or over the latent itself (one token).

use super::counted::Weights;
use super::tape::{Buf, ONE, Out, Spec, Tape, Work};
use super::{Chunk, Layer, kv};
use crate::model::CacheKind;

/// Sizes of latent attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latent {
    pub(super) heads: u64,
    pub(super) rank: u64,
    pub(super) rope: u64,
    pub(super) nope: u64,
    pub(super) v_dim: u64,
}

/// Attention of a layer from its normed input `n`; None where only the cache is needed.
pub(super) fn latent(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    a: Latent,
    cache: Option<CacheKind>,
) -> Option<Buf> {
    let rows = chunk.rows();
    let position = (chunk.tokens, rows);
    let heads = a.heads as f64;
    let compressed_width = a.rank.saturating_add(a.rope);
    let query_width = a.heads.saturating_mul(a.nope.saturating_add(a.rope));
    let q = (!layer.cache_only).then(|| {
        let rank = layer.traits.query_rank;
        if rank == 0 {
            return tape.linear(n, rows, layer.hidden, query_width, false);
        }
        let q = tape.linear(n, rows, layer.hidden, rank, false);
        let q = tape.norm(q, rows, rank, false);
        tape.linear(q, rows, rank, query_width, false)
    });
    let compressed = tape.linear(n, rows, layer.hidden, compressed_width, false);
    let latent = if tape.rules.fused || q.is_none() {
        tape.op(
            &[compressed],
            Out::New(rows * a.rank as f64),
            Spec::kernels(2),
        )
    } else {
        tape.norm(compressed, rows, a.rank, true)
    };
    let q_pe = q.map(|q| tape.rope(q, position, a.heads, a.rope, a.rope));
    let k_pe = tape.rope(compressed, position, 1, a.rope, a.rope);
    let seen = match cache {
        Some(kind) => kv::update(tape, chunk, kind, latent, k_pe),
        None => kv::Seen {
            keys: latent,
            values: k_pe,
            tokens: chunk.keys(),
        },
    };
    let (q, q_pe) = (q?, q_pe?);
    let scores = heads * rows * seen.tokens;
    tape.over(q_pe);
    let mask =
        (chunk.tokens > 1).then(|| tape.shared_mask(chunk.tokens as f64, seen.tokens, false));
    let s = tape.op(
        &[q_pe, seen.values],
        Out::New(scores),
        Spec::scores(2.0 * scores * a.rope as f64),
    );
    if let Some(mask) = mask {
        tape.op(&[s, mask], Out::Into(s), Spec::scores(0.0));
    }
    let o = if chunk.tokens == 1 {
        one(tape, rows, a, q, seen, s)
    } else {
        many(tape, chunk, a, q, seen, s)
    };
    Some(tape.linear(
        o,
        rows,
        a.heads.saturating_mul(a.v_dim),
        layer.hidden,
        false,
    ))
}

fn one(tape: &mut Tape, rows: f64, a: Latent, q: Buf, seen: kv::Seen, s: Buf) -> Buf {
    let heads = a.heads as f64;
    let weights = Weights::Matrix {
        elements: heads * a.nope as f64 * a.rank as f64,
        last: a.nope,
    };
    let q = tape.op(
        &[q],
        Out::New(rows * heads * a.rank as f64),
        Spec::reads(weights),
    );
    let flops = 4.0 * rows * heads * seen.tokens * a.rank as f64;
    let spec = Spec {
        kernels: 5,
        ..Spec::scores(flops)
    };
    let o = tape.op(
        &[q, seen.keys, s],
        Out::New(rows * heads * a.rank as f64),
        spec,
    );
    tape.op(
        &[o],
        Out::New(rows * heads * a.v_dim as f64),
        Spec::reads(weights),
    )
}

fn many(tape: &mut Tape, chunk: &Chunk, a: Latent, q: Buf, seen: kv::Seen, s: Buf) -> Buf {
    let (rows, heads) = (chunk.rows(), a.heads as f64);
    let scores = heads * rows * seen.tokens;
    let expanded = |tape: &mut Tape, width: u64| {
        let elements = heads * a.rank as f64 * width as f64;
        let spec = Spec {
            weights: Weights::Matrix {
                elements,
                last: a.rank,
            },
            flops: 2.0 * elements * seen.tokens * chunk.sequences,
            work: Work::Matrix,
            ..ONE
        };
        let out = Out::New(heads * seen.tokens * chunk.sequences * width as f64);
        tape.op(&[seen.keys], out, spec)
    };
    let k = expanded(tape, a.nope);
    let v = expanded(tape, a.v_dim);
    let output = rows * heads * a.v_dim as f64;
    if tape.rules.fuses(a.nope, a.v_dim, chunk.tokens, true) {
        let spec = Spec {
            flops: 2.0 * scores * (a.nope as f64 + a.v_dim as f64),
            work: Work::Attention,
            ..ONE
        };
        return tape.op(&[q, k, v, s], Out::New(output), spec);
    }
    let q = tape.from(q, rows * heads * a.nope as f64);
    let all = tape.op(
        &[q, k],
        Out::New(scores),
        Spec::scores(2.0 * scores * a.nope as f64),
    );
    tape.op(&[all, s], Out::Into(all), Spec::scores(0.0));
    tape.op(&[all], Out::Into(all), Spec::scores(0.0));
    let o = tape.op(
        &[all, v],
        Out::New(output),
        Spec::scores(2.0 * scores * a.v_dim as f64),
    );
    tape.from(o, output)
}
