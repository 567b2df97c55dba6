//! One tensor's entry in the header: dtype, shape, data offsets, each once and nothing else.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::super::no_text::{Whole, unexpected_text};
use super::super::quote::quote;
use super::DIMENSIONS_MAX;

/// Text that is borrowed from the header where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// `{"dtype": …, "shape": […], "data_offsets": [begin, end]}`.
pub(super) struct Entry<'a> {
    pub(super) dtype: Cow<'a, str>,
    pub(super) shape: Box<[u64]>,
    pub(super) data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of `dtype`, `shape` and `data_offsets`")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Entry<'de>, E> {
        Err(unexpected_text(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Entry<'de>, A::Error> {
        let mut dtype = None;
        let mut shape = None;
        let mut data_offsets = None;
        while let Some(Text(field)) = fields.next_key()? {
            let repeated = match &*field {
                "dtype" => {
                    let Text(name) = fields.next_value()?;
                    dtype.replace(name).is_some()
                }
                "shape" => {
                    let Dimensions(dimensions) = fields.next_value()?;
                    shape.replace(dimensions).is_some()
                }
                "data_offsets" => {
                    let Offsets(offsets) = fields.next_value()?;
                    data_offsets.replace(offsets).is_some()
                }
                other => {
                    let other = quote(other);
                    return Err(A::Error::custom(format_args!(
                        "unknown field {other}, expected one of `dtype`, `shape`, `data_offsets`"
                    )));
                }
            };
            if repeated {
                return Err(A::Error::custom(format_args!("duplicate field `{field}`")));
            }
        }
        Ok(Entry {
            dtype: dtype.ok_or_else(|| A::Error::missing_field("dtype"))?,
            shape: shape.ok_or_else(|| A::Error::missing_field("shape"))?,
            data_offsets: data_offsets.ok_or_else(|| A::Error::missing_field("data_offsets"))?,
        })
    }
}

struct Dimensions(Box<[u64]>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut dimensions = [0; DIMENSIONS_MAX];
        let length = deserializer.deserialize_any(Numbers {
            into: &mut dimensions,
            called: "shape",
        })?;
        Ok(Self(dimensions[..length].into()))
    }
}

struct Offsets([u64; 2]);

impl<'de> Deserialize<'de> for Offsets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut offsets = [0; 2];
        let length = deserializer.deserialize_any(Numbers {
            into: &mut offsets,
            called: "data_offsets",
        })?;
        if length == offsets.len() {
            return Ok(Self(offsets));
        }
        Err(D::Error::custom(format_args!(
            "data_offsets has {length} numbers: expected the beginning and the end"
        )))
    }
}

/// A list of whole numbers, no longer than where it goes; its length.
struct Numbers<'n> {
    into: &'n mut [u64],
    called: &'static str,
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} as a list of whole numbers", self.called)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<usize, E> {
        Err(unexpected_text(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<usize, A::Error> {
        let (most, called) = (self.into.len(), self.called);
        let mut length = 0;
        while let Some(Whole(number)) = numbers.next_element()? {
            let slot = self.into.get_mut(length);
            *slot.ok_or_else(|| {
                A::Error::custom(format_args!("{called} has more than {most} numbers"))
            })? = number;
            length += 1;
        }
        Ok(length)
    }
}
