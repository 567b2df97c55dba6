//! Operations of softmax attention over every head's keys and values.
//!
//! Follows mlx-lm 0.32.2 `models/llama.py` and its kin, `models/base.py` (masks, `scaled_dot_product_attention`),
//! `models/gemma2.py` (soft-capping), `models/qwen3_next.py` (gate), `models/gemma4_text.py` (norm on values), and mlx
//! 0.32.2 `backend/metal/scaled_dot_product_attention.cpp`, `fast.cpp` (what happens without a fused kernel).

use super::tape::{Buf, ONE, Out, Spec, Tape, Work};
use super::{Chunk, Layer, kv};
use crate::model::{CacheKind, Flavour};

/// Sizes of attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) k_dim: u64,
    pub(super) v_dim: u64,
    pub(super) window: Option<u64>,
    pub(super) flavour: Flavour,
}

/// What hides keys from queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    /// Nothing: one query.
    Nothing,
    /// What comes later; fused kernels know it, others make a mask a layer.
    Later,
    /// A mask that layers share.
    Shared(Buf),
}

/// Queries, keys and values of one layer: normed input `n`, out of one projection or three.
#[derive(Debug, Clone, Copy)]
struct Projected {
    q: Buf,
    k: Buf,
    v: Buf,
    /// The query projection's own output, where a gate is in it.
    with_gate: Buf,
}

/// Attention of a layer from its normed input `n`; None where only the cache is needed and nothing comes after it.
pub(super) fn grouped(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    a: Heads,
    cache: Option<CacheKind>,
) -> Option<Buf> {
    let traits = layer.traits;
    let rows = chunk.rows();
    let position = (chunk.tokens, rows);
    let rotated = traits.rotated_of(a.k_dim);
    let Some(projected) = project(tape, layer, chunk, n, a) else {
        let (mut k, v) = keys_and_values(tape, layer, rows, n, a);
        if traits.qk_norm {
            k = tape.norm(k, rows * a.kv_heads as f64, a.k_dim, false);
        }
        k = tape.rope(k, position, a.kv_heads, a.k_dim, rotated);
        if let Some(kind) = cache {
            kv::update(tape, chunk, kind, k, v);
        }
        return None;
    };
    let Projected {
        mut q,
        mut k,
        mut v,
        with_gate,
    } = projected;
    let key_rows = rows * a.kv_heads as f64;
    if traits.qk_norm {
        k = tape.norm(k, key_rows, a.k_dim, traits.keys_are_values);
        q = if traits.gated {
            let elements = rows * a.heads as f64 * a.k_dim as f64;
            tape.op(&[q], Out::New(elements), Spec::kernels(2))
        } else {
            tape.norm(q, rows * a.heads as f64, a.k_dim, false)
        };
    }
    if traits.v_norm {
        v = if traits.keys_are_values {
            tape.from(v, key_rows * a.v_dim as f64)
        } else {
            tape.norm(v, key_rows, a.v_dim, false)
        };
    }
    k = tape.rope(k, position, a.kv_heads, a.k_dim, rotated);
    let seen = match cache {
        Some(kind) => kv::update(tape, chunk, kind, k, v),
        // Layers without a cache of their own read that of another layer.
        None => kv::Seen {
            keys: k,
            values: v,
            tokens: a.window.map_or(chunk.keys(), |w| {
                chunk.keys().min((w + chunk.tokens) as f64)
            }),
        },
    };
    q = tape.rope(q, position, a.heads, a.k_dim, rotated);
    let hidden = hidden(tape, layer, chunk, a.window, seen.tokens);
    let mut o = if traits.soft_cap {
        soft_capped(tape, chunk, a, q, seen, hidden)
    } else {
        scaled(tape, chunk, a, q, seen, hidden)
    };
    if traits.gated {
        let gate = tape.from(with_gate, rows * a.heads as f64 * a.k_dim as f64);
        tape.over(gate);
        o = tape.op(&[o, gate], Out::Into(o), ONE);
    }
    let width = a.heads.saturating_mul(a.v_dim);
    Some(tape.linear(o, rows, width, layer.hidden, traits.o_bias))
}

fn keys_and_values(tape: &mut Tape, layer: &Layer<'_>, rows: f64, n: Buf, a: Heads) -> (Buf, Buf) {
    let (width_k, width_v) = (
        a.kv_heads.saturating_mul(a.k_dim),
        a.kv_heads.saturating_mul(a.v_dim),
    );
    let bias = layer.traits.qkv_bias;
    if layer.traits.fused_qkv {
        let width = a
            .heads
            .saturating_mul(a.k_dim)
            .saturating_add(width_k)
            .saturating_add(width_v);
        let all = tape.linear(n, rows, layer.hidden, width, bias);
        return (all, all);
    }
    let k = tape.linear(n, rows, layer.hidden, width_k, bias);
    let v = if layer.traits.keys_are_values {
        k
    } else {
        tape.linear(n, rows, layer.hidden, width_v, bias)
    };
    (k, v)
}

