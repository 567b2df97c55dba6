//! What a training step holds between its way forth and its way back: an estimate.
//!
//! A layer that is trained, or stands behind one that is, keeps the inputs of its matrices and of what is not linear.
//! Adapters are in single precision, so that each keeps its input in four bytes. Logits are made for every token. With
//! fused attention the scores are made again layer by layer on the way back; without it they are kept.
//! Few published peaks name all of a run's parameters, so the interval is wide, and a run whose sequences are shorter than
//! `--sequence` stays far below it.

use super::Training;
use crate::budget::Backend;
use crate::model::{FeedForward, LayerGroup, Mixer, Model};
use crate::quant::Scheme;
use crate::timeline::Estimate;

/// Activations of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activations {
    /// What layers keep.
    pub layers_bytes: u64,
    /// Scores of attention.
    pub scores_bytes: u64,
    /// Logits and what the loss makes of them.
    pub logits_bytes: u64,
    /// All of it, and its interval.
    pub bytes: Estimate,
}

/// The interval: what was seen lies between these shares of the estimate.
const LOW: f64 = 0.35;
const HIGH: f64 = 1.45;
/// Copies of a layer's scores at once on the way back, in the activations' type.
const SCORE_COPIES: f64 = 3.0;
/// Bytes a logit takes beside itself: the loss and its gradient, in part in single precision.
const LOGIT_EXTRA_BYTES: f64 = 6.0;

impl Activations {
    pub(super) fn of(
        model: &Model,
        scheme: &Scheme,
        training: &Training,
        (first, inputs): (u64, u64),
        backend: Backend,
    ) -> Self {
        let dtype_bytes = scheme.dtype.bytes() as f64;
        let tokens = training.batch as f64 * training.sequence_tokens as f64;
        let behind = |group: &LayerGroup| {
            group
                .layers
                .iter()
                .filter(|&&l| u64::from(l) >= first)
                .count() as f64
        };
        let layer = |group: &LayerGroup| kept_elements(model, group) * dtype_bytes * tokens;
        let adapters = inputs as f64 * 4.0 * tokens;
        let scores = |group: &LayerGroup| {
            let pairs = tokens * training.sequence_tokens as f64;
            heads(group) * pairs * dtype_bytes * SCORE_COPIES
        };
        let trained: Vec<&LayerGroup> = model.groups.iter().filter(|g| behind(g) > 0.0).collect();
        let count: f64 = trained.iter().map(|g| behind(g)).sum();
        let largest =
            |of: &dyn Fn(&LayerGroup) -> f64| trained.iter().map(|g| of(g)).fold(0.0, f64::max);
        let all = |of: &dyn Fn(&LayerGroup) -> f64| {
            trained.iter().map(|g| of(g) * behind(g)).sum::<f64>()
        };
        let stream = model.hidden as f64 * dtype_bytes * tokens;
        let layers = if training.grad_checkpoint {
            // One layer at a time is made again and gone back through.
            count * stream + 2.0 * (largest(&layer) + adapters / count.max(1.0))
        } else {
            all(&layer) + adapters
        };
        let kept_scores = backend != Backend::Metal && !training.grad_checkpoint;
        let scores = if kept_scores {
            all(&scores)
        } else {
            largest(&scores)
        };
        let logits = tokens * model.vocab as f64 * (dtype_bytes + LOGIT_EXTRA_BYTES);
        let sum = layers + scores + logits;
        Self {
            layers_bytes: layers as u64,
            scores_bytes: scores as u64,
            logits_bytes: logits as u64,
            bytes: Estimate {
                low: (sum * LOW) as u64,
                expected: sum as u64,
                high: (sum * HIGH) as u64,
            },
        }
    }
}

/// Elements that one layer keeps of one token.
fn kept_elements(model: &Model, group: &LayerGroup) -> f64 {
    let hidden = model.hidden as f64;
    let mixers: f64 = group
        .mixers
        .iter()
        .map(|mixer| match *mixer {
            Mixer::Attention {
                heads,
                kv_heads,
                k_dim,
                v_dim,
                ..
            } => {
                2.0 * heads as f64 * k_dim as f64
                    + heads as f64 * v_dim as f64
                    + 2.0 * kv_heads as f64 * (k_dim + v_dim) as f64
            }
            Mixer::Latent {
                heads,
                rank,
                rope,
                nope,
                v_dim,
            } => 2.0 * heads as f64 * (nope + rope + v_dim) as f64 + 2.0 * (rank + rope) as f64,
            Mixer::Recurrent {
                conv_dim,
                heads,
                state,
                ..
            } => 3.0 * conv_dim as f64 + (heads as f64) * (state as f64).sqrt() * 2.0,
            Mixer::Convolution { dim, .. } => 4.0 * dim as f64,
        })
        .sum();
    let network = match group.feed_forward {
        FeedForward::None => 0.0,
        FeedForward::Dense { ff, gated } => ff as f64 * if gated { 4.0 } else { 2.0 },
        FeedForward::Experts {
            chosen,
            ff,
            shared_ff,
            ..
        } => 4.0 * (chosen as f64 * ff as f64 + shared_ff as f64) + chosen as f64 * hidden,
    };
    6.0 * hidden + mixers + network
}

fn heads(group: &LayerGroup) -> f64 {
    let of = |mixer: &Mixer| match *mixer {
        Mixer::Attention { heads, .. } | Mixer::Latent { heads, .. } => heads as f64,
        Mixer::Recurrent { .. } | Mixer::Convolution { .. } => 0.0,
    };
    group.mixers.iter().map(of).fold(0.0, f64::max)
}
