//! The daemon: takes one reading of the machine a second and serves it to Prometheus, to scripts and to its own page.

pub mod cli;
pub mod config;
pub mod engine;
pub mod history;
pub mod http;
pub mod metrics;
pub mod plans;
pub mod profile;
pub mod sampler;
pub mod serve;
