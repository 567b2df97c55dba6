//! `model.safetensors.index.json`: which shard holds which tensor.
//!
//! `{"metadata": {"total_size": BYTES}, "weight_map": {"TENSOR": "SHARD.safetensors", …}}`. The shards' own headers
//! are the truth about tensors; the index says which shards belong to the model, and is checked against them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::json::{JsonError, byte_offset, checked_text, message};
use super::no_text::unexpected_text;
use super::quote::quote;
use super::skip::Skip;

/// The longest index that is read: a model of 100,000 tensors has some 10 MB.
pub const INDEX_BYTES_MAX: usize = 100_000_000;

/// Which shard a tensor is said to be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// The tensor's name.
    pub tensor: Cow<'a, str>,
    /// The shard's file name, without any folder.
    pub shard: Cow<'a, str>,
}

/// An index, borrowed from its text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Index<'a> {
    /// Sorted by tensor, each once.
    pub places: Vec<Place<'a>>,
    /// `metadata.total_size` in bytes, where it is a whole number. Writers disagree on what it counts.
    pub total_size: Option<u64>,
}

/// Why an index was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "every field is named in the message above it")]
pub enum IndexError {
    /// Not text, empty, or too long.
    #[error("{0}")]
    Text(JsonError),
    /// Not JSON, or not the JSON of an index.
    #[error("byte {offset}{}: {message}", near(tensor.as_ref()))]
    Json {
        offset: u64,
        tensor: Option<String>,
        message: String,
    },
    /// No `weight_map`, or nothing in it.
    #[error(
        "`weight_map` is missing or empty: expected an object of tensor name to shard file name"
    )]
    NoWeightMap,
    /// One tensor twice.
    #[error("`weight_map` has tensor {} twice: expected each once", quote(tensor))]
    DuplicateTensor { tensor: String },
    /// A shard that is no file beside the index.
    #[error(
        "`weight_map` puts tensor {} into {}: expected the name of a .safetensors file in the same folder, without \
         any path",
        quote(tensor),
        quote(shard)
    )]
    ShardName { tensor: String, shard: String },
}

fn near(tensor: Option<&String>) -> String {
    tensor.map_or_else(String::new, |name| format!(", tensor {}", quote(name)))
}

impl Index<'_> {
    /// The shards' file names, sorted, each once.
    #[must_use]
    pub fn shards(&self) -> Vec<&str> {
        let changes = self
            .places
            .windows(2)
            .filter(|pair| pair[0].shard != pair[1].shard)
            .count();
        let mut shards = Vec::with_capacity(changes + 1);
        for place in &self.places {
            if shards.last() != Some(&&*place.shard) {
                shards.push(&*place.shard);
            }
        }
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

/// Reads an index.
///
/// Memory: at most four times its text.
///
/// # Errors
/// [`IndexError`] for anything but the form above. Shard names with a folder, or other than `.safetensors`, are
/// refused: an index can name no file outside its own folder.
pub fn read(bytes: &[u8]) -> Result<Index<'_>, IndexError> {
    let text = checked_text(bytes, INDEX_BYTES_MAX).map_err(IndexError::Text)?;
    let context = RefCell::new(Context::default());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Reserved once: a list that grows holds three times its length while it moves.
    let places_max = text
        .matches(".safetensors\"")
        .count()
        .min(text.len() / PLACE_BYTES_MIN);
    let seed = IndexSeed {
        context: &context,
        places_max,
    };
    let parsed = seed
        .deserialize(&mut deserializer)
        .and_then(|parsed| deserializer.end().map(|()| parsed));
    let mut index = parsed.map_err(|error| {
        let Context { tensor, refused } = context.take();
        refused.unwrap_or_else(|| IndexError::Json {
            offset: byte_offset(text, &error) as u64,
            tensor,
            message: message(&error),
        })
    })?;
    if index.places.is_empty() {
        return Err(IndexError::NoWeightMap);
    }
    index
        .places
        .sort_unstable_by(|left, right| left.tensor.cmp(&right.tensor));
    match index
        .places
        .windows(2)
        .find(|pair| pair[0].tensor == pair[1].tensor)
    {
        Some(pair) => Err(IndexError::DuplicateTensor {
            tensor: pair[0].tensor.clone().into_owned(),
        }),
        None => Ok(index),
    }
}

