//! Operations of feed-forward networks: dense, and of chosen experts.
//!
//! Follows mlx-lm 0.32.2 `models/llama.py` (MLP), `models/switch_layers.py` (`SwitchGLU`: tokens are sorted by expert
//! from 64 on), `models/qwen3_moe.py`, `models/deepseek_v3.py` (choice by groups, scores in single precision),
//! `models/gemma4_text.py` (a dense network beside the experts), `models/nemotron_h.py` (experts without a gate, on a
//! narrower stream).

use super::counted::{Counted, Weights};
use super::tape::{Buf, ONE, Out, Spec, Tape, Work};
use super::{Chunk, Layer};
use crate::model::traits::Activation;
use crate::quant::Packing;

/// Tokens sent to experts from which on they are sorted first.
const SORTED_FROM: f64 = 64.0;

/// A dense network of width `ff` over `n`.
pub(super) fn dense(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    ff: u64,
    gated: bool,
) -> Buf {
    let (rows, hidden, traits) = (chunk.rows(), layer.hidden, layer.traits);
    let inside = if !gated {
        let up = tape.linear(n, rows, hidden, ff, traits.mlp_bias);
        tape.over(up)
    } else if traits.fused_gate_up {
        let both = tape.linear(n, rows, hidden, ff.saturating_mul(2), traits.mlp_bias);
        tape.from(both, rows * ff as f64)
    } else {
        let up = tape.linear(n, rows, hidden, ff, traits.mlp_bias);
        let gate = tape.linear(n, rows, hidden, ff, traits.mlp_bias);
        if traits.activation == Activation::TwoKernels {
            tape.over(gate);
        }
        tape.op(&[up, gate], Out::Into(gate), ONE)
    };
    tape.linear(inside, rows, ff, hidden, traits.mlp_bias)
}

/// Sizes of a network of experts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Experts {
    pub(super) experts: u64,
    pub(super) chosen: u64,
    pub(super) ff: u64,
    pub(super) shared_ff: u64,
}

/// Chosen experts over `n`, chosen by `routed` (the same but in gemma4).
pub(super) fn experts(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    n: Buf,
    routed: Buf,
    e: Experts,
) -> Buf {
    let (rows, hidden, traits) = (chunk.rows(), layer.hidden, layer.traits);
    let single = traits.single_precision_scores && tape.item < 4.0;
    let item = if traits.single_precision_scores {
        4.0
    } else {
        tape.item
    };
    let sent = rows * e.chosen as f64;
    let stream = stream(layer);
    let (chosen, scores) = route(tape, layer, rows, routed, e, item);
    let x = if stream == hidden {
        n
    } else {
        tape.linear(n, rows, hidden, stream, traits.mlp_bias)
    };
    let mut y = if sent >= SORTED_FROM {
        let flat = tape.op(&[chosen], Out::NewOf(sent, 4.0), ONE);
        let order = tape.op(&[flat], Out::NewOf(sent, 4.0), ONE);
        let back = tape.op(&[order], Out::NewOf(sent, 4.0), ONE);
        let tokens = tape.op(&[order], Out::NewOf(sent, 4.0), ONE);
        let sorted = tape.op(&[x, tokens], Out::New(sent * stream as f64), ONE);
        let index = tape.op(&[flat, order], Out::NewOf(sent, 4.0), ONE);
        let d = network(tape, layer, sent, sorted, index, e);
        tape.op(&[d, back], Out::New(sent * stream as f64), ONE)
    } else {
        network(tape, layer, sent, x, chosen, e)
    };
    if single {
        y = tape.op(&[y], Out::NewOf(sent * stream as f64, 4.0), ONE);
    }
    tape.op(&[y, scores], Out::Into(y), ONE);
    y = tape.op(&[y], Out::NewOf(rows * stream as f64, item), ONE);
    if single {
        y = tape.from(y, rows * stream as f64);
    }
    if stream != hidden {
        y = tape.linear(y, rows, stream, hidden, traits.mlp_bias);
    }
    if e.shared_ff > 0 && !traits.dense_beside {
        let d = dense(tape, layer, chunk, n, e.shared_ff, !traits.plain_experts);
        if traits.shared_gate {
            let weights = Weights::Fixed(hidden as f64 * Counted::share(Packing::PRECISE));
            let spec = Spec {
                weights,
                flops: 2.0 * rows * hidden as f64,
                work: Work::Matrix,
                ..ONE
            };
            let gate = tape.op(&[n], Out::New(rows), spec);
            tape.over(gate);
            tape.op(&[d, gate], Out::Into(d), ONE);
        }
        tape.op(&[y, d], Out::Into(y), ONE);
    }
    y
}

/// Which experts each token goes to, and by how much.
fn route(
    tape: &mut Tape,
    layer: &Layer<'_>,
    rows: f64,
    routed: Buf,
    e: Experts,
    item: f64,
) -> (Buf, Buf) {
    let elements = e.experts as f64 * layer.hidden as f64;
    let weights = match layer.traits.router_bits {
        0 => Weights::Matrix {
            elements,
            last: layer.hidden,
        },
        bits if bits >= 16 => Weights::Fixed(elements),
        _ => Weights::Fixed(elements * Counted::share(Packing::PRECISE)),
    };
    let spec = Spec {
        weights,
        flops: 2.0 * rows * elements,
        work: Work::Matrix,
        ..ONE
    };
    let all = rows * e.experts as f64;
    let gates = tape.op(&[routed], Out::New(all), spec);
    let mut s = tape.op(&[gates], Out::NewOf(all, item), ONE);
    if layer.traits.grouped_routing {
        let biased = tape.op(&[s], Out::NewOf(all, 4.0), ONE);
        let top = tape.op(&[biased], Out::NewOf(all, 4.0), ONE);
        s = tape.op(&[biased, top], Out::Into(biased), Spec::kernels(3));
    }
    let chosen = tape.op(&[s], Out::NewOf(all, 4.0), Spec::kernels(2));
    let scores = tape.op(&[s, chosen], Out::NewOf(rows * e.chosen as f64, item), ONE);
    tape.op(&[scores], Out::Into(scores), Spec::kernels(2));
    (chosen, scores)
}

fn network(tape: &mut Tape, layer: &Layer<'_>, sent: f64, x: Buf, index: Buf, e: Experts) -> Buf {
    let product = |tape: &mut Tape, x: Buf, input: u64, output: u64| {
        let one = input as f64 * output as f64;
        let spec = Spec {
            weights: Weights::Matrix {
                elements: one * e.experts as f64,
                last: input,
            },
            flops: 2.0 * sent * one,
            work: Work::Experts,
            ..ONE
        };
        let y = tape.op(&[x, index], Out::New(sent * output as f64), spec);
        if layer.traits.expert_bias {
            let bias = tape.from(index, sent * output as f64);
            tape.op(&[y, bias], Out::Into(y), ONE);
        }
        y
    };
    let stream = stream(layer);
    let up = product(tape, x, stream, e.ff);
    let inside = if layer.traits.plain_experts {
        tape.over(up)
    } else {
        let gate = product(tape, x, stream, e.ff);
        tape.op(&[up, gate], Out::Into(gate), ONE)
    };
    product(tape, inside, e.ff, stream)
}

/// Width of the stream that the experts work on.
const fn stream(layer: &Layer<'_>) -> u64 {
    match layer.traits.expert_stream {
        0 => layer.hidden,
        stream => stream,
    }
}
