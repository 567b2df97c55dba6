//! The parts that families share: a few kinds of attention, of feed-forward networks and of recurrences.

pub mod attention;
pub mod decoder;
pub mod delta;
pub mod frame;
pub mod mamba;
pub mod mla;
pub mod mlp;
pub mod moe;
pub mod recurrent;
