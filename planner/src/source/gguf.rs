//! The header of a GGUF file, versions 2 and 3, little-endian.
//!
//! Layout (ggml docs/gguf.md, ggml/src/gguf.cpp): magic, version, counts; keys with typed values; tensor names,
//! dimensions, types and data offsets; then, aligned, the data. Nothing says how long the header is, so [`read`] takes
//! as many bytes as the caller has read so far and says how many it needs.

mod config;
mod cursor;
mod description;
mod error;
pub(super) mod names;
mod types;
mod value;

pub use config::{GgufConfigError, config};
pub use description::{GgufDescription, PerLayer, Split};
pub use error::GgufError;
pub use types::GgmlType;

use super::checkpoint::{StoredTensor, StoredType};
use cursor::{Cursor, Stop, What, part};
use value::Value;

/// The longest header that is read; tokenizers of 256k tokens make some 15 MB.
pub const HEADER_BYTES_MAX: u64 = 256 << 20;

/// Bytes that a key with its value takes at least: length, one character, type, one byte.
const ENTRY_BYTES_MIN: u64 = 8 + 1 + 4 + 1;
/// Bytes that a tensor's entry takes at least: length, one character, dimensions, type, offset.
const TENSOR_BYTES_MIN: u64 = 8 + 1 + 4 + 4 + 8;
/// `GGML_MAX_DIMS`.
const DIMENSIONS_MAX: usize = 4;
/// Where the file has no `general.alignment`.
const ALIGNMENT_DEFAULT: u64 = 32;

/// One file's header.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// What the metadata says of the model.
    pub description: GgufDescription,
    /// Which part of a split model this file is.
    pub split: Option<Split>,
    /// In the header's order.
    pub tensors: Vec<StoredTensor>,
    /// Where the data begins.
    pub data_offset: u64,
}

/// What [`read`] came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The header is longer than the bytes given: at least this many from the file's start are needed.
    Need(u64),
    /// All of it.
    Done(Box<Gguf>),
}

/// Reads the header from the first bytes of a file of `file_bytes`.
///
/// Memory: at most four times the bytes given. Time: linear in them, so a caller doubles them at least.
///
/// # Errors
/// [`GgufError`] for whatever the format does not allow.
pub fn read(start: &[u8], file_bytes: u64) -> Result<Progress, GgufError> {
    match header(start, file_bytes) {
        Ok(gguf) => Ok(Progress::Done(Box::new(gguf))),
        Err(Stop::Refused(error)) => Err(error),
        Err(Stop::Need(bytes)) if bytes > HEADER_BYTES_MAX => Err(GgufError::HeaderTooLong {
            header_bytes_max: HEADER_BYTES_MAX,
        }),
        Err(Stop::Need(bytes)) => Ok(Progress::Need(bytes)),
    }
}

fn header(start: &[u8], file_bytes: u64) -> Result<Gguf, Stop> {
    let mut cursor = Cursor::new(start, file_bytes);
    let version = magic_and_version(&mut cursor)?;
    let tensor_count = cursor.count("tensors", TENSOR_BYTES_MIN)?;
    let entry_count = cursor.count("keys", ENTRY_BYTES_MIN)?;
    let entries = entries(&mut cursor, entry_count)?;
    let metadata = description::Metadata::new(&entries)?;
    let alignment = metadata.alignment(ALIGNMENT_DEFAULT)?;
    let (description, split) = (metadata.description()?, metadata.split());
    drop(entries);
    let (tensors, data_offsets) = tensors(&mut cursor, tensor_count)?;
    // A file without tensors may end before the padding: it holds keys alone.
    let data_offset = cursor.offset().next_multiple_of(alignment);
    let data_bytes = file_bytes.saturating_sub(data_offset);
    check_places(&tensors, &data_offsets, data_bytes, alignment)?;
    check_names(&tensors)?;
    Ok(Gguf {
        version,
        description,
        split,
        tensors,
        data_offset,
    })
}

fn magic_and_version(cursor: &mut Cursor<'_>) -> Result<u32, Stop> {
    let mut magic = [0; 4];
    magic.copy_from_slice(cursor.take(4, part("the magic number"))?);
    if &magic == b"vers" {
        return Err(GgufError::LfsPointer.into());
    }
    if &magic != b"GGUF" {
        return Err(GgufError::Magic { magic }.into());
    }
    match cursor.u32(part("the version"))? {
        version @ (2 | 3) => Ok(version),
        1 => Err(GgufError::VersionOne.into()),
        version if version != 0 && version.trailing_zeros() >= 16 => {
            Err(GgufError::BigEndian { version }.into())
        }
        version => Err(GgufError::Version { version }.into()),
    }
}

/// All keys with their values, sorted by key.
fn entries<'a>(cursor: &mut Cursor<'a>, count: u64) -> Result<Vec<(&'a str, Value<'a>)>, Stop> {
    let mut entries = Vec::with_capacity(capacity(cursor, count, ENTRY_BYTES_MIN));
    for _ in 0..count {
        let key = cursor.name(part("a key"))?;
        entries.push((key, value::read(cursor, key)?));
    }
    entries.sort_unstable_by_key(|entry| entry.0);
    match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(GgufError::DuplicateKey {
            key: pair[0].0.to_owned(),
        }
        .into()),
        None => Ok(entries),
    }
}

