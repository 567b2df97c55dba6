//! Operations of recurrences with a constant state, and of short convolutions.
//!
//! Follows mlx-lm 0.32.2 `models/qwen3_next.py`, `models/qwen3_5.py`, `models/gated_delta.py` (a kernel of its own),
//! `models/ssm.py` (Mamba 2 in blocks of 256 tokens), `models/mamba.py` (a scan token by token), `models/lfm2.py`.

use super::tape::{Buf, ONE, Out, Spec, Tape};
use super::{Chunk, Layer};

/// Tokens of a block in Mamba 2's prompt.
const BLOCK: u64 = 256;
/// Blocks that are written out; what more there are add their outputs at once.
const BLOCKS_MAX: u64 = 16;

/// Sizes of a recurrence.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Channels of the convolution before it.
    pub(super) conv_dim: u64,
    pub(super) kernel: u64,
    pub(super) heads: u64,
    /// Elements of one head's state.
    pub(super) state: u64,
}

impl State {
    fn tail(self) -> f64 {
        self.kernel.saturating_sub(1) as f64 * self.conv_dim as f64
    }

    fn elements(self) -> f64 {
        self.heads as f64 * self.state as f64
    }

    /// Channels that come out: as many as the output projection takes.
    fn inner(self, layer: &Layer<'_>) -> u64 {
        match layer.traits.inner {
            0 => self.conv_dim / 2,
            inner => inner,
        }
    }
}

/// The convolution over `x` with its tail from before; what it gives.
fn convolve(tape: &mut Tape, chunk: &Chunk, x: &[Buf], s: State, activation: u32) -> Buf {
    let rows = chunk.rows();
    let tail = s.tail() * chunk.sequences;
    let mut reads = [x[0]; 2];
    let count = if chunk.before > 0 {
        reads[1] = tape.resident(tail, tail * tape.item, false);
        2
    } else {
        1
    };
    let input = tape.op(
        &reads[..count],
        Out::New(rows * s.conv_dim as f64 + tail),
        Spec::kernels(2),
    );
    let kept = tape.from(input, tail);
    tape.keep(kept);
    let weights = s.kernel as f64 * s.conv_dim as f64;
    let out = tape.op(
        &[input],
        Out::New(rows * s.conv_dim as f64),
        Spec::weights(weights),
    );
    tape.op(&[out], Out::Into(out), Spec::kernels(activation))
}

/// Gated delta rule: keys, values and gates, a kernel over all tokens, a gated norm.
pub(super) fn gated_delta(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    s: State,
) -> Option<Buf> {
    let (rows, hidden) = (chunk.rows(), layer.hidden);
    let values = s.inner(layer);
    let keys = s.conv_dim.saturating_sub(values) / 2;
    let (heads, keys_rows, values_rows) =
        (s.heads as f64, rows * keys as f64, rows * values as f64);
    let (qkv, z, b, a) = if layer.traits.joint_input {
        let joint = tape.linear(n, rows, hidden, s.conv_dim.saturating_add(values), false);
        let gates = tape.linear(n, rows, hidden, s.heads.saturating_mul(2), false);
        let parts = [
            tape.from(joint, keys_rows),
            tape.from(joint, keys_rows),
            tape.from(joint, values_rows),
        ];
        let qkv = tape.op(&parts, Out::New(rows * s.conv_dim as f64), Spec::kernels(3));
        let z = tape.from(joint, values_rows);
        let b = tape.from(gates, rows * heads);
        (qkv, z, b, tape.from(gates, rows * heads))
    } else {
        let qkv = tape.linear(n, rows, hidden, s.conv_dim, false);
        let z = tape.linear(n, rows, hidden, values, false);
        let b = tape.linear(n, rows, hidden, s.heads, false);
        (qkv, z, b, tape.linear(n, rows, hidden, s.heads, false))
    };
    let mixed = convolve(tape, chunk, &[qkv], s, 2);
    let q = tape.op(&[mixed], Out::New(keys_rows), Spec::kernels(2));
    let k = tape.op(&[mixed], Out::New(keys_rows), Spec::kernels(2));
    let v = tape.from(mixed, values_rows);
    tape.over(q);
    tape.over(k);
    let beta = tape.over(b);
    let decay = tape.op(&[a], Out::NewOf(rows * heads, 4.0), ONE);
    let state_bytes = s.elements() * 4.0 * chunk.sequences;
    let mut reads = [q, k, v, decay, beta, beta];
    let count = if chunk.before > 0 {
        reads[5] = tape.resident(s.elements() * chunk.sequences, state_bytes, false);
        6
    } else {
        5
    };
    let o = tape.op(&reads[..count], Out::New(values_rows), ONE);
    tape.sibling_state(state_bytes);
    tape.tally.recurrent_tokens += rows;
    if layer.cache_only {
        return None;
    }
    let normed = tape.from(o, values_rows);
    tape.op(&[normed, z, o], Out::Into(normed), ONE);
    Some(tape.linear(normed, rows, values, hidden, false))
}

