//! What every recurrence keeps between tokens: the tail of a convolution and a state.

use crate::model::CacheKind;
use crate::model::{Builder, ConfigError, Mixer, Recurrence};

/// Elements that one layer's state may have; no public model comes near.
const STATE_ELEMENTS_MAX: u64 = 1 << 44;

/// Sizes of a recurrence, for each sequence and layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Channels of the convolution before it, 0 without one.
    pub conv_dim: u64,
    /// Its width; all but one of its inputs are kept, in the activations' type.
    pub kernel: u64,
    /// Heads of the state.
    pub heads: u64,
    /// Rows and columns of one head's state.
    pub state: (u64, u64),
    /// The state is in single precision whatever the model's type.
    pub single_precision: bool,
}

/// Notes the mixer and the `ArraysCache` of a layer with a recurrence.
pub fn note(b: &mut Builder, kind: Recurrence, kept: Kept) {
    let limited = |product: Option<u64>| product.filter(|&n| n <= STATE_ELEMENTS_MAX);
    let head = limited(kept.state.0.checked_mul(kept.state.1));
    let state = head.and_then(|n| limited(n.checked_mul(kept.heads)));
    let tail = limited(kept.kernel.saturating_sub(1).checked_mul(kept.conv_dim));
    let (Some(head), Some(state), Some(tail)) = (head, state, tail) else {
        b.fail(ConfigError::Overflow {
            path: "the state of a recurrence".to_owned(),
        });
        return;
    };
    b.mixer(Mixer::Recurrent {
        conv_dim: kept.conv_dim,
        kernel: kept.kernel,
        heads: kept.heads,
        state: head,
        kind,
    });
    b.cache(if kept.single_precision {
        CacheKind::State {
            elements: tail,
            f32_elements: state,
        }
    } else {
        CacheKind::State {
            elements: tail + state,
            f32_elements: 0,
        }
    });
}

/// Notes the mixer and the `ArraysCache` of a layer with short convolutions alone: the tail of `channels` inputs.
pub fn convolution(b: &mut Builder, channels: u64, kernel: u64) {
    let tail = kernel
        .saturating_sub(1)
        .checked_mul(channels)
        .filter(|&n| n <= STATE_ELEMENTS_MAX);
    let Some(elements) = tail else {
        b.fail(ConfigError::Overflow {
            path: "the tail of a convolution".to_owned(),
        });
        return;
    };
    b.mixer(Mixer::Convolution {
        dim: channels,
        kernel,
    });
    b.cache(CacheKind::State {
        elements,
        f32_elements: 0,
    });
}
