//! Where samples come from: one file a source behind one trait.

mod error;

pub use error::SourceError;

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
