//! The seam between the engine and whatever holds the memory.
//!
//! A [`Memory`] holds blocks of seeded data that does not compress and can tell whether they are still what was
//! written. The same pressure run drives every backend.

mod host;
pub mod kernels;
#[cfg(mlx)]
mod mlx;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which memory to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// Anonymous memory of the host, written and checked by all cores.
    Host,
    /// MLX arrays on MLX's default device.
    Mlx,
}

impl BackendKind {
    /// MLX where this program was built with it, the host's memory elsewhere.
    #[must_use]
    pub const fn built_in() -> Self {
        if cfg!(mlx) { Self::Mlx } else { Self::Host }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Host => "host",
            Self::Mlx => "mlx",
        })
    }
}

impl FromStr for BackendKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "host" => Ok(Self::Host),
            "mlx" => Ok(Self::Mlx),
            _ => Err(format!("unknown backend {text:?}; accepted: host, mlx")),
        }
    }
}

/// What went wrong in a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The program was built without this backend.
    #[error(
        "this shvd was built without MLX; build it with `--features mlx` on macOS, or `--features mlx-linux` and \
         scripts/mlx-linux.sh on Linux, or choose `--backend host`"
    )]
    NotBuilt,
    /// The system gave no memory.
    #[error("cannot allocate {bytes} bytes: {reason}")]
    Allocation {
        /// Bytes asked for.
        bytes: u64,
        /// What the system answered.
        reason: String,
    },
    /// A block was asked for that is not held.
    #[error("there is no block {index}; {held} are held")]
    NoSuchBlock {
        /// The index.
        index: usize,
        /// How many blocks are held.
        held: usize,
    },
    /// A size that this backend cannot hold.
    #[error("a block of {bytes} bytes is not possible: {accepted}")]
    BlockSize {
        /// Bytes asked for.
        bytes: u64,
        /// What is possible.
        accepted: &'static str,
    },
    /// MLX threw an exception.
    #[error("MLX: {0}")]
    Mlx(String),
    /// A kernel that this backend does not have.
    #[error("the {backend} backend has no {kernel}")]
    NoKernel {
        /// The backend.
        backend: BackendKind,
        /// What was asked for.
        kernel: String,
    },
}

/// Memory as the backend counts it, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Held by live blocks.
    pub active_bytes: u64,
    /// Kept for reuse by the backend's own pool.
    pub cache_bytes: u64,
    /// The most that was ever active.
    pub peak_bytes: u64,
}

/// What holds the memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Name as the device tells it.
    pub name: String,
    /// The backend's library and its version, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub library: Option<String>,
    /// The device's memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// What may be wired at once (`max_recommended_working_set_size` on Metal).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_set_bytes: Option<u64>,
    /// Of that memory, what is free now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub free_bytes: Option<u64>,
    /// The device has memory of its own: what is held there is not missing from the host's.
    #[serde(default)]
    pub separate_memory: bool,
    /// Cores of the host that the backend uses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cores: Option<u64>,
}

/// What a verification found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes (host) or 32-bit words (MLX) that are not what was written.
    pub mismatches: u64,
    /// Byte offset of the first in the block.
    pub first_mismatch: Option<u64>,
}

/// Blocks of memory that are held, and can be checked.
pub trait Memory {
    /// Takes `bytes` of memory, writes the pattern of `seed` over all of it, and keeps it. Returns when every byte has
    /// been written. The block's index is the number of blocks held before.
    ///
    /// # Errors
    /// When the memory cannot be had or written.
    fn hold(&mut self, bytes: u64, seed: u64) -> Result<(), BackendError>;

    /// Reads every byte of a block and compares it with what its seed gives.
    ///
    /// # Errors
    /// When there is no such block or it cannot be read.
    fn verify(&mut self, index: usize) -> Result<Verified, BackendError>;

    /// Flips one bit of a block: a planted fault, to show that [`Memory::verify`] finds it.
    ///
    /// # Errors
    /// When there is no such byte.
    fn flip_bit(&mut self, index: usize, byte: u64, bit: u8) -> Result<(), BackendError>;

    /// Gives everything back to the system: all blocks and whatever the backend pooled.
    ///
    /// # Errors
    /// When the backend cannot.
    fn release(&mut self) -> Result<(), BackendError>;

    /// Memory as the backend counts it.
    ///
    /// # Errors
    /// When the backend cannot tell.
    fn figures(&self) -> Result<MemoryFigures, BackendError>;

    /// The device that holds the blocks.
    ///
    /// # Errors
    /// When the backend cannot tell.
    fn device(&self) -> Result<DeviceInfo, BackendError>;
}

/// Opens a backend for holding memory.
///
/// # Errors
/// [`BackendError::NotBuilt`] where the program lacks it, or what the backend says.
pub fn memory(kind: BackendKind) -> Result<Box<dyn Memory>, BackendError> {
    match kind {
        BackendKind::Host => Ok(Box::new(host::HostMemory::new())),
        #[cfg(mlx)]
        BackendKind::Mlx => Ok(Box::new(mlx::MlxMemory::new()?)),
        #[cfg(not(mlx))]
        BackendKind::Mlx => Err(BackendError::NotBuilt),
    }
}

/// Opens a backend for running kernels.
///
/// # Errors
/// [`BackendError::NotBuilt`] where the program lacks it, or what the backend says.
pub fn kernels(kind: BackendKind) -> Result<Box<dyn kernels::Kernels>, BackendError> {
    match kind {
        BackendKind::Host => Ok(Box::new(host::HostKernels::new())),
        #[cfg(mlx)]
        BackendKind::Mlx => Ok(Box::new(mlx::MlxKernels::new()?)),
        #[cfg(not(mlx))]
        BackendKind::Mlx => Err(BackendError::NotBuilt),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
