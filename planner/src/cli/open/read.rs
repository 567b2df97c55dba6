//! Bounded reads, counted.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use shvplan::source::json::{self, Limits};

use super::OpenError;

/// What a path leads to, links followed.
pub(super) fn metadata(path: &Path) -> Result<Metadata, OpenError> {
    fs::metadata(path).map_err(|error| OpenError::io(path, error))
}

/// Reads files and counts the bytes.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) bytes_read: u64,
}

impl Reader {
    /// Opens a regular file and says how long it is. Pipes and devices are refused before they are opened: opening
    /// a pipe would wait.
    pub(super) fn open(path: &Path) -> Result<(File, u64), OpenError> {
        if !metadata(path)?.is_file() {
            return Err(OpenError::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(|error| OpenError::io(path, error))?;
        let length = file
            .metadata()
            .map_err(|error| OpenError::io(path, error))?
            .len();
        Ok((file, length))
    }

    /// Appends what follows in the file, until `bytes` has `length`.
    pub(super) fn fill(
        &mut self,
        path: &Path,
        file: &mut File,
        bytes: &mut Vec<u8>,
        length: usize,
    ) -> Result<(), OpenError> {
        let wanted = length.saturating_sub(bytes.len());
        bytes.reserve_exact(wanted);
        let read = file
            .take(wanted as u64)
            .read_to_end(bytes)
            .map_err(|error| OpenError::io(path, error))?;
        self.bytes_read += read as u64;
        if read < wanted {
            // Someone shortened it since its length was asked for.
            return Err(OpenError::io(
                path,
                std::io::ErrorKind::UnexpectedEof.into(),
            ));
        }
        Ok(())
    }

    /// A whole file that has at most `bytes_max`.
    pub(super) fn whole(&mut self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, OpenError> {
        let (mut file, length) = Self::open(path)?;
        let Some(length) = usize::try_from(length).ok().filter(|_| length <= bytes_max) else {
            return Err(OpenError::TooLong {
                path: path.to_owned(),
                bytes: length,
                bytes_max,
            });
        };
        let mut bytes = Vec::new();
        self.fill(path, &mut file, &mut bytes, length)?;
        Ok(bytes)
    }

    /// A JSON file such as config.json.
    pub(super) fn json(&mut self, path: &Path) -> Result<Value, OpenError> {
        let bytes = self.whole(path, Limits::CONFIG.text_bytes_max as u64)?;
        json::parse(&bytes, Limits::CONFIG).map_err(|source| OpenError::Json {
            path: path.to_owned(),
            source,
        })
    }
}
