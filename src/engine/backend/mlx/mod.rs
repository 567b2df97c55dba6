//! MLX arrays, through mlx-rs: Metal on macOS, the CPU or CUDA build on Linux.
//!
//! The wired limit is never touched: raising it is what took machines down in other programs' memory tests. The cache
//! limit is set to zero, so that what is released leaves the process at once.

mod kernels;
mod memory;
mod sys;

#[cfg(target_os = "macos")]
use {mlx_rs, mlx_sys};
#[cfg(target_os = "linux")]
use {mlx_rs_linux as mlx_rs, mlx_sys_linux as mlx_sys};

pub(super) use kernels::MlxKernels;
pub(super) use memory::MlxMemory;

use super::BackendError;

impl From<mlx_rs::error::Exception> for BackendError {
    fn from(exception: mlx_rs::error::Exception) -> Self {
        Self::Mlx(exception.what().to_owned())
    }
}

impl From<mlx_rs::error::ConversionError> for BackendError {
    fn from(error: mlx_rs::error::ConversionError) -> Self {
        Self::Mlx(error.to_string())
    }
}

impl From<mlx_rs::error::AsSliceError> for BackendError {
    fn from(error: mlx_rs::error::AsSliceError) -> Self {
        Self::Mlx(error.to_string())
    }
}