/// Mamba 2: state space duality in blocks of 256 tokens; a kernel of its own for one token.
pub(super) fn mamba2(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    s: State,
) -> Option<Buf> {
    let (rows, hidden) = (chunk.rows(), layer.hidden);
    let inner = s.inner(layer);
    let groups_width = s.conv_dim.saturating_sub(inner) / 2;
    let head_dim = (inner / s.heads.max(1)).max(1);
    let state_width = (s.state / head_dim).max(1);
    let groups = (groups_width / state_width).max(1) as f64;
    let (heads, wide) = (s.heads as f64, inner as f64);
    let width = inner.saturating_add(s.conv_dim).saturating_add(s.heads);
    let projected = tape.linear(n, rows, hidden, width, false);
    let mixed = convolve(tape, chunk, &[projected], s, 2);
    let state_bytes = s.elements() * 4.0 * chunk.sequences;
    if chunk.before > 0 {
        tape.resident(s.elements() * chunk.sequences, state_bytes, true);
    }
    let o = if chunk.tokens == 1 {
        tape.op(&[mixed, projected], Out::New(rows * wide), Spec::kernels(3))
    } else {
        let steps = tape.op(
            &[mixed, projected],
            Out::NewOf(rows * wide, 4.0),
            Spec::kernels(3),
        );
        let blocks = chunk.tokens.div_ceil(BLOCK);
        let mut joined = None;
        for block in 0..blocks.min(BLOCKS_MAX) {
            let tokens = BLOCK.min(chunk.tokens - block * BLOCK) as f64;
            let square = chunk.sequences * tokens * tokens;
            let part = chunk.sequences * tokens * wide;
            let cb = tape.op(&[mixed], Out::New(groups * square), ONE);
            let cb = tape.from(cb, heads * square);
            let mut decay = tape.op(&[projected], Out::NewOf(heads * square, 4.0), ONE);
            for _ in 0..2 {
                decay = tape.op(&[decay], Out::NewOf(heads * square, 4.0), ONE);
            }
            tape.over(decay);
            tape.op(&[cb, decay], Out::Into(decay), ONE);
            let lower = tape.op(&[decay], Out::NewOf(heads * square, 4.0), ONE);
            let y = tape.op(
                &[lower, steps],
                Out::NewOf(part, 4.0),
                Spec::scores(2.0 * heads * square * head_dim as f64),
            );
            let weighted = tape.op(&[steps, decay], Out::NewOf(part, 4.0), ONE);
            let repeated = tape.op(
                &[mixed],
                Out::New(chunk.sequences * heads * tokens * state_width as f64),
                ONE,
            );
            let state = tape.op(
                &[weighted, repeated],
                Out::NewOf(s.elements() * chunk.sequences, 4.0),
                Spec::scores(2.0 * chunk.sequences * tokens * s.elements()),
            );
            if block + 1 == blocks.min(BLOCKS_MAX) {
                tape.keep(state);
            }
            let from_state = tape.op(&[state, mixed], Out::NewOf(part, 4.0), ONE);
            tape.op(&[y, from_state], Out::Into(y), ONE);
            let out = tape.from(y, part);
            // Outputs of all blocks are joined at the end, so each stays until then.
            tape.keep(out);
            joined = Some(out);
        }
        let blocks_beyond = chunk.tokens.saturating_sub(BLOCK * BLOCKS_MAX) as f64;
        let read = joined.unwrap_or(steps);
        if blocks_beyond > 0.0 {
            tape.op(
                &[read],
                Out::New(blocks_beyond * chunk.sequences * wide),
                Spec::kernels(16),
            );
        }
        let o = tape.op(
            &[read],
            Out::New(rows * wide),
            Spec::kernels(blocks.min(64) as u32),
        );
        tape.release(rows.min((BLOCK * BLOCKS_MAX) as f64 * chunk.sequences) * wide);
        tape.op(&[o, mixed], Out::Into(o), ONE)
    };
    if chunk.tokens == 1 {
        tape.sibling_state(state_bytes);
    }
    if layer.cache_only {
        return None;
    }
    tape.op(&[o, projected], Out::Into(o), ONE);
    let o = tape.norm(o, rows, inner, false);
    Some(tape.linear(o, rows, inner, hidden, false))
}

