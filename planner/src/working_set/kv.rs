//! Writing a chunk's keys and values into a layer's cache: what grows, what is copied, what stays for a while.
//!
//! Follows mlx-lm 0.32.2 `models/cache.py`: `KVCache.update_and_fetch` (zeros of 256 tokens' steps, joined, written in
//! place), `RotatingKVCache._update_concat` and `_update_in_place`, `ChunkedKVCache`, `QuantizedKVCache`.

use super::Chunk;
use super::tape::{Buf, ONE, Out, Spec, Tape};
use crate::cache::KvQuant;
use crate::model::CacheKind;

/// Tokens by which caches grow.
const STEP: f64 = 256.0;

/// Keys and values as attention sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) keys: Buf,
    pub(super) values: Buf,
    /// Tokens in them.
    pub(super) tokens: f64,
}

/// Sizes of one cache array a token: elements as MLX counts them, and bytes.
#[derive(Debug, Clone, Copy)]
struct Row {
    elements: f64,
    bytes: f64,
}

impl Row {
    fn of(tape: &Tape, width: f64, quantized: Option<KvQuant>) -> Self {
        let Some(kv) = quantized else {
            return Self {
                elements: width,
                bytes: width * tape.item,
            };
        };
        let (bits, group) = (f64::from(kv.bits), f64::from(kv.group_size));
        Self {
            elements: width * (bits / 32.0 + 2.0 / group),
            bytes: width * (bits / 8.0 + 2.0 * tape.item / group),
        }
    }

    fn resident(self, tape: &mut Tape, rows: f64, kept: bool) -> Buf {
        tape.resident(self.elements * rows, self.bytes * rows, kept)
    }

    fn fresh(self, tape: &mut Tape, reads: &[Buf], rows: f64, spec: Spec) -> Buf {
        let elements = self.elements * rows;
        tape.op(
            reads,
            Out::NewOf(elements, self.bytes / self.elements.max(1e-9)),
            spec,
        )
    }
}

fn stepped(tokens: f64) -> f64 {
    (tokens / STEP).ceil() * STEP
}

/// Writes `keys` and `values` of a chunk into a cache of `kind`.
pub(super) fn update(
    tape: &mut Tape,
    chunk: &Chunk,
    kind: CacheKind,
    keys: Buf,
    values: Buf,
) -> Seen {
    match kind {
        CacheKind::Full {
            heads,
            k_dim,
            v_dim,
        } => full(
            tape,
            chunk,
            (heads, k_dim, v_dim),
            chunk.before as f64,
            (keys, values),
        ),
        // Trimmed to its size before each step, and then like a full one.
        CacheKind::Chunked {
            heads,
            k_dim,
            v_dim,
            chunk: keep,
        } => full(
            tape,
            chunk,
            (heads, k_dim, v_dim),
            chunk.before.min(keep) as f64,
            (keys, values),
        ),
        CacheKind::Rotating {
            heads,
            k_dim,
            v_dim,
            window,
        } => rotating(tape, chunk, (heads, k_dim, v_dim), window, (keys, values)),
        // What is kept is small or constant: the layer works on the chunk's own keys and values.
        CacheKind::State { .. } | CacheKind::Tail { .. } | CacheKind::Groups { .. } => Seen {
            keys,
            values,
            tokens: chunk.tokens as f64,
        },
    }
}

fn rows(
    tape: &Tape,
    chunk: &Chunk,
    (heads, k_dim, v_dim): (u64, u64, u64),
    quantized: Option<KvQuant>,
) -> (Row, Row) {
    let width = |dim: u64| heads as f64 * dim as f64 * chunk.sequences;
    (
        Row::of(tape, width(k_dim), quantized),
        Row::of(tape, width(v_dim), quantized),
    )
}

