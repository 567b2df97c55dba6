//! The daemon: takes one reading of the machine a second and serves it to Prometheus, to scripts and to its own page.

pub mod config;
pub mod engine;
pub mod sampler;
