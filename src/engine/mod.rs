//! Allocations and kernels that load this machine's memory on purpose, and what watches over them.
//!
//! [`backend`] is the seam to whatever holds the memory: MLX, or the host's own memory where MLX is not built in.
//! [`pressure`] fills memory under a watchdog and verifies every byte; [`mod@bench`] measures kernels.

pub mod backend;
pub mod bench;
mod kept;
pub mod pressure;
mod runs;
pub mod state;

pub use runs::Runs;
