//! Why a GGUF file was refused.

use super::super::quote::quote;
use super::types::GgmlType;

/// Why a GGUF file was refused. Offsets are bytes from the start of the file unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "every field is named in the message above it")]
pub enum GgufError {
    /// Another kind of file.
    #[error("byte 0: starts with {}: a GGUF file starts with `GGUF`", quote(&String::from_utf8_lossy(magic)))]
    Magic { magic: [u8; 4] },
    /// What Git leaves in place of a large file.
    #[error("byte 0: a Git LFS pointer, not the weights: fetch them with `git lfs pull`")]
    LfsPointer,
    /// Written for big-endian machines.
    #[error(
        "byte 4: version {version:#010x} is big-endian, for s390x and the like: expected a little-endian file"
    )]
    BigEndian { version: u32 },
    /// Version 1.
    #[error(
        "byte 4: version 1, whose counts have 32 bits; llama.cpp dropped it in 2023: convert the model again to 3"
    )]
    VersionOne,
    /// Any other version.
    #[error("byte 4: version {version}: expected 2 or 3")]
    Version { version: u32 },
    /// The file ends within the header.
    #[error(
        "byte {offset}: the file ends within {what}: {wanted} bytes expected, {left} left; the download is incomplete"
    )]
    Truncated {
        offset: u64,
        what: String,
        wanted: u64,
        left: u64,
    },
    /// A number of things that the file is too short for.
    #[error("byte {offset}: {count} {things} in the {left} bytes that follow: expected at most {}", left / bytes_min)]
    Count {
        offset: u64,
        things: &'static str,
        count: u64,
        left: u64,
        bytes_min: u64,
    },
    /// The header goes on for longer than any model's.
    #[error(
        "the header is longer than {header_bytes_max} bytes: expected at most that, tokenizer included"
    )]
    HeaderTooLong { header_bytes_max: u64 },
    /// Not UTF-8.
    #[error("byte {offset}: {what} is not UTF-8: expected text")]
    NotUtf8 { offset: u64, what: String },
    /// A key of no characters.
    #[error("byte {offset}: {what} is empty: expected a name")]
    EmptyName { offset: u64, what: String },
    /// One key twice.
    #[error("key {} appears twice: expected each key once", quote(key))]
    DuplicateKey { key: String },
    /// A value type that GGUF does not have.
    #[error("byte {offset}: {what} has value type {number}: expected 0 (uint8) to 12 (float64)")]
    ValueType {
        offset: u64,
        what: String,
        number: u32,
    },
    /// Arrays inside arrays.
    #[error(
        "byte {offset}: {what} nests arrays deeper than {depth_max} levels: expected at most {depth_max}"
    )]
    TooDeep {
        offset: u64,
        what: String,
        depth_max: usize,
    },
    /// A key whose value cannot mean anything.
    #[error("key {}: {found}: expected {expected}", quote(key))]
    KeyValue {
        key: String,
        found: String,
        expected: &'static str,
    },
    /// No `general.architecture`.
    #[error(
        "key `general.architecture` is missing: expected the architecture's name, such as `llama`"
    )]
    NoArchitecture,
    /// More dimensions than ggml has.
    #[error(
        "byte {offset}: tensor {} has {dimensions} dimensions: expected at most 4",
        quote(tensor)
    )]
    Dimensions {
        offset: u64,
        tensor: String,
        dimensions: u32,
    },
    /// A type that ggml took back.
    #[error(
        "byte {offset}: tensor {} has type {number} ({name}), removed from ggml: expected a file converted again",
        quote(tensor)
    )]
    RemovedType {
        offset: u64,
        tensor: String,
        number: u32,
        name: &'static str,
    },
    /// A type that ggml does not have.
    #[error(
        "byte {offset}: tensor {} has type {number}, unknown to ggml: expected 0 (F32) to {}",
        quote(tensor),
        GgmlType::number_max()
    )]
    UnknownType {
        offset: u64,
        tensor: String,
        number: u32,
    },
    /// Rows that blocks do not fill.
    #[error(
        "tensor {}: rows of {row_elements} elements of {name}: expected a multiple of {block_elements}",
        quote(tensor)
    )]
    Rows {
        tensor: String,
        row_elements: u64,
        name: &'static str,
        block_elements: u32,
    },
    /// More bytes than can be counted.
    #[error(
        "tensor {}: shape {shape:?} overflows: expected fewer elements than 2^63",
        quote(tensor)
    )]
    TooLarge { tensor: String, shape: Vec<u64> },
    /// Data that does not start where the alignment allows.
    #[error(
        "tensor {}: data offset {data_offset}: expected a multiple of the alignment {alignment}",
        quote(tensor)
    )]
    Misaligned {
        tensor: String,
        data_offset: u64,
        alignment: u64,
    },
    /// Data beyond the end of the file.
    #[error(
        "tensor {}: {bytes} bytes at data offset {data_offset} in {data_bytes} bytes of data: expected all of them \
         inside; the download may be incomplete",
        quote(tensor)
    )]
    OutOfRange {
        tensor: String,
        data_offset: u64,
        bytes: u64,
        data_bytes: u64,
    },
    /// Two tensors share bytes.
    #[error(
        "tensor {}: begins at data offset {data_offset}, inside {} which ends at {end}: expected no overlap",
        quote(tensor),
        quote(before)
    )]
    Overlap {
        tensor: String,
        data_offset: u64,
        before: String,
        end: u64,
    },
    /// Two tensors of one name.
    #[error("tensor {} appears twice: expected each name once", quote(tensor))]
    DuplicateTensor { tensor: String },
}