/// The projections, or None in a layer of which only the cache is needed.
fn project(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    a: Heads,
) -> Option<Projected> {
    if layer.cache_only {
        return None;
    }
    let rows = chunk.rows();
    let (k, v) = keys_and_values(tape, layer, rows, n, a);
    if layer.traits.fused_qkv {
        // Slices of one array, copied where they are rotated or read by a kernel.
        let q = tape.from(k, rows * a.heads as f64 * a.k_dim as f64);
        return Some(Projected {
            q,
            k,
            v,
            with_gate: q,
        });
    }
    let width = a
        .heads
        .saturating_mul(a.k_dim)
        .saturating_mul(if layer.traits.gated { 2 } else { 1 });
    let q = tape.linear(n, rows, layer.hidden, width, layer.traits.qkv_bias);
    Some(Projected {
        q,
        k,
        v,
        with_gate: q,
    })
}

fn hidden(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    window: Option<u64>,
    keys: f64,
) -> Hidden {
    if chunk.tokens == 1 {
        return Hidden::Nothing;
    }
    let queries = chunk.tokens as f64;
    match window {
        Some(w) if chunk.before.min(w.saturating_sub(1)) + chunk.tokens > w => {
            Hidden::Shared(tape.shared_mask(queries, keys, true))
        }
        _ if layer.traits.array_mask => Hidden::Shared(tape.shared_mask(queries, keys, false)),
        _ => Hidden::Later,
    }
}

/// `mx.fast.scaled_dot_product_attention`, or what stands in for it where no kernel fits.
fn scaled(tape: &mut Tape, chunk: &Chunk, a: Heads, q: Buf, seen: kv::Seen, hidden: Hidden) -> Buf {
    let rows = chunk.rows();
    let heads = a.heads as f64;
    let scores = heads * rows * seen.tokens;
    let (flops_k, flops_v) = (2.0 * scores * a.k_dim as f64, 2.0 * scores * a.v_dim as f64);
    let output = rows * heads * a.v_dim as f64;
    let array_mask = matches!(hidden, Hidden::Shared(_));
    if chunk.quantized.is_none()
        && a.flavour != Flavour::Manual
        && tape.rules.fuses(a.k_dim, a.v_dim, chunk.tokens, array_mask)
    {
        let spec = Spec {
            kernels: if chunk.tokens <= 8 && seen.tokens >= 1024.0 {
                2
            } else {
                1
            },
            flops: flops_k + flops_v,
            work: Work::Attention,
            ..ONE
        };
        let out = if chunk.tokens <= 8 {
            Out::Into(q)
        } else {
            Out::New(output)
        };
        return match hidden {
            Hidden::Shared(mask) => tape.op(&[q, seen.keys, seen.values, mask], out, spec),
            _ => tape.op(&[q, seen.keys, seen.values], out, spec),
        };
    }
    tape.over(q);
    let mask = match hidden {
        Hidden::Later => {
            let positions = tape.op(
                &[],
                Out::NewOf(chunk.tokens as f64 + seen.tokens, 4.0),
                Spec::kernels(2).views(2),
            );
            Some(tape.op(
                &[positions],
                Out::NewOf(chunk.tokens as f64 * seen.tokens, 1.0),
                ONE,
            ))
        }
        Hidden::Shared(mask) => Some(mask),
        Hidden::Nothing => None,
    };
    let mut s = tape.op(&[q, seen.keys], Out::New(scores), Spec::scores(flops_k));
    if let Some(mask) = mask {
        tape.op(&[s, mask], Out::Into(s), Spec::scores(0.0));
    }
    let sinks = a.flavour == Flavour::Sinks;
    if sinks {
        s = tape.op(
            &[s],
            Out::New(heads * rows * (seen.tokens + 1.0)),
            Spec::kernels(2).views(1),
        );
    }
    tape.op(&[s], Out::Into(s), Spec::scores(0.0));
    if sinks && !tape.rules.fused {
        s = tape.op(&[s], Out::New(scores), ONE.views(1));
    }
    let o = tape.op(&[s, seen.values], Out::New(output), Spec::scores(flops_v));
    if chunk.tokens > 1 {
        tape.op(&[o], Out::New(output), ONE.views(2))
    } else {
        o
    }
}

/// Scores computed in steps, with a soft cap on them (gemma2).
fn soft_capped(
    tape: &mut Tape,
    chunk: &Chunk,
    a: Heads,
    q: Buf,
    seen: kv::Seen,
    hidden: Hidden,
) -> Buf {
    let rows = chunk.rows();
    let scores = a.heads as f64 * rows * seen.tokens;
    tape.over(q);
    let s = tape.op(
        &[q, seen.keys],
        Out::New(scores),
        Spec::scores(2.0 * scores * a.k_dim as f64),
    );
    for _ in 0..3 {
        tape.op(&[s], Out::Into(s), Spec::scores(0.0));
    }
    if let Hidden::Shared(mask) = hidden {
        tape.op(&[s, mask], Out::Into(s), Spec::scores(0.0));
    }
    tape.op(&[s], Out::Into(s), Spec::scores(0.0));
    let output = rows * a.heads as f64 * a.v_dim as f64;
    let o = tape.op(
        &[s, seen.values],
        Out::New(output),
        Spec::scores(2.0 * scores * a.v_dim as f64),
    );
    if chunk.tokens > 1 {
        tape.from(o, output)
    } else {
        o
    }
}
