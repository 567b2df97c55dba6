//! Operations of one layer: norms, mixers, feed-forward network, and the sums between them.

use super::attention::{self, Heads};
use super::feed_forward::{self, Experts};
use super::latent::{self, Latent};
use super::recurrent::{self, State};
use super::tape::{Buf, ONE, Out, Spec, Tape};
use super::{Chunk, Layer};
use crate::model::traits::Norms;
use crate::model::{CacheKind, FeedForward, LayerGroup, Mixer, Recurrence};

/// Mixers of one layer that are played: layers that are gone through many times have one a time.
pub(super) const MIXERS_MAX: usize = 8;

/// Writes the layer that begins with `x`; what it leaves for the next.
pub(super) fn write(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    group: &LayerGroup,
    mut caches: impl Iterator<Item = CacheKind>,
    x: Buf,
) -> Buf {
    let rows = chunk.rows();
    let norms = layer.traits.norms;
    let mut h = x;
    let mut normed = None;
    for &mixer in group.mixers.iter().take(MIXERS_MAX) {
        let n = *normed.get_or_insert_with(|| before(tape, layer, rows, x));
        let cache = match mixer {
            Mixer::Attention { .. } | Mixer::Latent { .. } => {
                caches.find(|kind| !matches!(kind, CacheKind::State { .. }))
            }
            Mixer::Recurrent { .. } | Mixer::Convolution { .. } => None,
        };
        let Some(o) = mix(tape, layer, chunk, mixer, n, cache) else {
            return x;
        };
        let o = after(tape, layer, rows, o);
        h = tape.add(h, o);
    }
    if layer.cache_only {
        return x;
    }
    if group.feed_forward == FeedForward::None {
        return h;
    }
    if layer.traits.dense_beside {
        return beside(tape, layer, chunk, group, h);
    }
    let n = match normed {
        Some(n) if norms == Norms::Once => n,
        _ => before(tape, layer, rows, h),
    };
    let y = transform(tape, layer, chunk, group.feed_forward, n, n);
    let y = after(tape, layer, rows, y);
    tape.add(h, y)
}

/// The norm before a part, where there is one.
fn before(tape: &mut Tape, layer: &Layer<'_>, rows: f64, x: Buf) -> Buf {
    if layer.traits.norms == Norms::After {
        return x;
    }
    offset(tape, layer);
    tape.norm(x, rows, layer.hidden, true)
}

/// The norm after a part, where there is one.
fn after(tape: &mut Tape, layer: &Layer<'_>, rows: f64, y: Buf) -> Buf {
    if matches!(layer.traits.norms, Norms::Before | Norms::Once) {
        return y;
    }
    offset(tape, layer);
    tape.norm(y, rows, layer.hidden, false)
}

/// One is added to the norm's weight first.
fn offset(tape: &mut Tape, layer: &Layer<'_>) {
    if layer.traits.unit_offset {
        tape.op(&[], Out::New(layer.hidden as f64), ONE);
    }
}

fn mix(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    mixer: Mixer,
    n: Buf,
    cache: Option<CacheKind>,
) -> Option<Buf> {
    match mixer {
        Mixer::Attention {
            heads,
            kv_heads,
            k_dim,
            v_dim,
            window,
            flavour,
        } => {
            // `--max-kv-size` makes a window of its own.
            let window = match cache {
                Some(CacheKind::Rotating { window, .. }) => Some(window),
                _ => window,
            };
            let a = Heads {
                heads,
                kv_heads,
                k_dim,
                v_dim,
                window,
                flavour,
            };
            attention::grouped(tape, layer, chunk, n, a, cache)
        }
        Mixer::Latent {
            heads,
            rank,
            rope,
            nope,
            v_dim,
        } => {
            let a = Latent {
                heads,
                rank,
                rope,
                nope,
                v_dim,
            };
            latent::latent(tape, layer, chunk, n, a, cache)
        }
        Mixer::Recurrent {
            conv_dim,
            kernel,
            heads,
            state,
            kind,
        } => {
            let s = State {
                conv_dim,
                kernel,
                heads,
                state,
            };
            match kind {
                Recurrence::GatedDelta => recurrent::gated_delta(tape, layer, chunk, n, s),
                Recurrence::Mamba2 => recurrent::mamba2(tape, layer, chunk, n, s),
                Recurrence::Mamba1 | Recurrence::Linear => {
                    recurrent::scan(tape, layer, chunk, n, s)
                }
            }
        }
        Mixer::Convolution { dim, kernel } => {
            recurrent::convolution(tape, layer, chunk, n, dim, kernel)
        }
    }
}

fn transform(
    tape: &mut Tape,
    layer: &Layer<'_>,
    chunk: &Chunk,
    feed_forward: FeedForward,
    n: Buf,
    routed: Buf,
) -> Buf {
    match feed_forward {
        FeedForward::None => n,
        FeedForward::Dense { ff, gated } => feed_forward::dense(tape, layer, chunk, n, ff, gated),
        FeedForward::Experts {
            experts,
            chosen,
            ff,
            shared_ff,
        } => {
            let e = Experts {
                experts,
                chosen,
                ff,
                shared_ff,
            };
            feed_forward::experts(tape, layer, chunk, n, routed, e)
        }
    }
}

/// A dense network and experts side by side, each between norms of its own (gemma4).
fn beside(tape: &mut Tape, layer: &Layer<'_>, chunk: &Chunk, group: &LayerGroup, h: Buf) -> Buf {
    let (rows, hidden) = (chunk.rows(), layer.hidden);
    let ff = match group.feed_forward {
        FeedForward::Experts { shared_ff, .. } => shared_ff,
        _ => 0,
    };
    let n = tape.norm(h, rows, hidden, true);
    let d = feed_forward::dense(tape, layer, chunk, n, ff, true);
    let d = tape.norm(d, rows, hidden, false);
    let routed = tape.norm(h, rows, hidden, true);
    let n = tape.norm(h, rows, hidden, true);
    let e = transform(tape, layer, chunk, group.feed_forward, n, routed);
    let e = tape.norm(e, rows, hidden, false);
    tape.op(&[d, e], Out::Into(d), ONE);
    let d = tape.norm(d, rows, hidden, false);
    let y = tape.add(h, d);
    tape.op(&[y], Out::Into(y), Spec::kernels(1))
}
