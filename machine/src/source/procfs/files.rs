//! Reading the small files of `/proc` and `/sys`, with a bound on each.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::source::SourceError;

/// The most bytes that are read of one file. The largest of them, `/proc/net/tcp`, has 150 a socket.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The text of a file that every Linux has.
pub(super) fn read(path: &Path) -> Result<String, SourceError> {
    let failed = |error| SourceError::Io {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(SourceError::TooLong {
            origin: path.display().to_string(),
            limit_bytes: FILE_BYTES_MAX,
        });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of a file that some kernels, configurations or users lack: `None` when it is not there or not for us.
pub(super) fn read_if_told(path: &Path) -> Result<Option<String>, SourceError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(SourceError::Io { error, .. }) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Pressure files answer EOPNOTSUPP where accounting is off, files of a process that ends ESRCH.
fn is_absence(error: &std::io::Error) -> bool {
    const ESRCH: i32 = 3;
    const ENODEV: i32 = 19;
    const EOPNOTSUPP: i32 = 95;
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::Unsupported
    ) || matches!(error.raw_os_error(), Some(ESRCH | ENODEV | EOPNOTSUPP))
}

/// Where a line stands, for errors.
#[derive(Clone, Copy)]
pub(super) struct Line<'path> {
    pub(super) path: &'path Path,
    pub(super) number: usize,
}

impl Line<'_> {
    pub(super) fn malformed(
        &self,
        field: &str,
        found: &str,
        expected: &'static str,
    ) -> SourceError {
        SourceError::malformed(
            &self.path.display().to_string(),
            self.number,
            field,
            found,
            expected,
        )
    }

    pub(super) fn whole_number(&self, field: &str, text: &str) -> Result<u64, SourceError> {
        text.parse()
            .map_err(|_| self.malformed(field, text, "a whole number from 0 to 2^64 - 1"))
    }

    /// `1234 kB` → bytes.
    pub(super) fn kibibytes(&self, field: &str, text: &str) -> Result<u64, SourceError> {
        text.strip_suffix("kB")
            .and_then(|number| number.trim().parse::<u64>().ok()?.checked_mul(1024))
            .ok_or_else(|| self.malformed(field, text, "a whole number of kB"))
    }
}

/// The lines of `text` with their places.
pub(super) fn lines<'a>(
    path: &'a Path,
    text: &'a str,
) -> impl Iterator<Item = (Line<'a>, &'a str)> {
    text.lines().enumerate().map(move |(index, line)| {
        (
            Line {
                path,
                number: index + 1,
            },
            line,
        )
    })
}
