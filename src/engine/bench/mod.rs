//! Benchmarks: the baseline document's table and kernels of the shapes that language models have.
//!
//! Every result is checked against 64-bit arithmetic before it is timed; work is counted from shapes, so that a rate
//! above what the machine can do shows as what it is.

pub mod advice;
pub mod compare;
pub mod measure;
pub mod reference;
pub mod result;
mod run;
pub mod service;
pub mod suite;

pub use run::{BUDGET, Options, run};
