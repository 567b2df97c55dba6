//! Metadata values: small ones are read, arrays and their strings only walked over.

use super::super::quote::quote;
use super::cursor::{Cursor, Stop, What};
use super::error::GgufError;

/// Arrays inside each other that are walked; llama.cpp reads one level, the format sets no limit.
const ARRAY_DEPTH_MAX: usize = 8;

/// The value types of GGUF (docs/gguf.md, `gguf_metadata_value_type`), by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    fn from_number(number: u32) -> Option<Self> {
        use ValueType::{Array, Bool, F32, F64, I8, I16, I32, I64, String, U8, U16, U32, U64};
        let all = [
            U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64,
        ];
        all.get(usize::try_from(number).ok()?).copied()
    }

    /// Bytes of a value, none where they vary.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }

    /// Bytes that a value takes at least: a string has its length, an array its type and its length.
    fn bytes_min(self) -> u64 {
        self.bytes()
            .unwrap_or(if self == Self::Array { 12 } else { 8 })
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::F32 => "float32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F64 => "float64",
        }
    }
}

/// One value, borrowed from the header.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(&'a str),
    Array(Array<'a>),
}

/// An array by its type and length; `bytes` are those of its elements, of whatever kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Array<'a> {
    element: ValueType,
    pub(super) length: u64,
    bytes: &'a [u8],
}

impl Value<'_> {
    /// In an error's words.
    pub(super) fn describe(&self) -> std::string::String {
        match self {
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::String(value) => quote(value),
            Self::Array(array) => format!("an array of {} {}", array.length, array.element.name()),
        }
    }

    /// A whole number that is not negative. Writers use all integer types for counts.
    pub(super) fn unsigned(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            Self::Float(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }
}

impl Array<'_> {
    /// The elements, where each is a whole number that is not negative or a truth value.
    pub(super) fn unsigned(&self) -> Option<Vec<u64>> {
        let size = usize::try_from(self.element.bytes()?).ok()?;
        self.bytes
            .chunks_exact(size)
            .map(|bytes| match scalar(self.element, bytes)? {
                Value::Bool(value) => Some(u64::from(value)),
                value => value.unsigned(),
            })
            .collect()
    }
}

/// A value of fixed size from exactly its bytes.
fn scalar(value_type: ValueType, bytes: &[u8]) -> Option<Value<'static>> {
    fn exactly<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
    Some(match value_type {
        ValueType::U8 => Value::Unsigned(u8::from_le_bytes(exactly(bytes)?).into()),
        ValueType::I8 => Value::Signed(i8::from_le_bytes(exactly(bytes)?).into()),
        ValueType::U16 => Value::Unsigned(u16::from_le_bytes(exactly(bytes)?).into()),
        ValueType::I16 => Value::Signed(i16::from_le_bytes(exactly(bytes)?).into()),
        ValueType::U32 => Value::Unsigned(u32::from_le_bytes(exactly(bytes)?).into()),
        ValueType::I32 => Value::Signed(i32::from_le_bytes(exactly(bytes)?).into()),
        ValueType::F32 => Value::Float(f32::from_le_bytes(exactly(bytes)?).into()),
        ValueType::Bool => Value::Bool(u8::from_le_bytes(exactly(bytes)?) != 0),
        ValueType::U64 => Value::Unsigned(u64::from_le_bytes(exactly(bytes)?)),
        ValueType::I64 => Value::Signed(i64::from_le_bytes(exactly(bytes)?)),
        ValueType::F64 => Value::Float(f64::from_le_bytes(exactly(bytes)?)),
        ValueType::String | ValueType::Array => return None,
    })
}

/// Reads a value type, then a value of it.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>, key: &str) -> Result<Value<'a>, Stop> {
    let what = What {
        part: "the value",
        of: Some(key),
    };
    match value_type(cursor, what)? {
        ValueType::String => cursor.string(what).map(Value::String),
        ValueType::Array => array(cursor, what, ARRAY_DEPTH_MAX).map(Value::Array),
        fixed => {
            let bytes = cursor.take(fixed.bytes_min(), what)?;
            let refused = || GgufError::Truncated {
                offset: cursor.offset(),
                what: what.describe(),
                wanted: fixed.bytes_min(),
                left: bytes.len() as u64,
            };
            scalar(fixed, bytes).ok_or_else(|| refused().into())
        }
    }
}

fn value_type(cursor: &mut Cursor<'_>, what: What<'_>) -> Result<ValueType, Stop> {
    let offset = cursor.offset();
    let number = cursor.u32(What {
        part: "the value type",
        ..what
    })?;
    ValueType::from_number(number).ok_or_else(|| {
        GgufError::ValueType {
            offset,
            what: what.describe(),
            number,
        }
        .into()
    })
}

/// Walks over an array: its type, its length, its elements.
fn array<'a>(
    cursor: &mut Cursor<'a>,
    what: What<'_>,
    depth_left: usize,
) -> Result<Array<'a>, Stop> {
    let offset = cursor.offset();
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(GgufError::TooDeep {
            offset,
            what: what.describe(),
            depth_max: ARRAY_DEPTH_MAX,
        }
        .into());
    };
    let element = value_type(cursor, what)?;
    let offset = cursor.offset();
    let length = cursor.u64(What {
        part: "the array length",
        ..what
    })?;
    cursor.check_count(offset, "array elements", length, element.bytes_min())?;
    let bytes = match element {
        ValueType::String => {
            for _ in 0..length {
                cursor.string_bytes(what)?;
            }
            &[][..]
        }
        ValueType::Array => {
            for _ in 0..length {
                array(cursor, what, depth_left)?;
            }
            &[][..]
        }
        fixed => cursor.take(length * fixed.bytes_min(), what)?,
    };
    Ok(Array {
        element,
        length,
        bytes,
    })
}
