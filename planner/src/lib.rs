//! Will this model, at this quantization, context and load, fit this machine: MLX's own bytes for weights and
//! caches, the peak over time, and the ceiling that binds.
//!
//! This library is pure arithmetic: no file, clock, network or process. Text goes in, a plan comes out. Which
//! module stands on which is asserted by a test (`tests/walls.rs`).

pub mod advice;
pub mod budget;
pub mod cache;
pub mod gate;
pub mod model;
pub mod names;
pub mod placement;
pub mod plan;
pub mod quant;
pub mod report;
pub mod several;
pub mod shard;
pub mod source;
pub mod speed;
pub mod timeline;
pub mod training;
pub mod units;
pub mod verdict;
pub mod weights;
pub mod working_set;
