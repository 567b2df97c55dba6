//! YAML that a user wrote, read whole within a limit; unknown keys are refused by its types.

use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::Failure;

/// More than any list of hosts or models needs.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a file; an error names it, the place in it, and what is wrong there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let shown = path.display();
    let failure = |e: std::io::Error| Failure::about(&shown, e);
    if !std::fs::metadata(path).map_err(failure)?.is_file() {
        return Err(Failure::about(
            &shown,
            "not a regular file: YAML is expected",
        ));
    }
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(failure)?
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failure)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::about(
            &shown,
            "larger than 1 MiB: a list written by hand is expected",
        ));
    }
    serde_yaml::from_str(&text).map_err(|e| Failure::about(&shown, e))
}
