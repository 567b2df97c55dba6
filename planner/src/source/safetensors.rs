//! The header of a safetensors file.
//!
//! Layout (safetensors 0.8.0): 8 bytes of header length, little-endian; the header, a JSON object of tensor name to
//! dtype, shape and data offsets; then the data, which the tensors cover without overlap or hole, to the last byte.
//! A caller reads [`PREFIX_BYTES`], asks [`header_bytes`] how many more are needed, and gives those to [`read`].

mod dtype;
mod entry;
mod header;

pub use dtype::Dtype;

use super::checkpoint::{StoredTensor, StoredType};
use super::json::JsonError;
use super::quote::quote;
use header::RawTensor;

/// Bytes at the start of the file that say how long the header is.
pub const PREFIX_BYTES: usize = 8;
/// The longest header that the format allows.
pub const HEADER_BYTES_MAX: u64 = 100_000_000;
/// The most dimensions that are read: NumPy's and MLX's arrays have fewer.
const DIMENSIONS_MAX: usize = 32;

/// One file's tensors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Safetensors {
    /// In the header's order.
    pub tensors: Vec<StoredTensor>,
    /// `format` of the header's `__metadata__`: what wrote the file.
    pub format: Option<String>,
}

/// Why a safetensors file was refused. Offsets are bytes from the start of the file unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "every field is named in the message above it")]
pub enum SafetensorsError {
    /// Shorter than the header's length.
    #[error("{file_bytes} bytes long: a safetensors file starts with 8 bytes of header length")]
    TooShort { file_bytes: u64 },
    /// What Git leaves in place of a large file.
    #[error("byte 0: a Git LFS pointer, not the weights: fetch them with `git lfs pull`")]
    LfsPointer,
    /// The header would end after the file does.
    #[error(
        "byte 0: a header of {header_bytes} bytes in a file of {file_bytes}: expected at most {}; \
         the download is incomplete or this is not a safetensors file",
        file_bytes - 8
    )]
    HeaderBeyondFile { header_bytes: u64, file_bytes: u64 },
    /// Longer than the format allows.
    #[error("byte 0: a header of {header_bytes} bytes: the format allows {HEADER_BYTES_MAX}")]
    HeaderTooLong { header_bytes: u64 },
    /// The caller gave another length than [`header_bytes`] asked for.
    #[error("{given} bytes of header were read where {header_bytes} were expected")]
    HeaderCut { given: u64, header_bytes: u64 },
    /// Not text, or empty.
    #[error("header: {0}")]
    Text(JsonError),
    /// Not JSON, or not the JSON of a header.
    #[error("byte {offset}{}: {message}", near(tensor.as_ref()))]
    Json {
        offset: u64,
        tensor: Option<String>,
        message: String,
    },
    /// Two tensors of one name.
    #[error("tensor {}: appears twice: expected each name once", quote(tensor))]
    DuplicateTensor { tensor: String },
    /// A dtype that the format does not have.
    #[error(
        "tensor {}: dtype {}: expected one of {}",
        quote(tensor),
        quote(dtype),
        Dtype::names()
    )]
    UnknownDtype { tensor: String, dtype: String },
    /// The last offset is before the first.
    #[error(
        "tensor {}: data_offsets [{begin}, {end}]: expected the end at or after the beginning",
        quote(tensor)
    )]
    OffsetsReversed {
        tensor: String,
        begin: u64,
        end: u64,
    },
    /// Offsets beyond the data.
    #[error(
        "tensor {}: data_offsets [{begin}, {end}] in {data_bytes} bytes of data: expected at most {data_bytes}; \
         the download may be incomplete",
        quote(tensor)
    )]
    OutOfRange {
        tensor: String,
        begin: u64,
        end: u64,
        data_bytes: u64,
    },
    /// Shape and dtype give another length than the offsets.
    #[error(
        "tensor {}: {given} bytes at data_offsets for shape {shape:?} of {dtype}: expected {}",
        quote(tensor),
        expected.map_or_else(|| String::from("a shape whose bytes can be counted"), |bytes| bytes.to_string())
    )]
    Length {
        tensor: String,
        shape: Vec<u64>,
        dtype: &'static str,
        given: u64,
        expected: Option<u64>,
    },
    /// Two tensors share bytes.
    #[error(
        "tensor {}: begins at data offset {begin}, inside {} which ends at {end}: expected no overlap",
        quote(tensor),
        quote(before)
    )]
    Overlap {
        tensor: String,
        begin: u64,
        before: String,
        end: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("data bytes {from} to {to} belong to no tensor: the format allows no holes")]
    Hole { from: u64, to: u64 },
}