/// Room for `count` things, but no more than the bytes at hand can hold.
fn capacity(cursor: &Cursor<'_>, count: u64, bytes_min: u64) -> usize {
    count.min(cursor.at_hand() as u64 / bytes_min) as usize
}

fn tensors(cursor: &mut Cursor<'_>, count: u64) -> Result<(Vec<StoredTensor>, Vec<u64>), Stop> {
    let capacity = capacity(cursor, count, TENSOR_BYTES_MIN);
    let mut tensors = Vec::with_capacity(capacity);
    let mut data_offsets = Vec::with_capacity(capacity);
    for _ in 0..count {
        let (tensor, data_offset) = tensor(cursor)?;
        tensors.push(tensor);
        data_offsets.push(data_offset);
    }
    Ok((tensors, data_offsets))
}

/// One tensor's entry, and where its data begins from the start of the data.
fn tensor(cursor: &mut Cursor<'_>) -> Result<(StoredTensor, u64), Stop> {
    let name = cursor.name(part("a tensor's name"))?;
    let of = |part| What {
        part,
        of: Some(name),
    };
    let owned = || name.to_owned();
    let offset = cursor.offset();
    let dimensions = cursor.u32(of("the number of dimensions"))?;
    let rank = usize::try_from(dimensions)
        .ok()
        .filter(|&rank| rank <= DIMENSIONS_MAX);
    let rank = rank.ok_or_else(|| GgufError::Dimensions {
        offset,
        tensor: owned(),
        dimensions,
    })?;
    let mut shape = Vec::with_capacity(rank);
    for _ in 0..rank {
        shape.push(cursor.u64(of("a dimension"))?);
    }
    let row_elements = shape.first().copied().unwrap_or(1);
    shape.reverse();
    let offset = cursor.offset();
    let number = cursor.u32(of("the type"))?;
    let dtype =
        GgmlType::from_number(number).ok_or_else(|| match GgmlType::removed_name(number) {
            Some(name) => GgufError::RemovedType {
                offset,
                tensor: owned(),
                number,
                name,
            },
            None => GgufError::UnknownType {
                offset,
                tensor: owned(),
                number,
            },
        })?;
    let data_offset = cursor.u64(of("the data offset"))?;
    let block_elements = dtype.block_elements();
    if !row_elements.is_multiple_of(u64::from(block_elements)) {
        let name = dtype.name();
        return Err(GgufError::Rows {
            tensor: owned(),
            row_elements,
            name,
            block_elements,
        }
        .into());
    }
    let Some(bytes) = tensor_bytes(&shape, dtype) else {
        return Err(GgufError::TooLarge {
            tensor: owned(),
            shape,
        }
        .into());
    };
    Ok((
        StoredTensor {
            name: owned(),
            dtype: StoredType::Ggml(dtype),
            shape,
            bytes,
        },
        data_offset,
    ))
}

/// Bytes of a tensor whose rows fill their blocks; none if its elements are 2^63 or more, as ggml refuses them.
fn tensor_bytes(shape: &[u64], dtype: GgmlType) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let elements = shape
        .iter()
        .try_fold(1_u64, |product, &dimension| product.checked_mul(dimension))?;
    let elements = i64::try_from(elements).ok()?.unsigned_abs();
    (elements / u64::from(dtype.block_elements())).checked_mul(u64::from(dtype.block_bytes()))
}

/// Checks that each tensor's data is aligned, inside the file, and its own.
fn check_places(
    tensors: &[StoredTensor],
    data_offsets: &[u64],
    data_bytes: u64,
    alignment: u64,
) -> Result<(), GgufError> {
    let mut places: Vec<(u64, &StoredTensor)> = Vec::with_capacity(tensors.len());
    for (tensor, &data_offset) in tensors.iter().zip(data_offsets) {
        let name = || tensor.name.clone();
        if !data_offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned {
                tensor: name(),
                data_offset,
                alignment,
            });
        }
        let end = data_offset.checked_add(tensor.bytes);
        if end.is_none_or(|end| end > data_bytes) {
            return Err(GgufError::OutOfRange {
                tensor: name(),
                data_offset,
                bytes: tensor.bytes,
                data_bytes,
            });
        }
        places.push((data_offset, tensor));
    }
    places.sort_unstable_by_key(|&(data_offset, tensor)| (data_offset, tensor.bytes));
    for pair in places.windows(2) {
        let ((before_offset, before), (data_offset, tensor)) = (pair[0], pair[1]);
        let end = before_offset + before.bytes;
        if data_offset < end {
            let (tensor, before) = (tensor.name.clone(), before.name.clone());
            return Err(GgufError::Overlap {
                tensor,
                data_offset,
                before,
                end,
            });
        }
    }
    Ok(())
}

fn check_names(tensors: &[StoredTensor]) -> Result<(), GgufError> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(GgufError::DuplicateTensor {
            tensor: pair[0].to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
