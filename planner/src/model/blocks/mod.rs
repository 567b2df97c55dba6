//! The parts that families share: a few kinds of attention, of feed-forward networks and of recurrences.

pub mod attention;
pub mod delta;
pub mod mamba;
pub mod mlp;
pub mod recurrent;
