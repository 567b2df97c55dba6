//! shvd: memory exporter, MLX pressure runs, benchmarks and profiles.

pub mod engine;
