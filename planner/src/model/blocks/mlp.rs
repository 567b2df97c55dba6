//! Dense feed-forward networks.

use crate::model::{Builder, FeedForward};

/// `gate_proj`, `up_proj`, `down_proj` under `mlp`: SwiGLU and its kin.
pub fn gated(b: &mut Builder, hidden: u64, ff: u64, bias: bool) {
    b.linear("mlp.gate_proj", ff, hidden, bias);
    b.linear("mlp.up_proj", ff, hidden, bias);
    b.linear("mlp.down_proj", hidden, ff, bias);
    b.feed_forward(FeedForward::Dense { ff, gated: true });
}
