//! Where samples come from: one file a source behind one trait.

mod error;
pub mod mach;
pub mod procfs;
pub mod replay;
#[cfg(feature = "component")]
pub mod temperatures;
pub mod vm_stat;

pub use error::SourceError;

use crate::processes::Watch;
use crate::sample::Sample;

/// Something that can be asked for the state of a machine, again and again.
///
/// A source keeps what it needs between readings (ports, buffers, the previous reading) and nothing else: it has no
/// clock of its own to wait on and never sleeps. The caller decides the pace; one reading a second is what the macOS
/// kernel answers freshly.
pub trait Source: Send {
    /// Takes one reading.
    ///
    /// # Errors
    /// [`SourceError`] when the reading as a whole failed. A figure that this platform or release lacks is no error: it
    /// is absent in the sample.
    fn read(&mut self) -> Result<Sample, SourceError>;
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read(&mut self) -> Result<Sample, SourceError> {
        (**self).read()
    }
}

/// The source of the machine this program runs on, reading the processes of `watches` too.
///
/// # Errors
/// [`SourceError::Unsupported`] on an operating system that is neither macOS nor Linux.
#[cfg_attr(
    any(target_os = "macos", target_os = "linux"),
    allow(clippy::unnecessary_wraps, reason = "other systems have no source")
)]
pub fn native(watches: Vec<Watch>) -> Result<Box<dyn Source>, SourceError> {
    #[cfg(target_os = "macos")]
    return Ok(Box::new(mach::MachSource::new(
        mach::MacHost::new(),
        watches,
    )));
    #[cfg(target_os = "linux")]
    return Ok(Box::new(procfs::Procfs::new(
        std::path::Path::new("/"),
        watches,
    )));
    #[cfg(not(any(target_os = "macos", target_os = "linux")))]
    {
        drop(watches);
        Err(SourceError::Unsupported {
            os: std::env::consts::OS,
        })
    }
}
