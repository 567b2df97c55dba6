//! What this computer is, and how much of its memory is free now.
//!
//! One direction: a [`Source`] gives a [`Sample`], and everything else is derived from samples. A sample is plain data:
//! it knows neither where it came from nor who shows it.

pub mod derived;
pub mod footprints;
pub mod hardware;
pub mod headroom;
pub mod pressure;
pub mod processes;
pub mod sample;
pub mod source;

pub use sample::Sample;
pub use source::{Source, SourceError};