fn near(tensor: Option<&String>) -> String {
    tensor.map_or_else(String::new, |name| format!(", tensor {}", quote(name)))
}

/// Length of the header that follows the prefix, checked against the file's.
///
/// # Errors
/// A length beyond the file's end or the format's limit.
pub fn header_bytes(prefix: &[u8], file_bytes: u64) -> Result<usize, SafetensorsError> {
    let Some(&prefix) = prefix
        .first_chunk::<PREFIX_BYTES>()
        .filter(|_| file_bytes >= 8)
    else {
        return Err(SafetensorsError::TooShort { file_bytes });
    };
    if &prefix == b"version " {
        return Err(SafetensorsError::LfsPointer);
    }
    let header_bytes = u64::from_le_bytes(prefix);
    if header_bytes > file_bytes - 8 {
        return Err(SafetensorsError::HeaderBeyondFile {
            header_bytes,
            file_bytes,
        });
    }
    usize::try_from(header_bytes)
        .ok()
        .filter(|_| header_bytes <= HEADER_BYTES_MAX)
        .ok_or(SafetensorsError::HeaderTooLong { header_bytes })
}

/// Reads the header alone, without the prefix, of a file of `file_bytes`.
///
/// Memory: at most four times the header.
///
/// # Errors
/// [`SafetensorsError`] for whatever the format does not allow.
pub fn read(header: &[u8], file_bytes: u64) -> Result<Safetensors, SafetensorsError> {
    let length = header.len() as u64;
    let data_bytes = file_bytes
        .checked_sub(8)
        .and_then(|rest| rest.checked_sub(length))
        .ok_or(SafetensorsError::HeaderCut {
            given: length,
            header_bytes: file_bytes.saturating_sub(8),
        })?;
    let header::Header {
        tensors: raw,
        format,
    } = header::parse(header)?;
    let mut places = Vec::with_capacity(raw.len());
    let mut tensors = Vec::with_capacity(raw.len());
    for RawTensor {
        name,
        dtype,
        shape,
        data_offsets: [begin, end],
    } in raw
    {
        if end < begin {
            return Err(SafetensorsError::OffsetsReversed {
                tensor: name,
                begin,
                end,
            });
        }
        if end > data_bytes {
            return Err(SafetensorsError::OutOfRange {
                tensor: name,
                begin,
                end,
                data_bytes,
            });
        }
        let expected = dtype.tensor_bytes(&shape);
        if expected != Some(end - begin) {
            let (shape, dtype) = (shape.into_vec(), dtype.name());
            return Err(SafetensorsError::Length {
                tensor: name,
                shape,
                dtype,
                given: end - begin,
                expected,
            });
        }
        places.push((begin, end, places.len()));
        tensors.push(StoredTensor {
            name,
            dtype: StoredType::Safetensors(dtype),
            shape: shape.into_vec(),
            bytes: end - begin,
        });
    }
    covers(places, &tensors, data_bytes)?;
    unique(&tensors)?;
    Ok(Safetensors { tensors, format })
}

/// Checks that the places, `(begin, end, index)` each, cover the data without overlap or hole.
fn covers(
    mut places: Vec<(u64, u64, usize)>,
    tensors: &[StoredTensor],
    data_bytes: u64,
) -> Result<(), SafetensorsError> {
    places.sort_unstable();
    let name = |index: usize| {
        tensors
            .get(index)
            .map_or_else(String::new, |tensor| tensor.name.clone())
    };
    let mut covered = 0;
    let mut before = 0;
    for (begin, end, index) in places {
        if begin < covered {
            let (tensor, before) = (name(index), name(before));
            return Err(SafetensorsError::Overlap {
                tensor,
                begin,
                before,
                end: covered,
            });
        }
        if begin > covered {
            return Err(SafetensorsError::Hole {
                from: covered,
                to: begin,
            });
        }
        (covered, before) = (end, index);
    }
    if covered < data_bytes {
        return Err(SafetensorsError::Hole {
            from: covered,
            to: data_bytes,
        });
    }
    Ok(())
}

fn unique(tensors: &[StoredTensor]) -> Result<(), SafetensorsError> {
    if tensors.is_sorted_by(|left, right| left.name < right.name) {
        return Ok(());
    }
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(SafetensorsError::DuplicateTensor {
            tensor: pair[0].to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