fn full(
    tape: &mut Tape,
    chunk: &Chunk,
    dims: (u64, u64, u64),
    before: f64,
    (keys, values): (Buf, Buf),
) -> Seen {
    let (k, v) = rows(tape, chunk, dims, chunk.quantized);
    let tokens = chunk.tokens as f64;
    let room = stepped(before);
    let (kept_keys, kept_values) = if before + tokens > room {
        let more = stepped(tokens);
        if before > 0.0 {
            let zeros = (k.fresh(tape, &[], more, ONE), v.fresh(tape, &[], more, ONE));
            let old = (k.resident(tape, room, false), v.resident(tape, room, false));
            let joined = Spec::kernels(2);
            (
                k.fresh(tape, &[old.0, zeros.0], before + more, joined),
                v.fresh(tape, &[old.1, zeros.1], before + more, joined),
            )
        } else {
            (k.fresh(tape, &[], more, ONE), v.fresh(tape, &[], more, ONE))
        }
    } else {
        (k.resident(tape, room, true), v.resident(tape, room, true))
    };
    tape.keep(kept_keys);
    tape.keep(kept_values);
    if chunk.quantized.is_some() {
        for (new, row) in [(keys, k), (values, v)] {
            row.fresh(tape, &[new], tokens, ONE);
        }
    }
    tape.op(&[kept_keys, keys], Out::Into(kept_keys), ONE.views(1));
    tape.op(&[kept_values, values], Out::Into(kept_values), ONE.views(1));
    Seen {
        keys: kept_keys,
        values: kept_values,
        tokens: before + tokens,
    }
}

fn rotating(
    tape: &mut Tape,
    chunk: &Chunk,
    dims: (u64, u64, u64),
    window: u64,
    (keys, values): (Buf, Buf),
) -> Seen {
    let (k, v) = rows(tape, chunk, dims, None);
    let (before, window) = (chunk.before as f64, window.max(1) as f64);
    if chunk.tokens == 1 {
        return rotate_one(tape, (k, v), chunk, window, (keys, values));
    }
    let tokens = chunk.tokens as f64;
    if before == 0.0 {
        tape.keep(keys);
        tape.keep(values);
        return Seen {
            keys,
            values,
            tokens,
        };
    }
    let held = if before < window {
        before
    } else {
        before.min(window - 1.0 + tokens)
    };
    let seen = before.min(window - 1.0) + tokens;
    let old = (k.resident(tape, held, false), v.resident(tape, held, false));
    let joined = Spec::kernels(2).views(1);
    let keys = k.fresh(tape, &[old.0, keys], seen, joined);
    let values = v.fresh(tape, &[old.1, values], seen, joined);
    tape.keep(keys);
    tape.keep(values);
    Seen {
        keys,
        values,
        tokens: seen,
    }
}

/// A single token: in place, but for the first one after a prompt, which cuts the prompt's excess away or grows.
fn rotate_one(
    tape: &mut Tape,
    (k, v): (Row, Row),
    chunk: &Chunk,
    window: f64,
    (keys, values): (Buf, Buf),
) -> Seen {
    let before = chunk.before as f64;
    let last_chunk = chunk.after_chunk_of as f64;
    let (kept_keys, kept_values, room) = if last_chunk > 0.0 && before > window {
        let held = before.min(window - 1.0 + last_chunk);
        let old = (k.resident(tape, held, false), v.resident(tape, held, false));
        (
            k.fresh(tape, &[old.0], window, ONE),
            v.fresh(tape, &[old.1], window, ONE),
            window,
        )
    } else if last_chunk > 0.0 && before < window {
        let room = before + STEP.min(window - before);
        let old = (
            k.resident(tape, before, false),
            v.resident(tape, before, false),
        );
        let zeros = (
            k.fresh(tape, &[], room - before, ONE),
            v.fresh(tape, &[], room - before, ONE),
        );
        let joined = Spec::kernels(2);
        (
            k.fresh(tape, &[old.0, zeros.0], room, joined),
            v.fresh(tape, &[old.1, zeros.1], room, joined),
            room,
        )
    } else {
        let room = stepped(before + 1.0).min(window).max(1.0);
        (
            k.resident(tape, room, true),
            v.resident(tape, room, true),
            room,
        )
    };
    tape.keep(kept_keys);
    tape.keep(kept_values);
    tape.op(&[kept_keys, keys], Out::Into(kept_keys), ONE);
    tape.op(&[kept_values, values], Out::Into(kept_values), ONE);
    Seen {
        keys: kept_keys,
        values: kept_values,
        tokens: room,
    }
}