/// `"":".safetensors",` has this many bytes: no place is shorter.
const PLACE_BYTES_MIN: usize = 18;

/// Whether a shard's name is a plain file name that ends in `.safetensors`.
fn is_shard_name(name: &str) -> bool {
    name.strip_suffix(".safetensors")
        .is_some_and(|stem| !stem.is_empty())
        && !name.contains(['/', '\\', ':', '\0'])
        && !name.starts_with('.')
}

/// What serde's error cannot carry.
#[derive(Default)]
struct Context {
    tensor: Option<String>,
    refused: Option<IndexError>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct IndexSeed<'c> {
    context: &'c RefCell<Context>,
    places_max: usize,
}

impl<'de> DeserializeSeed<'de> for IndexSeed<'_> {
    type Value = Index<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IndexSeed<'_> {
    type Value = Index<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `weight_map`")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(unexpected_text(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut index = Index::default();
        let (mut map_seen, mut metadata_seen) = (false, false);
        while let Some(Text(key)) = entries.next_key()? {
            match &*key {
                "weight_map" => {
                    if std::mem::replace(&mut map_seen, true) {
                        return Err(A::Error::custom(
                            "`weight_map` appears twice: expected it once",
                        ));
                    }
                    index.places = entries.next_value_seed(WeightMap(&self))?;
                }
                "metadata" => {
                    if std::mem::replace(&mut metadata_seen, true) {
                        return Err(A::Error::custom(
                            "`metadata` appears twice: expected it once",
                        ));
                    }
                    index.total_size = entries.next_value_seed(Metadata)?;
                }
                _ => entries.next_value_seed(Skip::VALUE)?,
            }
        }
        Ok(index)
    }
}

struct WeightMap<'s, 'c>(&'s IndexSeed<'c>);

impl<'de> DeserializeSeed<'de> for WeightMap<'_, '_> {
    type Value = Vec<Place<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_, '_> {
    type Value = Vec<Place<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`weight_map` as an object of tensor name to shard file name")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(unexpected_text(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let WeightMap(seed) = self;
        let mut places = Vec::with_capacity(seed.places_max);
        while let Some(Text(tensor)) = entries.next_key()? {
            let Text(shard) = entries.next_value().inspect_err(|_| {
                seed.context.borrow_mut().tensor = Some(tensor.clone().into_owned());
            })?;
            if !is_shard_name(&shard) {
                let (tensor, shard) = (tensor.into_owned(), shard.into_owned());
                seed.context.borrow_mut().refused = Some(IndexError::ShardName { tensor, shard });
                return Err(A::Error::custom("shard name"));
            }
            places.push(Place { tensor, shard });
        }
        Ok(places)
    }
}

/// `metadata`, of which `total_size` is kept. Some writers have it as a float.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A whole number of bytes, or anything else, walked over.
struct Size(Option<u64>);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnySize;
        impl<'de> Visitor<'de> for AnySize {
            type Value = Size;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number of bytes")
            }

            fn visit_u64<E>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(Some(bytes)))
            }

            fn visit_f64<E>(self, bytes: f64) -> Result<Size, E> {
                let whole = bytes >= 0.0 && bytes < 2_f64.powi(53) && bytes.fract() == 0.0;
                Ok(Size(whole.then_some(bytes as u64)))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Size, E> {
                Ok(Size(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Size, E> {
                Ok(Size(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<Size, E> {
                Ok(Size(None))
            }

            fn visit_unit<E>(self) -> Result<Size, E> {
                Ok(Size(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Size, A::Error> {
                Skip::VALUE.visit_seq(elements).map(|()| Size(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Size, A::Error> {
                Skip::VALUE.visit_map(entries).map(|()| Size(None))
            }
        }
        deserializer.deserialize_any(AnySize)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Option<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`metadata` as an object")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(unexpected_text(&self))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut total_size = None;
        let mut seen = false;
        while let Some(Text(key)) = entries.next_key()? {
            if key != "total_size" {
                entries.next_value_seed(Skip::VALUE)?;
                continue;
            }
            if std::mem::replace(&mut seen, true) {
                return Err(A::Error::custom(
                    "`total_size` appears twice: expected it once",
                ));
            }
            Size(total_size) = entries.next_value()?;
        }
        Ok(total_size)
    }
}

#[cfg(test)]
mod tests;
