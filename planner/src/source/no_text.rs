//! Refusing a string where something else belongs, without repeating it.
//!
//! serde's own error repeats the whole string, escaped: six times its length and more where it is hostile. serde_json makes
//! that error before it asks the visitor, unless any type is asked for.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Expected, Unexpected, Visitor};

/// The error of a visitor that met a string.
pub(super) fn unexpected_text<E: Error>(expected: &dyn Expected) -> E {
    E::invalid_type(Unexpected::Other("string"), expected)
}

/// A whole number, 0 or more.
pub(super) struct Whole(pub(super) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number below 2^64")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Whole, E> {
                Ok(Whole(value))
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Whole, E> {
                Err(unexpected_text(&self))
            }
        }
        deserializer.deserialize_any(WholeVisitor)
    }
}
