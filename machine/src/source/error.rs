//! Why a reading failed.

use std::path::PathBuf;

/// Why a reading failed. Every message names the file, call or line, the offending value, and what would be accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        error: std::io::Error,
    },
    /// A kernel call answered with an error.
    #[error("{call} failed with code {code}; {expected}")]
    Kernel {
        /// The call as its manual names it.
        call: &'static str,
        /// The returned code: `kern_return_t` of a Mach call, `errno` of a system call.
        code: i32,
        /// What a good answer is.
        expected: &'static str,
    },
    /// Text or a record did not have the form that its format has.
    #[error("{origin}, line {line}: {field}: found {found:?}, expected {expected}")]
    Malformed {
        /// The file, or a name for the stream (`standard input`, `vm_stat`).
        origin: String,
        /// Line, counted from 1.
        line: usize,
        /// The field, or the part of the line.
        field: String,
        /// The offending value, shortened when long.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The input lacks something without which there is no reading.
    #[error("{origin}: {field} is missing; expected {expected}")]
    Missing {
        /// The file, or a name for the stream.
        origin: String,
        /// The missing field.
        field: &'static str,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The input is larger than a source reads.
    #[error("{origin} is longer than {limit_bytes} bytes, the most that is read")]
    TooLong {
        /// The file, or a name for the stream.
        origin: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A recording has no further sample.
    #[error("the recording {origin} has ended after {samples} samples")]
    Ended {
        /// The file, or a name for the stream.
        origin: String,
        /// How many samples it gave.
        samples: usize,
    },
    /// There is no source for this operating system.
    #[error(
        "no memory source for {os}; macOS and Linux have one, and a recording can be read anywhere"
    )]
    Unsupported {
        /// The operating system, as Rust names it.
        os: &'static str,
    },
}

/// How much of an offending value a message quotes.
const FOUND_CHARS_MAX: usize = 60;

impl SourceError {
    /// [`SourceError::Malformed`], with a long value shortened.
    pub(crate) fn malformed(
        origin: &str,
        line: usize,
        field: &str,
        found: &str,
        expected: &'static str,
    ) -> Self {
        let shortened = |text: &str| {
            let mut chars = text.chars();
            let start: String = chars.by_ref().take(FOUND_CHARS_MAX).collect();
            if chars.next().is_some() {
                format!("{start}…")
            } else {
                start
            }
        };
        Self::Malformed {
            origin: origin.to_owned(),
            line,
            field: shortened(field),
            found: shortened(found),
            expected,
        }
    }
}