/// A scan token by token (Mamba 1), and what else has no list of its own: inputs, convolution, a small state that is
/// made anew for each token, gate, output.
pub(super) fn scan(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    s: State,
) -> Option<Buf> {
    let (rows, hidden) = (chunk.rows(), layer.hidden);
    let inner = s.inner(layer).max(1);
    // All of a recurrence's projections but the last, as if they were one.
    let width = (layer.traits.mixing_elements / hidden.max(1)).saturating_sub(inner);
    let projected = tape.linear(n, rows, hidden, width.max(inner), false);
    let mixed = if s.conv_dim > 0 {
        convolve(tape, chunk, &[projected], s, 1)
    } else {
        tape.from(projected, rows * inner as f64)
    };
    let state = s.elements() * chunk.sequences;
    if chunk.before > 0 {
        tape.resident(state, state * tape.item, true);
    }
    let steps = tape.op(&[mixed], Out::New(rows * inner as f64), Spec::kernels(4));
    // Of the states of single tokens no more live at once than operations are under way.
    let alive = (chunk.tokens as f64).min(64.0);
    let launches = chunk.tokens.saturating_mul(6).min(1 << 20) as u32;
    let states = tape.op(
        &[steps, mixed],
        Out::New(state * alive),
        Spec::kernels(launches),
    );
    let kept = tape.from(states, state);
    tape.keep(kept);
    let y = tape.op(&[states, mixed], Out::New(rows * inner as f64), ONE);
    if layer.cache_only {
        return None;
    }
    tape.op(&[y, projected], Out::Into(y), Spec::kernels(2));
    Some(tape.linear(y, rows, inner, hidden, false))
}

/// A gated short convolution (lfm2). The rows that are kept are a view, so that the whole input stays.
pub(super) fn convolution(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    dim: u64,
    kernel: u64,
) -> Option<Buf> {
    let (rows, hidden, dim) = (chunk.rows(), layer.hidden, dim.max(1));
    let projected = tape.linear(n, rows, hidden, dim.saturating_mul(3), false);
    let gated = tape.from(projected, rows * dim as f64);
    let tail = kernel.saturating_sub(1) as f64 * dim as f64 * chunk.sequences;
    let input = tape.op(
        &[gated],
        Out::New(rows * dim as f64 + tail),
        Spec::kernels(2),
    );
    tape.keep(input);
    if layer.cache_only {
        return None;
    }
    let mixed = tape.op(
        &[input],
        Out::New(rows * dim as f64),
        Spec::weights(kernel as f64 * dim as f64),
    );
    tape.op(&[projected, mixed], Out::Into(mixed), ONE);
    Some(tape.linear(mixed, rows, dim, hidden, false))
}
