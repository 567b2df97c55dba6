//! The header's JSON, read without building a tree of it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::super::json::{byte_offset, checked_text, message};
use super::super::no_text::unexpected_text;
use super::super::quote::quote;
use super::entry::{Entry, Text};
use super::{Dtype, HEADER_BYTES_MAX, PREFIX_BYTES, SafetensorsError};

/// One entry of the header, its dtype known and nothing else checked.
pub(super) struct RawTensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Box<[u64]>,
    pub(super) data_offsets: [u64; 2],
}

#[derive(Default)]
pub(super) struct Header {
    pub(super) tensors: Vec<RawTensor>,
    pub(super) format: Option<String>,
}

/// `"a":{"dtype":"U8","shape":[],"data_offsets":[0,0]},` has this many bytes: no entry is shorter.
const ENTRY_BYTES_MIN: usize = 51;
/// Keys of `__metadata__`; training tools write some hundred.
const METADATA_KEYS_MAX: usize = 1024;

/// What serde's error cannot carry: which entry was being read, and a refusal that has its own name.
#[derive(Default)]
struct Context {
    tensor: Option<String>,
    refused: Option<SafetensorsError>,
}

pub(super) fn parse(header: &[u8]) -> Result<Header, SafetensorsError> {
    let text = checked_text(header, HEADER_BYTES_MAX as usize).map_err(SafetensorsError::Text)?;
    let context = RefCell::new(Context::default());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Reserved once: a list that grows holds three times its length while it moves.
    let entries_max = text
        .matches("\"dtype\"")
        .count()
        .min(text.len() / ENTRY_BYTES_MIN);
    let seed = HeaderSeed {
        context: &context,
        entries_max,
    };
    let parsed = seed
        .deserialize(&mut deserializer)
        .and_then(|parsed| deserializer.end().map(|()| parsed));
    parsed.map_err(|error| {
        let Context { tensor, refused } = context.take();
        refused.unwrap_or_else(|| SafetensorsError::Json {
            offset: (PREFIX_BYTES + byte_offset(text, &error)) as u64,
            tensor,
            message: message(&error),
        })
    })
}

struct HeaderSeed<'c> {
    context: &'c RefCell<Context>,
    entries_max: usize,
}

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensor name to dtype, shape and data_offsets")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(unexpected_text(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Header, A::Error> {
        let mut header = Header {
            tensors: Vec::with_capacity(self.entries_max),
            format: None,
        };
        let mut metadata_seen = false;
        while let Some(Text(name)) = entries.next_key()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut metadata_seen, true) {
                    return Err(A::Error::custom(
                        "`__metadata__` appears twice: expected it once",
                    ));
                }
                header.format = entries.next_value_seed(Metadata)?;
                continue;
            }
            self.context.borrow_mut().tensor = Some(name.into_owned());
            let Entry {
                dtype,
                shape,
                data_offsets,
            } = entries.next_value()?;
            let name = self.context.borrow_mut().tensor.take().unwrap_or_default();
            let Some(dtype) = Dtype::from_name(&dtype) else {
                let refused = SafetensorsError::UnknownDtype {
                    tensor: name,
                    dtype: dtype.into_owned(),
                };
                self.context.borrow_mut().refused = Some(refused);
                return Err(A::Error::custom("unknown dtype"));
            };
            header.tensors.push(RawTensor {
                name,
                dtype,
                shape,
                data_offsets,
            });
        }
        Ok(header)
    }
}

/// `__metadata__`, text to text, of which `format` is kept.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`__metadata__` as an object of text to text")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(unexpected_text(&self))
    }

    /// MLX's `save_safetensors` writes null where it is given no metadata.
    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        let mut format = None;
        while let Some((Text(key), Text(value))) = entries.next_entry()? {
            if keys.contains(&key) {
                let key = quote(&key);
                return Err(A::Error::custom(format_args!(
                    "`__metadata__` has {key} twice: expected each key once"
                )));
            }
            if keys.len() == METADATA_KEYS_MAX {
                return Err(A::Error::custom(format_args!(
                    "`__metadata__` has more than {METADATA_KEYS_MAX} keys"
                )));
            }
            if key == "format" {
                format = Some(value.into_owned());
            }
            keys.push(key);
        }
        Ok(format)
    }
}
