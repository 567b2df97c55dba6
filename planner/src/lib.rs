//! Will this model, at this quantization, context and load, fit this machine: MLX's own bytes for weights and
//! caches, the peak over time, and the ceiling that binds.
//!
//! This library is pure arithmetic: no file, clock, network or process. Text goes in, a plan comes out. Each
//! module stands on the ones above it in this list.

pub mod budget;
pub mod cache;
pub mod model;
pub mod quant;
pub mod source;
pub mod units;
pub mod weights;
