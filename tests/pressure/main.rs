//! Pressure runs against the real worker process: every way in which one can end, and that the memory comes back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod blind;
mod killed;
mod limits;
#[cfg(mlx)]
mod mlx;
mod support;
mod told;
mod whole;
